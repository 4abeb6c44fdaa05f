"""The systems at small width, behind the frame encoder that they share. Heads and text encoders are those of `systems/`."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..systems.clip4clip import mean_pooling
from ..systems.load import build
from ..training import captioner
from ..training.choices import Plan
from ..training.fresh import Sizes, clip_state
from ..training.initial import begun
from ..world.align import unit
from ..world.nets import FEATURES
from ..world.tokenizer import CONTEXT_LENGTH, END

DIM, LAYERS = 128, 2  # of every text encoder, temporal transformer, cross-encoder and caption decoder
PLANS = {
    "meanP": Plan("clip4clip", "meanP"),
    "seqLSTM": Plan("clip4clip", "seqLSTM"),
    "seqTransf": Plan("clip4clip", "seqTransf", layers=LAYERS),
    "tightTransf": Plan("clip4clip", "tightTransf", layers=LAYERS),
    "CLIP2Video": Plan("clip2video", layers=LAYERS),
    "seqTransf with captions": Plan("clip4clip", "seqTransf", layers=LAYERS),
}
WHOLE = "CLIP-ViP"  # takes whole clips of pixels, so it shares nothing: see `whole.py`
CAPTIONED = "seqTransf with captions"
NAMES = (*PLANS, WHOLE)
# Steps that take each about two and a half minutes of a processor.
STEPS = {
    "meanP": 600, "seqLSTM": 550, "seqTransf": 400, "tightTransf": 225, "CLIP2Video": 200, "seqTransf with captions": 240, WHOLE: 150,
}

# Scales at the start, as in the shipped model: what begins small does not learn which way things go.
TOKENS, TEXT_POSITIONS, FRAME_POSITIONS = 0.3, 0.1, 0.3


def text_sizes(vocabulary: int, **vision: int) -> Sizes:
    """One more word than the tokenizer's: the systems know the end token by its being the largest id. And one more
    position than there are words or frames: the tight type puts the text before the frames.
    """
    return Sizes(
        text_width=DIM, text_layers=LAYERS, dim=DIM, vocabulary=vocabulary + 1, context=CONTEXT_LENGTH + 1, text_positions=TEXT_POSITIONS, **vision,
    )


def clip_weights(sizes: Sizes, seed: int) -> dict[str, Tensor]:
    state = clip_state(sizes, seed)
    table = state["clip.token_embedding.weight"]
    state["clip.token_embedding.weight"] = table * (TOKENS / table.std())
    return state


def end_last(ids: Tensor, vocabulary: int) -> Tensor:
    """Ids of the tokenizer → ids of the systems."""
    return ids.masked_fill(ids == END, vocabulary)


class Variant(nn.Module):
    """A system with the shared frame encoder in the place of its own, of which only the projection is its own."""

    def __init__(self, name: str, vocabulary: int, seed: int) -> None:
        super().__init__()
        self.name, self.vocabulary = name, vocabulary
        torch.manual_seed(seed)
        # The first feature of a frame tells strange pictures: no system has use for it.
        self.norm, self.proj = nn.LayerNorm(FEATURES - 1), nn.Linear(FEATURES - 1, DIM, bias=False)
        # An image encoder must be there; the smallest is, and does nothing.
        state = begun(clip_weights(text_sizes(vocabulary, side=32, patch=32, vision_layers=1), seed), PLANS[name], seed)
        for key in ("frame_position_embeddings.weight", "cross.embeddings.position_embeddings.weight"):
            if key in state:
                state[key] = state[key] * (FRAME_POSITIONS / state[key].std())
        if name == CAPTIONED:
            state |= captioner.decoder_state(DIM, vocabulary, CONTEXT_LENGTH, LAYERS, seed)
        self.system = build(state)
        self.system.requires_grad_(True)
        self.system.clip.visual.requires_grad_(False)
        if name == CAPTIONED:
            captioner.tie(self.system.decoder)

    def learnt(self) -> list[nn.Parameter]:
        return [parameter for parameter in self.parameters() if parameter.requires_grad]

    def features(self, known: Tensor) -> Tensor:
        """What the frame encoder knows [B, T, 256] → [B, T, D]"""
        return self.proj(self.norm(known[..., 1:]))

    def clips(self, features: Tensor) -> Tensor:
        """[B, T, D] → [B, V] of unit length; of the tight type, which has no vector of a clip, the mean of its frames."""
        mask = features.new_ones(features.shape[:2])
        if not self.system.searches:
            return mean_pooling(features, mask)
        return self.system.clip_embedding(features, mask)

    def texts(self, ids: Tensor, mask: Tensor) -> Tensor:
        """[B, L] → [B, V], of unit length but for the tight type."""
        return self.system.encode_text(end_last(ids, self.vocabulary), mask)

    def of_pairs(self, texts: Tensor, features: Tensor) -> Tensor:
        """The tight type: texts [G, N, D], clips [G, M, T, D] → [G, N, M], each group's texts with each of its clips."""
        groups, count, others = *texts.shape[:2], features.shape[1]
        frames = features[:, None].expand(-1, count, -1, -1, -1).flatten(0, 2)
        words = texts[:, :, None].expand(-1, -1, others, -1).flatten(0, 2)
        pooled = self.system.cross(words, frames, frames.new_ones(frames.shape[:2]))
        return self.system.similarity_dense(pooled).view(groups, count, others)

    def scale(self) -> Tensor | float:
        """What similarities are multiplied by."""
        return self.system.scale() if self.system.searches else 1.0

    @torch.no_grad()
    def compare(self, texts: Tensor, features: Tensor) -> Tensor:
        """[N, V], [M, T, D] → [N, M]"""
        if self.system.searches:
            return unit(texts) @ self.clips(features).T
        return torch.cat([self.of_pairs(text[None, None], features[None])[0] for text in texts])
