"""The one command: renders the world, trains every seed with both heads, exports, judges, ships the best, writes the card.

Training runs one process per seed, each on one thread: on a machine that does other work too, threads that wait for
each other cost more than they bring.
"""

from __future__ import annotations

import multiprocessing
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from ..bundle import Bundle
from . import card, tokenizer
from .align import align
from .dataset import VALIDATION_SEED, Clips, TestSet, test_set, training_clips
from .evaluate import Scores, evaluate
from .export import export_model
from .nets import MeanPool, SequentialHead
from .pretrain import features, pretrain
from .scope import fit

CLIPS = 24_000
FRAME_STEPS = 1200
HEAD_START, ALIGN_STEPS = 700, 900


@dataclass(frozen=True)
class World:
    """What all seeds share."""

    clips: Clips
    validation: TestSet
    test: TestSet


_world: World | None = None  # set in the parent before the workers fork, so that they share its memory


@dataclass(frozen=True)
class Run:
    """What came of one seed and head."""

    seed: int
    head: str
    folder: Path
    validation: Scores
    test: Scores


def train(seeds: list[int], out: Path, keep: Path | None = None) -> int:
    """`keep`: where the bundles of all seeds and heads stay; otherwise only the shipped one does."""
    global _world
    began = time.monotonic()
    _world = World(training_clips(CLIPS), test_set(200, VALIDATION_SEED), test_set())
    print(f"rendered {CLIPS} clips in {time.monotonic() - began:.0f}s", flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        jobs = [(seed, keep or Path(scratch)) for seed in seeds]
        with multiprocessing.get_context("fork").Pool(len(jobs)) as pool:
            runs = [run for runs in pool.imap(_train_seed, jobs, chunksize=1) for run in runs]
        # Chosen on the validation clips, so that the test clips have no say in what is shipped.
        shipped = max((run for run in runs if run.head == "seqTransf"), key=lambda run: sum(vars(run.validation).values()))
        out.mkdir(parents=True, exist_ok=True)
        for path in shipped.folder.iterdir():
            shutil.copy(path, out / path.name)
    minutes = (time.monotonic() - began) / 60
    (out / "CARD.md").write_text(card.write(runs, shipped, minutes, out))
    for run in runs:
        print(card.row(run), f"validation: {run.validation}", flush=True)
    print(f"shipped seed {shipped.seed}; {minutes:.0f} minutes in all")
    return 0 if shipped.test.reach() else 1


def _train_seed(job: tuple[int, Path]) -> list[Run]:
    seed, folder = job
    torch.set_num_threads(1)
    began = time.monotonic()
    encoder = pretrain(_world.clips, seed, FRAME_STEPS)
    known = features(encoder, _world.clips.pixels)
    print(f"seed {seed}: frame encoder and features after {time.monotonic() - began:.0f}s", flush=True)
    words = tokenizer.build()
    learnt = {name: value.clone() for name, value in encoder.state_dict().items()}
    runs = []
    for name, head in (("seqTransf", SequentialHead), ("meanP", MeanPool)):
        encoder.load_state_dict(learnt)
        torch.manual_seed(seed)
        model = align(encoder.train(), known, _world.clips.scenes, words, head(), seed, HEAD_START, ALIGN_STEPS)
        with torch.no_grad():
            scope = fit(model.frame.project(known).numpy())
        bundle = folder / f"{name}-{seed}"
        export_model(model, words, scope, bundle)
        judged = Bundle(bundle)
        runs.append(Run(seed, name, bundle, evaluate(judged, _world.validation), evaluate(judged, _world.test)))
        print(f"seed {seed} {name}: {runs[-1].test} after {time.monotonic() - began:.0f}s", flush=True)
    return runs
