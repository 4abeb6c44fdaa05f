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

from .. import decoding
from ..bundle import CaptionStep
from ..graphs import Writer
from ..systems.caption_graphs import write_captions
from ..systems.clip4clip import mean_pooling
from ..systems.graph_modules import write_graphs
from ..systems.interface import Videos
from ..systems.rerank import own_candidates, write_rerank

Arrays = dict[str, np.ndarray]
Named = Iterator[tuple[str, np.ndarray | list]]


class Graphs:
    """The graphs for windows of so many frames."""

    def __init__(self, model: nn.Module, frames: int) -> None:
        with tempfile.TemporaryDirectory() as folder:
            self.ports = write_graphs(model, frames, Path(folder))
            self.sessions = {name: opened(Path(folder) / f"{name}.onnx") for name in self.ports}

    def __contains__(self, name: str) -> bool:
        return name in self.sessions

    def run(self, name: str, value: np.ndarray, mask: np.ndarray) -> np.ndarray:
        value_name, mask_name, output = self.ports[name]
        return self.sessions[name].run([output], {value_name: value} | ({mask_name: mask} if mask_name else {}))[0]


def opened(path: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def outputs(model: nn.Module, inputs: Arrays, config: dict) -> Named:
    """Of what a fixture may hold, what the graphs give."""
    if model.reranks:
        return _tight(model, inputs)
    return _vectors(model, inputs, config) if model.searches else _captions(model, inputs, config)


def _tight(model: nn.Module, inputs: Arrays) -> Named:
    frames, mask = inputs["frames"], inputs["frame_mask"].astype(np.float32)
    features = Graphs(own_candidates(model), frames.shape[1]).run("frame", frames.reshape(-1, *frames.shape[2:]), mask)
    features = features.reshape(*mask.shape, -1)
    yield "frame_features", features
    with tempfile.TemporaryDirectory() as folder:
        write_rerank(model, frames.shape[1], 0, features.shape[-1], Writer(Path(folder)))
        session = opened(Path(folder) / "rerank.onnx")
    windows = {"frames": features * mask[..., None], "mask": mask}
    scores = []
    for ids in inputs["token_ids"]:
        text = ids[None, : ids.argmax() + 1]  # up to its end, as clipseek has it
        scores.append(session.run(["scores"], windows | {"input_ids": text})[0][:, 0])
    yield "sim", np.stack(scores)


def _captions(model: nn.Module, inputs: Arrays, config: dict) -> Named:
    mask, width = inputs["frame_mask"].astype(np.float32), model.decoder.width
    with tempfile.TemporaryDirectory() as folder:
        paths = write_captions(model, mask.shape[1], width, width, Writer(Path(folder)))
        of_memory, of_step = map(opened, paths)
    memory = of_memory.run(["memory"], {"frames": inputs["memory"], "mask": mask})[0]
    names = {name: name for name in ("ids", "past", "memory", "mask", "present")} | {"output": "log_probs"}

    def fresh(clip: int) -> CaptionStep:
        return CaptionStep(of_step, names, memory[clip : clip + 1], mask[clip : clip + 1])

    log_prob = np.zeros((*inputs["token_ids"].shape, model.decoder.vocabulary), np.float32)
    for clip, (ids, words) in enumerate(zip(inputs["token_ids"], inputs["token_mask"])):
        step = fresh(clip)
        for place in range(words.sum()):
            log_prob[clip, place] = step(ids[place : place + 1], np.zeros(1, np.int64))[0]
    yield "log_prob", log_prob
    start, end, pad, most = (config[key] for key in ("bos_id", "eos_id", "pad_id", "max_words"))
    found = [decoding.search(fresh(clip), start, end, pad, most, config["beam_size"]) for clip in range(len(mask))]
    yield "beam_score", np.array([score for _, score in found], np.float32)
    yield "beam5", [ids for ids, _ in found]
    yield "greedy", [decoding.search(fresh(clip), start, end, pad, most, 1)[0] for clip in range(len(mask))]


def _vectors(model: nn.Module, inputs: Arrays, config: dict) -> Named:
    for suffix in config.get("frame_counts", [""]):
        frames, mask = inputs[f"frames{suffix}"], inputs[f"frame_mask{suffix}"].astype(np.float32)
        graphs = Graphs(model, frames.shape[1])
        texts = graphs.run("text", inputs["token_ids"], inputs["token_mask"])
        if model.whole_windows:
            clips = _whole_windows(model, frames, mask)
        else:
            features = graphs.run("frame", frames.reshape(-1, *frames.shape[2:]), mask).reshape(*mask.shape, -1)
            yield "frame_features", features
            features *= mask[..., None]  # a window has nothing in the place of frames that are not there
            clips = graphs.run("head", features, mask) if "head" in graphs else _mean(features, mask)
        with torch.no_grad():
            yield f"sim{suffix}", model.similarity(torch.from_numpy(texts), Videos(torch.from_numpy(clips))).numpy()
        if model.vector_parts == 2:
            yield from _halves(model, texts, clips)
        else:
            yield f"text_embedding{suffix}", texts
            yield f"clip_embedding{suffix}", clips


def _whole_windows(model: nn.Module, frames: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """A window of a number of frames needs the graph for this number: there is no mask."""
    lengths = mask.sum(1).astype(int)
    graphs = {length: Graphs(model, length) for length in set(lengths.tolist())}
    return np.concatenate([graphs[n].run("video", clip[None, :n], mask) for clip, n in zip(frames, lengths.tolist())])


def _halves(model: nn.Module, texts: np.ndarray, clips: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """What the two vectors were joined of."""
    weights = model.center_weight, 1 - model.center_weight
    for side, vectors in (("text", texts), ("clip", clips)):
        for kind, half, weight in zip(("global", "tab"), np.split(vectors, 2, axis=1), weights):
            yield f"{side}_{kind}_embedding", half / math.sqrt(weight)


def _mean(features: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """What clipseek does for a bundle without a head."""
    return mean_pooling(torch.from_numpy(features), torch.from_numpy(mask)).numpy()
