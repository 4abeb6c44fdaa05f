"""The systems from one side: clips and texts in, scores out. Encoders run in the precision asked for, what follows in float32.

The published training has it so too (§1.7 of shared/reference/models.md).
"""

from __future__ import annotations

import math
from contextlib import nullcontext

import torch
from torch import Tensor, nn

from ..systems.blocks import unit
from ..systems.clip2video import Clip2Video
from ..systems.clip4clip import MeanP, TightTransf
from ..systems.clip_vip import ClipVip

Precision = str  # "float32", "bfloat16", "float16"
PRECISIONS = ("float32", "bfloat16", "float16")
# Most that the logarithm of the temperature's inverse may be.
MOST_SCALE, MOST_SCALE_OF_VIP = math.log(100), math.log(200)


def half(device: torch.device, precision: Precision):  # noqa: ANN201: a context manager of one of two kinds
    return nullcontext() if precision == "float32" else torch.autocast(device.type, getattr(torch, precision))


class Encoded:
    """Some clips: vectors [B, V] of unit length, or for the tight type frames [B, T, D] and their mask."""

    def __init__(self, vectors: Tensor | None = None, frames: Tensor | None = None, mask: Tensor | None = None) -> None:
        self.vectors, self.frames, self.mask = vectors, frames, mask

    @staticmethod
    def joined(parts: list["Encoded"]) -> "Encoded":
        def cat(name: str) -> Tensor | None:
            return None if getattr(parts[0], name) is None else torch.cat([getattr(part, name) for part in parts])

        return Encoded(cat("vectors"), cat("frames"), cat("mask"))


def encode_clips(model: nn.Module, pixels: Tensor, mask: Tensor, precision: Precision = "float32") -> Encoded:
    """[B, T, 3, S, S], mask [B, T]"""
    with half(pixels.device, precision):
        if isinstance(model, ClipVip):
            return Encoded(model.clip_embedding(pixels).float())
        features = model.frame_features(pixels).float()
    # The frames themselves are wanted by captions, too.
    return Encoded(None if isinstance(model, TightTransf) else model.clip_embedding(features, mask), features, mask)


def encode_texts(model: nn.Module, ids: Tensor, words: Tensor, precision: Precision = "float32") -> Tensor:
    """[B, L] → [B, V] of unit length, or for the tight type [B, D]"""
    with half(ids.device, precision):
        if isinstance(model, TightTransf):
            return model.clip.text_features(ids).float()
        texts = model.text_embedding(ids, words) if isinstance(model, Clip2Video) else model.text_embedding(ids)
    return unit(texts.float())


def scores(model: nn.Module, texts: Tensor, clips: Encoded) -> Tensor:
    """[N, V] texts and M clips → [N, M], times the temperature's inverse; of the tight type, any real numbers."""
    if isinstance(model, TightTransf):
        return model.similarity(model.cross_pooled(texts, clips.frames, clips.mask))
    if isinstance(model, ClipVip):
        return model.scale() * model.similarity(texts, clips.vectors)
    return model.similarity(texts, clips.vectors)


def temperature(model: nn.Module) -> nn.Parameter:
    return model.clipmodel.logit_scale if isinstance(model, ClipVip) else model.clip.logit_scale


@torch.no_grad()
def clamp_temperature(model: nn.Module) -> None:
    """CLIP4Clip bounds it above, CLIP-ViP on both sides (§3.1, §5.3)."""
    if isinstance(model, ClipVip):
        temperature(model).clamp_(0, MOST_SCALE_OF_VIP)
    else:
        temperature(model).clamp_(max=MOST_SCALE)


def side(model: nn.Module) -> int:
    """Of the pictures that it takes."""
    return model.clipmodel.vision_model.embeddings.side if isinstance(model, ClipVip) else model.clip.visual.side


def context(model: nn.Module) -> int:
    """Most tokens of a text."""
    if isinstance(model, ClipVip):
        return model.clipmodel.text_model.embeddings.position_embedding.num_embeddings
    return len(model.clip.positional_embedding)


def vocabulary(model: nn.Module) -> int:
    if isinstance(model, ClipVip):
        return model.clipmodel.text_model.embeddings.token_embedding.num_embeddings
    return model.clip.token_embedding.num_embeddings


def most_frames(model: nn.Module) -> int | None:
    """Of a clip; None: any number."""
    if isinstance(model, TightTransf):
        return model.cross.embeddings.position_embeddings.num_embeddings - 1  # the text has a row too
    if isinstance(model, Clip2Video):
        return model.frame_position_embeddings.num_embeddings
    return model.most_frames if isinstance(model, MeanP) else None
