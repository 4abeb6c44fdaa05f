"""What people do today: PyAV, Pillow, onnxruntime and Qdrant's local mode, in one script.

plain  Every window is cut out and encoded by itself, as CLIP4Clip's loader does: seek to its start, decode to its end.
best   The same as good as Python gets: one thread per core decodes ahead, key frames alone where they serve, every frame
       is resized and encoded once, in batches over all files.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import av
import numpy as np
from clipseek_models.bundle import Bundle
from qdrant_client import QdrantClient, models
from sampling import Plan, upright

CORES = len(os.sched_getaffinity(0))
BATCH = 16
COLLECTION = "windows"
UPSERT = 256


@dataclass
class Video:
    path: Path
    end_s: float = 0.0
    times: list[float] = field(default_factory=list)
    features: list[np.ndarray] = field(default_factory=list)


def seconds(container: av.container.InputContainer, stream: av.VideoStream) -> float:
    return float(stream.duration * stream.time_base) if stream.duration else container.duration / av.time_base


def sampled(frames: Iterator[av.VideoFrame], first_s: float, interval_s: float, count: int, slack_s: float) -> Iterator[av.VideoFrame]:
    """The first frame at or behind each wanted time."""
    wanted = 0
    for frame in frames:
        if frame.time is not None and frame.time >= first_s + wanted * interval_s - slack_s:
            yield frame
            wanted = max(wanted + 1, int((frame.time - first_s + slack_s) / interval_s) + 1)
        if wanted >= count:
            return


def plain(bundle: Bundle, plan: Plan, paths: list[Path]) -> Iterator[tuple[Path, list[tuple[float, float, np.ndarray]]]]:
    for path in paths:
        stored = []
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            half_frame = 0.5 / float(stream.average_rate or 25)
            end = seconds(container, stream)
            for start in plan.starts(end):
                container.seek(int(start / stream.time_base), stream=stream)
                frames = sampled(container.decode(stream), start, plan.interval_s, plan.frames, half_frame)
                pixels = [bundle.pixels(upright(frame)) for frame in frames]
                if pixels:
                    vector = bundle.pool(bundle.frame_features(np.stack(pixels))[None])[0]
                    stored.append((start, min(start + plan.length_s, end), vector))
        yield path, stored


def key_frames_serve(path: Path, plan: Plan, tolerance: float) -> bool:
    """Whether a key frame lies near every wanted time."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        packets = container.demux(stream)
        keys = np.array([float(p.pts * p.time_base) for p in packets if p.is_keyframe and p.pts is not None])
        wanted = np.arange(0.0, seconds(container, stream), plan.interval_s)
    return len(keys) > 0 and np.abs(wanted[:, None] - keys).min(1).max() <= tolerance * plan.interval_s


def decode_ahead(bundle: Bundle, plan: Plan, video: Video, out: queue.Queue) -> None:
    try:
        keys = key_frames_serve(video.path, plan, bundle.manifest["video"]["interval_tolerance"])
        with av.open(str(video.path)) as container:
            stream = container.streams.video[0]
            stream.codec_context.thread_count = 1  # the files are decoded side by side
            if keys:
                stream.codec_context.skip_frame = "NONKEY"
            video.end_s = seconds(container, stream)
            slack = plan.interval_s / 2 if keys else 0.5 / float(stream.average_rate or 25)
            count = int(video.end_s / plan.interval_s) + 1
            for frame in sampled(container.decode(stream), 0.0, plan.interval_s, count, slack):
                out.put((video, frame.time, bundle.pixels(upright(frame))))
        out.put((video, None, None))
    except BaseException as error:
        out.put((video, None, error))


def best(bundle: Bundle, plan: Plan, paths: list[Path]) -> Iterator[tuple[Path, list[tuple[float, float, np.ndarray]]]]:
    decoded: queue.Queue = queue.Queue(maxsize=4 * BATCH)
    waiting: list[tuple[Video, float, np.ndarray]] = []

    def encode() -> None:
        if waiting:
            features = bundle.frame_features(np.stack([pixels for _, _, pixels in waiting]))
            for (video, time, _), feature in zip(waiting, features):
                video.times.append(time)
                video.features.append(feature)
            waiting.clear()

    with ThreadPoolExecutor(CORES) as pool:
        for path in paths:
            pool.submit(decode_ahead, bundle, plan, Video(path), decoded)
        left = len(paths)
        while left:
            video, time, pixels = decoded.get()
            if time is not None:
                waiting.append((video, time, pixels))
            if len(waiting) == BATCH or time is None:
                encode()
            if isinstance(pixels, BaseException):
                raise pixels
            if time is None:
                left -= 1
                yield video.path, pooled(bundle, plan, video)


def pooled(bundle: Bundle, plan: Plan, video: Video) -> list[tuple[float, float, np.ndarray]]:
    times, features = np.array(video.times), np.stack(video.features)
    by_length: dict[int, list[tuple[float, np.ndarray]]] = {}
    for start in plan.starts(video.end_s):
        inside = features[(times >= start - 1e-3) & (times < start + plan.length_s - 1e-3)][: plan.frames]
        if len(inside):
            by_length.setdefault(len(inside), []).append((start, inside))
    stored = []
    for windows in by_length.values():
        vectors = bundle.pool(np.stack([inside for _, inside in windows]))
        stored += [(start, min(start + plan.length_s, video.end_s), v) for (start, _), v in zip(windows, vectors)]
    return stored


def index(args: argparse.Namespace) -> dict:
    bundle, plan = Bundle(args.bundle, threads=CORES), Plan.of(args.bundle, args.window)
    client = QdrantClient(path=str(args.data))
    size = bundle.manifest["dim"]
    client.create_collection(COLLECTION, models.VectorParams(size=size, distance=models.Distance.COSINE))
    windows, number = {}, 0
    for path, stored in {"plain": plain, "best": best}[args.mode](bundle, plan, args.files):
        points = []
        for start, end, vector in stored:
            payload = {"path": str(path), "start_s": start, "end_s": end}
            points.append(models.PointStruct(id=number, vector=vector.tolist(), payload=payload))
            number += 1
        for first in range(0, len(points), UPSERT):
            client.upsert(COLLECTION, points[first : first + UPSERT])
        windows[str(path)] = len(stored)
    client.close()
    return {"windows": windows}


def search(args: argparse.Namespace) -> dict:
    bundle = Bundle(args.bundle, threads=CORES)
    client = QdrantClient(path=str(args.data))
    found = []
    for vector in bundle.texts(args.captions):
        found.append([p.payload for p in client.query_points(COLLECTION, query=vector.tolist(), limit=1).points])
    client.close()
    return {"found": found}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    commands = parser.add_subparsers(required=True)
    indexing = commands.add_parser("index")
    indexing.add_argument("--mode", choices=["plain", "best"], required=True)
    indexing.add_argument("--window", type=float, help="seconds; the bundle's own if not given")
    indexing.add_argument("files", type=Path, nargs="+")
    indexing.set_defaults(run=index)
    searching = commands.add_parser("search")
    searching.add_argument("captions", nargs="+")
    searching.set_defaults(run=search)
    args = parser.parse_args()
    print(json.dumps(args.run(args)))


if __name__ == "__main__":
    main()
