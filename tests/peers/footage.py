"""Makes the footage that is measured on: 1080p H.264, 30 frames a second, key frame every 2 s, two B-frames.

The sample tape in the middle, two textures moving through each other behind it, grain over all, so that it costs a
decoder about what a camera's picture costs. Long files repeat a short one without encoding it again.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
from PIL import Image

TAPE = Path(__file__).parent.parent / "fixtures/footage/tape.mp4"
BASE_S = 40
X264 = ["-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p", "-g", "60", "-keyint_min", "60", "-sc_threshold", "0", "-bf", "2", "-b_strategy", "0"]
PICTURE = (
    "[0]format=yuv420p,loop=-1:1,setpts=N/30/TB,split[a][b];"
    "[a]crop=1920:1080:x='(in_w-out_w)*(0.5+0.5*sin(t/3))':y='(in_h-out_h)*(0.5+0.5*cos(t/4))'[near];"
    "[b]crop=1920:1080:x='(in_w-out_w)*(0.5-0.5*sin(t/5))':y='(in_h-out_h)*(0.5+0.5*sin(t/2))'[far];"
    "[near][far]blend=all_mode=normal:all_opacity=0.75[behind];"
    "[1]fps=30,scale=1080:1080:flags=bicubic[tape];"
    "[behind][tape]overlay=x=420:y=0,noise=alls=9:allf=t,format=yuv420p"
)


# About 7 Mbit/s, 15 % of it in key frames, as is usual for a camera; and what takes less room on the disk.
USUAL_CRF = 24
SMALL_CRF = 32


def base(folder: Path, crf: int) -> Path:
    path = folder / f"base-{crf}.mp4"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        still = folder / "texture.png"
        Image.fromarray(texture(2880, 1620)).save(still)
        inputs = ["-framerate", "30", "-i", still, "-stream_loop", "-1", "-i", TAPE]
        _ffmpeg([*inputs, "-filter_complex", PICTURE, "-t", BASE_S, *X264, "-crf", crf], path)
        still.unlink()
    return path


def looped(folder: Path, seconds: int, crf: int = USUAL_CRF) -> Path:
    path = folder / f"{seconds}s-{crf}.mp4"
    if not path.exists():
        _ffmpeg(["-stream_loop", "-1", "-i", base(folder, crf), "-t", seconds, "-c", "copy", "-an"], path)
    return path


def several(folder: Path, count: int, seconds: int) -> list[Path]:
    """Files of about that length, each of another one, for the same content would be indexed once."""
    return [looped(folder, seconds + 2 * i) for i in range(count)]


def texture(width: int, height: int) -> np.ndarray:
    """Coloured noise with about the spectrum of natural pictures."""
    rng = np.random.default_rng(1)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    frequency[0, 0] = np.inf
    planes = [np.fft.irfft2(np.fft.rfft2(rng.standard_normal((height, width))) / frequency**1.3, (height, width)) for _ in range(3)]
    planes = [plane / plane.std() for plane in planes]
    stack = np.stack([planes[0], planes[0] + planes[1] / 3, planes[0] + planes[2] / 3], axis=-1)
    return np.clip(128 + 40 * stack / stack.std(), 0, 255).astype(np.uint8)


def _ffmpeg(arguments: list[object], path: Path) -> None:
    part = path.with_suffix(".part.mp4")
    subprocess.run(["ffmpeg", "-y", "-v", "error", *map(str, arguments), str(part)], check=True)
    part.rename(path)
