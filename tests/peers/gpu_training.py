"""A step of training on a GPU, beside what its matrix units do.

CLIP4Clip meanP with CLIP's ViT-B/32 at its real size and random weights, through the step that `train` takes: forward,
loss, backward, clipping, optimiser, in bfloat16 with float32 parameters. Its share is the operations of a step (three times
those of the forward pass: the backward pass has two products for each of the forward's) over those that a product of large
bfloat16 matrices does in the same time, on the same chip in the same run. Patches, tokens and positions are frozen, as in
the published training; what that saves is not taken off.

    PYTHONPATH=models python tests/peers/gpu_training.py
    PYTHONPATH=models python tests/peers/gpu_training.py --device cpu --size tiny --batch 8 --frames 2   # that it works

Needs PyTorch and safetensors, no video, no weights, no network.
"""

from __future__ import annotations

import argparse
import sys
import time

import torch

from clipseek_models.training.batch import Batch
from clipseek_models.training.choices import Plan
from clipseek_models.training.fresh import Sizes, clip_state
from clipseek_models.training.initial import start
from clipseek_models.training.objectives import OBJECTIVES
from clipseek_models.training.optimisers import RULES, freeze
from clipseek_models.training.step import Stepper

SIZES = {
    "tiny": Sizes(),
    "b32": Sizes(224, 32, 768, 12, 512, 12, 512),
    "b16": Sizes(224, 16, 768, 12, 512, 12, 512),
}
WORDS = 32
STEPS_OF_SCHEDULE = 1000


def forward_flops(sizes: Sizes, batch: int, frames: int) -> float:
    """Twice the multiplications of the projections, of the products of attention, of the patches and of the last projections."""

    def tower(tokens: int, width: int, layers: int) -> float:
        return layers * (12 * tokens * width**2 + 2 * tokens**2 * width) + width * sizes.dim

    patches = (sizes.side // sizes.patch) ** 2
    picture = tower(patches + 1, sizes.vision_width, sizes.vision_layers) + patches * 3 * sizes.patch**2 * sizes.vision_width
    # Every position of a text is projected, not only the end token's.
    text = tower(WORDS, sizes.text_width, sizes.text_layers) + (WORDS - 1) * sizes.text_width * sizes.dim
    return 2.0 * (batch * frames * picture + batch * text + batch * batch * sizes.dim)


def seconds(run, times: int, device: torch.device) -> float:  # noqa: ANN001: anything that can be called
    """The fastest of three rounds, each of so many runs and waited for at its end, per run."""
    best = float("inf")
    for _ in range(3):
        wait(device)
        began = time.perf_counter()
        for _ in range(times):
            run()
        wait(device)
        best = min(best, (time.perf_counter() - began) / times)
    return best


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def matrix_rate(device: torch.device, precision: str) -> float:
    """Operations a second of a product of large square matrices."""
    side = 8192 if device.type == "cuda" else 1024
    one, other = (torch.randn(side, side, device=device, dtype=getattr(torch, precision)) for _ in range(2))
    return 2.0 * side**3 / seconds(lambda: one @ other, 20 if device.type == "cuda" else 2, device)


def prepared(sizes: Sizes, head: str, precision: str, device: torch.device) -> Stepper:
    model = start(clip_state(sizes), Plan("clip4clip", head, layers=min(4, sizes.text_layers))).to(device).train()
    freeze(model, 0)
    optimiser, schedule = RULES["clip4clip"].build(model, 1e-4, 0.1, 0.2, STEPS_OF_SCHEDULE, 0.1)
    return Stepper(model, OBJECTIVES["retrieval"].cost, optimiser, schedule, precision, most_gradient=1.0)


def clips(sizes: Sizes, batch: int, frames: int, device: torch.device) -> Batch:
    ids = torch.randint(1, sizes.vocabulary - 1, (batch, 1, WORDS))
    ids[..., -1] = sizes.vocabulary - 1  # the end token
    pixels = torch.randn(batch, frames, 3, sizes.side, sizes.side)
    return Batch(pixels, torch.ones(batch, frames), ids, torch.ones_like(ids)).to(device)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--size", choices=list(SIZES), default="b32")
    parser.add_argument("--head", choices=["meanP", "seqLSTM", "seqTransf"], default="meanP")
    parser.add_argument("--precision", choices=["bfloat16", "float16", "float32"], default="bfloat16")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--frames", type=int, default=12)
    parser.add_argument("--steps", type=int, default=10, help="of each of three rounds")
    arguments = parser.parse_args()
    if arguments.device == "cuda" and not torch.cuda.is_available():
        print("no GPU is visible to PyTorch: --device cpu runs the same on the processor", file=sys.stderr)
        return 2
    device, sizes, cuda = torch.device(arguments.device), SIZES[arguments.size], arguments.device == "cuda"
    torch.manual_seed(0)
    print(f"{torch.cuda.get_device_name() if cuda else 'processor'}, PyTorch {torch.__version__}", flush=True)
    rate = matrix_rate(device, arguments.precision)
    print(f"{rate / 1e12:.4g} TFLOP/s in a product of large {arguments.precision} matrices", flush=True)

    stepper = prepared(sizes, arguments.head, arguments.precision, device)
    batch = clips(sizes, arguments.batch, arguments.frames, device)
    if cuda:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    first = stepper([batch])["loss"].item()
    for _ in range(2):  # until kernels are chosen and memory is set aside
        stepper([batch])
    step = seconds(lambda: stepper([batch]), arguments.steps, device)
    last = stepper([batch])["loss"].item()

    flops = 3 * forward_flops(sizes, arguments.batch, arguments.frames)
    learnt = sum(parameter.numel() for parameter in stepper.model.parameters() if parameter.requires_grad)
    print(
        f"{stepper.model.title} {arguments.size}, batch {arguments.batch}, {arguments.frames} frames, {arguments.precision}: "
        f"{1000 * step:.4g} ms a step, {arguments.batch / step:.4g} clips/s, {flops / 1e12:.4g} TFLOP a step, "
        f"{flops / step / rate:.2f} of the matrix rate; {learnt / 1e6:.1f} million numbers learn; loss {first:.3f} → {last:.3f}"
    )
    if cuda:
        print(f"peak memory {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
