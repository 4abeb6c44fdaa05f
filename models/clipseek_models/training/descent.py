"""One step down gradients that are there, of every training: clipping, optimiser, rate. Nothing in it waits for the GPU."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn


class Descent:
    """`scaling`: of the loss, for float16. `most_gradient`: norm of the whole gradient."""

    def __init__(
        self, learnt: Iterable[nn.Parameter], optimiser: torch.optim.Optimizer, schedule: torch.optim.lr_scheduler.LRScheduler,
        most_gradient: float, scaling: bool = False,
    ) -> None:
        self.learnt, self.optimiser, self.schedule, self.most_gradient = list(learnt), optimiser, schedule, most_gradient
        self.scaler = torch.amp.GradScaler(self.learnt[0].device.type, enabled=scaling)

    def backward(self, loss: Tensor) -> None:
        """Adds gradients of a loss, of which there may be several before the step."""
        self.scaler.scale(loss).backward()

    def __call__(self) -> Tensor:
        """The step; returns the norm that the gradient had before it was clipped."""
        self.scaler.unscale_(self.optimiser)
        norm = nn.utils.clip_grad_norm_(self.learnt, self.most_gradient)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.schedule.step()
        self.optimiser.zero_grad(set_to_none=True)
        return norm
