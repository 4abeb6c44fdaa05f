"""Who learns, how fast, and when: groups of parameters, frozen layers, the rate over time."""

from __future__ import annotations

import math
import re

import torch
from torch import nn

BETAS, EPSILON = (0.9, 0.98), 1e-6  # of both published trainings
_BLOCK = re.compile(r"\.(?:resblocks|layers)\.(\d+)\.")
# What stays trainable at the top of CLIP however much below it is frozen.
_TOP = ("ln_final", "final_layer_norm", "text_projection", "visual_projection", "logit_scale", "ln_post", "post_layernorm", "visual.proj")
# What CLIP did not have, though it stands among CLIP's weights.
_ADDED = ("visual.conv2.", ".added_cls", ".temporal_embedding")


def freeze(model: nn.Module, below: int) -> int:
    """CLIP4Clip's `freeze_layer_num`: patches, tokens, positions and the blocks numbered less than `below` stay as they are.

    0 freezes no block, -1 nothing at all. How many numbers are frozen.
    """
    frozen = 0
    for name, parameter in model.named_parameters():
        block = _BLOCK.search(name)
        of_clip = name.startswith(("clip.", "clipmodel.")) and not any(part in name for part in (*_TOP, *_ADDED))
        if of_clip and below >= 0 and (block is None or int(block[1]) < below):
            parameter.requires_grad_(False)
            frozen += parameter.numel()
    return frozen


def groups(model: nn.Module, rate: float, of_clip: float, decay: float) -> list[dict]:
    """`of_clip`: CLIP's share of the rate (CLIP4Clip's `coef_lr`). Biases, norms, single vectors and the temperature do not decay."""
    found: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            clip = name.startswith(("clip.", "clipmodel.")) and not any(added in name for added in _ADDED)
            found.setdefault((clip, parameter.ndim > 1), []).append(parameter)
    return [
        {"params": parameters, "lr": rate * (of_clip if clip else 1.0), "weight_decay": decay if decays else 0.0, "clip": clip}
        for (clip, decays), parameters in sorted(found.items(), key=lambda item: item[0], reverse=True)
    ]


def schedule(optimiser: torch.optim.Optimizer, steps: int, warmup: float) -> torch.optim.lr_scheduler.LambdaLR:
    """Up in a straight line over `warmup` of all steps, then down to nothing along a cosine. A call a step."""
    return torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: factor(step, steps, warmup))


def factor(step: int, steps: int, warmup: float) -> float:
    """Of the rate, for the step of this number from 0."""
    rising = math.floor(steps * warmup)
    if step < rising:
        return (step + 1) / rising
    return 0.5 * (1 + math.cos(math.pi * min((step - rising) / max(steps - rising, 1), 1.0)))
