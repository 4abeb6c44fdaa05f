"""Clips as each system reads them, in batches made by workers. What cannot be read comes with its reason, never as silence."""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from .. import clip_tokenizer, pixels, sampling
from .batch import Batch, Texts
from .captioned import Clip, bags
from .choices import System
from .decode import Broken, pictures

CLIP2VIDEO_RATE = 5  # frames a second that CLIP2Video extracts
CLIP2VIDEO_LEAST = 3  # frames, below which its published form is not well defined (§4.5)


@dataclass(frozen=True)
class Reading:
    """How a system reads a clip and a text (§1.5, §1.6, §2 of shared/reference/models.md)."""

    system: System
    side: int  # of a picture
    frames: int  # of a clip at most, of CLIP-ViP always
    words: int  # tokens of a text, start and end included
    divisor: int = 1  # CLIP2Video looks at one of so many frames that it extracts
    jitter: bool = False  # CLIP-ViP's first and last frame are drawn, in training

    def pick(self, count: int, rate: float, seconds: int | None = None, rng: Random | None = None) -> list[int]:
        """Of so many frames at so many a second. `seconds`: most that the clip lasts, which CLIP4Clip counts whole."""
        if self.system == "clip_vip":
            return sampling.jittered(count, self.frames, rng) if self.jitter and rng else sampling.clip_vip(count, self.frames)
        if self.system == "clip4clip":
            return sampling.clip4clip(count, rate, 1, self.frames, "uniform", 0, seconds)
        extracted = sampling.at_rate(count, rate, CLIP2VIDEO_RATE)
        picked = sampling.clip2video(len(extracted), self.divisor, self.frames) or [0]
        if len(picked) < CLIP2VIDEO_LEAST:
            picked = [picked[i * len(picked) // self.frames] for i in range(self.frames)]
        return [extracted[file] for file in picked]

    def pixels(self, clip: Clip, rng: Random | None = None, middle: bool = False) -> np.ndarray:
        """[T, 3, S, S], bytes but for CLIP-ViP; with `middle`, one more at the end: the frame in the middle of the clip."""
        prepare = pixels.clip_vip if self.system == "clip_vip" else pixels.clip4clip_bytes
        seconds = None if clip.end_s is None else math.ceil(clip.end_s - (clip.start_s or 0))

        def pick(count: int, rate: float) -> list[int]:
            return self.pick(count, rate, seconds, rng) + ([count // 2] if middle else [])

        return np.stack([prepare(picture, self.side) for picture in pictures(clip.video, pick, clip.start_s, clip.end_s)])


class Reader:
    """Texts to ids, with the system's own tokenizer."""

    def __init__(self, reading: Reading) -> None:
        self.reading = reading
        self.tokenizer = clip_tokenizer.ClipVipTokenizer() if reading.system == "clip_vip" else clip_tokenizer.Clip4ClipTokenizer()

    def feed(self, text: str) -> tuple[list[int], int]:
        """Ids, padded, and how many of them are not padding."""
        return self.tokenizer.feed(text, self.reading.words)

    def too_long(self, text: str) -> bool:
        """Whether a text loses its end. Its last token is then kept in the place of the last word."""
        longer = self.tokenizer.feed(text, self.reading.words + 1)[1]
        return longer > self.reading.words


class Clips(Dataset):
    """By index and epoch: where a clip has several captions, each epoch draws one of them."""

    def __init__(
        self, clips: list[Clip], reading: Reading, texts: Texts = "one", bag: int = 1, seed: int = 0, middle: bool = False,
        jittered: bool = True,
    ) -> None:
        self.clips, self.reading, self.texts, self.seed, self.middle = clips, reading, texts, seed, middle
        self.jittered = jittered
        self.reader = Reader(reading)
        self.bags = bags(clips, bag) if texts == "bag" else None
        self.count = {"one": 1, "bag": bag, "sources": 2}[texts]

    def __len__(self) -> int:
        return len(self.clips)

    def said(self, index: int, epoch: int) -> list[str]:
        """The texts of a clip in this epoch."""
        if self.texts == "sources":
            return [self.clips[index].subtitle, self._caption(index, epoch)]
        return [self._caption(one, epoch) for one in (self.bags[index] if self.bags else [index])]

    def _caption(self, index: int, epoch: int) -> str:
        captions = self.clips[index].captions
        return captions[0] if len(captions) == 1 else Random(f"{self.seed} {epoch} {index}").choice(captions)

    def __getitem__(self, key: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray] | tuple[int, str]:
        index, epoch = key
        try:
            drawn = Random(f"frames {self.seed} {epoch} {index}") if self.jittered else None
            shown = self.reading.pixels(self.clips[index], drawn, self.middle)
        except Broken as broken:
            return index, str(broken)
        ids, words = np.zeros((2, self.count, self.reading.words), np.int64)
        for row, text in enumerate(self.said(index, epoch)):
            fed, length = self.reader.feed(text)
            ids[row], words[row, :length] = fed, 1
        return shown, ids, words

    def batch(self, samples: list) -> Batch:
        """Shorter clips are filled up with empty pictures behind a mask (§2)."""
        problems = [sample for sample in samples if len(sample) == 2]
        good = [sample for sample in samples if len(sample) == 3]
        side, frames = self.reading.side, self.reading.frames
        kind = torch.float32 if self.reading.system == "clip_vip" else torch.uint8
        shown, mask = torch.zeros(len(good), frames, 3, side, side, dtype=kind), torch.zeros(len(good), frames)
        middle = torch.zeros(len(good), 1, 3, side, side, dtype=kind) if self.middle else None
        for row, (picture, _, _) in enumerate(good):
            if self.middle:
                middle[row, 0], picture = torch.from_numpy(picture[-1]), picture[:-1]
            shown[row, : len(picture)], mask[row, : len(picture)] = torch.from_numpy(picture), 1
        empty = torch.zeros(0, self.count, self.reading.words, dtype=torch.int64)
        ids, words = (torch.from_numpy(np.stack(part)) if good else empty for part in ([s[1] for s in good], [s[2] for s in good]))
        return Batch(shown, mask, ids, words, middle, problems)


def loader(clips: Clips, batches: list[list[int]], epoch: int, workers: int, pin: bool = False) -> DataLoader:
    """Batches in the order given, whatever the number of workers. At most two batches a worker are held ready."""
    keys = [[(index, epoch) for index in batch] for batch in batches]
    return DataLoader(
        clips, batch_sampler=keys, collate_fn=clips.batch, num_workers=workers, pin_memory=pin,
        prefetch_factor=2 if workers else None, worker_init_fn=_alone if workers else None,
        generator=torch.Generator(),  # seeds of workers are drawn from it, and not from what dropout draws from
    )


def _alone(worker: int) -> None:
    """Ctrl-C is the parent's to hear: it finishes its step and ends the workers. And a core each is enough."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)


def order(count: int, batch: int, epoch: int, seed: int, drop_last: bool) -> list[list[int]]:
    """Batches of an epoch. `drop_last`: without a last one that is shorter, unless there is no other.

    A last batch of one has nothing to be told apart from, and joins the one before.
    """
    shuffled = list(range(count))
    Random(f"{seed} {epoch}").shuffle(shuffled)
    batches = [shuffled[start : start + batch] for start in range(0, count, batch)]
    if len(batches) > 1 and drop_last and len(batches[-1]) < batch:
        batches.pop()
    elif len(batches) > 1 and len(batches[-1]) == 1:
        alone = batches.pop()
        batches[-1] += alone
    return batches


def parted(batches: list[list[int]], parts: int) -> list[list[int]]:
    """Each batch in so many parts, one after the other, as even as can be."""
    return [[*batch[part * len(batch) // parts : (part + 1) * len(batch) // parts]] for batch in batches for part in range(parts)]
