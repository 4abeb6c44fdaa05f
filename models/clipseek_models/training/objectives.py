"""What a batch costs, for each thing that can be learnt. Each gives named losses, whose sum is the loss."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from . import losses
from .captioner import caption_loss
from .clips import Batch, Texts
from .sides import Precision, encode_clips, encode_texts, half, scores

Losses = dict[str, Tensor]


@dataclass(frozen=True)
class Objective:
    texts: Texts  # that it wants of a clip
    cost: Callable[[nn.Module, Batch, Precision], Losses]


def retrieval(model: nn.Module, batch: Batch, precision: Precision) -> Losses:
    """Each caption finds its clip and each clip its caption."""
    clips = encode_clips(model, batch.pixels, batch.mask, precision)
    return {"retrieval": losses.symmetric(scores(model, encode_texts(model, batch.ids[:, 0], batch.words[:, 0], precision), clips))}


def narrated(model: nn.Module, batch: Batch, precision: Precision) -> Losses:
    """Post-pretraining on narrated video, as CLIP4Clip's on HowTo100M: clips and what is said around them."""
    clips = encode_clips(model, batch.pixels, batch.mask, precision)
    texts = encode_texts(model, batch.ids.flatten(0, 1), batch.words.flatten(0, 1), precision)
    matrix = scores(model, texts, clips).unflatten(0, batch.ids.shape[:2])
    return {"narrated": losses.mil_nce(matrix, batch.words.any(-1))}


def omnisource(model: nn.Module, batch: Batch, precision: Precision) -> Losses:
    """CLIP-ViP's post-pretraining: clips with their subtitles and with captions of their middle frames, and those frames."""
    clips = encode_clips(model, batch.pixels, batch.mask, precision)
    middle = batch.pixels.shape[1] // 2
    frames = encode_clips(model, batch.pixels[:, middle : middle + 1], batch.mask[:, middle : middle + 1], precision)
    texts = encode_texts(model, batch.ids.transpose(0, 1).flatten(0, 1), batch.words.transpose(0, 1).flatten(0, 1), precision)
    subtitles, captions = texts.chunk(2)
    return losses.omnisource(scores(model, subtitles, clips), scores(model, captions, clips), scores(model, captions, frames))


def captions(model: nn.Module, batch: Batch, precision: Precision) -> Losses:
    """Retrieval and captions at once, both losses added as UniVL does (arXiv 2002.06353)."""
    ids, words = batch.ids[:, 0], batch.words[:, 0]
    clips = encode_clips(model, batch.pixels, batch.mask, precision)
    texts = encode_texts(model, ids, words, precision)
    memory = model.caption_memory(clips.frames, clips.mask)
    with half(ids.device, precision):
        caption = caption_loss(model.decoder, memory, clips.mask, ids, words)
    return {"retrieval": losses.symmetric(scores(model, texts, clips)), "caption": caption}


OBJECTIVES = {
    "retrieval": Objective("one", retrieval),
    "narrated": Objective("bag", narrated),
    "omnisource": Objective("sources", omnisource),
    "captions": Objective("one", captions),
}
