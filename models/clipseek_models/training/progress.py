"""How far a training is, how fast it goes, and what its losses were on average since that was last said."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from torch import Tensor


class Progress:
    def __init__(self, epochs: int, steps_per_epoch: int, done: int) -> None:
        self.epochs, self.steps_per_epoch, self.left = epochs, steps_per_epoch, epochs * steps_per_epoch - done
        self.began = time.monotonic()
        self.waited, self.clips, self.steps = 0.0, 0, 0
        self.sums: dict[str, Tensor] = {}
        self.summed = 0

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """For clips to be decoded."""
        asked = time.monotonic()
        yield
        self.waited += time.monotonic() - asked

    def took(self, losses: dict[str, Tensor], clips: int) -> None:
        """A step. Its losses stay on the device: reading each would make the processor wait for every step of a GPU."""
        self.steps, self.left, self.clips = self.steps + 1, self.left - 1, self.clips + clips
        if losses:
            self.summed += 1
        for name, value in losses.items():
            self.sums[name] = self.sums.get(name, 0.0) + value

    def mean_losses(self) -> dict[str, float]:
        """Since this was last asked; empty where no clip could be read."""
        means = {name: (value / self.summed).item() for name, value in self.sums.items()}
        self.sums, self.summed = {}, 0
        return means

    def line(self, epoch: int, step: int, losses: dict[str, float], rates: Iterable[float]) -> str:
        passed = time.monotonic() - self.began
        told = " ".join(f"{name} {value:.4f}" for name, value in losses.items()) or "no clip could be read"
        return (
            f"epoch {epoch + 1}/{self.epochs} step {step}/{self.steps_per_epoch} {told} rate {'/'.join(f'{rate:.2g}' for rate in rates)} "
            f"{self.clips / passed:.1f} clips/s, {self.waited / passed:.0%} waiting for clips, {duration(self.left * passed / self.steps)} left"
        )


def duration(seconds: float) -> str:
    """In the two largest units."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
