"""Which frames stand in which window, and pictures the right way up: what both Python peers share."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

import av
from PIL import Image


@dataclass(frozen=True)
class Plan:
    frames: int
    length_s: float
    stride_s: float

    @property
    def interval_s(self) -> float:
        return self.length_s / self.frames

    @classmethod
    def of(cls, bundle: Path, window_s: float | None) -> Plan:
        """The bundle's own plan; with another length the same frames and the same share of overlap."""
        video = tomllib.loads((bundle / "bundle.toml").read_text())["video"]
        length = window_s or video["frames"] * video["interval_s"]
        return cls(video["frames"], length, length * video["stride_frames"] / video["frames"])

    def starts(self, end_s: float) -> list[float]:
        """Windows that lie in the medium; where they leave a rest, one more that ends with it."""
        starts, start = [], 0.0
        while start + self.length_s <= end_s + 1e-6:
            starts.append(start)
            start = len(starts) * self.stride_s
        covered = starts[-1] + self.length_s if starts else 0.0
        if end_s > covered + 1e-3:
            starts.append(max(0.0, end_s - self.length_s))
        return starts


def upright(frame: av.VideoFrame) -> Image.Image:
    picture = frame.to_image()
    return picture.rotate(frame.rotation, expand=True) if frame.rotation else picture
