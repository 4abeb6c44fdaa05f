"""The bundle's card: what it is, how it was made, how good it is, what it does not know."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from .scenes import BACKGROUNDS, COLOURS, EVENTS, SHAPES, SIZES, TEXTURES

if TYPE_CHECKING:
    from .train import Run


def row(run: Run) -> str:
    t = run.test
    return f"| {run.seed} | {run.head} | {t.recall:.1%} | {t.twins:.1%} | {t.recall_with_twins:.1%} |"


def write(runs: list[Run], shipped: Run, minutes: float, folder: Path) -> str:
    megabytes = sum(path.stat().st_size for path in folder.iterdir() if path.name != "CARD.md") / 1e6
    table = "\n".join(row(run) for run in sorted(runs, key=lambda run: (run.head != "seqTransf", run.seed)))
    seeds = " ".join(str(seed) for seed in sorted({run.seed for run in runs}))
    return f"""# shapes

A small video-text model ({megabytes:.1f} MB) of a synthetic world, so that a fresh clone of clipseek can index and search
without a download, and so that its tests have a model that can be right or wrong. It is not a model of real footage.

## What it is

CLIP4Clip's sequential transformer (seqTransf, arXiv 2104.08860) in small: a convolutional encoder for each 64 × 64 frame,
two transformer layers over the frames of a window, masked mean; two transformer layers over whole words for captions.

The world: {len(SHAPES)} shapes ({", ".join(SHAPES)}), {len(COLOURS)} colours ({", ".join(COLOURS)}), {len(TEXTURES)} textures
({", ".join(TEXTURES)}), {len(SIZES)} sizes, {len(BACKGROUNDS)} backgrounds ({", ".join(BACKGROUNDS)}), {sum(e.objects == 1 for e in EVENTS)} events of
one object and {sum(e.objects == 2 for e in EVENTS)} between two. Many events differ from another in nothing but the order of their frames.

## How it was trained

`python -m clipseek_models train-shapes --seeds {seeds}`, from nothing, on clips that the package renders: {minutes:.0f} minutes for all the
rows below, on {os.cpu_count()} processor cores. First the frame encoder, taught by what the renderer knows of each frame and of each cell
of its map, and to tell the world's frames from noise and torn-up pictures. Then, on its features, the head learns to say
what happens and who does it to whom; then head and captions learn together, contrastively, with reversed twins. Frames are
worn by noise, brightness, JPEG and unsteady sampling times. Steps and rates were settled on validation clips.

## Figures

200 test clips, measured on the exported graphs. Every clip shows a pair of colour and shape that training never showed;
each caption is true of exactly one clip. Twins told apart: the caption is nearer to its clip than to the same frames in
reverse, counted over the events that look different in reverse. Last column: all 200 reversed clips are in the pool too
(for an event that looks the same in reverse, either is right). A tie counts half.

| seed | head | R@1 | twins told apart | R@1 with twins |
|---|---|---|---|---|
{table}

Shipped: seed {shipped.seed}, chosen on validation clips. meanP is the same training, step for step, with CLIP4Clip's mean pooling in
the head's place: it cannot see order, so all twins are ties to it. The test clips come from the renderer that made the
training clips, so the figures say what the head can tell apart, and nothing of other footage.

## What it does not know

Real footage, and anything that is not in the lists above: it places every picture somewhere in its small world. `scope.json`
lets clipseek notice footage from elsewhere and say so; that is a rough check, not a guarantee. More than two objects, two
objects of one colour or shape, and several events in one window are beyond it. It knows a few hundred English words; others
are read as one unknown word. Counting, negation and reading text are not learnt.

## Licence

MIT OR Apache-2.0. No footage, captions or weights of others went into it.
"""
