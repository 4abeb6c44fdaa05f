"""Writes a trained model as a bundle: ONNX graphs, tokenizer, manifest. Every graph is compared with its module first."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from tokenizers import Tokenizer

from .align import Model
from .bundle import sha256
from .dataset import FRAMES, SIDE
from .graphs import export_graph, manifest_entries
from .motion import FRAME_INTERVAL
from .nets import DIM, MOST_FRAMES, MeanPool
from .pretrain import MEAN, STD
from .tokenizer import CONTEXT_LENGTH, PAD


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
    (folder / "bundle.toml").write_text(manifest(folder, model.logit_scale))


def manifest(folder: Path, logit_scale: float) -> str:
    settings = f"""format = 1
name = "shapes"
summary = "small model of a synthetic world of moving shapes, for trying clipseek and for its tests"
licence = "MIT OR Apache-2.0"
source = "trained from nothing by clipseek's own models package on clips that the package renders"
dim = {DIM}

[scope]
summary = "synthetic shapes and their motions"
stats = "scope.json"
sha256 = "{sha256(folder / "scope.json")}"

{world_settings(logit_scale)}"""
    ports = {"frame": ("pixel_values", None, "image_embeds"), "head": ("frames", "mask", "embedding")}
    return "\n".join([settings, *manifest_entries(folder, ports | {"text": ("input_ids", "attention_mask", "text_embeds")})])


def world_settings(logit_scale: float) -> str:
    """What the manifest of every model of the synthetic world says of frames, pixels, texts and scores."""
    return f"""[video]
topology = "frames+head"
frames = {FRAMES}
max_frames = {MOST_FRAMES}
interval_s = {FRAME_INTERVAL}
interval_tolerance = 0.2
stride_frames = {FRAMES // 2}

[pixels]
width = {SIDE}
height = {SIDE}
resize = "shortest-edge"
interpolation = "bicubic"
antialias = true
mean = {list(MEAN)}
std = {list(STD)}

[text]
context_length = {CONTEXT_LENGTH}
padding = "longest"
pad_id = {PAD}
templates = ["{{}}"]

[similarity]
kind = "cosine"
logit_scale = {logit_scale:.2f}
"""
