"""Writes a trained model as a bundle: ONNX graphs, tokenizer, manifest. Every graph is compared with its module first."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from tokenizers import Tokenizer

from ..bundle import sha256
from ..graphs import export_graph, manifest_entries
from ..manifest import Pixels, Text, manifest, windows
from .align import Model
from .dataset import FRAMES, SIDE
from .motion import FRAME_INTERVAL
from .nets import DIM, MOST_FRAMES, MeanPool
from .pretrain import MEAN, STD
from .tokenizer import CONTEXT_LENGTH, PAD

LICENCE = "MIT OR Apache-2.0"
SUMMARY = "small model of a synthetic world of moving shapes, for trying clipseek and for its tests"
INTERVAL_TOLERANCE = 0.2


def export_model(model: Model, tokenizer: Tokenizer, scope: dict, folder: Path) -> None:
    """`scope` is what `scope.json` should hold."""
    folder.mkdir(parents=True, exist_ok=True)
    frame = model.frame.to(memory_format=torch.contiguous_format)
    export_graph(
        frame, {"pixel_values": torch.randn(2, 3, SIDE, SIDE)}, "image_embeds", {"pixel_values": {0: "batch"}},
        folder / "frame.onnx", {"pixel_values": torch.randn(5, 3, SIDE, SIDE)},
    )
    if not isinstance(model.head, MeanPool):
        mask = torch.ones(3, 13)
        mask[1, 7:] = 0
        export_graph(
            model.head, {"frames": torch.randn(2, FRAMES, DIM), "mask": torch.ones(2, FRAMES)}, "embedding",
            {"frames": {0: "batch", 1: "time"}, "mask": {0: "batch", 1: "time"}},
            folder / "head.onnx", {"frames": torch.randn(3, 13, DIM), "mask": mask},
        )
    words = tokenizer.get_vocab_size()
    mask = torch.ones(3, 11, dtype=torch.int64)
    mask[2, 5:] = 0
    export_graph(
        model.text, {"input_ids": torch.randint(words, (2, 7)), "attention_mask": torch.ones(2, 7, dtype=torch.int64)}, "text_embeds",
        {"input_ids": {0: "batch", 1: "length"}, "attention_mask": {0: "batch", 1: "length"}},
        folder / "text.onnx", {"input_ids": torch.randint(words, (3, 11)), "attention_mask": mask},
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "scope.json").write_text(json.dumps(scope) + "\n")
    said = {"summary": "synthetic shapes and their motions", "stats": "scope.json", "sha256": sha256(folder / "scope.json")}
    source = "trained from nothing by clipseek's own models package on clips that the package renders"
    text = world_manifest("shapes", SUMMARY, source, DIM, model.logit_scale, said)
    ports = {"frame": ("pixel_values", None, "image_embeds"), "head": ("frames", "mask", "embedding")}
    entries = manifest_entries(folder, ports | {"text": ("input_ids", "attention_mask", "text_embeds")})
    (folder / "bundle.toml").write_text("\n".join([text, *entries]))


def world_manifest(
    name: str, summary: str, source: str, dim: int, logit_scale: float, scope: dict[str, object] | None = None,
) -> str:
    """What `bundle.toml` of any model of the synthetic world says before its graphs."""
    return manifest(
        name, summary, LICENCE, source, dim, windows("frames+head", FRAMES, FRAME_INTERVAL, INTERVAL_TOLERANCE, max_frames=MOST_FRAMES),
        Pixels(SIDE, MEAN, STD), Text(CONTEXT_LENGTH, PAD), logit_scale, scope,
    )
