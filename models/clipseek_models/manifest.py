"""`bundle.toml` up to its graphs, for every kind of model."""

from __future__ import annotations

import json
from dataclasses import dataclass


@dataclass(frozen=True)
class Pixels:
    """How pictures become what the image encoder takes."""

    side: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    resize: str = "shortest-edge"  # or "stretch"
    interpolation: str = "bicubic"
    antialias: bool = True


@dataclass(frozen=True)
class Text:
    """How texts become ids."""

    context_length: int  # most tokens
    pad_id: int
    padding: str = "longest"  # or "max-length"


def manifest(
    name: str, summary: str, licence: str, source: str, dim: int, video: dict[str, object], pixels: Pixels, text: Text, logit_scale: float,
    scope: dict[str, object] | None = None,
) -> str:
    """`video`: topology, frames and what else is said of windows; `dim`: of the vectors that are compared, by their cosine."""
    tables = {
        "scope": scope or {},
        "video": video,
        "pixels": {
            "width": pixels.side, "height": pixels.side, "resize": pixels.resize, "interpolation": pixels.interpolation,
            "antialias": pixels.antialias, "mean": list(pixels.mean), "std": list(pixels.std),
        },
        "text": {"context_length": text.context_length, "padding": text.padding, "pad_id": text.pad_id, "templates": ["{}"]},
        "similarity": {"kind": "cosine", "logit_scale": round(logit_scale, 4)},
    }
    head = {"format": 1, "name": name, "summary": summary, "licence": licence, "source": source, "dim": dim}
    return "\n".join([_lines(head), *(f"[{table}]\n{_lines(entries)}" for table, entries in tables.items() if entries)])


def windows(topology: str, frames: int, interval_s: float, interval_tolerance: float, **others: object) -> dict[str, object]:
    """The usual of `video`: half of a window is shared with the next."""
    usual = {"topology": topology, "frames": frames, "interval_s": interval_s, "interval_tolerance": interval_tolerance}
    return usual | {"stride_frames": max(frames // 2, 1)} | others


def _lines(entries: dict[str, object]) -> str:
    """TOML writes texts, numbers, lists and truth values as JSON does."""
    return "".join(f"{key} = {json.dumps(value, ensure_ascii=False)}\n" for key, value in entries.items())
