"""Which frames of a video the three systems look at. Needs numpy alone."""

from __future__ import annotations

import math
from random import Random
from typing import Literal

import numpy as np

Slice = Literal["head", "tail", "uniform"]


def uniform(last: int, count: int) -> list[int]:
    """`count` indices from 0 to `last`, evenly spaced and rounded down.

    The spacing is a float on purpose: whole-number arithmetic rounds differently for some lengths.
    """
    return np.linspace(0, last, count, dtype=int).tolist()


def clip4clip(
    frame_count: int, fps: float, rate: int, max_frames: int, keep: Slice, start_s: int | None = None, end_s: int | None = None,
) -> list[int]:
    """`rate` frames of every second, of those at most `max_frames`: the first, the last, or evenly spaced ones.

    The frame rate is cut to a whole number first, so with 29.97 frames a second the picks drift off whole seconds.
    """
    whole_fps = int(fps)
    if whole_fps < 1 or rate < 1:
        raise ValueError(f"{fps} frames a second, of which {rate} are wanted: both must be at least 1")
    duration = -(-frame_count // whole_fps)
    first, last = start_s or 0, duration if end_s is None else min(end_s, duration)
    wanted = (second * whole_fps + step * (whole_fps // rate) for second in range(first, last + 1) for step in range(rate))
    decoded = [frame for frame in wanted if frame < frame_count]
    if len(decoded) <= max_frames:
        return decoded
    if keep == "head":
        return decoded[:max_frames]
    if keep == "tail":
        return decoded[-max_frames:]
    return [decoded[i] for i in uniform(len(decoded) - 1, max_frames)]


def at_rate(frame_count: int, rate: float, wanted: float) -> list[int]:
    """Which frame each picture shows when a video is encoded anew at another rate, as ffmpeg's `fps` has it: the last one whose
    time, rounded to the new rate, has come. At least one.
    """
    ticks = [math.floor(frame / rate * wanted + 0.5) for frame in range(frame_count + 1)]
    return [frame for frame in range(frame_count) for _ in range(ticks[frame + 1] - ticks[frame])] or [0]


def clip2video(files: int, divisor: int, max_frames: int) -> list[int]:
    """Of the frames extracted at 5 a second, every `divisor`-th or so; of those at most `max_frames`, evenly spaced."""
    picked = uniform(files - 1, files // divisor)
    if len(picked) <= max_frames:
        return picked
    return [picked[i] for i in uniform(len(picked) - 1, max_frames)]


def jittered(frame_count: int, count: int, rng: Random) -> list[int]:
    """CLIP-ViP's in training: as `clip_vip`, but the first and the last frame are drawn from within one interval of the ends."""
    interval = frame_count // max(count - 1, 1)
    first, last = rng.randint(0, interval), rng.randint(frame_count - 1 - interval, frame_count - 1)
    return np.linspace(first, last, count).astype(int).clip(0, frame_count - 1).tolist()


def frame_rate(times: list[float], described: float | None) -> float:
    """Frames a second of frames shown at these times in seconds: the described rate where the times agree with it, else
    their average.

    Containers round times to the millisecond, and 29.9999 must not be cut to 29; and what they describe may be wrong.
    """
    span = times[-1] - times[0] if times else 0.0
    if span <= 0:
        return described or 1.0
    average = (len(times) - 1) / span
    rounding = 1e-4 + 1e-3 / span
    for rate in (described, round(average)):
        if rate and abs(rate - average) / average <= rounding:
            return float(rate)
    return average


def clip_vip(frame_count: int, count: int) -> list[int]:
    """Always exactly `count` frames; they repeat where the clip is shorter."""
    return uniform(frame_count - 1, count)
