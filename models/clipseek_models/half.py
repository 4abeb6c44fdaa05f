"""Training in half precision. Parameters stay float32; autocast lowers the products."""

from __future__ import annotations

import torch


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """To float16 or bfloat16; float32 leaves everything as it is."""
    lowered = torch.bfloat16 if precision == "float32" else getattr(torch, precision)
    return torch.autocast(device.type, lowered, enabled=precision != "float32")


def processor_half() -> torch.autocast:
    """To bfloat16, or not at all on a processor that would imitate it.

    Imitated products are slower than float32, and some operators, such as oneDNN's LSTM, do not exist in bfloat16 on
    processors without AVX-512. `ONEDNN_MAX_CPU_ISA=AVX2` makes any processor behave like one of those.
    """
    has_instructions = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    native = has_instructions and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return autocast(torch.device("cpu"), "bfloat16" if native else "float32")
