"""Writes the test footage: short clips in many codecs and containers, and a tape of scenes with a known timeline.

Everything shown is of combinations kept from training. A tape caption is true of one scene of the tape and of no clip.
"""

from __future__ import annotations

import json
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np

from .captions import Speaker, full_claim
from .motion import draw_scene
from .render import background, render
from .scenes import BACKGROUNDS, EVENT_NAMES, Claim, Scene, encode_claims, encode_scenes, truth

SEED = 40_000
TAPE_SCENES = 30
TAPE_FPS = 15
CLIP_SECONDS = 3.0
SIDE = 256


@dataclass(frozen=True)
class Recipe:
    """One clip: what happens in it and how it is coded."""

    file: str
    event: str
    fps: int
    coding: tuple[str, ...]
    size: tuple[int, int] = (SIDE, SIDE)
    turned: bool = False  # stored lying on its side, with a display matrix that sets it upright


X264 = ("-c:v", "libx264", "-preset", "slow", "-crf", "27", "-pix_fmt", "yuv420p")
RECIPES = (
    Recipe("h264.mp4", "left", 25, (*X264, "-bf", "0", "-g", "25")),
    Recipe("h264-bframes.mkv", "circle_clockwise", 24, (*X264, "-bf", "3", "-g", "48"), (320, 240)),
    Recipe("hevc.mp4", "grow", 25, ("-c:v", "libx265", "-preset", "medium", "-crf", "29", "-tag:v", "hvc1", "-pix_fmt", "yuv420p", "-x265-params", "log-level=error:frame-threads=1:pools=1")),
    Recipe("vp8.webm", "down", 20, ("-c:v", "libvpx", "-b:v", "250k", "-g", "40", "-pix_fmt", "yuv420p")),
    Recipe("vp9.webm", "chase_right", 25, ("-c:v", "libvpx-vp9", "-crf", "36", "-b:v", "0", "-g", "50", "-pix_fmt", "yuv420p")),
    Recipe("av1.mkv", "spin_clockwise", 20, ("-c:v", "libaom-av1", "-crf", "38", "-b:v", "0", "-cpu-used", "6", "-g", "40", "-pix_fmt", "yuv420p")),
    Recipe("mpeg4.avi", "up", 25, ("-c:v", "mpeg4", "-q:v", "6", "-g", "50")),
    Recipe("mpeg2.ts", "part", 25, ("-c:v", "mpeg2video", "-q:v", "7", "-g", "12"), (320, 240)),
    Recipe("mjpeg.mov", "hide", 15, ("-c:v", "mjpeg", "-q:v", "9", "-pix_fmt", "yuvj420p")),
    Recipe("animated.gif", "bounce", 15, ("-filter_complex", "split[a][b];[a]palettegen=max_colors=64[p];[b][p]paletteuse=dither=none")),
    Recipe("flash.flv", "recolour", 25, ("-c:v", "flv", "-q:v", "6", "-g", "50")),
    Recipe("turned.mp4", "shrink", 25, (*X264, "-g", "25"), (320, 240), turned=True),
)


def write(folder: Path) -> int:
    """Writes all footage and `timeline.json` into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    tape, tape_claims, clips, clip_claims = script()
    plain, words = Speaker(None), Random(SEED)
    timeline: dict[str, list] = {"tape.mp4": [], "clips": []}
    for recipe, scene, claim in zip(RECIPES, clips, clip_claims):
        _write_clip(folder / recipe.file, recipe, scene)
        timeline["clips"].append({"file": recipe.file, "caption": plain.caption(claim)})
    start, frames = 0.0, []
    for scene, claim in zip(tape, tape_claims):
        frames.append(render(scene, np.arange(round(scene.duration * TAPE_FPS)) / TAPE_FPS, SIDE))
        end = start + scene.duration
        queries = _other_words(claim, Speaker(words))
        timeline["tape.mp4"].append({"start_s": start, "end_s": end, "caption": plain.caption(claim), "queries": queries})
        start = end
    tape_coding = ("-c:v", "libx264", "-preset", "slow", "-crf", "25", "-bf", "2", "-g", str(2 * TAPE_FPS), "-pix_fmt", "yuv420p", "-movflags", "+faststart")
    _encode(folder / "tape.mp4", np.concatenate(frames), TAPE_FPS, tape_coding)
    (folder / "timeline.json").write_text(json.dumps(timeline, indent=1) + "\n")
    return 0


def script() -> tuple[list[Scene], list[Claim], list[Scene], list[Claim]]:
    """The tape's scenes and the clips' scenes, each with a claim true of it alone."""
    rng = np.random.default_rng(SEED)
    scenes: list[Scene] = []
    claims: list[Claim] = []
    events = [(recipe.event, CLIP_SECONDS) for recipe in RECIPES]
    for i in range(TAPE_SCENES):
        events.append((EVENT_NAMES[i % len(EVENT_NAMES)], float(rng.integers(8, 13)) / 2))
    order = [*range(len(RECIPES)), *(len(RECIPES) + rng.permutation(TAPE_SCENES))]
    for i in order:
        event, seconds = events[i]
        while True:
            scene = draw_scene(rng, True, event, seconds)
            claim = full_claim(scene)
            said = encode_claims([*claims, claim])
            if (truth(said, encode_scenes([*scenes, scene])) == np.eye(len(said), dtype=bool)).all():
                break
        scenes.append(scene)
        claims.append(claim)
    count = len(RECIPES)
    return scenes[count:], claims[count:], scenes[:count], claims[:count]


def _other_words(claim: Claim, speaker: Speaker, count: int = 2) -> list[str]:
    found: list[str] = []
    while len(found) < count:
        caption = speaker.caption(claim)
        if caption not in found:
            found.append(caption)
    return found


def _write_clip(path: Path, recipe: Recipe, scene: Scene) -> None:
    width, height = recipe.size
    frames = render(scene, np.arange(round(scene.duration * recipe.fps)) / recipe.fps, height)
    side = (width - height) // 2
    if side:
        behind = np.clip(background(BACKGROUNDS[scene.background], height) + 0.5, 0, 255).astype(np.uint8)
        wide = np.pad(behind, ((0, 0), (side, side), (0, 0)), mode="reflect")
        wide = np.repeat(wide[None], len(frames), axis=0)
        wide[:, :, side : side + height] = frames
        frames = wide
    if not recipe.turned:
        return _encode(path, frames, recipe.fps, recipe.coding)
    _encode(path, np.ascontiguousarray(np.rot90(frames, 1, axes=(1, 2))), recipe.fps, recipe.coding)
    _turn(path, height)


def _turn(path: Path, height: int) -> None:
    """Writes a quarter turn clockwise into the track header of an MP4 file; ffmpeg versions differ in how to ask for it."""
    data = bytearray(path.read_bytes())
    matrix = data.index(b"tkhd") + 4 + 40  # past the tag and the fields of a version 0 header
    one = 1 << 16
    data[matrix : matrix + 36] = struct.pack(">9i", 0, one, 0, -one, 0, 0, height * one, 0, 1 << 30)
    path.write_bytes(data)


def _encode(path: Path, frames: np.ndarray, fps: int, coding: tuple[str, ...]) -> None:
    height, width = frames.shape[1:3]
    raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", str(fps), "-i", "-"]
    # One thread and no version strings: the same bytes on every run.
    _ffmpeg([*raw, *coding, "-threads", "1", "-flags:v", "+bitexact", "-fflags", "+bitexact", str(path)], frames.tobytes())


def _ffmpeg(arguments: list[str], data: bytes | None = None) -> None:
    subprocess.run(["ffmpeg", "-y", "-v", "error", *arguments], input=data, check=True)
