"""Attention after the projections: for PyTorch, and as one node of a graph.

ONNX Runtime finds attention in a graph only where it is written as a few known programs write it, and not without
rewriting the file. So the exporter writes the node itself. It is there on processors and on GPUs, and it never holds
all scores at once. TensorRT does not know it and would cut the graph there, at every layer: for TensorRT, export within
`separate_operators`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor
from torch.nn import functional

_SEPARATE = ContextVar("separate", default=False)


@contextmanager
def separate_operators(wanted: bool = True) -> Iterator[None]:
    """Graphs exported in here have attention as products and softmax."""
    token = _SEPARATE.set(wanted)
    try:
        yield
    finally:
        _SEPARATE.reset(token)


def is_separate() -> bool:
    return _SEPARATE.get()


def attend(q: Tensor, k: Tensor, v: Tensor, heads: int, mask: Tensor | None = None, dropout: float = 0.0) -> Tensor:
    """Multi-head attention. q [B, Lq, W], k and v [B, Lk, W] → [B, Lq, W]

    `mask` is added to the scores, so it must broadcast to [B, heads, Lq, Lk]. Keys and values that were kept from before
    come as they are kept: [B, heads, Lk, W / heads]. `dropout`: share of the weights that is left out, in training.
    """
    if is_separate() or not torch.onnx.is_in_onnx_export():
        return _attend(q, k, v, heads, mask, dropout)
    # The node repeats a mask for clips and heads, not for queries.
    return _Node.apply(q, k, v, heads, None if mask is None else mask.expand(-1, -1, q.shape[1], -1))


def _attend(q: Tensor, k: Tensor, v: Tensor, heads: int, mask: Tensor | None, dropout: float = 0.0) -> Tensor:
    split = [x if x.dim() == 4 else split_heads(x, heads) for x in (q, k, v)]
    return functional.scaled_dot_product_attention(*split, attn_mask=mask, dropout_p=dropout).transpose(1, 2).flatten(2)


def split_heads(x: Tensor, heads: int) -> Tensor:
    """[B, L, W] → [B, heads, L, W / heads]"""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


class _Node(torch.autograd.Function):
    @staticmethod
    def forward(ctx: object, q: Tensor, k: Tensor, v: Tensor, heads: int, mask: Tensor | None) -> Tensor:
        return _attend(q, k, v, heads, mask)

    @staticmethod
    def symbolic(g, q, k, v, heads, mask):  # noqa: ANN001, ANN205: torch has no public names for the parts of a graph
        inputs = [q, k, v]
        if mask is not None:
            absent = g.op("prim::Constant")  # of the inputs before the mask: a bias, and a mask of another kind
            absent.setType(torch._C.OptionalType.ofTensor())
            inputs += [absent, absent, mask]
        return g.op("com.microsoft::MultiHeadAttention", *inputs, num_heads_i=heads).setType(q.type().with_sizes([None, None, None]))
