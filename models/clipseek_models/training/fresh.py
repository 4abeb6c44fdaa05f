"""CLIP of any size before any training, drawn as OpenAI's code draws it. For small models and for tests."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..systems.clip import VOCABULARY


@dataclass(frozen=True)
class Sizes:
    """Widths are multiples of 64, the width of an attention head."""

    side: int = 32  # of a picture, a multiple of `patch`
    patch: int = 16
    vision_width: int = 64
    vision_layers: int = 2
    text_width: int = 64
    text_layers: int = 2
    dim: int = 64  # of the shared vectors
    vocabulary: int = VOCABULARY
    context: int = 77
    text_positions: float = 0.01  # deviation of the text's positions, which temporal blocks take over


SMALL = Sizes(side=64, patch=16, vision_width=128, vision_layers=3, text_width=128, text_layers=2, dim=128)  # of the try-out recipe


def clip_state(sizes: Sizes, seed: int = 0) -> dict[str, Tensor]:
    """Names as in a checkpoint of CLIP4Clip meanP (§3.6 of shared/reference/models.md)."""
    drawn = torch.Generator().manual_seed(seed)

    def normal(*shape: int, std: float) -> Tensor:
        return std * torch.randn(*shape, generator=drawn)

    vision, text = sizes.vision_width, sizes.text_width
    patch = 3 * sizes.patch**2
    state = {
        "clip.visual.conv1.weight": normal(vision, 3, sizes.patch, sizes.patch, std=patch**-0.5),
        "clip.visual.class_embedding": normal(vision, std=vision**-0.5),
        "clip.visual.positional_embedding": normal(1 + (sizes.side // sizes.patch) ** 2, vision, std=vision**-0.5),
        "clip.visual.proj": normal(vision, sizes.dim, std=vision**-0.5),
        "clip.token_embedding.weight": normal(sizes.vocabulary, text, std=0.02),
        "clip.positional_embedding": normal(sizes.context, text, std=sizes.text_positions),
        "clip.text_projection": normal(text, sizes.dim, std=text**-0.5),
        "clip.logit_scale": torch.tensor(math.log(1 / 0.07)),
    }
    for name, width in (("visual.ln_pre", vision), ("visual.ln_post", vision), ("ln_final", text)):
        state |= {f"clip.{name}.weight": torch.ones(width), f"clip.{name}.bias": torch.zeros(width)}
    for tower, width, layers in (("visual.transformer", vision, sizes.vision_layers), ("transformer", text, sizes.text_layers)):
        residual = width**-0.5 * (2 * layers) ** -0.5
        for layer in range(layers):
            block = f"clip.{tower}.resblocks.{layer}"
            state |= {
                f"{block}.attn.in_proj_weight": normal(3 * width, width, std=width**-0.5),
                f"{block}.attn.in_proj_bias": torch.zeros(3 * width),
                f"{block}.attn.out_proj.weight": normal(width, width, std=residual),
                f"{block}.attn.out_proj.bias": torch.zeros(width),
                f"{block}.mlp.c_fc.weight": normal(4 * width, width, std=(2 * width) ** -0.5),
                f"{block}.mlp.c_fc.bias": torch.zeros(4 * width),
                f"{block}.mlp.c_proj.weight": normal(width, 4 * width, std=residual),
                f"{block}.mlp.c_proj.bias": torch.zeros(width),
            }
            for norm in ("ln_1", "ln_2"):
                state |= {f"{block}.{norm}.weight": torch.ones(width), f"{block}.{norm}.bias": torch.zeros(width)}
    return state
