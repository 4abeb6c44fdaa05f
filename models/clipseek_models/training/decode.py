"""Pictures out of a video, with PyAV. Needs no PyTorch.

A stretch of a long video costs what the stretch costs: reading begins at the key frame before it. Only the pictures that
are asked for are kept, however long the video is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import av
import numpy as np
from PIL import Image

from .. import sampling

REORDERED_S = 2.0  # how much later than its end a stretch's packets may still come: B-frames are stored out of order


class Broken(Exception):
    """Why a clip's pictures cannot be had."""


Pick = Callable[[int, float], list[int]]  # the number of frames of a clip, frames a second → which of them


def pictures(path: Path, pick: Pick, start_s: float | None = None, end_s: float | None = None) -> list[Image.Image]:
    """RGB, upright, in the order and as often as `pick` asks for them. A stretch has the frame with which it ends, too, as
    `clipseek eval` has it.
    """
    try:
        shown, rate = _timeline(path, start_s, end_s)
        wanted = pick(len(shown), rate) if shown else []
        if not wanted:
            between = "" if start_s is None and end_s is None else f" between {start_s or 0:g} s and {'its end' if end_s is None else f'{end_s:g} s'}"
            raise Broken(f"no frames{between}")
        times = [shown[index] for index in wanted]
        found = _decoded(path, set(times), seek=start_s is not None)
        if len(found) < len(set(times)) and start_s is not None:
            found = _decoded(path, set(times), seek=False)  # some containers find no way back to the key frame before
    except av.FFmpegError as error:
        raise Broken(error.strerror or str(error)) from error
    except OSError as error:
        raise Broken(error.strerror or str(error)) from error
    missing = len(set(times)) - len(found)
    if missing:
        raise Broken(f"damaged: {missing} of the {len(set(times))} frames wanted cannot be decoded")
    return [found[time] for time in times]


def _video(container: av.container.InputContainer) -> av.VideoStream:
    if not container.streams.video:
        raise Broken("no video in it")
    stream = container.streams.video[0]
    stream.codec_context.thread_count = 1  # there is a worker for every core already
    return stream


def _timeline(path: Path, start_s: float | None, end_s: float | None) -> tuple[list[int], float]:
    """When the frames of the stretch are shown, in order, in the stream's own unit; frames a second."""
    with av.open(str(path)) as container:
        stream = _video(container)
        unit, zero = stream.time_base, stream.start_time or 0
        first = None if start_s is None else zero + round(start_s / unit)
        last = None if end_s is None else zero + round(end_s / unit)
        if first is not None:
            container.seek(first, stream=stream)
        found, complete = [], True
        for packet in container.demux(stream):
            if packet.size == 0 or packet.is_discard:
                continue
            if packet.pts is None:
                complete = False
                break
            if last is not None and packet.pts > last + round(REORDERED_S / unit):
                break
            found.append(packet.pts)
        described = stream.average_rate or stream.guessed_rate
    if not complete:  # AVI and its like tell only the order of packets
        found = list(_frame_times(path))
    inside = sorted({time for time in found if (first is None or time >= first) and (last is None or time <= last)})
    rate = sampling.frame_rate([float(time * unit) for time in inside], float(described) if described else None)
    return inside, max(rate, 1.0)  # a slide show has less than one; sampling needs one at least


def _frame_times(path: Path) -> Iterator[int]:
    with av.open(str(path)) as container:
        for frame in container.decode(_video(container)):
            if frame.pts is not None:
                yield frame.pts


def _decoded(path: Path, times: set[int], seek: bool) -> dict[int, Image.Image]:
    found: dict[int, Image.Image] = {}
    with av.open(str(path)) as container:
        stream = _video(container)
        if seek:
            container.seek(min(times), stream=stream)
        for frame in container.decode(stream):
            if frame.pts in times and frame.pts not in found:
                found[frame.pts] = _upright(frame)
                if len(found) == len(times):
                    break
    return found


def _upright(frame: av.VideoFrame) -> Image.Image:
    picture = frame.to_ndarray(format="rgb24")
    return Image.fromarray(np.ascontiguousarray(np.rot90(picture, (frame.rotation // 90) % 4)))
