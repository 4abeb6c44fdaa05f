"""How the events of the world unfold: drawing a scene's numbers, and where each object is at a time.

Positions are shares of the picture's side, x to the right and y down; angles in degrees, clockwise as seen.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from .scenes import (
    ANY,
    BACKGROUNDS,
    COLOURS,
    EVENT,
    EVENTS,
    SHAPES,
    SIZES,
    SYMMETRY,
    TEXTURES,
    Look,
    Scene,
    can_spin,
    held_out,
    visible,
)

RADIUS = {"small": (0.105, 0.13), "large": (0.165, 0.205)}
FRAME_INTERVAL = 0.25
SOLID = ("circle", "square", "heart")  # shapes that another object can hide behind


@dataclass
class Pose:
    """One object at T times; every field is [T]."""

    x: np.ndarray
    y: np.ndarray
    radius: np.ndarray
    angle: np.ndarray
    opacity: np.ndarray
    blend: np.ndarray  # 0: its colour, 1: the colour it turns to


def draw_scene(rng: np.random.Generator, unseen: bool, event: str | None = None, duration: float = 1.75) -> Scene:
    """A random scene. `unseen`: it shows a pair of colour and shape kept from training; otherwise it shows none."""
    while True:
        chosen = EVENT[event] if event else EVENTS[rng.integers(len(EVENTS))]
        background = int(rng.integers(len(BACKGROUNDS)))
        looks = tuple(_draw_look(rng) for _ in range(chosen.objects))
        if chosen.name.startswith("spin"):
            # Which way up a small object is can hardly be seen at the size that models look at.
            looks = (replace(looks[0], size=SIZES.index("large")),)
        turns_to = int(rng.integers(len(COLOURS))) if chosen.name == "recolour" else ANY
        if _possible(chosen.name, background, looks, turns_to, unseen):
            break
    scene = Scene(background, chosen.name, looks, turns_to, duration)
    scene.numbers.update(_draw_numbers(rng, scene))
    return scene


def _draw_look(rng: np.random.Generator) -> Look:
    texture = int(rng.choice(len(TEXTURES), p=(0.5, 0.25, 0.25)))
    return Look(int(rng.integers(len(SHAPES))), int(rng.integers(len(COLOURS))), texture, int(rng.integers(len(SIZES))))


def _possible(event: str, background: int, looks: tuple[Look, ...], turns_to: int, unseen: bool) -> bool:
    if not all(visible(look.colour, background) for look in looks):
        return False
    shown = [held_out(look) for look in looks]
    if turns_to != ANY:
        if turns_to == looks[0].colour or not visible(turns_to, background):
            return False
        shown.append(held_out(Look(looks[0].shape, turns_to)))
    if any(shown) != unseen:
        return False
    if event.startswith("spin") and not can_spin(looks[0]):
        return False
    if event in ("hide", "emerge") and SHAPES[looks[1].shape] not in SOLID:
        return False
    # Two objects never share a colour or a shape, so that each can be named by either.
    return len(looks) == 1 or (looks[0].colour != looks[1].colour and looks[0].shape != looks[1].shape)


def _radius(rng: np.random.Generator, look: Look) -> float:
    return float(rng.uniform(*RADIUS[SIZES[look.size]]))


def _span(rng: np.random.Generator, duration: float) -> tuple[float, float]:
    """When a movement starts and stops: sometimes the object rests first, sometimes last."""
    if duration > 2.5:
        return 0.2, duration - 0.2
    start = rng.uniform(0.0, 0.6) if rng.random() < 0.35 else -0.1
    stop = rng.uniform(1.15, 1.75) if rng.random() < 0.35 else duration + 0.1
    return float(start), float(stop)


def _draw_numbers(rng: np.random.Generator, scene: Scene) -> dict[str, float]:
    event, long = scene.event, scene.duration > 2.5
    r = [_radius(rng, look) for look in scene.looks]
    n: dict[str, float] = {"r0": r[0], "angle0": float(rng.uniform(-25, 25))}
    n["start"], n["stop"] = _span(rng, scene.duration)
    # The moment of a sudden event, well inside the frames of a window.
    n["moment"] = scene.duration / 2 if long else float(rng.uniform(0.3, 1.45))
    inside = lambda radius: float(rng.uniform(radius + 0.02, 0.98 - radius))  # noqa: E731
    n["x0"], n["y0"] = inside(r[0]), inside(r[0])

    if event in ("left", "right", "up", "down"):
        room = 0.96 - 2 * r[0]
        travel = room if long else float(rng.uniform(0.2, max(0.24, room)))
        low = float(rng.uniform(0.02 + r[0], 0.98 - r[0] - travel)) if travel < room else 0.02 + r[0]
        n["low"], n["high"] = low, low + travel
        n["drift"] = float(rng.uniform(-0.04, 0.04))
    elif event.startswith("spin"):
        fastest = min(0.28 * SYMMETRY[SHAPES[scene.looks[0].shape]] / FRAME_INTERVAL, 150.0)
        n["rate"] = float(rng.uniform(0.45 * fastest, fastest))
        n["x0"], n["y0"] = float(rng.uniform(0.3, 0.7)), float(rng.uniform(0.3, 0.7))
    elif event in ("grow", "shrink"):
        ratio = 3.2 if long else float(rng.uniform(1.5, 3.2))
        n["r_small"] = float(rng.uniform(0.08, 0.30 / ratio)) if 0.30 / ratio > 0.08 else 0.08
        n["r_large"] = n["r_small"] * ratio
        n["x0"], n["y0"] = float(rng.uniform(0.34, 0.66)), float(rng.uniform(0.34, 0.66))
    elif event in ("appear", "disappear", "recolour"):
        n["fade"] = float(rng.uniform(0.0, 0.4))
    elif event.startswith("orbit"):
        n["way"] = float(rng.uniform(0.2, 0.3))
        n["rate"] = float(rng.uniform(80, 190))
        n["phase"] = float(rng.uniform(0, 360))
        n["x0"], n["y0"] = float(rng.uniform(0.46, 0.54)), float(rng.uniform(0.46, 0.54))
    elif event in ("bounce", "shake"):
        n["way"] = float(rng.uniform(0.16, 0.34))
        n["period"] = float(rng.uniform(0.75, 1.3))
        n["phase"] = float(rng.uniform(0, 1))
        axis = "y0" if event == "bounce" else "x0"
        n[axis] = float(rng.uniform(0.02 + r[0], 0.98 - r[0] - n["way"]))
    elif event == "blink":
        n["period"] = float(rng.uniform(0.7, 1.2))
        n["phase"] = float(rng.uniform(0, 1))
    elif EVENT[event].objects == 2:
        _draw_pair(rng, scene, r, n)
    return n


def _draw_pair(rng: np.random.Generator, scene: Scene, r: list[float], n: dict[str, float]) -> None:
    """Numbers of an event between two objects; small ones are kept small enough to have room to move."""
    event, long = scene.event, scene.duration > 2.5
    r0, r1 = (min(value, 0.16) for value in r)
    n.update(r0=r0, r1=r1, angle1=float(rng.uniform(-25, 25)), x1=0.5, y1=0.5)
    n["flip"] = float(rng.random() < 0.5)
    if event in ("approach", "part", "collide"):
        n["heading"] = float(rng.choice((0, 0, 90, 45, 135)) + rng.uniform(-12, 12))
        n["near"] = r0 + r1 + (0.0 if event == "collide" else float(rng.uniform(0.0, 0.08)))
        farthest = 0.92 - r0 - r1
        least = n["near"] + 0.2
        n["far"] = farthest if long else float(rng.uniform(min(least, farthest), farthest))
    elif event.startswith("chase"):
        n["gap"] = r0 + r1 + float(rng.uniform(0.03, 0.12))
        room = 0.98 - r0 - r1 - n["gap"]
        n["travel"] = room if long else float(rng.uniform(0.18, max(room, 0.2)))
        n["low"] = float(rng.uniform(0.0, max(room - n["travel"], 0.0)))
        n["y0"] = float(rng.uniform(0.2, 0.8))
    elif event.startswith("circle"):
        n["way"] = r0 + r1 + float(rng.uniform(0.02, 0.06))
        n["rate"] = float(rng.uniform(70, 160))
        n["phase"] = float(rng.uniform(0, 360))
        n["x1"], n["y1"] = float(rng.uniform(0.47, 0.53)), float(rng.uniform(0.47, 0.53))
    elif event in ("hide", "emerge"):
        n["r0"], n["r1"] = float(rng.uniform(0.085, 0.105)), float(rng.uniform(0.2, 0.23))
        n["heading"] = float(rng.choice((0, 90, 180, 270)) + rng.uniform(-15, 15))
        n["far"] = n["r0"] + n["r1"] + float(rng.uniform(0.02, 0.1))
        n["x1"], n["y1"] = float(rng.uniform(0.45, 0.55)), float(rng.uniform(0.45, 0.55))
    else:  # rise_fall
        room = 0.96 - 2 * max(r0, r1)
        n["travel"] = room if long else float(rng.uniform(0.25, room))
        n["low"] = 0.02 + max(r0, r1) + float(rng.uniform(0, room - n["travel"] + 1e-6))
        left = float(rng.uniform(0.18, 0.32))
        right = float(rng.uniform(0.68, 0.82))
        n["x0"], n["x1"] = (left, right) if n["flip"] else (right, left)


def poses(scene: Scene, times: np.ndarray) -> list[Pose]:
    """Where the scene's objects are at `times` [T]. The list is in drawing order: the last lies on top."""
    n, event = scene.numbers, scene.event
    t = np.asarray(times, np.float64)
    count = len(t)
    progress = np.clip((t - n["start"]) / (n["stop"] - n["start"]), 0, 1)
    fill = lambda value: np.full(count, value, np.float64)  # noqa: E731
    x, y, radius, angle = fill(n["x0"]), fill(n["y0"]), fill(n["r0"]), fill(n["angle0"])
    opacity, blend = fill(1.0), fill(0.0)

    if event in ("left", "right", "up", "down"):
        forward = progress if event in ("right", "down") else 1 - progress
        way = n["low"] + (n["high"] - n["low"]) * forward
        if event in ("left", "right"):
            x, y = way, y + n["drift"] * (progress - 0.5)
        else:
            x, y = x + n["drift"] * (progress - 0.5), way
    elif event.startswith("spin"):
        angle = angle + n["rate"] * t * _sense(event)
    elif event in ("grow", "shrink"):
        bigger = progress if event == "grow" else 1 - progress
        radius = n["r_small"] * (n["r_large"] / n["r_small"]) ** bigger
    elif event in ("appear", "disappear", "recolour"):
        done = np.clip((t - n["moment"]) / max(n["fade"], 1e-3) + 0.5, 0, 1)
        if event == "recolour":
            blend = done
        else:
            opacity = done if event == "appear" else 1 - done
    elif event.startswith("orbit"):
        turn = np.radians(n["phase"] + _sense(event) * n["rate"] * t)
        x, y = n["x0"] + n["way"] * np.cos(turn), n["y0"] + n["way"] * np.sin(turn)
    elif event == "bounce":
        y = n["y0"] + n["way"] * (1 - np.abs(np.sin(np.pi * (t / n["period"] + n["phase"]))))
    elif event == "shake":
        x = n["x0"] + n["way"] * (0.5 + 0.5 * np.sin(2 * np.pi * (t / n["period"] + n["phase"])))
    elif event == "blink":
        opacity = ((t / n["period"] + n["phase"]) % 1 < 0.5).astype(np.float64)
    first = Pose(x, y, radius, angle, opacity, blend)
    if EVENT[event].objects == 1:
        return [first]
    second = Pose(fill(n["x1"]), fill(n["y1"]), fill(n["r1"]), fill(n["angle1"]), fill(1.0), fill(0.0))
    _place_pair(event, n, t, progress, first, second)
    return [first, second]


def _sense(event: str) -> float:
    return 1.0 if event.endswith("clockwise") else -1.0


def _place_pair(event: str, n: dict[str, float], t: np.ndarray, progress: np.ndarray, first: Pose, second: Pose) -> None:
    if event in ("approach", "part", "collide"):
        if event == "collide":
            speed = (n["far"] - n["near"]) / max(n["moment"], 0.8)
            apart = np.minimum(n["near"] + speed * np.abs(t - n["moment"]), n["far"])
        else:
            together = progress if event == "approach" else 1 - progress
            apart = n["far"] + (n["near"] - n["far"]) * together
        heading = np.radians(n["heading"] + 180 * n["flip"])
        for pose, side in ((first, -0.5), (second, 0.5)):
            pose.x = 0.5 + side * apart * np.cos(heading)
            pose.y = 0.5 + side * apart * np.sin(heading)
    elif event.startswith("chase"):
        way = 0.01 + n["low"] + n["travel"] * progress
        behind, ahead = way + n["r0"], way + n["r0"] + n["gap"]
        if event == "chase_left":
            behind, ahead = 1 - behind, 1 - ahead
        first.x, second.x = behind, ahead
        second.y = first.y.copy()
    elif event.startswith("circle"):
        turn = np.radians(n["phase"] + _sense(event) * n["rate"] * t)
        first.x, first.y = n["x1"] + n["way"] * np.cos(turn), n["y1"] + n["way"] * np.sin(turn)
    elif event in ("hide", "emerge"):
        away = 1 - progress if event == "hide" else progress
        heading = np.radians(n["heading"])
        first.x = n["x1"] + n["far"] * away * np.cos(heading)
        first.y = n["y1"] + n["far"] * away * np.sin(heading)
    else:
        first.y = n["low"] + n["travel"] * (1 - progress)
        second.y = n["low"] + n["travel"] * progress
