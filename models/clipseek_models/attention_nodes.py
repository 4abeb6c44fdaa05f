"""Attention of any library as one node of a graph.

`transformers`, `timm` and PyTorch's own modules all compute attention with one of two functions of PyTorch. While a mode of
this module is active it hears every call of either: to count them, or to put ONNX Runtime's node in their place. The
libraries' modules stay as they are. A call that the node cannot stand for is left alone, and misses in the count of nodes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from .systems.attention import attend
from .systems.blocks import causal_mask

HIDDEN = -1_000_000.0  # added to the scores of what must not be seen; graphs in float16 have a smaller number


class Calls(TorchFunctionMode):
    """Counts how often attention is computed."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_function__(self, function: Callable, types: object, args: tuple = (), kwargs: dict[str, Any] | None = None) -> Any:
        self.count += function in (functional.scaled_dot_product_attention, functional.multi_head_attention_forward)
        return function(*args, **kwargs or {})


class Nodes(TorchFunctionMode):
    """For the time of an export. GELU by tanh comes along: what PyTorch exports of it, ONNX Runtime runs as eight nodes."""

    def __torch_function__(self, function: Callable, types: object, args: tuple = (), kwargs: dict[str, Any] | None = None) -> Any:
        return IN_PLACE_OF.get(function, function)(*args, **kwargs or {})


def split_attention(
    q: Tensor, k: Tensor, v: Tensor, attn_mask: Tensor | None = None, dropout_p: float = 0.0, is_causal: bool = False,
    scale: float | None = None, enable_gqa: bool = False,
) -> Tensor:
    """`scaled_dot_product_attention`: q [B, H, Lq, D], k and v [B, H, Lk, D] → [B, H, Lq, D]"""
    heads, width = int(q.shape[1]), int(q.shape[3])
    if enable_gqa or (scale is not None and abs(scale * width**0.5 - 1) > 1e-6):
        return functional.scaled_dot_product_attention(q, k, v, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa)
    return _SplitNode.apply(q, k, v, heads, causal_mask(q[:, 0]) if is_causal else additive(attn_mask))


def packed_attention(
    query: Tensor, key: Tensor, value: Tensor, width: int, heads: int, in_weight: Tensor | None, in_bias: Tensor | None,
    *others: Any, **named: Any,
) -> tuple[Tensor, Tensor | None]:
    """`multi_head_attention_forward`, of `nn.MultiheadAttention`: query [Lq, B, W], key and value [Lk, B, W] → [Lq, B, W]

    Who asks for the weights of the attention gets none: the node does not tell them. The modules exported here, SigLIP's
    pooling for one, ask because that is the default.
    """
    bias_k, bias_v, add_zero, _dropout, out_weight, out_bias = others[:6]
    mask = named.get("attn_mask")
    own_kind = named.get("use_separate_proj_weight") or named.get("key_padding_mask") is not None or len(others) > 6
    if own_kind or bias_k is not None or bias_v is not None or add_zero or (mask is not None and mask.dim() != 2):
        return functional.multi_head_attention_forward(query, key, value, width, heads, in_weight, in_bias, *others, **named)
    biases = (None, None, None) if in_bias is None else in_bias.chunk(3)
    given = [x.transpose(0, 1) for x in (query, key, value)]
    q, k, v = (functional.linear(x, weight, bias) for x, weight, bias in zip(given, in_weight.chunk(3), biases))
    mixed = attend(q, k, v, heads, None if mask is None else additive(mask)[None, None])
    return functional.linear(mixed, out_weight, out_bias).transpose(0, 1), None


def gelu(x: Tensor, approximate: str = "none") -> Tensor:
    return _FastGelu.apply(x) if approximate == "tanh" else functional.gelu(x, approximate=approximate)


IN_PLACE_OF = {
    functional.scaled_dot_product_attention: split_attention,
    functional.multi_head_attention_forward: packed_attention,
    functional.gelu: gelu,
}


def additive(mask: Tensor | None) -> Tensor | None:
    """A mask that says what may be seen → one that is added to the scores; one of these already → itself."""
    if mask is None or mask.dtype != torch.bool:
        return mask
    return torch.zeros_like(mask, dtype=torch.float32).masked_fill(~mask, HIDDEN)


class _SplitNode(torch.autograd.Function):
    """The node takes and gives [B, L, H·D]. ONNX Runtime removes what turns this way and back."""

    @staticmethod
    def forward(ctx: object, q: Tensor, k: Tensor, v: Tensor, heads: int, mask: Tensor | None) -> Tensor:
        return functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)

    @staticmethod
    def symbolic(g, q, k, v, heads, mask):  # noqa: ANN001, ANN205: torch has no public names for the parts of a graph
        def shape(*sizes: int) -> Any:  # 0: as it was
            return g.op("Constant", value_t=torch.tensor(sizes))

        inputs = [g.op("Reshape", g.op("Transpose", x, perm_i=(0, 2, 1, 3)), shape(0, 0, -1)) for x in (q, k, v)]
        if mask is not None:
            absent = g.op("prim::Constant")  # of the inputs before the mask, as in `systems.attention`
            absent.setType(torch._C.OptionalType.ofTensor())
            inputs += [absent, absent, mask]
        x = g.op("com.microsoft::MultiHeadAttention", *inputs, num_heads_i=heads).setType(q.type().with_sizes([None, None, None]))
        return g.op("Transpose", g.op("Reshape", x, shape(0, 0, heads, -1)), perm_i=(0, 2, 1, 3)).setType(q.type())


class _FastGelu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        return functional.gelu(x, approximate="tanh")

    @staticmethod
    def symbolic(g, x):  # noqa: ANN001, ANN205
        return g.op("com.microsoft::FastGelu", x).setType(x.type())


def attention_modules(module: nn.Module) -> int:
    """How many modules inside compute attention: those that are named so and hold no other that is."""
    named = [child for child in module.modules() if "Attention" in type(child).__name__]
    return sum(not any(inner is not outer and inner in named for inner in outer.modules()) for outer in named)
