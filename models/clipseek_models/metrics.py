"""Recall and ranks of retrieval. Ranks count from 0. Needs numpy alone.

Rows are captions, columns are videos. A rank is the number of strictly better scores; ties are reported beside it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Scores:
    """Recalls in percent; median and mean rank count from 1, as papers do."""

    r1: float
    r5: float
    r10: float
    median_rank: float
    mean_rank: float


def scores(ranks: np.ndarray) -> Scores:
    r1, r5, r10 = (100 * float(np.mean(ranks < k)) for k in (1, 5, 10))
    return Scores(r1, r5, r10, float(np.median(ranks)) + 1, float(np.mean(ranks)) + 1)


def ranks(similarity: np.ndarray, own: np.ndarray | None = None) -> np.ndarray:
    """[queries, candidates] → [queries]. `own`: each query's right candidate; without it, the one of the same number."""
    return (similarity > _of_own(similarity, own)).sum(1)


def ties(similarity: np.ndarray, own: np.ndarray | None = None) -> np.ndarray:
    """[queries, candidates] → [queries]: how many other candidates score just as the right one."""
    return (similarity == _of_own(similarity, own)).sum(1) - 1


def _of_own(similarity: np.ndarray, own: np.ndarray | None) -> np.ndarray:
    queries = np.arange(len(similarity))
    return similarity[queries, queries if own is None else own][:, None]


def published_ranks(similarity: np.ndarray) -> np.ndarray:
    """As the systems' own code counts: a tie adds a rank for each of its places, so there are more ranks than queries.

    For comparing with published numbers; where there are no ties it is the same as `ranks`.
    """
    spans = [range(rank, rank + tied + 1) for rank, tied in zip(ranks(similarity), ties(similarity))]
    return np.concatenate([np.fromiter(span, int) for span in spans])


def captions_to_videos(similarity: np.ndarray, captions_per_video: list[int]) -> tuple[np.ndarray, Scores]:
    """Many captions per video, a video's captions together: every caption is a query. Ranks [captions], scores.

    The median is the lower of the middle two, as the published code has it.
    """
    found = ranks(similarity, own=np.repeat(np.arange(len(captions_per_video)), captions_per_video))
    lower_median = float(np.sort(found)[(len(found) - 1) // 2]) + 1
    whole = scores(found)
    return found, Scores(whole.r1, whole.r5, whole.r10, lower_median, whole.mean_rank)


def videos_to_groups(similarity: np.ndarray, captions_per_video: list[int]) -> np.ndarray:
    """Many captions per video → [videos, groups]: a video's score for a group is that of the group's best caption."""
    starts = np.cumsum([0, *captions_per_video[:-1]])
    return np.maximum.reduceat(similarity, starts, axis=0).T
