"""What a step of training is given."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import Literal

import torch
from torch import Tensor

from ..colours import MEAN, STD

Texts = Literal["one", "bag", "sources"]  # of a clip: a caption; captions near in time; subtitle and caption


@dataclass
class Batch:
    """B clips with K texts each."""

    pixels: Tensor  # [B, T, 3, S, S], as the model takes them; or bytes as they were decoded, which `to` makes that of
    mask: Tensor  # [B, T]
    ids: Tensor  # [B, K, L]
    words: Tensor  # [B, K, L]; a text that is not there is all zeros
    middle: Tensor | None = None  # [B, 1, 3, S, S] the frame in the middle of each video, where the objective asks for it
    problems: list[tuple[int, str]] = field(default_factory=list)  # which clips are missing from it, and why

    def __len__(self) -> int:
        return len(self.pixels)

    def _each(self, change) -> Batch:  # noqa: ANN001: what each tensor becomes
        parts = (self.pixels, self.mask, self.ids, self.words, self.middle)
        return Batch(*(None if part is None else change(part) for part in parts), problems=self.problems)

    def to(self, device: torch.device) -> Batch:
        """Bytes are a quarter of what has to go to a GPU, and become numbers there. Padding is zeros after that (§2)."""
        moved = self._each(lambda part: part.to(device, non_blocking=True))
        if moved.pixels.dtype == torch.uint8:
            moved.pixels = normalised(moved.pixels) * moved.mask[..., None, None, None]
            moved.middle = None if moved.middle is None else normalised(moved.middle)
        return moved

    def pin_memory(self) -> Batch:
        return self._each(torch.Tensor.pin_memory)


def normalised(pixels: Tensor) -> Tensor:
    """Bytes [..., 3, S, S] → numbers, to the last bit as `pixels.normalised` has them."""
    mean, std = _colours(pixels.device)
    return (pixels.float() / 255 - mean) / std


@cache
def _colours(device: torch.device) -> tuple[Tensor, Tensor]:
    """Put on a device once: to put something there waits for what the device is doing."""
    mean, std = (torch.tensor(part, device=device)[:, None, None] for part in (MEAN, STD))
    return mean, std
