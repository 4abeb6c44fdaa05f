"""The graphs of a model's bundle, run as clipseek runs them, on a fixture's inputs."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from torch import nn

from ..systems.clip2video import Clip2Video
from ..systems.clip4clip import mean_pooling
from ..systems.clip_vip import ClipVip
from ..systems.graph_modules import facts, write_graphs

Arrays = dict[str, np.ndarray]


class Graphs:
    """The graphs for windows of so many frames."""

    def __init__(self, model: nn.Module, frames: int) -> None:
        with tempfile.TemporaryDirectory() as folder:
            self.ports = write_graphs(model, frames, Path(folder))
            self.sessions = {
                name: onnxruntime.InferenceSession(Path(folder) / f"{name}.onnx", providers=["CPUExecutionProvider"])
                for name in self.ports
            }

    def __contains__(self, name: str) -> bool:
        return name in self.sessions

    def run(self, name: str, value: np.ndarray, mask: np.ndarray) -> np.ndarray:
        value_name, mask_name, output = self.ports[name]
        return self.sessions[name].run([output], {value_name: value} | ({mask_name: mask} if mask_name else {}))[0]


def outputs(model: nn.Module, inputs: Arrays, config: dict) -> Iterator[tuple[str, np.ndarray]]:
    """Of what a fixture may hold, the arrays that the graphs give."""
    for suffix in config.get("frame_counts", [""]):
        frames, mask = inputs[f"frames{suffix}"], inputs[f"frame_mask{suffix}"].astype(np.float32)
        graphs = Graphs(model, frames.shape[1])
        texts = graphs.run("text", inputs["token_ids"], inputs["token_mask"])
        if facts(model).whole_windows:
            clips = _whole_windows(model, frames, mask)
        else:
            features = graphs.run("frame", frames.reshape(-1, *frames.shape[2:]), mask).reshape(*mask.shape, -1)
            yield "frame_features", features
            features *= mask[..., None]  # a window has nothing in the place of frames that are not there
            clips = graphs.run("head", features, mask) if "head" in graphs else _mean(features, mask)
        yield f"sim{suffix}", texts @ clips.T * (1 if isinstance(model, ClipVip) else model.clip.scale().item())
        if isinstance(model, Clip2Video):
            yield from _halves(model, texts, clips)
        else:
            yield f"text_embedding{suffix}", texts
            yield f"clip_embedding{suffix}", clips


def _whole_windows(model: nn.Module, frames: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """A window of a number of frames needs the graph for this number: there is no mask."""
    lengths = mask.sum(1).astype(int)
    graphs = {length: Graphs(model, length) for length in set(lengths.tolist())}
    return np.concatenate([graphs[n].run("video", clip[None, :n], mask) for clip, n in zip(frames, lengths.tolist())])


def _halves(model: Clip2Video, texts: np.ndarray, clips: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """What the two vectors were joined of."""
    weights = model.center_weight, 1 - model.center_weight
    for side, vectors in (("text", texts), ("clip", clips)):
        for kind, half, weight in zip(("global", "tab"), np.split(vectors, 2, axis=1), weights):
            yield f"{side}_{kind}_embedding", half / math.sqrt(weight)


def _mean(features: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """What clipseek does for a bundle without a head."""
    return mean_pooling(torch.from_numpy(features), torch.from_numpy(mask)).numpy()
