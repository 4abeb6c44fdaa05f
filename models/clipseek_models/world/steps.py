"""The steps of every training on the synthetic world: AdamW, one cycle of the rate, the gradient clipped, a word now and then."""

from __future__ import annotations

import time
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from ..training.descent import Descent

TELL_EVERY = 100


class OneCycle:
    """`still`: parameters that learn without decay."""

    def __init__(
        self, name: str, learnt: Iterable[nn.Parameter], steps: int, still: Iterable[nn.Parameter] = (), rate: float = 1.5e-3, decay: float = 0.05,
        rising: float = 0.08, most_gradient: float = 1.0,
    ) -> None:
        self.name, self.steps, learnt = name, steps, list(learnt)
        groups = [{"params": learnt, "weight_decay": decay}, {"params": list(still), "weight_decay": 0.0}]
        optimiser = torch.optim.AdamW(groups, lr=rate, fused=True)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps, pct_start=rising)
        self.descent = Descent(learnt, optimiser, schedule, most_gradient)
        self.done, self.began = 0, time.monotonic()

    def __call__(self, loss: Tensor, **told: Tensor) -> None:
        """A step down this loss. `told` is said beside it."""
        self.descent.backward(loss)
        self.descent()
        if self.done % TELL_EVERY == 0 or self.done == self.steps - 1:
            said = " ".join(f"{name} {value.item():.3f}" for name, value in {"loss": loss, **told}.items())
            print(f"{self.name}: step {self.done:4d} {said} {time.monotonic() - self.began:.0f}s", flush=True)
        self.done += 1
