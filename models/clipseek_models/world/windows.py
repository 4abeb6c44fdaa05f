"""Searches the test footage the way clipseek does: sampled frames, sliding windows, captions against all of them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
from PIL import Image

from ..bundle import Bundle
from .scope import distances


def sampled(bundle: Bundle, path: Path) -> np.ndarray:
    """uint8 [N, S, S, 3]: the frames nearest to every `interval_s` from the start, decoded by ffmpeg."""
    probe = ["ffprobe", "-v", "error", "-select_streams", "v:0", "-show_entries", "stream=width,height,r_frame_rate:stream_side_data=rotation", "-of", "json", path]
    stream = json.loads(subprocess.run(probe, check=True, capture_output=True).stdout)["streams"][0]
    width, height = stream["width"], stream["height"]
    if any(abs(int(data.get("rotation", 0))) == 90 for data in stream.get("side_data_list", [])):
        width, height = height, width
    over, under = map(int, stream["r_frame_rate"].split("/"))
    decode = ["ffmpeg", "-v", "error", "-i", path, "-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    raw = subprocess.run(decode, check=True, capture_output=True).stdout
    frames = np.frombuffer(raw, np.uint8).reshape(-1, height, width, 3)
    interval = bundle.manifest["video"]["interval_s"] * over / under
    index = np.round(np.arange(0, len(frames) - 0.5, interval)).astype(int)
    return np.stack([bundle.pixels(Image.fromarray(frames[i])) for i in index[index < len(frames)]])


def search_footage(bundle: Bundle, folder: Path) -> int:
    """Prints how many captions find their scene or clip first; exit status 0 where that is 85 % of each kind."""
    video = bundle.manifest["video"]
    timeline = json.loads((folder / "timeline.json").read_text())
    names = ["tape.mp4", *(clip["file"] for clip in timeline["clips"])]
    vectors, places, farthest = [], [], 0.0
    mean, std, limit = scope(bundle)
    for name in names:
        features = bundle.frame_features(sampled(bundle, folder / name))
        farthest = max(farthest, float(distances(features, mean, std).mean()))
        starts = range(0, len(features) - video["frames"] + 1, video["stride_frames"])
        vectors.append(bundle.pool(np.stack([features[start : start + video["frames"]] for start in starts])))
        places += [(name, (start + (video["frames"] - 1) / 2) * video["interval_s"]) for start in starts]
    windows = np.concatenate(vectors)

    def found(caption: str, file: str, start: float, end: float) -> bool:
        name, middle = places[int((windows @ bundle.texts([caption])[0]).argmax())]
        right = name == file and start <= middle <= end
        if not right:
            print(f"missed in {file} at {start:g} s: {caption} (first: {name} at {middle:.1f} s)")
        return right

    scenes = timeline["tape.mp4"]
    captions = [found(s["caption"], "tape.mp4", s["start_s"], s["end_s"]) for s in scenes]
    queries = [found(q, "tape.mp4", s["start_s"], s["end_s"]) for s in scenes for q in s["queries"]]
    clips = [found(clip["caption"], clip["file"], 0, 1e9) for clip in timeline["clips"]]
    shares = [sum(kind) / len(kind) for kind in (captions, queries, clips)]
    print("first place: tape captions {:.1%}, other words {:.1%}, clips {:.1%}".format(*shares))
    print(f"farthest from the world: {farthest:.2f} of {limit:.2f} allowed")
    return 0 if min(shares) >= 0.85 and farthest < limit else 1


def scope(bundle: Bundle) -> tuple[np.ndarray, np.ndarray, float]:
    stats = json.loads((bundle.folder / bundle.manifest["scope"]["stats"]).read_text())
    return np.array(stats["mean"]), np.array(stats["std"]), stats["max_distance"]
