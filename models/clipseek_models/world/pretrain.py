"""First phase: the frame encoder alone, taught by what the renderer knows of every frame."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..half import processor_half
from .dataset import BLEND, COS, LOG_RADIUS, OPACITY, SIN, Clips, X, Y, strangers
from .nets import AttributeReader, FrameEncoder, MapReader
from .scenes import ANY, COLOURS, SHAPES, SYMMETRY
from .steps import OneCycle

MEAN, STD = (0.48, 0.45, 0.40), (0.26, 0.26, 0.27)
STRANGE = 5.0  # what the first feature should be for a picture that is not of this world


def to_pixels(frames: np.ndarray) -> Tensor:
    """uint8 [N, S, S, 3] → normalised [N, 3, S, S], channels last in memory."""
    x = torch.tensor(frames).float().div_(255)
    x = (x - torch.tensor(MEAN)) / torch.tensor(STD)
    return x.permute(0, 3, 1, 2)


def questions(clips: Clips) -> dict[str, np.ndarray]:
    """What the attribute reader should answer for each of the N·8 frames.

    Per frame and question (9 colours, then 8 shapes): the object asked about (0, 1, or -1 for none), and whether to
    count the answer at all: an object half faded or between two colours is neither there nor not.
    """
    looks = np.array([[(look.shape, look.colour, look.texture) for look in (scene.looks * 2)[:2]] for scene in clips.scenes])
    turns_to = np.array([scene.turns_to for scene in clips.scenes])
    pairs = np.array([len(scene.looks) == 2 for scene in clips.scenes])
    count, frames = clips.places.shape[:2]
    asked = np.full((count, frames, len(COLOURS) + len(SHAPES)), -1, np.int8)
    counts = np.ones(asked.shape, bool)
    colour_now = np.broadcast_to(looks[:, None, :, 1], (count, frames, 2)).copy()
    turned = (clips.places[..., 0, BLEND] > 0.5) & (turns_to != ANY)[:, None]
    colour_now[..., 0] = np.where(turned, turns_to[:, None], colour_now[..., 0])
    between = (clips.places[..., 0, BLEND] > 0.2) & (clips.places[..., 0, BLEND] < 0.8)
    for role in (1, 0):
        there = clips.places[..., role, OPACITY] > 0.5
        vague = (clips.places[..., role, OPACITY] > 0.15) & (clips.places[..., role, OPACITY] < 0.75)
        if role == 1:
            there &= pairs[:, None]
            vague &= pairs[:, None]
        n, t = np.nonzero(there)
        asked[n, t, colour_now[n, t, role]] = role
        asked[n, t, len(COLOURS) + looks[n, role, 0]] = role
        n, t = np.nonzero(vague)
        counts[n, t, colour_now[n, t, role]] = False
        counts[n, t, len(COLOURS) + looks[n, role, 0]] = False
    n, t = np.nonzero(between)
    counts[n, t, : len(COLOURS)] = False
    counts[n, t, len(COLOURS) + looks[n, 0, 0]] = False
    return {
        "asked": asked.reshape(count * frames, -1),
        "counts": counts.reshape(count * frames, -1),
        "colour": colour_now.reshape(count * frames, 2),
        "shape": np.repeat(looks[:, :, 0], frames, axis=0),
        "texture": np.repeat(looks[:, :, 2], frames, axis=0),
        "background": np.repeat([scene.background for scene in clips.scenes], frames),
        "pairs": np.repeat(pairs, frames),
        "places": clips.places.reshape(count * frames, 2, -1),
    }


_TURNS = np.array([SYMMETRY[shape] > 0 for shape in SHAPES])


def attribute_loss(answers: dict[str, Tensor], known: dict[str, np.ndarray], rows: np.ndarray) -> Tensor:
    """Mean loss over the questions that count, for the frames in `rows`."""
    asked, counts = known["asked"][rows], known["counts"][rows]
    present = torch.from_numpy((asked >= 0).astype(np.float32))
    weight = torch.from_numpy(counts.astype(np.float32))
    loss = (F.binary_cross_entropy_with_logits(answers["present"][..., 0], present, reduction="none") * weight).mean() * 4
    n, q = np.nonzero((asked >= 0) & counts)
    role, frame = asked[n, q], rows[n]
    where = known["places"][frame, role]
    turns = torch.from_numpy(_TURNS[known["shape"][frame, role]].astype(np.float32))[:, None]
    place = torch.from_numpy(where[:, X : LOG_RADIUS + 1])
    turn = torch.from_numpy(where[:, COS : SIN + 1])
    loss = loss + 8 * F.smooth_l1_loss(answers["place"][n, q], place, beta=0.05)
    loss = loss + 3.0 * ((answers["turn"][n, q] - turn).square() * turns).mean()
    for name in ("shape", "colour", "texture"):
        target = torch.from_numpy(known[name][frame, role].astype(np.int64))
        loss = loss + 0.5 * F.cross_entropy(answers[name][n, q], target)
    first = known["places"][rows, 0]
    plain = ~known["pairs"][rows] & _TURNS[known["shape"][rows, 0]] & (first[:, OPACITY] > 0.6)
    turn = torch.from_numpy(first[plain, COS : SIN + 1])
    loss = loss + 3.0 * F.mse_loss(answers["lone_turn"][torch.from_numpy(plain)], turn)
    return loss + 0.3 * F.cross_entropy(answers["background"], torch.from_numpy(known["background"][rows].astype(np.int64)))


def map_loss(answers: dict[str, Tensor], known: dict[str, np.ndarray], rows: np.ndarray) -> Tensor:
    """The same taught at the cell of the map where each object's middle is: convolutions learn much faster from it."""
    where = known["places"][rows]
    n, role = np.nonzero(where[..., OPACITY] > 0.6)
    frame, where = rows[n], where[n, role]
    column, row = (np.clip((where[:, axis] * 8).astype(int), 0, 7) for axis in (X, Y))
    present = torch.zeros(answers["present"].shape[:3])
    present[n, row, column] = 1
    loss = 8 * F.binary_cross_entropy_with_logits(answers["present"][..., 0], present)
    turns = torch.from_numpy(_TURNS[known["shape"][frame, role]].astype(np.float32))[:, None]
    turn = torch.from_numpy(where[:, COS : SIN + 1])
    loss = loss + 3 * ((answers["turn"][n, row, column] - turn).square() * turns).mean()
    for name in ("shape", "colour", "texture"):
        target = torch.from_numpy(known[name][frame, role].astype(np.int64))
        loss = loss + F.cross_entropy(answers[name][n, row, column], target)
    return loss


def pretrain(clips: Clips, seed: int, steps: int, batch: int = 256, strange: int = 24, turning: int = 64) -> FrameEncoder:
    """`turning` of the batch's frames come from clips of spinning objects: which way up is the hardest to see."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    encoder = FrameEncoder().to(memory_format=torch.channels_last)
    readers = AttributeReader(), MapReader()
    pixels = clips.pixels.reshape(-1, *clips.pixels.shape[2:])
    known = questions(clips)
    foreign = strangers(rng, 4000, pixels[rng.integers(0, len(pixels), 2000)])
    spinning = np.flatnonzero(np.repeat([scene.event.startswith("spin") for scene in clips.scenes], clips.pixels.shape[1]))
    parameters = [value for part in (encoder.trunk, encoder.gather, *readers) for value in part.parameters()]
    descend = OneCycle("frames", parameters, steps, rate=2.5e-3, decay=0.02, rising=0.1, most_gradient=math.inf)
    for _ in range(steps):
        rows = np.concatenate([rng.integers(0, len(pixels), batch - turning), rng.choice(spinning, turning)])
        images = np.concatenate([pixels[rows], foreign[rng.integers(0, len(foreign), strange)]])
        with processor_half():
            seen = encoder.trunk(to_pixels(images).contiguous(memory_format=torch.channels_last))
            gathered = encoder.gather(seen)
        gathered = gathered.float()
        target = torch.zeros(len(images))
        target[batch:] = STRANGE
        strangeness = F.smooth_l1_loss(gathered[:, 0], target, beta=0.5)
        of_vector = attribute_loss(readers[0](gathered[:batch]), known, rows)
        of_map = map_loss(readers[1](seen[:batch].float()), known, rows)
        descend(of_vector + of_map + strangeness, vector=of_vector, map=of_map, strangeness=strangeness)
    return encoder.eval()


@torch.no_grad()
def features(encoder: FrameEncoder, clips: np.ndarray, batch: int = 512) -> Tensor:
    """[N, T, S, S, 3] uint8 → what the encoder knows before projection, [N, T, 256]."""
    frames = clips.reshape(-1, *clips.shape[2:])
    parts = []
    for start in range(0, len(frames), batch):
        with processor_half():
            x = to_pixels(frames[start : start + batch]).contiguous(memory_format=torch.channels_last)
            parts.append(encoder.knowledge(x).float())
    return torch.cat(parts).reshape(*clips.shape[:2], -1)
