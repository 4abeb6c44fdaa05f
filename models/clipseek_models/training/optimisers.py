"""The optimisers of the published trainings, with their schedules and their groups of parameters, and what they hold frozen.

- `clip4clip`: BertAdam of CLIP4Clip (modules/optimization.py and main_task_retrieval.py at 508ffa3d).
- `univl`: BertAdam of UniVL's fine-tuning for captions (main_task_caption.py at 8db88f39).
- `clip_vip`: AdamW of an early Hugging Face release, as CLIP-ViP has it (src/optimization/ at c37c904a).

CLIP2Video's repository has no training script; it was made out of CLIP4Clip's. `parity` compares every one of them with
three steps of the original.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

_BLOCK = re.compile(r"\.(?:resblocks|layers)\.(\d+)\.")
# What stays trainable at the top of CLIP however much below it is frozen.
_TOP = ("ln_final", "final_layer_norm", "text_projection", "visual_projection", "logit_scale", "ln_post", "post_layernorm", "visual.proj")
# What CLIP did not have, though it stands among CLIP's weights.
_ADDED = (".added_cls", ".temporal_embedding")
_TABLES = ("decoder.embeddings.word_embeddings.", "decoder.embeddings.position_embeddings.")
LEAST_RATE = 1e-8  # what CLIP-ViP makes of a rate of 0 or less


class _Adam(torch.optim.Optimizer):
    """First and second moments, without correction; the subclasses say what they do with them."""

    def __init__(self, groups: list[dict], rate: float, betas: tuple[float, float], epsilon: float) -> None:
        super().__init__(groups, {"lr": rate, "betas": betas, "eps": epsilon, "weight_decay": 0.0, "steps": 0})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        for group in self.param_groups:
            group["steps"] += 1
            learnt = [parameter for parameter in group["params"] if parameter.grad is not None]
            if not learnt:
                continue
            for parameter in learnt:
                if not self.state[parameter]:
                    self.state[parameter] = {"first": torch.zeros_like(parameter), "second": torch.zeros_like(parameter)}
            gradients = [parameter.grad for parameter in learnt]
            first, second = ([self.state[parameter][moment] for parameter in learnt] for moment in ("first", "second"))
            one, two = group["betas"]
            torch._foreach_lerp_(first, gradients, 1 - one)
            torch._foreach_mul_(second, two)
            torch._foreach_addcmul_(second, gradients, gradients, 1 - two)
            update = torch._foreach_sqrt(second)
            torch._foreach_add_(update, group["eps"])
            self.move(group, learnt, list(torch._foreach_div(first, update)))

    def move(self, group: dict, parameters: list[nn.Parameter], update: list[Tensor]) -> None:
        raise NotImplementedError


class BertAdam(_Adam):
    """Adam without bias correction, with decay at the scheduled rate.

    The original also clips the gradient of every parameter to norm 1; after the whole gradient was clipped to norm 1, which
    both trainings do first, that changes nothing.
    """

    def move(self, group: dict, parameters: list[nn.Parameter], update: list[Tensor]) -> None:
        if group["weight_decay"]:
            torch._foreach_add_(update, parameters, alpha=group["weight_decay"])
        torch._foreach_add_(parameters, update, alpha=-group["lr"])


class EarlyAdamW(_Adam):
    """AdamW that adds its epsilon before the bias correction, and decays what has already moved."""

    def move(self, group: dict, parameters: list[nn.Parameter], update: list[Tensor]) -> None:
        (one, two), steps = group["betas"], group["steps"]
        correction = math.sqrt(1 - two**steps) / (1 - one**steps)
        torch._foreach_add_(parameters, update, alpha=-group["lr"] * correction)
        if group["weight_decay"]:
            torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])


# A schedule: the step from 0, all steps, the share of them in which the rate rises → the share of the rate.
Schedule = Callable[[int, int, float], float]


def bert_cosine(step: int, steps: int, warmup: float) -> float:
    """The first step has rate 0. The cosine is over the whole training, so there is a small jump where the warm-up ends."""
    done = step / steps
    return done / warmup if done < warmup else 0.5 * (1 + math.cos(math.pi * done))


def bert_linear(step: int, steps: int, warmup: float) -> float:
    """The first step has rate 0; after the warm-up down to nothing in a straight line."""
    done = step / steps
    return done / warmup if done < warmup else max((done - 1) / (warmup - 1), 0.0)


def vip_cosine(step: int, steps: int, warmup: float) -> float:
    """The first step moves already. The cosine is over what is left after the warm-up."""
    rising, number = int(warmup * steps), step + 1
    if number < rising:
        return number / rising
    return 0.5 * (1 + math.cos(math.pi * (number - rising) / max(steps - rising, 1)))


@dataclass(frozen=True)
class Group:
    """Parameters that learn alike."""

    names: tuple[str, ...]
    rate: float
    decay: float


@dataclass(frozen=True)
class Rule:
    """How one published training moves parameters."""

    kind: type[_Adam]
    betas: tuple[float, float]
    schedule: Schedule
    still: tuple[str, ...]  # a parameter whose name holds one of these does not decay
    shared: Callable[[str], bool]  # parameters that learn at a share of the rate
    least_rate: float = 0.0
    epsilon: float = 1e-6

    def groups(self, model: nn.Module, rate: float, share: float, decay: float) -> list[Group]:
        """Four, of which some may be empty: with a share of the rate and without, both with decay; the same without."""
        named = [name for name, _ in model.named_parameters()]

        def group(decays: bool, shared: bool) -> Group:
            names = tuple(name for name in named if self.shared(name) == shared and self.decays(name) == decays)
            return Group(names, rate * share if shared else rate, decay if decays else 0.0)

        return [group(decays, shared) for decays in (True, False) for shared in (True, False)]

    def decays(self, name: str) -> bool:
        return not any(part in name for part in self.still)

    def build(
        self, model: nn.Module, rate: float, share: float, decay: float, steps: int, warmup: float,
    ) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LambdaLR]:
        """The optimiser, and what to call after each of its steps."""
        parameters = dict(model.named_parameters())
        groups = [
            {"params": [parameters[name] for name in group.names], "lr": group.rate, "weight_decay": group.decay}
            for group in self.groups(model, rate, share, decay)
        ]
        optimiser = self.kind(groups, rate, self.betas, self.epsilon)
        return optimiser, torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: self.factor(step, steps, warmup, rate))

    def factor(self, step: int, steps: int, warmup: float, rate: float) -> float:
        """Of the rates of all groups, for the step of this number from 0."""
        factor = self.schedule(step, steps, warmup)
        return factor if factor > 0 else self.least_rate / rate


_BERT = ("bias", "LayerNorm.bias", "LayerNorm.weight")  # CLIP's norms are called ln_1, layer_norm1 and the like, so they decay
RULES = {
    "clip4clip": Rule(BertAdam, (0.9, 0.98), bert_cosine, _BERT, lambda name: "clip." in name),
    "univl": Rule(BertAdam, (0.9, 0.999), bert_linear, _BERT, lambda name: name.startswith(("clip.", *_TABLES))),
    # The share is for the temperature, which one published configuration lets learn ten times as fast.
    "clip_vip": Rule(EarlyAdamW, (0.9, 0.98), vip_cosine, (*_BERT, "logit_scale"), lambda name: "logit_scale" in name, LEAST_RATE),
}


def freeze(model: nn.Module, below: int) -> int:
    """CLIP4Clip's `freeze_layer_num`: patches, tokens, positions and the blocks numbered less than `below` stay as they are.

    0 freezes no block, -1 nothing at all. With 3-D patches nothing is ever frozen, as in the original, whose test for them
    is true of every name. How many numbers are frozen.
    """
    frozen = 0
    for parameter in (dict(model.named_parameters())[name] for name in frozen_names(model, below)):
        parameter.requires_grad_(False)
        frozen += parameter.numel()
    return frozen


def frozen_names(model: nn.Module, below: int) -> list[str]:
    named = [name for name, _ in model.named_parameters()]
    if below < 0 or any(name.startswith("clip.visual.conv2.") for name in named):
        return []

    def stays(name: str) -> bool:
        block = _BLOCK.search(name)
        of_clip = name.startswith(("clip.", "clipmodel.")) and not any(part in name for part in (*_TOP, *_ADDED))
        return of_clip and (block is None or int(block[1]) < below)

    return [name for name in named if stays(name)]
