"""Draws scenes of the synthetic world as pixels, at any size. Deterministic: the same scene gives the same bytes.

Every shape is a signed distance (negative inside, in units of its radius), so edges are smooth at any resolution.
"""

from __future__ import annotations

import numpy as np

from .motion import Pose, poses
from .scenes import ANY, BACKGROUNDS, COLOURS, SHAPES, TEXTURES, Scene

RGB = {
    "red": (214, 38, 36), "orange": (245, 138, 24), "yellow": (250, 225, 40), "green": (32, 160, 60),
    "blue": (36, 72, 220), "purple": (128, 44, 170), "pink": (250, 140, 195), "white": (250, 250, 250), "black": (18, 18, 20),
}


def grid(size: int) -> tuple[np.ndarray, np.ndarray]:
    """x and y of pixel centres, each [size, size], as shares of the side."""
    centre = (np.arange(size, dtype=np.float32) + 0.5) / size
    return np.meshgrid(centre, centre)


def background(name: str, size: int) -> np.ndarray:
    """[size, size, 3] float32, 0 to 255. Drawn from sines, so that no random numbers hang on the size."""
    x, y = grid(size)
    ripple = np.sin(37 * x + 11 * np.sin(9 * y)) * np.sin(41 * y + 7 * np.sin(13 * x))

    def flat(rgb: tuple[float, float, float], shade: np.ndarray | float = 0.0) -> np.ndarray:
        return np.asarray(rgb, np.float32) + np.broadcast_to(np.asarray(shade, np.float32), x.shape)[..., None]

    if name == "grey":
        return flat((128, 128, 130))
    if name == "sky":
        clouds = 22 * np.clip(np.sin(6 * x + 2 * np.sin(5 * y)) * np.sin(9 * y + 1), 0, 1)
        return flat((130, 180, 225), clouds + 14 * y)
    if name == "grass":
        return flat((66, 112, 48), 13 * ripple)
    if name == "sand":
        return flat((214, 186, 130), 9 * np.sin(60 * y + 4 * np.sin(8 * x)))
    if name == "night":
        stars = 140 * np.clip((np.sin(25 * x + 3 * np.sin(19 * y)) * np.sin(23 * y + 2 * np.sin(17 * x)) - 0.93) / 0.05, 0, 1)
        return flat((22, 26, 58), stars)
    if name == "brick":
        row = np.floor(y * 8)
        in_x, in_y = (x * 5 + 0.5 * (row % 2)) % 1, (y * 8) % 1
        mortar = (np.minimum(in_x * 0.2, in_y * 0.125) < 0.016)[..., None]
        return np.where(mortar, flat((150, 140, 132)), flat((122, 62, 50), 8 * np.sin(3 * row + np.floor(x * 5 + 0.5 * (row % 2)))))
    if name == "checker":
        odd = ((np.floor(x * 6) + np.floor(y * 6)) % 2)[..., None]
        return np.where(odd > 0, flat((170, 170, 172)), flat((92, 92, 96)))
    if name == "snow":
        return flat((226, 232, 240), 7 * ripple)
    raise ValueError(f"no such background: {name}")


def distance(shape: str, px: np.ndarray, py: np.ndarray) -> np.ndarray:
    """Signed distance to a shape of radius 1 around the origin, in its own turned frame."""
    r = np.hypot(px, py)
    if shape == "circle":
        return r - 0.95
    if shape == "square":
        return np.maximum(np.abs(px), np.abs(py)) - 0.82
    if shape == "triangle":
        return np.maximum(py, 0.8660254 * np.abs(px) - 0.5 * py) - 0.55
    if shape == "star":
        fifth = np.pi / 5
        a = np.abs((np.arctan2(px, -py) + fifth) % (2 * fifth) - fifth)
        # The edge between an outer corner (1.1, straight ahead) and an inner one (0.48, a tenth of a turn on).
        qx, qy = r * np.cos(a), r * np.sin(a)
        ix, iy = 0.48 * np.cos(fifth), 0.48 * np.sin(fifth)
        ex, ey = ix - 1.1, iy
        length = np.hypot(ex, ey)
        return (qy * -ex + (qx - 1.1) * ey) / length
    if shape == "cross":
        ax, ay = np.abs(px), np.abs(py)
        return np.minimum(np.maximum(ax - 1, ay - 0.33), np.maximum(ax - 0.33, ay - 1))
    if shape == "ring":
        return np.abs(r - 0.72) - 0.26
    if shape == "heart":
        ax, ay = np.abs(px), py + 0.1
        lobe = np.hypot(ax - 0.46, ay + 0.3) - 0.5
        # Bounded by the lobes' tangent, and above by the line through their centres.
        wedge = np.maximum(0.7071 * np.maximum(ax + ay - 0.867, ax - ay - 0.76), -ay - 0.3)
        return np.minimum(lobe, wedge)
    if shape == "crescent":
        return np.maximum(r - 1.0, 0.82 - np.hypot(px - 0.45, py))
    raise ValueError(f"no such shape: {shape}")


def _paint(texture: str, px: np.ndarray, py: np.ndarray, rgb: np.ndarray) -> np.ndarray:
    """Colour at every pixel, [T, S, S, 3]: textures are the colour itself and a lighter or darker tone of it."""
    if texture == "plain":
        return np.broadcast_to(rgb[:, None, None, :], (*px.shape, 3))
    if texture == "striped":
        on = np.clip(0.5 + 2.2 * np.sin(9.5 * py), 0, 1)
    else:
        on = np.clip(4.0 * (np.cos(8.0 * px) * np.cos(8.0 * py) - 0.15), 0, 1)
    light = rgb.mean(-1, keepdims=True) > 215
    tone = np.where(light, rgb * 0.55, rgb * 0.35 + 255 * 0.65)
    tone = np.where(rgb.mean(-1, keepdims=True) < 60, 150.0, tone)
    mix = on[..., None].astype(np.float32)
    return rgb[:, None, None, :] * (1 - mix) + tone[:, None, None, :] * mix


def _draw(canvas: np.ndarray, pose: Pose, shape: str, texture: str, rgb: np.ndarray, softness: float) -> None:
    """Lays one object over `canvas` [T, S, S, 3], in place, touching only the rows and columns it can reach."""
    size = canvas.shape[1]
    reach = 1.25 * pose.radius + 2 / size

    def bounds(centre: np.ndarray) -> slice:
        return slice(max(int(((centre - reach).min()) * size), 0), min(int(((centre + reach).max()) * size) + 2, size))

    rows, columns = bounds(pose.y), bounds(pose.x)
    x, y = grid(size)
    x, y = x[rows, columns][None], y[rows, columns][None]
    f = lambda a: a.astype(np.float32)[:, None, None]  # noqa: E731
    turn = np.radians(pose.angle)
    cos, sin, radius = f(np.cos(turn)), f(np.sin(turn)), f(pose.radius)
    dx, dy = (x - f(pose.x)) / radius, (y - f(pose.y)) / radius
    px, py = dx * cos + dy * sin, dy * cos - dx * sin
    to_pixels = radius * size / softness
    d = distance(shape, px, py)
    cover = np.clip(0.5 - d * to_pixels, 0, 1) * f(pose.opacity)
    # A darker rim, as wide as a fourteenth of the radius, keeps objects apart from what is behind them.
    inner = np.clip(0.5 - (d + 0.09) * to_pixels, 0, 1)[..., None]
    paint = _paint(texture, px, py, rgb) * (0.55 + 0.45 * inner)
    part = canvas[:, rows, columns]
    part += cover[..., None] * (paint - part)


def render(scene: Scene, times: np.ndarray, size: int, softness: float = 1.0) -> np.ndarray:
    """The scene at `times` [T] seconds as uint8 [T, size, size, 3]. `softness`: width of an edge in pixels."""
    behind = _cached_background(BACKGROUNDS[scene.background], size)
    canvas = np.repeat(behind[None], len(times), axis=0)
    drawn = poses(scene, np.asarray(times))
    for pose, look in zip(drawn, scene.looks):
        rgb = np.asarray(RGB[COLOURS[look.colour]], np.float32)[None]
        if scene.turns_to != ANY:
            after = np.asarray(RGB[COLOURS[scene.turns_to]], np.float32)[None]
            rgb = rgb + pose.blend.astype(np.float32)[:, None] * (after - rgb)
        rgb = np.broadcast_to(rgb, (len(times), 3)).astype(np.float32)
        _draw(canvas, pose, SHAPES[look.shape], TEXTURES[look.texture], rgb, softness)
    return np.clip(canvas + 0.5, 0, 255).astype(np.uint8)


_BACKGROUNDS: dict[tuple[str, int], np.ndarray] = {}


def _cached_background(name: str, size: int) -> np.ndarray:
    key = (name, size)
    if key not in _BACKGROUNDS:
        # Drawn at four times the size and averaged, so that small pictures look like shrunk large ones.
        fine = 4 if size <= 128 else 1
        big = background(name, size * fine).astype(np.float32)
        _BACKGROUNDS[key] = big.reshape(size, fine, size, fine, 3).mean((1, 3))
    return _BACKGROUNDS[key]
