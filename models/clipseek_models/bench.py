"""How large and how fast a frame encoder is in each precision, at the sizes of CLIP's ViT-B, with random weights."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn

from .graphs import export_graph
from .precision import PRECISIONS
from .systems.clip import ImageEncoder
from .systems.shapes import Shapes

SIDE, WIDTH, LAYERS, DIM = 224, 768, 12, 512
PATCHES = (32, 16)
BATCHES = (1, 8)
SECONDS = 5.0  # of every rate


class FrameEncoder(nn.Module):
    """[N, 3, S, S] → [N, D]"""

    def __init__(self, patch: int) -> None:
        super().__init__()
        shapes = {"conv1.weight": (WIDTH, 3, patch, patch), "positional_embedding": (1 + (SIDE // patch) ** 2, WIDTH)}
        shapes |= {"proj": (WIDTH, DIM)} | {f"transformer.resblocks.{layer}.": () for layer in range(LAYERS)}
        self.visual = ImageEncoder(Shapes({key: torch.empty(shape) for key, shape in shapes.items()}), "", None)
        for name, parameter in self.named_parameters():
            if parameter.dim() > 1:
                nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5)
            elif "ln_" not in name:
                nn.init.zeros_(parameter)

    def forward(self, pixels: Tensor) -> Tensor:
        return self.visual(pixels[:, None])[:, 0]


def bench(threads: int) -> int:
    """`bench` for the command line: a Markdown table."""
    print("| encoder | precision | MB | images/s, 1 at a time | 8 at a time | cosine |\n|---|---|---|---|---|---|")
    for patch in PATCHES:
        encoder = FrameEncoder(patch)
        for precision in PRECISIONS:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "frame.onnx"
                one, more = ({"pixel_values": torch.randn(count, 3, SIDE, SIDE)} for count in (1, 3))
                agreement = export_graph(
                    encoder, one, "image_embeds", {"pixel_values": {0: "batch"}}, path, more, precision,
                )
                rates = " | ".join(f"{rate:.1f}" for rate in image_rates(path, threads))
                print(f"| B/{patch} | {precision} | {path.stat().st_size / 1e6:.0f} | {rates} | {agreement.cosine:.6f} |", flush=True)
    return 0


def image_rates(path: Path, threads: int) -> Iterator[float]:
    """Images a second, for each of the batch sizes."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    for batch in BATCHES:
        pixels = {"pixel_values": np.random.default_rng(0).standard_normal((batch, 3, SIDE, SIDE), np.float32)}
        session.run(None, pixels)  # the first one sets up
        times = []
        while sum(times) < SECONDS:
            start = time.perf_counter()
            session.run(None, pixels)
            times.append(time.perf_counter() - start)
        yield batch / float(np.median(times))
