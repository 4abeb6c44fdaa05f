"""Clips of the synthetic world for training and testing: pixels, meanings, and where everything is in every frame."""

from __future__ import annotations

import io
from dataclasses import dataclass
from multiprocessing import get_context
from random import Random

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from .captions import Speaker, full_claim
from .motion import FRAME_INTERVAL, draw_scene, poses
from .render import render
from .scenes import EVENT_NAMES, SHAPES, SYMMETRY, Claim, Scene, encode_claims, encode_scenes, truth

FRAMES, SIDE = 8, 64
# Events that are hard to learn are shown more often in training.
WEIGHTS = np.array([{"spin_clockwise": 3.0, "spin_counter": 3.0, "recolour": 3.0, "rise_fall": 3.0}.get(name, 1.0) for name in EVENT_NAMES])
TEST_SEED, VALIDATION_SEED = 20_000, 30_000
# Columns of `Clips.places`: where an object is and how it is turned, its opacity, how far its colour has changed.
X, Y, LOG_RADIUS, COS, SIN, OPACITY, BLEND = range(7)


@dataclass
class Clips:
    """N clips."""

    pixels: np.ndarray  # [N, 8, 64, 64, 3] uint8
    places: np.ndarray  # [N, 8, 2, 7] float32; zeros where there is no second object
    scenes: list[Scene]


@dataclass
class TestSet:
    """Clips with one caption each, true of that clip and of no other, nor of another's reversed twin."""

    clips: np.ndarray  # [N, 8, 64, 64, 3] uint8
    scenes: list[Scene]
    claims: list[Claim]
    captions: list[str]


def places(scene: Scene, times: np.ndarray) -> np.ndarray:
    """[T, 2, 7] float32, see the columns above."""
    out = np.zeros((len(times), 2, 7), np.float32)
    drawn = poses(scene, times)
    for i, (pose, look) in enumerate(zip(drawn, scene.looks)):
        symmetry = SYMMETRY[SHAPES[look.shape]]
        turn = np.radians(pose.angle * (360 / symmetry if symmetry else 0))
        out[:, i] = np.stack(
            [pose.x, pose.y, np.log(pose.radius / 0.14), np.cos(turn), np.sin(turn), pose.opacity, pose.blend], axis=1
        )
    if scene.event in ("hide", "emerge"):
        first, second = drawn
        apart = np.hypot(first.x - second.x, first.y - second.y)
        out[:, 0, OPACITY] = np.clip((apart - second.radius * 0.85 + first.radius) / (2 * first.radius), 0, 1)
    return out


class Wear:
    """What cameras and codecs do to pixels. The noise comes from a bank: drawing it afresh costs more than training."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        grain = rng.standard_normal((64, SIDE, SIDE, 3)).astype(np.float32)
        blotches = rng.standard_normal((64, SIDE // 4, SIDE // 4, 3)).astype(np.float32)
        self.bank = np.concatenate([grain, 0.7 * blotches.repeat(4, 1).repeat(4, 2)])

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        """[T, S, S, 3] uint8 → the same, worn alike in every frame but for the noise."""
        rng = self.rng
        worn = frames.astype(np.float32)
        worn = (worn - 128) * rng.uniform(0.85, 1.15) + 128 + rng.uniform(-12, 12)
        worn *= rng.uniform(0.96, 1.04, 3).astype(np.float32)
        if rng.random() < 0.7:
            worn += rng.uniform(0, 9) * self.bank[rng.integers(0, len(self.bank), len(frames))]
        pixels = np.clip(worn + 0.5, 0, 255).astype(np.uint8)
        if rng.random() < 0.25:
            quality = int(rng.integers(40, 90))
            pixels = np.stack([_jpeg(frame, quality) for frame in pixels])
        return pixels


def _jpeg(frame: np.ndarray, quality: int) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(frame).save(file, "jpeg", quality=quality)
    return np.asarray(Image.open(file))


def _render_part(job: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, list[Scene]]:
    count, seed = job
    rng = np.random.default_rng(seed)
    wear = Wear(rng)
    pixels = np.empty((count, FRAMES, SIDE, SIDE, 3), np.uint8)
    where = np.empty((count, FRAMES, 2, 7), np.float32)
    scenes = []
    for i in range(count):
        scene = draw_scene(rng, False, EVENT_NAMES[rng.choice(len(EVENT_NAMES), p=WEIGHTS / WEIGHTS.sum())])
        # Decoders give the frame nearest to the moment asked for.
        times = np.arange(FRAMES) * FRAME_INTERVAL + rng.uniform(-0.04, 0.04, FRAMES)
        pixels[i] = wear(render(scene, times, SIDE, softness=rng.uniform(0.8, 1.6)))
        where[i] = places(scene, times)
        scenes.append(scene)
    return pixels, where, scenes


def training_clips(count: int, seed: int = 10_000, processes: int = 2) -> Clips:
    """Clips of seen combinations only. The same for every number of processes."""
    part = 500
    jobs = [(min(part, count - start), seed + start // part) for start in range(0, count, part)]
    pixels = np.empty((count, FRAMES, SIDE, SIDE, 3), np.uint8)
    where = np.empty((count, FRAMES, 2, 7), np.float32)
    scenes: list[Scene] = []
    # Not forked: threads of whatever ran before would be missing in the child, and it would wait for them.
    with get_context("spawn").Pool(processes) as pool:
        for these_pixels, these_places, these_scenes in pool.imap(_render_part, jobs):
            here = slice(len(scenes), len(scenes) + len(these_scenes))
            pixels[here], where[here] = these_pixels, these_places
            scenes += these_scenes
    return Clips(pixels, where, scenes)


def test_set(count: int = 200, seed: int = TEST_SEED) -> TestSet:
    """Unseen combinations, every event equally often."""
    rng, words = np.random.default_rng(seed), Random(seed)
    scenes: list[Scene] = []
    claims: list[Claim] = []
    while len(scenes) < count:
        scene = draw_scene(rng, True, EVENT_NAMES[len(scenes) % len(EVENT_NAMES)])
        claim = full_claim(scene, texture=words.random() < 0.5, background=words.random() < 0.25)
        if _apart(scenes + [scene], claims + [claim]):
            scenes.append(scene)
            claims.append(claim)
    speaker = Speaker(words)
    captions: list[str] = []
    for claim in claims:
        caption = speaker.caption(claim)
        while caption in captions:
            caption = speaker.caption(claim)
        captions.append(caption)
    times = np.arange(FRAMES) * FRAME_INTERVAL
    return TestSet(np.stack([render(scene, times, SIDE) for scene in scenes]), scenes, claims, captions)


def _apart(scenes: list[Scene], claims: list[Claim]) -> bool:
    """Whether every claim is true of its own scene alone, reversed twins included."""
    said = encode_claims(claims)
    true = truth(said, encode_scenes(scenes))
    true_of_twins = truth(said, encode_scenes([scene.reversed() for scene in scenes]))
    own = np.eye(len(scenes), dtype=bool)
    same_backwards = own & ~np.array([scene.has_twin for scene in scenes])
    return bool((true == own).all() and (true_of_twins == same_backwards).all())


def strangers(rng: np.random.Generator, count: int, world: np.ndarray) -> np.ndarray:
    """[count, 64, 64, 3] uint8: pictures that are not of this world, made without any footage.

    Coloured noise with the spectrum of photographs, heaps of polygons, and torn-up frames of the world.
    """
    makers = (_cloud, _cloud, _heap, _torn, _bare)
    return np.stack([makers[rng.integers(len(makers))](rng, world) for _ in range(count)])


def _cloud(rng: np.random.Generator, world: np.ndarray) -> np.ndarray:
    frequency = np.hypot(np.fft.fftfreq(SIDE)[:, None], np.fft.fftfreq(SIDE)[None]) + 1 / SIDE
    spectrum = rng.standard_normal((SIDE, SIDE, 3)) + 1j * rng.standard_normal((SIDE, SIDE, 3))
    noise = np.fft.ifft2(spectrum / frequency[..., None] ** rng.uniform(0.7, 2.0), axes=(0, 1)).real
    noise /= noise.std((0, 1))
    grey = rng.uniform(0, 1)
    noise = grey * noise[..., :1] + (1 - grey) * noise
    picture = rng.uniform(40, 210, 3) * (1 - grey * 0.7) + 128 * grey * 0.7 + rng.uniform(20, 70) * noise
    return np.clip(picture, 0, 255).astype(np.uint8)


def _heap(rng: np.random.Generator, world: np.ndarray) -> np.ndarray:
    image = Image.fromarray(_cloud(rng, world))
    draw = ImageDraw.Draw(image)
    muted = rng.random() < 0.5
    for _ in range(rng.integers(4, 30)):
        points = rng.uniform(-10, 74, 2) + rng.uniform(-26, 26, (rng.integers(3, 7), 2))
        colour = rng.uniform(0, 255, 3) if not muted else rng.uniform(20, 230) + rng.uniform(-25, 25, 3)
        draw.polygon([tuple(p) for p in points], fill=tuple(int(c) for c in np.clip(colour, 0, 255)))
    if rng.random() < 0.6:
        image = image.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.3, 2.5))))
    return np.asarray(image)


def _torn(rng: np.random.Generator, world: np.ndarray) -> np.ndarray:
    picture = np.empty((SIDE, SIDE, 3), np.uint8)
    half = SIDE // 2
    for row in range(2):
        for column in range(2):
            frame = Image.fromarray(world[rng.integers(len(world))])
            left, top = rng.integers(0, SIDE - 24, 2)
            side = int(rng.integers(16, 24))
            crop = frame.crop((left, top, left + side, top + side)).resize((half, half))
            picture[row * half : (row + 1) * half, column * half : (column + 1) * half] = crop
    return picture


def _bare(rng: np.random.Generator, world: np.ndarray) -> np.ndarray:
    """A fade between two colours; never the world's even grey."""
    ends = rng.uniform(0, 255, (2, 3))
    if rng.random() < 0.4:
        ends[1] = ends[0] = rng.choice((rng.uniform(0, 70), rng.uniform(190, 255)))
    along = np.linspace(0, 1, SIDE)[:, None, None] * np.ones((1, SIDE, 1))
    if rng.random() < 0.5:
        along = along.transpose(1, 0, 2)
    return np.clip(ends[0] + along * (ends[1] - ends[0]) + rng.normal(0, 2, (SIDE, SIDE, 3)), 0, 255).astype(np.uint8)
