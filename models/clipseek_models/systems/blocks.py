"""What all three systems are made of: the pre-norm block, the masks, unit length."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from .attention import attend

CLIP_EPS = 1e-5  # of every LayerNorm inside the CLIP encoders
TEMPORAL_EPS = 1e-12  # of every LayerNorm of the blocks that were added to CLIP


def unit(x: Tensor) -> Tensor:
    """[..., D] → the same direction, length 1."""
    return x / x.norm(dim=-1, keepdim=True)


QUICK = 1.702  # of QuickGELU


def quick_gelu(x: Tensor) -> Tensor:
    return x * torch.sigmoid(QUICK * x)


def feed_forward(x: Tensor, inner: nn.Linear, outer: nn.Linear, training: bool) -> Tensor:
    """[B, L, W] → the same, through the wider layer and QuickGELU.

    Training has the factor in the weights: z · σ(1.702 z) is silu(1.702 z) / 1.702. So the activation reads and writes the widest
    tensor of a block once and not three times, and less of it is kept for the backward pass: on a GPU that is memory traffic,
    which takes about as long as the products do.
    """
    if not training:
        return outer(quick_gelu(inner(x)))
    hidden = functional.silu(functional.linear(x, QUICK * inner.weight, QUICK * inner.bias))
    return functional.linear(hidden, outer.weight / QUICK, outer.bias)


def key_mask(mask: Tensor) -> Tensor:
    """[B, T] → additive [B, 1, 1, T]: the same for every query, so padded queries are computed and ignored later.

    A million does not fit in float16: graphs of that precision have a smaller number.
    """
    return (1.0 - mask.float())[:, None, None, :] * -1_000_000.0


def causal_mask(x: Tensor) -> Tensor:
    """For x [B, L, W]: additive [1, 1, L, L] that hides what comes later."""
    length = x.shape[1]
    return torch.full((length, length), float("-inf"), dtype=x.dtype, device=x.device).triu(1)[None, None]


class Attention(nn.Module):
    """Self-attention with q, k and v packed into one projection, as OpenAI's CLIP stores it."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.empty(3 * width))
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """[B, L, W] → [B, L, W]"""
        q, k, v = functional.linear(x, self.in_proj_weight, self.in_proj_bias).chunk(3, dim=-1)
        return self.out_proj(attend(q, k, v, self.heads, mask))


class Mlp(nn.Module):
    """[B, L, W] → [B, L, W] through four times the width, with QuickGELU."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.c_fc = nn.Linear(width, 4 * width)
        self.c_proj = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return feed_forward(x, self.c_fc, self.c_proj, self.training)


class Block(nn.Module):
    """Pre-norm residual block: attention, then the MLP."""

    def __init__(self, width: int, heads: int, eps: float) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width, eps=eps)
        self.attn = Attention(width, heads)
        self.ln_2 = nn.LayerNorm(width, eps=eps)
        self.mlp = Mlp(width)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """[B, L, W] → [B, L, W]"""
        x = x + self.attn(self.ln_1(x), mask)
        return x + self.mlp(self.ln_2(x))


class Transformer(nn.Module):
    """Blocks one after the other; no LayerNorm after the last."""

    def __init__(self, width: int, layers: int, heads: int, eps: float) -> None:
        super().__init__()
        self.resblocks = nn.ModuleList(Block(width, heads, eps) for _ in range(layers))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """[B, L, W], additive mask → [B, L, W]"""
        for block in self.resblocks:
            x = block(x, mask)
        return x
