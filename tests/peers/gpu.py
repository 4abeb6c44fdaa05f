"""Frames a second of image encoders on a GPU, beside what its matrix units do, as one table.

The encoders are CLIP's ViT-B/32, ViT-B/16 and ViT-L/14 at their real sizes with random weights, in half precision: their
rate is that of trained ones. Each goes through `clipseek bench --encoder` with CUDA and with TensorRT, without and
with CUDA graphs. A share is the encoder's operations a second over those of a large product of half-precision
matrices, measured on the same chip in the same run.

`--device cuda` leaves TensorRT out, `--device cpu` runs the same on the processor, `--sizes tiny` with a small encoder: that
the script works can be seen without a GPU.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from clipseek_models.systems.export import Settings, export
from safetensors.torch import save_file

VOCABULARY, CONTEXT = 49408, 77


@dataclass(frozen=True)
class Size:
    """Of a CLIP; text towers as small as can be, for they are not measured."""

    patch: int
    width: int
    layers: int
    dim: int

    def flops(self) -> float:
        """Of one picture of 224 × 224: twice the multiplications of the projections, the products of attention and the patches."""
        patches = (224 // self.patch) ** 2
        tokens = patches + 1
        layer = 12 * tokens * self.width**2 + 2 * tokens**2 * self.width
        return 2.0 * (self.layers * layer + patches * 3 * self.patch**2 * self.width)


SIZES = {
    "tiny": Size(56, 64, 2, 64),
    "b32": Size(32, 768, 12, 512),
    "b16": Size(16, 768, 12, 512),
    "l14": Size(14, 1024, 24, 768),
}


@dataclass(frozen=True)
class Way:
    name: str
    device: str
    cuda_graphs: bool = False
    separate_attention: bool = False


WAYS = {
    "cuda": [
        Way("CUDA", "cuda"),
        Way("CUDA, graphs", "cuda", cuda_graphs=True),
    ],
    "tensorrt": [
        Way("TensorRT", "tensorrt", separate_attention=True),
        Way("TensorRT, graphs", "tensorrt", cuda_graphs=True, separate_attention=True),
    ],
    "cpu": [Way("processor", "cpu"), Way("processor, separate attention", "cpu", separate_attention=True)],
}


def checkpoint(size: Size) -> dict[str, torch.Tensor]:
    """As OpenAI publishes CLIP, with random weights."""
    make = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=make) * shape[-1] ** -0.5

    def norm(key: str, width: int) -> dict[str, torch.Tensor]:
        return {f"{key}.weight": torch.ones(width), f"{key}.bias": torch.zeros(width)}

    def tower(prefix: str, width: int, layers: int) -> dict[str, torch.Tensor]:
        state = {}
        for layer in range(layers):
            block = f"{prefix}.resblocks.{layer}"
            for name, rows, columns in (("attn.in_proj_", 3 * width, width), ("attn.out_proj.", width, width),
                                        ("mlp.c_fc.", 4 * width, width), ("mlp.c_proj.", width, 4 * width)):
                state |= {f"{block}.{name}weight": normal(rows, columns), f"{block}.{name}bias": torch.zeros(rows)}
            state |= norm(f"{block}.ln_1", width) | norm(f"{block}.ln_2", width)
        return state

    width, text = size.width, 64
    return {
        "visual.conv1.weight": normal(width, 3, size.patch, size.patch),
        "visual.class_embedding": normal(width),
        "visual.positional_embedding": normal((224 // size.patch) ** 2 + 1, width),
        "visual.proj": normal(width, size.dim),
        "token_embedding.weight": normal(VOCABULARY, text),
        "positional_embedding": normal(CONTEXT, text),
        "text_projection": normal(text, size.dim),
        "logit_scale": torch.tensor(4.6),
    } | norm("visual.ln_pre", width) | norm("visual.ln_post", width) | norm("ln_final", text) \
        | tower("visual.transformer", width, size.layers) | tower("transformer", text, 1)


def bundle(name: str, separate: bool, work: Path) -> Path:
    """Written the first time."""
    out = work / "bundles" / (f"{name}-separate" if separate else name)
    if not out.exists():
        print(f"exporting {out.name}", file=sys.stderr)
        out.parent.mkdir(parents=True, exist_ok=True)
        file = work / f"{name}.safetensors"
        save_file(checkpoint(SIZES[name]), file)
        export(file, out, settings=Settings(precision="float16", separate_attention=separate))
        file.unlink()
    return out


def matrix_rate(device: str) -> float:
    """Operations a second of a product of large matrices: half precision on a GPU, single precision on a processor."""
    side, kind = (8192, torch.float16) if device == "cuda" else (2048, torch.float32)
    one, other = (torch.randn(side, side, device=device, dtype=kind) for _ in range(2))

    def wait() -> None:
        if device == "cuda":
            torch.cuda.synchronize()

    best = 0.0
    for _ in range(5):
        wait()
        started = time.perf_counter()
        for _ in range(10 if device == "cuda" else 1):
            result = one @ other
        wait()
        count = 10 if device == "cuda" else 1
        best = max(best, count * 2.0 * side**3 / (time.perf_counter() - started))
    del result
    return best


def measure(clipseek: Path, folder: Path, way: Way, batch: int, seconds: float, work: Path) -> dict:
    """What `bench --encoder` says, or its error."""
    variables = {
        "DEVICE": way.device, "CUDA_GRAPHS": str(way.cuda_graphs).lower(),
        "BATCH_FRAMES": str(batch),
    }
    run = subprocess.run(
        [clipseek, "--data", work / "data", "--json", "bench", "--encoder", "--model", folder, "--seconds", str(seconds)],
        env=os.environ | {f"CLIPSEEK__MODEL__{key}": value for key, value in variables.items()},
        capture_output=True, text=True, check=False,
    )
    return json.loads(run.stdout) if run.returncode == 0 else {"error": run.stderr.strip().splitlines()[-1]}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clipseek", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--device", nargs="+", choices=list(WAYS), default=["cuda", "tensorrt"])
    parser.add_argument("--sizes", nargs="+", choices=list(SIZES), default=["b32", "b16", "l14"])
    parser.add_argument("--batch", type=int, nargs="+", default=[8, 64])
    parser.add_argument("--seconds", type=float, default=10.0)
    arguments = parser.parse_args()
    device = "cpu" if arguments.device == ["cpu"] else "cuda"
    if device == "cuda" and not torch.cuda.is_available():
        print("no GPU is visible to PyTorch: --device cpu runs the same on the processor", file=sys.stderr)
        return 2
    arguments.work.mkdir(parents=True, exist_ok=True)
    chip = torch.cuda.get_device_name() if device == "cuda" else "processor"
    rate = matrix_rate(device)
    if device == "cuda":
        torch.cuda.empty_cache()
    print(f"{chip}: {rate / 1e12:.3g} TFLOP/s in a product of large matrices\n")
    print("| encoder | way | batch | frames/s | share of the matrix rate | processor cores | seconds to open |\n|---|---|---|---|---|---|---|")
    failed = False
    for name in arguments.sizes:
        for way in (way for device in arguments.device for way in WAYS[device]):
            folder = bundle(name, way.separate_attention, arguments.work)
            for batch in arguments.batch:
                found = measure(arguments.clipseek, folder, way, batch, arguments.seconds, arguments.work)
                if "error" in found:
                    failed = True
                    print(f"| {name} | {way.name} | {batch} | {found['error']} | | | |", flush=True)
                    continue
                share = found["frames_per_s"] * SIZES[name].flops() / rate
                print(
                    f"| {name} | {way.name} | {batch} | {found['frames_per_s']:.0f} | {share:.2f} | {found['cores']:.2f} "
                    f"| {found['open_s']:.1f} |", flush=True,
                )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
