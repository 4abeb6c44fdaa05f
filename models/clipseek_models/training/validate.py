"""How a model does on clips that training does not see, with the figures of papers (§7.1)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from .. import clip_tokenizer, metrics
from ..half import autocast
from ..systems.caption_export import clip_decoder
from ..systems.interface import System, Videos
from .caption_figures import caption_figures
from .clips import Clips, loader
from .objectives import Objective

TEXTS_AT_ONCE = 256


@dataclass(frozen=True)
class Judgement:
    """Of one epoch."""

    key: list[float]  # the greater, the better
    said: str
    problems: list[tuple[int, str]]  # clips that could not be read, and are not in the figures

    def __str__(self) -> str:
        return f"{self.said}{f'; {len(self.problems)} clips cannot be read' if self.problems else ''}"


@torch.no_grad()
def judge(
    model: System, objective: Objective, clips: Clips, batch: int, workers: int, device: torch.device, precision: str,
) -> Judgement | None:
    """None where no clip can be read. Chosen by R@1 of texts that look for their clip, or by BLEU-4 where captions alone are
    learnt, as UniVL's training chooses.
    """
    videos, kept, problems = encoded(model, clips, batch, workers, device, precision)
    if not kept:
        return None
    key, said, captions = [], [], [clips.clips[index].captions for index in kept]
    if objective.retrieval:
        texts, of_clips = retrieval(model, clips, videos, captions, device, precision)
        key += [texts.r1, texts.r5, texts.r10, -texts.mean_rank]
        said.append(f"text to video {_row(texts)}; video to text {_row(of_clips)}")
    if objective.captions:
        words = clips.reading.words
        found = caption_figures(describe(model, videos, words), [list(ways) for ways in captions])
        key += [found.bleu4]
        said.append(str(found))
    return Judgement(key, f"{'; '.join(said)} ({len(kept)} clips)", problems)


def _row(one: metrics.Scores) -> str:
    return f"R@1 {one.r1:.1f} R@5 {one.r5:.1f} R@10 {one.r10:.1f} median {one.median_rank:g} mean {one.mean_rank:.1f}"


def retrieval(
    model: System, clips: Clips, videos: Videos, captions: list[tuple[str, ...]], device: torch.device, precision: str,
) -> tuple[metrics.Scores, metrics.Scores]:
    """Of texts that look for their clip, every caption being one, and of clips that look for one of their texts."""
    matrix = _matrix(model, videos, [clips.reader.feed(caption) for ways in captions for caption in ways], device, precision)
    counts = [len(ways) for ways in captions]
    if max(counts) == 1:
        return metrics.scores(metrics.ranks(matrix)), metrics.scores(metrics.ranks(matrix.T))
    _, texts = metrics.captions_to_videos(matrix, counts)
    return texts, metrics.scores(metrics.ranks(metrics.videos_to_groups(matrix, counts)))


def describe(model: System, videos: Videos, words: int) -> list[str]:
    """A caption of at most so many tokens for each clip."""
    memory, tokenizer, end = model.caption_memory(videos.frames, videos.mask), clip_decoder(), clip_tokenizer.END_ID
    said = [model.decoder.caption(frames, mask, clip_tokenizer.START_ID, end, 0, words)[0] for frames, mask in zip(memory, videos.mask)]
    return [tokenizer.decode([word for word in ids if word != end]).strip() for ids in said]


def encoded(
    model: System, clips: Clips, batch: int, workers: int, device: torch.device, precision: str,
) -> tuple[Videos | None, list[int], list[tuple[int, str]]]:
    """All clips that can be read, which those are, and what is wrong with the others."""
    model.eval()
    indices = list(range(len(clips)))
    batches = [indices[start : start + batch] for start in range(0, len(indices), batch)]
    found, problems = [], []
    for part in loader(clips, batches, 0, workers, device.type == "cuda"):
        problems += part.problems
        if len(part):
            part = part.to(device)
            with autocast(device, precision):
                found.append(model.encode_video(part.pixels, part.mask))
    missing = {index for index, _ in problems}
    return Videos.joined(found) if found else None, [index for index in indices if index not in missing], problems


def _matrix(model: System, videos: Videos, fed: list[tuple[list[int], int]], device: torch.device, precision: str) -> np.ndarray:
    """[texts, clips]"""
    rows = []
    for start in range(0, len(fed), TEXTS_AT_ONCE):
        part = fed[start : start + TEXTS_AT_ONCE]
        ids = torch.tensor([ids for ids, _ in part], device=device)
        words = (torch.arange(ids.shape[1], device=device) < torch.tensor([length for _, length in part], device=device)[:, None]).long()
        with autocast(device, precision):
            texts = model.encode_text(ids, words)
        rows.append(model.similarity(texts, videos).float().cpu().numpy())
    return np.concatenate(rows)
