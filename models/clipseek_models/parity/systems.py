"""The models: every array that the published code gave for a checkpoint and its inputs. Needs PyTorch."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from .. import checkpoints
from ..checkpoints import CheckpointError
from ..systems import Heads, build
from ..systems.clip_vip import dual_softmax
from . import onnx
from .report import Report

NO_WEIGHTS = (".json", ".npz", ".safetensors", ".md")  # that is, nor a torch copy of them
CAPTIONS = ("greedy", "beam5")  # lists of ids, kept in meta.json

Arrays = dict[str, Tensor]
Named = Iterator[tuple[str, Tensor | list]]


def systems(folder: Path, report: Report) -> None:
    for path in sorted(folder.rglob("meta.json")):
        meta = json.loads(path.read_text())
        if "system" in meta:
            _variant(path.parent, meta, report)


def _variant(folder: Path, meta: dict, report: Report) -> None:
    name, config = f"{meta['system']}/{meta['variant']}", meta["config"]
    state = _weights(folder, name, report)
    missing = [file for file in ("inputs.npz", "expected.npz") if not (folder / file).exists()]
    for file in missing:
        report.skip(f"{name} {file}", "not there")
    if state is None or missing:
        return
    try:
        model = build(state, heads(config))
    except CheckpointError as error:
        report.same(name, False, str(error))
        return
    with np.load(folder / "inputs.npz") as arrays:
        inputs = {key: torch.from_numpy(arrays[key]) for key in arrays.files}
    with torch.inference_mode():
        found = dict(outputs(model, inputs, config))
    with np.load(folder / "expected.npz") as arrays:
        expected = dict(arrays)
    tolerances = {key: meta["tolerance_abs"].get(key, 2e-4 * float(np.abs(value).max())) for key, value in expected.items()}
    for key, value in expected.items():
        report.close(f"{name} {key}", found[key].numpy() if key in found else None, value, tolerances[key])
    for key in CAPTIONS:
        if key in meta:
            report.same(f"{name} {key}", found[key] == meta[key], f"{len(meta[key])} captions")
    for key, value in onnx.outputs(model, {key: value.numpy() for key, value in inputs.items()}, config):
        if key in CAPTIONS and key in meta:
            report.same(f"{name} onnx {key}", value == meta[key], f"{len(value)} captions")
        elif key in expected:
            there = inputs["token_mask"].numpy() > 0 if key == "log_prob" else ...  # the graph takes words, no padding
            report.close(f"{name} onnx {key}", value[there], expected[key][there], tolerances[key])


def _weights(folder: Path, name: str, report: Report) -> Arrays | None:
    """Of both copies, where there are two, which must be equal."""
    copies = sorted(file for file in folder.iterdir() if file.is_file() and file.suffix not in NO_WEIGHTS)
    if len(copies) == 0:
        report.skip(f"{name} torch copy of the weights", "not there")
    if (folder / "model.safetensors").exists():
        copies.insert(0, folder / "model.safetensors")
    else:
        report.skip(f"{name} model.safetensors", "not there")
    states = []
    for file in copies:
        try:
            states.append(checkpoints.read(file))
        except CheckpointError as error:
            report.same(f"{name} {file.name}", False, str(error))
    for other in states[1:]:
        report.same(f"{name} both copies of the weights", _equal(states[0], other), f"{len(other)} tensors")
    return states[0] if states else None


def heads(config: dict) -> Heads:
    """What no tensor tells; where the fixture does not either, it is as in the published models."""
    return Heads(*(config.get(key) for key in ("vision_heads", "text_heads", "cross_heads", "heads")))


def _equal(one: Arrays, other: Arrays) -> bool:
    return one.keys() == other.keys() and all(torch.equal(value, other[key]) for key, value in one.items())


def outputs(model: nn.Module, inputs: Arrays, config: dict) -> Named:
    """Every array that a fixture may hold, by name."""
    if not model.searches:
        return (_tight if model.reranks else _captions)(model, inputs, config)
    return {"clip4clip": _loose, "clip2video": _clip2video, "clip_vip": _clip_vip}[model.system](model, inputs, config)


def _loose(model: nn.Module, inputs: Arrays, _config: dict) -> Named:
    videos, texts = model.encode_video(inputs["frames"], inputs["frame_mask"]), model.encode_text(inputs["token_ids"])
    yield "frame_features", videos.frames
    yield "text_features", model.clip.text_features(inputs["token_ids"])
    yield "text_embedding", texts
    yield "clip_embedding", videos.vectors
    yield "sim", model.similarity(texts, videos)
    for inner in ("lstm_out", "temporal_out"):  # of the sequential types
        if hasattr(model, inner):
            yield inner, getattr(model, inner)(videos.frames, videos.mask)


def _tight(model: nn.Module, inputs: Arrays, _config: dict) -> Named:
    videos, texts = model.encode_video(inputs["frames"], inputs["frame_mask"]), model.encode_text(inputs["token_ids"])
    yield "frame_features", videos.frames
    yield "text_features", texts
    yield "cross_pooled", model.cross_pooled(texts, videos.frames, videos.mask)
    yield "sim", model.similarity(texts, videos)


def _clip2video(model: nn.Module, inputs: Arrays, config: dict) -> Named:
    model.center_weight = config.get("center_weight", model.center_weight)
    frames, mask = model.frame_features(inputs["frames"]), inputs["frame_mask"]
    ids, words = inputs["token_ids"], inputs["token_mask"]
    yield "frame_features", frames
    yield "text_features", model.clip.text_features(ids)
    yield "text_token_features", model.clip.token_features(ids)
    yield "tdb_difference_out", model.difference_out(frames, mask)
    yield "tdb_temporal_out", model.temporal_out(frames, mask)
    yield "tab_action_out", model.action_out(frames, mask)
    texts = model.text_global_embedding(ids), model.text_tab_embedding(ids, words)
    clips = model.clip_global_embedding(frames, mask), model.clip_tab_embedding(frames, mask)
    for i, kind in enumerate(("global", "tab")):
        yield f"text_{kind}_embedding", texts[i]
        yield f"clip_{kind}_embedding", clips[i]
        yield f"sim_{kind}", model.scaled(texts[i], clips[i])
    yield "sim", model.similarity(model.encode_text(ids, words), model.encode_video(inputs["frames"], mask))


def _clip_vip(model: nn.Module, inputs: Arrays, config: dict) -> Named:
    texts = model.encode_text(inputs["token_ids"])
    yield "text_embedding", texts
    tower = model.clipmodel.vision_model
    for suffix in config.get("frame_counts", {"": None}):
        frames = inputs[f"frames{suffix}"]
        videos = model.encode_video(frames, inputs[f"frame_mask{suffix}"])
        similarity = model.similarity(texts, videos)
        yield f"clip_embedding{suffix}", videos.vectors
        yield f"sim{suffix}", similarity
        yield f"logits{suffix}", model.scale() * similarity
        yield f"sim_dsl{suffix}", dual_softmax(similarity)
        yield f"vision_embeddings{suffix}", tower.embeddings(frames[:1])
        yield f"vision_last_hidden{suffix}", tower.last_hidden(frames[:1])


def _captions(model: nn.Module, inputs: Arrays, config: dict) -> Named:
    decoder, memory, mask = model.decoder, inputs["memory"], inputs["frame_mask"]
    words = inputs["token_ids"], inputs["token_mask"]
    yield "logits", decoder.logits(*words, memory, mask)
    yield "log_prob", decoder.log_prob(*words, memory, mask)
    start, end, pad, most = (config[key] for key in ("bos_id", "eos_id", "pad_id", "max_words"))
    clips = list(zip(memory, mask))
    beams = [decoder.caption(*clip, start, end, pad, most, config["beam_size"]) for clip in clips]
    yield "beam_score", torch.tensor([total for _, total in beams])
    yield "beam5", [caption for caption, _ in beams]
    yield "greedy", [decoder.caption(*clip, start, end, pad, most, beams=1)[0] for clip in clips]
