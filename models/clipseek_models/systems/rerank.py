"""Re-ranking of a bundle's candidates with CLIP4Clip tightTransf, as one graph."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..graphs import Writer, manifest_entry
from .clip4clip import MeanP, TightTransf
from .graph_modules import Columns, ExportError, draw_windows
from .load import build
from .shapes import Heads

BATCH = 8  # of windows in the comparison: only beside each other do scores mean something


class Rerank(nn.Module):
    """[N, T, D] frame features, mask [N, T], ids [1, L] of one text → [N, 1]: any real numbers, not cosines."""

    def __init__(self, model: TightTransf) -> None:
        super().__init__()
        self.model = model

    def forward(self, frames: Tensor, mask: Tensor, ids: Tensor) -> Tensor:
        text = self.model.clip.text_features(ids)
        pooled = self.model.cross(text.expand(frames.shape[0], -1), frames, mask)
        return self.model.similarity_dense(pooled)


def own_candidates(tight: TightTransf) -> MeanP:
    """The CLIP part of a cross-encoder as a model with vectors: the mean of its frames.

    It was trained through the cross-encoder only, so its cosine is no trained score: a poor source of candidates.
    """
    heads = Heads(*(tower.transformer.resblocks[0].attn.heads for tower in (tight.clip.visual, tight.clip)))
    model = build({key: value for key, value in tight.state_dict().items() if key.startswith("clip.")}, heads)
    model.clip = tight.clip
    return model


def same_frames(model: MeanP, tight: TightTransf) -> bool:
    """Whether both make the same features of a frame."""
    one, other = model.clip.visual.state_dict(), tight.clip.visual.state_dict()
    return one.keys() == other.keys() and all(torch.equal(value, other[key]) for key, value in one.items())


def check_pair(model: nn.Module, tight: nn.Module) -> None:
    """That the candidates of one can be re-ranked by the other."""
    if not tight.reranks:
        raise ExportError(f"only CLIP4Clip tightTransf re-ranks; this is a checkpoint of {tight.title}")
    if not model.gives_candidates:
        raise ExportError(f"{model.title} does not go together with {tight.title}: candidates come from a loose CLIP4Clip")
    for one in (tight, model):
        if one.whole_windows:
            raise ExportError(f"{one.title} has 3-D patches here: no frame has a feature of its own that could be kept for re-ranking")
    ours, theirs = model.limits, tight.limits
    if ours.side != theirs.side:
        raise ExportError(f"{model.title} sees pictures of {ours.side} pixels, {tight.title} of {theirs.side}: they cannot share frames")
    if ours.vocabulary != theirs.vocabulary:
        raise ExportError(f"{model.title} knows {ours.vocabulary} tokens, {tight.title} {theirs.vocabulary}: they cannot share a tokenizer")


def write_rerank(tight: TightTransf, frames: int, first: int, feature_dim: int, writer: Writer) -> str:
    """The graph, and its entry in the manifest. The model's own part of the stored features begins at `first`."""
    limits, dim = tight.limits, tight.dim
    module = Rerank(tight) if feature_dim == dim else Columns(Rerank(tight), first, dim)

    def draw(length: int, words: int) -> dict[str, Tensor]:
        return draw_windows(BATCH, length, feature_dim) | {"input_ids": torch.randint(limits.vocabulary, (1, words))}

    free = {0: "batch", 1: "length"}
    axes = {"frames": free, "mask": free, "input_ids": {1: "words"}}
    sample, trial = draw(frames, limits.words), draw(frames - 1 or 2, 7)
    path = writer.write("rerank", module, "scores", axes, sample, trial, compared=["scores"])
    return manifest_entry("rerank", path, {"text": "input_ids", "frames": "frames", "mask": "mask", "output": "scores"})
