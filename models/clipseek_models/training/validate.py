"""Retrieval over a set of clips that training does not see, with the figures of papers (§7.1)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from .. import metrics
from .clips import Clips, loader
from .sides import Encoded, Precision, encode_clips, encode_texts, scores

TEXTS_AT_ONCE = 256


@dataclass(frozen=True)
class Validation:
    texts: metrics.Scores  # that look for their clip
    clips: metrics.Scores  # that look for one of their texts
    count: int
    problems: list[tuple[int, str]]  # clips that could not be read, and are not in the figures

    def better_than(self, other: "Validation | None") -> bool:
        def key(one: Validation) -> tuple[float, ...]:
            return one.texts.r1, one.texts.r5, one.texts.r10, -one.texts.mean_rank

        return other is None or key(self) > key(other)

    def __str__(self) -> str:
        def row(one: metrics.Scores) -> str:
            return f"R@1 {one.r1:.1f} R@5 {one.r5:.1f} R@10 {one.r10:.1f} median {one.median_rank:g} mean {one.mean_rank:.1f}"

        left_out = f"; {len(self.problems)} clips cannot be read" if self.problems else ""
        return f"text to video {row(self.texts)}; video to text {row(self.clips)} ({self.count} clips{left_out})"


@torch.no_grad()
def validate(model: nn.Module, clips: Clips, batch: int, workers: int, device: torch.device, precision: Precision) -> Validation | None:
    """None where no clip can be read. Every caption of a clip is a query."""
    model.eval()
    indices = list(range(len(clips)))
    batches = [indices[start : start + batch] for start in range(0, len(indices), batch)]
    encoded, problems = [], []
    for part in loader(clips, batches, 0, workers, device.type == "cuda"):
        problems += part.problems
        if len(part):
            part = part.to(device)
            encoded.append(encode_clips(model, part.pixels, part.mask, precision))
    missing = {index for index, _ in problems}
    kept = [index for index in indices if index not in missing]
    if not kept:
        return None
    fed = [clips.reader.feed(caption) for index in kept for caption in clips.clips[index].captions]
    matrix = _matrix(model, Encoded.joined(encoded), fed, device, precision)
    counts = [len(clips.clips[index].captions) for index in kept]
    if max(counts) == 1:
        texts, of_clips = metrics.scores(metrics.ranks(matrix)), metrics.ranks(matrix.T)
    else:
        _, texts = metrics.captions_to_videos(matrix, counts)
        of_clips = metrics.ranks(metrics.videos_to_groups(matrix, counts))
    return Validation(texts, metrics.scores(of_clips), len(kept), problems)


def _matrix(model: nn.Module, clips: Encoded, fed: list[tuple[list[int], int]], device: torch.device, precision: Precision) -> np.ndarray:
    """[texts, clips]"""
    rows = []
    for start in range(0, len(fed), TEXTS_AT_ONCE):
        part = fed[start : start + TEXTS_AT_ONCE]
        ids = torch.tensor([ids for ids, _ in part], device=device)
        words = (torch.arange(ids.shape[1], device=device) < torch.tensor([length for _, length in part], device=device)[:, None]).long()
        rows.append(scores(model, encode_texts(model, ids, words, precision), clips).float().cpu().numpy())
    return np.concatenate(rows)
