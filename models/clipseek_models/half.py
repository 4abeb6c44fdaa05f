"""Training on a processor in bfloat16, where the processor has instructions for it."""

from __future__ import annotations

import torch


def processor_half() -> torch.autocast:
    """Autocast to bfloat16, or nothing where bfloat16 would be imitated.

    Imitated products are slower than float32, and some operators, such as oneDNN's LSTM, do not exist in bfloat16 on
    processors without AVX-512. `ONEDNN_MAX_CPU_ISA=AVX2` makes any processor behave like one of those.
    """
    has_instructions = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return torch.autocast("cpu", torch.bfloat16, enabled=has_instructions and torch.ops.mkldnn._is_mkldnn_bf16_supported())
