"""Second phase: temporal head and text encoder learn to agree, on what the finished frame encoder knows of each frame."""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional as F

from ..half import processor_half
from .captions import Speaker, draw_claim
from .nets import DIM, FrameEncoder, MeanPool, SequentialHead, TextEncoder
from .scenes import (
    ANY,
    BACKGROUNDS,
    COLOURS,
    EVENT_NAMES,
    EVENTS,
    SHAPES,
    TEXTURES,
    Claim,
    Scene,
    encode_claims,
    encode_scenes,
    truth,
)
from .steps import OneCycle
from .tokenizer import CONTEXT_LENGTH, PAD, UNKNOWN

STRETCHES = (4, 6, 12, 16, 24, 32)  # other numbers of frames that a window may have


@dataclass
class Model:
    """All parts of a trained bundle."""

    frame: FrameEncoder
    head: SequentialHead | MeanPool
    text: TextEncoder
    logit_scale: float


class Corpus:
    """Captions for every training clip and its reversed twin, worded afresh every epoch."""

    def __init__(self, scenes: list[Scene], tokenizer: Tokenizer, seed: int) -> None:
        self.scenes, self.tokenizer, self.rng = scenes, tokenizer, Random(seed)
        self.forward = encode_scenes(scenes)
        self.backward = encode_scenes([scene.reversed() for scene in scenes])

    def draw(self, rows: np.ndarray) -> tuple[list[Claim], list[Claim], Tensor, Tensor]:
        """Claims, reversed claims, and both worded: ids and mask [2·B, L]."""
        claims = [draw_claim(self.scenes[row], self.rng) for row in rows]
        reverse = [claim.reversed() for claim in claims]
        speaker = Speaker(self.rng)
        ids = [list(e.ids) for e in self.tokenizer.encode_batch([speaker.caption(claim) for claim in claims + reverse])]
        for caption in ids:
            self._blur(caption)
        return claims, reverse, *pad(ids)

    def shown(self, rows: np.ndarray) -> np.ndarray:
        """[2·B, 9] what `Meaning` should read from these clips and from their reversed twins."""
        encoded = np.concatenate([self.forward[rows], self.backward[rows]])
        return meant(encoded[:, 0], encoded)

    def _blur(self, ids: list[int]) -> None:
        """People use words that the grammar lacks: now and then one is put in, or takes the place of another."""
        if self.rng.random() < 0.2 and len(ids) < CONTEXT_LENGTH:
            ids.insert(self.rng.randrange(1, len(ids)), UNKNOWN)
        if self.rng.random() < 0.05:
            ids[self.rng.randrange(1, len(ids) - 1)] = UNKNOWN


class Meaning(nn.Module):
    """Reads from the vector of a clip or of a caption what happens, who does it to whom, and where; only used in training.

    Contrast alone hardly teaches what few other clips of a batch differ in: who has which role ("a red ball turns blue"
    has a twin too), textures, backgrounds.
    """

    def __init__(self, dim: int = DIM) -> None:
        super().__init__()
        self.parts = [len(EVENT_NAMES), len(BACKGROUNDS), len(COLOURS), *2 * [len(SHAPES), len(COLOURS), len(TEXTURES)]]
        self.read = nn.Linear(dim, sum(self.parts))

    def loss(self, vectors: Tensor, target: np.ndarray) -> Tensor:
        """[N, D] of unit length, [N, 9] as `meant` gives it."""
        answers = (8 * self.read(vectors)).split(self.parts, dim=1)
        losses = [
            F.cross_entropy(answer, torch.from_numpy(column.copy()), ignore_index=ANY, reduction="sum") / max((column != ANY).sum(), 1)
            for answer, column in zip(answers, target.T)
        ]
        return losses[0] + 0.3 * sum(losses[1:])


_MUTUAL = np.array([event.mutual for event in EVENTS])


def meant(events: np.ndarray, encoded: np.ndarray) -> np.ndarray:
    """[N, 9] event, background, colour turned to, and each object's shape, colour, texture. ANY is not asked."""
    columns = encoded[:, [2, 3, 4, 5, 6, 8, 9, 10]]
    # Without roles it is open which object comes first.
    columns[(events == ANY) | _MUTUAL[events], 2:] = ANY
    return np.concatenate([events[:, None], columns], axis=1)


def meant_by(claims: list[Claim]) -> np.ndarray:
    events = [EVENT_NAMES.index(claim.events[0]) if len(claim.events) == 1 else ANY for claim in claims]
    return meant(np.array(events), encode_claims(claims))


def pad(ids: list[list[int]]) -> tuple[Tensor, Tensor]:
    longest = max(len(caption) for caption in ids)
    padded = torch.full((len(ids), longest), PAD)
    mask = torch.zeros(len(ids), longest, dtype=torch.int64)
    for row, caption in enumerate(ids):
        padded[row, : len(caption)] = torch.tensor(caption)
        mask[row, : len(caption)] = 1
    return padded, mask


def unit(x: Tensor) -> Tensor:
    return x / x.norm(dim=-1, keepdim=True)


def align(
    encoder: FrameEncoder, known: Tensor, scenes: list[Scene], tokenizer: Tokenizer, head: SequentialHead | MeanPool,
    seed: int, head_start: int, steps: int, batch: int = 192,
) -> Model:
    """`known` [N, 8, 256] is what the encoder knows of the training clips; only its projection is trained further."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    corpus = Corpus(scenes, tokenizer, seed)
    text, meaning = TextEncoder(tokenizer.get_vocab_size()), Meaning()
    _learn_meaning(encoder, known, corpus, head, meaning, rng, head_start)
    log_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
    learnt = [*encoder.norm.parameters(), *encoder.proj.parameters(), *head.parameters(), *text.parameters(), *meaning.parameters()]
    descend = OneCycle("align", learnt, steps, still=[log_scale])
    for _ in range(steps):
        rows = rng.integers(0, len(scenes), batch)
        claims, reverse, ids, mask = corpus.draw(rows)
        frames = stretch(known[torch.from_numpy(rows)], rng)
        with processor_half():
            features = encoder.project(frames)
            cut, other = cuts(features, rng)
            clips = torch.cat([features, features.flip(1), cut])
            videos = head(clips, torch.ones(clips.shape[:2]))
            texts = by_length(text, ids, mask)
        videos, texts = unit(videos.float()), unit(texts.float())
        loss, twin_loss = contrast(corpus, rows, other, claims + reverse, texts @ videos.T, log_scale.exp())
        loss = loss + 0.5 * meaning.loss(videos[: 2 * batch], corpus.shown(rows)) + 0.5 * meaning.loss(texts, meant_by(claims + reverse))
        descend(loss, twins=twin_loss, scale=log_scale.exp())
        with torch.no_grad():
            log_scale.clamp_(max=math.log(100))
    return Model(encoder.eval(), head.eval(), text.eval(), log_scale.exp().item())


def _learn_meaning(
    encoder: FrameEncoder, known: Tensor, corpus: Corpus, head: SequentialHead | MeanPool, meaning: Meaning,
    rng: np.random.Generator, steps: int, batch: int = 128,
) -> None:
    """A head start without captions, which cost as much again."""
    learnt = [*encoder.norm.parameters(), *encoder.proj.parameters(), *head.parameters(), *meaning.parameters()]
    descend = OneCycle("meaning", learnt, steps)
    for _ in range(steps):
        rows = rng.integers(0, len(corpus.scenes), batch)
        with processor_half():
            features = encoder.project(stretch(known[torch.from_numpy(rows)], rng))
            clips = torch.cat([features, features.flip(1)])
            videos = head(clips, torch.ones(clips.shape[:2]))
        descend(meaning.loss(unit(videos.float()), corpus.shown(rows)))


def by_length(text: TextEncoder, ids: Tensor, mask: Tensor, groups: int = 4) -> Tensor:
    """The text encoder over captions of like length, so that little is spent on padding."""
    lengths = mask.sum(1)
    order = lengths.argsort()
    parts = []
    for rows in order.chunk(groups):
        longest = int(lengths[rows].max())
        parts.append(text(ids[rows, :longest], mask[rows, :longest]))
    return torch.cat(parts)[order.argsort()]


def stretch(known: Tensor, rng: np.random.Generator) -> Tensor:
    """Now and then the clip in fewer or more frames, so that the head has seen every window length."""
    if rng.random() > 0.12:
        return known
    count = int(rng.choice(STRETCHES))
    index = torch.linspace(0, known.shape[1] - 1, count).round().long()
    return known[:, index]


def cuts(features: Tensor, rng: np.random.Generator) -> tuple[Tensor, np.ndarray]:
    """Clips that change to another clip halfway, as windows over a cut do: nobody's answer. Also which other clip."""
    quarter, frames = len(features) // 4, features.shape[1]
    other = rng.permutation(len(features))[:quarter]
    at = int(rng.integers(frames // 2 - 1, frames // 2 + 2))
    return torch.cat([features[:quarter, :at], features[torch.from_numpy(other), at:]], dim=1), other


def contrast(
    corpus: Corpus, rows: np.ndarray, other: np.ndarray, claims: list[Claim], similarity: Tensor, scale: Tensor | float,
    compared: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Contrastive loss over clips, twins and cuts with false negatives masked, plus caption against reversed twin, which
    is given apart too.

    `claims`: of the clips, then of their twins. `similarity` [2·B, 2·B + cuts] of their captions. `compared`: which pairs
    were, of those; without it, all.
    """
    batch = len(rows)
    said = encode_claims(claims)
    shown = np.concatenate([corpus.forward[rows], corpus.backward[rows]])
    true = truth(said, shown)  # [2B, 2B]
    halves = np.arange(len(other))
    in_cut = true[:, halves] | true[:, other] | true[:, batch + halves] | true[:, batch + other]
    own = np.eye(2 * batch, dtype=bool)
    masked = torch.from_numpy(np.concatenate([true & ~own, in_cut], axis=1))
    if compared is not None:
        masked = masked | ~compared
    logits = (scale * similarity).masked_fill(masked, -1e4)
    target = torch.arange(2 * batch)
    between = F.cross_entropy(logits, target) + F.cross_entropy(logits[:, : 2 * batch].T, target)

    # Own clip against own twin, both ways; only where the caption tells them apart.
    twin = np.concatenate([np.arange(batch) + batch, np.arange(batch)])
    tells = torch.from_numpy(~true[np.arange(2 * batch), twin])
    similarity = similarity[:, : 2 * batch].float()
    mine = similarity.diagonal()
    index = torch.from_numpy(twin)
    against_clip = similarity[target, index]
    against_text = similarity[index, target]
    twins = F.softplus(-scale * (mine - against_clip)) + F.softplus(-scale * (mine - against_text))
    twins = (twins * tells).sum() / tells.sum().clamp(min=1)
    return between + twins, twins
