"""What every retrieval system offers, so that training, validation and the comparison need not know which one they hold.

    videos = model.encode_video(frames, frame_mask)
    texts = model.encode_text(ids, text_mask)
    ranking = model.similarity(texts, videos)
    logits = model(frames, frame_mask, ids, text_mask)

The encoders run in whatever precision the caller's autocast asks for, what follows them in float32, as in the published
training (section 1.7 of shared/reference/models.md).
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn

# What is contrasted in training: its name → its share of the loss, and the matrix [texts, clips], temperature included.
Logits = dict[str, tuple[float, Tensor]]


@dataclass(frozen=True)
class Limits:
    """What a model can take."""

    side: int  # of a picture, in pixels
    patch: int
    vocabulary: int
    words: int  # tokens of a text, start and end included
    frames: int | None  # of a clip; None: any number


@dataclass(frozen=True)
class BundleTraits:
    """What a bundle has to know of a system beyond its sizes (sections 1.5 and 1.6 of shared/reference/models.md)."""

    words: int = 32  # tokens of a text, as the system was evaluated
    head: str | None = None  # graph behind the frames': None, the mean needs none; "windows", of any length; "full windows"
    text_mask: bool = False  # whether texts need their mask
    stretch: bool = False  # pictures are stretched with an unsmoothed cubic, and not cut out of the middle
    repaired: bool = True  # the tokenizer straightens quotes and ligatures, and pads with 0 instead of the end token


@dataclass(frozen=True)
class Videos:
    """Some encoded clips."""

    vectors: Tensor | None = None  # [B, V] of unit length; None for the tight type, which has no vector of a clip
    frames: Tensor | None = None  # [B, T, D] frame features, not normalised; None where frames have none of their own
    mask: Tensor | None = None  # [B, T], of the frames

    @staticmethod
    def joined(parts: list[Videos]) -> Videos:
        def cat(name: str) -> Tensor | None:
            return None if getattr(parts[0], name) is None else torch.cat([getattr(part, name) for part in parts])

        return Videos(cat("vectors"), cat("frames"), cat("mask"))


class System(nn.Module):
    """A retrieval system. The subclasses are built from a checkpoint by `load`."""

    system: str  # as the command line calls it
    title: str  # as people call it
    bundle = BundleTraits()
    searches = True  # has a vector of a clip
    reranks = False  # scores texts and clips together, and so can re-rank what others found
    gives_candidates = False  # for re-ranking
    whole_windows = False  # frames cannot be encoded one by one: patches reach into the neighbours, or proxies everywhere
    dim: int  # of a frame feature
    vector_parts = 1  # of so many dims is a vector made
    direction_weight = 0.5  # of the loss of texts that look for clips, and of that of clips that look for texts
    least_scale, most_scale = float("-inf"), float("inf")  # bounds of the temperature in training
    clamps_before_step = False  # rather than after it

    @property
    @abstractmethod
    def limits(self) -> Limits: ...

    @property
    @abstractmethod
    def temperature(self) -> nn.Parameter:
        """The logarithm of what similarities are multiplied by."""

    @abstractmethod
    def encode_video(self, frames: Tensor, mask: Tensor) -> Videos:
        """Pixels [B, T, 3, S, S], mask [B, T]."""

    @abstractmethod
    def encode_text(self, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        """[B, L] ids and mask → [B, V] of unit length; of the tight type [B, D], not normalised."""

    @abstractmethod
    def similarity(self, texts: Tensor, videos: Videos) -> Tensor:
        """[N, V] texts and M clips → [N, M], as the system ranks in evaluation."""

    @abstractmethod
    def logits(self, texts: Tensor, videos: Videos) -> Logits:
        """As the system is trained."""

    def forward(self, frames: Tensor, frame_mask: Tensor, ids: Tensor, text_mask: Tensor) -> Logits:
        videos = self.encode_video(frames, frame_mask)
        return self.logits(self.encode_text(ids, text_mask), videos)

    def scale(self) -> Tensor:
        return self.temperature.exp()

    @torch.no_grad()
    def clamp_temperature(self) -> None:
        self.temperature.clamp_(self.least_scale, self.most_scale)


def full_precision(x: Tensor) -> torch.autocast:
    """What follows the encoders is computed in float32, whatever the encoders are computed in."""
    return torch.autocast(x.device.type, enabled=False)
