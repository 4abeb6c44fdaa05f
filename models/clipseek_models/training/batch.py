"""What a step of training is given."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

Texts = Literal["one", "bag", "sources"]  # of a clip: a caption; captions near in time; subtitle and caption


@dataclass
class Batch:
    """B clips with K texts each."""

    pixels: Tensor  # [B, T, 3, S, S]
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
        return self._each(lambda part: part.to(device, non_blocking=True))

    def pin_memory(self) -> Batch:
        return self._each(torch.Tensor.pin_memory)
