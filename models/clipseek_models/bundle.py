"""Reads a bundle and runs it with ONNX Runtime alone, the way clipseek does: the judge of what was exported."""

from __future__ import annotations

import hashlib
import tomllib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image
from tokenizers import Tokenizer

from . import decoding
from .pixels import from_middle

KERNELS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}


@dataclass(frozen=True)
class Caption:
    ids: list[int]  # without the start, with the end unless there was no room for it
    text: str
    score: float  # sum of log-probabilities


class Bundle:
    """A bundle of topology `frames+head`."""

    def __init__(self, folder: Path, threads: int = 2) -> None:
        self.folder = folder
        self.manifest = tomllib.loads((folder / "bundle.toml").read_text())
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self.sessions = {}
        for name, graph in graphs(self.manifest).items():
            path = self._checked(graph)
            if "weights" in graph:
                self._checked(graph["weights"])
            self.sessions[name] = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.tokenizer = Tokenizer.from_file(str(self._checked(self.manifest["tokenizer"])))
        self.tokenizer.encode_special_tokens = True  # who types the name of one means its letters
        self.caption_tokenizer = None
        if "captions" in self.manifest:
            self.caption_tokenizer = Tokenizer.from_file(str(self._checked(self.manifest["captions"]["tokenizer"])))

    def _checked(self, entry: dict[str, str]) -> Path:
        path = self.folder / entry["file"]
        if sha256(path) != entry["sha256"]:
            raise ValueError(f"{path} is not the file that the manifest describes")
        return path

    def pixels(self, picture: Image.Image) -> np.ndarray:
        """Any picture → uint8 [S, S, 3]: shortest edge, then centre crop, or stretched."""
        spec = self.manifest["pixels"]
        if not spec["antialias"] or spec["interpolation"] not in KERNELS:
            raise ValueError(f"Pillow does not resize like this: {spec['interpolation']}, antialias {spec['antialias']}")
        side, kernel = spec["width"], KERNELS[spec["interpolation"]]
        picture = picture.convert("RGB")
        if spec["resize"] == "stretch":
            return np.asarray(picture.resize((side, side), kernel))
        return np.asarray(from_middle(picture, side, kernel))

    def frame_features(self, frames: np.ndarray) -> np.ndarray:
        """uint8 [N, S, S, 3] → [N, D], not normalised."""
        pixels = self.manifest["pixels"]
        graph = self.manifest["graphs"]["frame"]
        mean, std = np.float32(pixels["mean"]), np.float32(pixels["std"])
        parts = []
        for start in range(0, len(frames), 256):
            x = (frames[start : start + 256].astype(np.float32) / 255 - mean) / std
            parts.append(self.sessions["frame"].run([graph["output"]], {graph["input"]: x.transpose(0, 3, 1, 2)})[0])
        return np.concatenate(parts)

    def pool(self, features: np.ndarray) -> np.ndarray:
        """[B, T, D] → [B, D] of unit length: the head, or CLIP4Clip's meanP where the bundle has none."""
        graph = self.manifest["graphs"].get("head")
        if graph is None:
            return unit(unit(features).mean(1))
        return self.sessions["head"].run([graph["output"]], {graph["input"]: features, graph["mask"]: full(features)})[0]

    def texts(self, captions: list[str]) -> np.ndarray:
        """Captions → [B, D] of unit length."""
        graph = self.manifest["graphs"]["text"]
        text = self.manifest["text"]
        self.tokenizer.enable_truncation(text["context_length"])
        encoded = [self.tokenizer.encode(caption).ids for caption in captions]
        length = text["context_length"] if text["padding"] == "max-length" else max(map(len, encoded))
        ids = np.full((len(encoded), length), text["pad_id"], np.int64)
        mask = np.zeros_like(ids)
        for row, caption in enumerate(encoded):
            ids[row, : len(caption)], mask[row, : len(caption)] = caption, 1
        masks = {graph["mask"]: mask} if "mask" in graph else {}
        return unit(self.sessions["text"].run([graph["output"]], {graph["input"]: ids} | masks)[0])

    def rerank(self, text: str, frames: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
        """One text and frame features [N, T, D] → [N], scores of a cross-encoder, which are no cosines.

        `mask` [N, T]; without it all frames count.
        """
        names = self.manifest["rerank"]
        self.tokenizer.enable_truncation(self.manifest["text"]["context_length"])
        ids = np.array([self.tokenizer.encode(text).ids], np.int64)
        inputs = {names["text"]: ids, names["frames"]: frames, names["mask"]: full(frames) if mask is None else mask}
        return self.sessions["rerank"].run([names["output"]], inputs)[0][:, 0]

    def captions(self, frames: np.ndarray, mask: np.ndarray | None = None, beams: int | None = None) -> list[Caption]:
        """Frame features [N, T, D] → a caption of each. `mask` [N, T]; without it all frames count. `beams`: 1 is greedy."""
        names = self.manifest["captions"]["memory"]
        mask = full(frames) if mask is None else mask
        memory = self.sessions["captions.memory"].run([names["output"]], {names["frames"]: frames, names["mask"]: mask})[0]
        return [self._caption(memory[i : i + 1], mask[i : i + 1], beams) for i in range(len(frames))]

    def _caption(self, memory: np.ndarray, mask: np.ndarray, beams: int | None) -> Caption:
        said = self.manifest["captions"]
        step = CaptionStep(self.sessions["captions.step"], said["step"], memory, mask)
        start, end, pad = (said[f"{token}_id"] for token in ("start", "end", "pad"))
        ids, score = decoding.search(step, start, end, pad, said["max_words"], beams or said["beams"])
        words = [word for word in ids if word != end]
        return Caption(ids, self.caption_tokenizer.decode(words, skip_special_tokens=True), score)


class CaptionStep:
    """The next word of one window's hypotheses. `names`: what the graph calls its inputs and outputs."""

    def __init__(self, session: onnxruntime.InferenceSession, names: dict[str, str], memory: np.ndarray, mask: np.ndarray) -> None:
        self.session, self.names, self.memory, self.mask = session, names, memory, mask
        self.past = np.zeros((*memory.shape[:4], 0, memory.shape[5]), np.float32)

    def __call__(self, words: np.ndarray, origins: np.ndarray) -> np.ndarray:
        """The last words [B], and which of the hypotheses before they extend [B] → log-probabilities [B, vocabulary]."""
        many, names = len(words), self.names
        inputs = {
            names["ids"]: words[:, None], names["past"]: self.past[origins],
            names["memory"]: self.memory.repeat(many, axis=0), names["mask"]: self.mask.repeat(many, axis=0),
        }
        log_probs, self.past = self.session.run([names["output"], names["present"]], inputs)
        return log_probs


def graphs(manifest: dict) -> dict[str, dict[str, str]]:
    """Every graph that a manifest names."""
    named = dict(manifest["graphs"])
    if "rerank" in manifest:
        named["rerank"] = manifest["rerank"]
    if "captions" in manifest:
        named |= {f"captions.{name}": manifest["captions"][name] for name in ("memory", "step")}
    return named


def full(frames: np.ndarray) -> np.ndarray:
    """The mask of windows without padding."""
    return np.ones(frames.shape[:2], np.float32)


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
