"""From pictures to what the image encoders take. Needs numpy and Pillow alone."""

from __future__ import annotations

import numpy as np
from PIL import Image

from .colours import MEAN, STD

SHARPNESS = -0.75  # the parameter of the cubic that CLIP-ViP's resizing uses


def clip4clip(picture: Image.Image, side: int) -> np.ndarray:
    """RGB → [3, side, side]: shorter side to `side` with Pillow's bicubic on 8 bits, centre crop. CLIP2Video's too."""
    return normalised(np.asarray(from_middle(picture, side), np.float32) / 255)


def clip4clip_bytes(picture: Image.Image, side: int) -> np.ndarray:
    """As `clip4clip`, before it becomes numbers: uint8 [3, side, side]."""
    return np.asarray(from_middle(picture, side)).transpose(2, 0, 1)


def from_middle(picture: Image.Image, side: int, kernel: Image.Resampling = Image.Resampling.BICUBIC) -> Image.Image:
    """The shorter side to `side`, then the square in the middle, as CLIP does it: the longer side is cut to a whole number, not
    rounded, and the square begins at the even one of two pixels that are as near.
    """
    width, height = picture.size
    short = min(width, height)
    picture = picture.resize((int(side * width / short), int(side * height / short)), kernel)
    left, top = round((picture.width - side) / 2), round((picture.height - side) / 2)
    return picture.crop((left, top, left + side, top + side))


def clip_vip(picture: Image.Image, side: int) -> np.ndarray:
    """RGB → [3, side, side]: straight to the square whatever the aspect ratio, cubic, without smoothing or clamping."""
    x = np.asarray(picture, np.float32) / 255
    across, down = (cubic_weights(size, side) for size in picture.size)
    return normalised(np.einsum("yh,hwc,xw->yxc", down, x, across, optimize=True).astype(np.float32))


def cubic_weights(size: int, to: int) -> np.ndarray:
    """How much each of `size` pixels counts for each of `to`: [to, size]. Four count; beyond the edge the last one repeats."""
    centre = (np.arange(to) + 0.5) * size / to - 0.5
    first = np.floor(centre).astype(int) - 1
    weights = np.zeros((to, size))
    for tap in range(4):
        distance = np.abs(centre - (first + tap))
        np.add.at(weights, (np.arange(to), (first + tap).clip(0, size - 1)), cubic(distance))
    return weights


def cubic(distance: np.ndarray) -> np.ndarray:
    """The cubic convolution kernel, for distances from 0 to 2."""
    a, x = SHARPNESS, distance
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    return np.where(x <= 1, near, far)


def normalised(pixels: np.ndarray) -> np.ndarray:
    """[H, W, 3] from 0 to 1 → [3, H, W]"""
    return ((pixels - np.float32(MEAN)) / np.float32(STD)).transpose(2, 0, 1)
