"""One step of training a research system: forward, loss, backward, then the step itself (`descent.py`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..half import autocast
from ..systems.interface import System
from .batch import Batch
from .descent import Descent
from .objectives import Terms, total


@dataclass
class Stepper:
    model: System
    cost: Callable[[System, Batch], Terms]
    optimiser: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    precision: str  # of the encoders
    most_gradient: float  # norm of the whole gradient
    masters: bool = True  # whether all parameters are float32; without masters there is no scaling of the loss, as in the original

    def __post_init__(self) -> None:
        self.device = next(self.model.parameters()).device
        scaling = self.masters and self.precision == "float16"
        self.descent = Descent(self.model.parameters(), self.optimiser, self.schedule, self.most_gradient, scaling)

    def __call__(self, parts: list[Batch]) -> dict[str, Tensor]:
        """A batch in one or several parts → its losses, `loss` and each term, on the device: to read one is to wait for it."""
        if self.model.clamps_before_step:
            self.model.clamp_temperature()
        told: dict[str, Tensor] = {}
        for part in parts:
            with autocast(self.device, self.precision):
                terms = self.cost(self.model, part.to(self.device))
                loss = total(terms) / len(parts)
            self.descent.backward(loss)
            for name, value in {"loss": loss, **{name: value / len(parts) for name, (_, value) in terms.items()}}.items():
                told[name] = told.get(name, 0.0) + value.detach()
        told["gradient"] = self.descent()
        if not self.model.clamps_before_step:
            self.model.clamp_temperature()
        return told

    def follow_schedule(self) -> None:
        """The next step has the rate that the schedule says, whatever an earlier schedule left behind."""
        for group, rate, factor in zip(self.optimiser.param_groups, self.schedule.base_lrs, self.schedule.lr_lambdas):
            group["lr"] = rate * factor(self.schedule.last_epoch)

    def skip(self) -> dict[str, Tensor]:
        """A step of which no clip could be read: nothing moves, and the rate goes on."""
        self.optimiser.step()
        self.schedule.step()
        return {}
