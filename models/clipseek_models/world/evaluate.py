"""Judges a bundle of the synthetic world on clips it has not seen. Needs no PyTorch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..bundle import Bundle
from .dataset import TestSet, test_set
from .windows import search_footage

TIE = 1e-5  # nearer than this is rounding: a head that cannot see order gets half for guessing


@dataclass(frozen=True)
class Scores:
    """Shares between 0 and 1."""

    recall: float  # R@1, caption to clip
    twins: float  # captions nearer to their clip than to its reversed twin, where the two show different things
    recall_with_twins: float  # R@1 with the reversed twin of every clip in the pool

    def reach(self) -> bool:
        """The targets of the shipped bundle."""
        return self.recall >= 0.90 and self.twins >= 0.95 and self.recall_with_twins >= 0.85


def evaluate(bundle: Bundle, tests: TestSet) -> Scores:
    count, frames = tests.clips.shape[:2]
    features = bundle.frame_features(tests.clips.reshape(-1, *tests.clips.shape[2:])).reshape(count, frames, -1)
    texts = bundle.texts(tests.captions)
    to_clips = texts @ bundle.pool(features).T
    to_twins = texts @ bundle.pool(np.ascontiguousarray(features[:, ::-1])).T
    return judge(to_clips, to_twins, tests)


def judge(to_clips: np.ndarray, to_twins: np.ndarray, tests: TestSet) -> Scores:
    """How like each caption is to each clip, and to each clip's reversed twin: [N, N] both."""
    count = len(to_clips)
    own = np.eye(count, dtype=bool)
    has_twin = np.array([scene.has_twin for scene in tests.scenes])
    # What looks the same backwards is as true of its twin.
    right = np.concatenate([own, own & ~has_twin], axis=1)
    pool = np.concatenate([to_clips, to_twins], axis=1)
    first = pool >= pool.max(1, keepdims=True) - TIE
    ahead = (to_clips - to_twins).diagonal()[has_twin]
    told = np.where(np.abs(ahead) <= TIE, 0.5, ahead > 0)
    return Scores(float((to_clips.argmax(1) == own.argmax(1)).mean()), float(told.mean()), float(((first & right).sum(1) / first.sum(1)).mean()))


def report(folder: Path, footage: Path | None = None) -> int:
    """Prints the scores; exit status 0 where they reach the targets."""
    bundle = Bundle(folder)
    scores = evaluate(bundle, test_set())
    print(f"R@1 {scores.recall:.1%}  twins told apart {scores.twins:.1%}  R@1 with twins {scores.recall_with_twins:.1%}")
    status = 0 if scores.reach() else 1
    return max(status, search_footage(bundle, footage)) if footage else status
