"""One training for all systems that encode frame by frame: as the shipped model's second phase (`align.py`)."""

from __future__ import annotations

import math
import time

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from ..half import processor_half
from ..training.captioner import caption_loss
from ..world.align import Corpus, Meaning, by_length, contrast, cuts, meant_by, pad, stretch, unit
from ..world.captions import Speaker, full_claim
from ..world.scenes import Claim, Scene
from .variants import CAPTIONED, Variant

RATE, DECAY = 1.5e-3, 0.05
# The tight type runs its cross-encoder on every pair that it compares, so it compares within groups of clips, and takes
# half as many clips a step: all pairs of a full batch would cost a hundred times as much.
GROUP = 4


class Optimiser:
    """AdamW, one cycle, gradients clipped."""

    def __init__(self, learnt: list[nn.Parameter], still: list[nn.Parameter], steps: int, rate: float = RATE) -> None:
        self.learnt = learnt
        groups = [{"params": learnt, "weight_decay": DECAY}, {"params": still, "weight_decay": 0.0}]
        self.optimiser = torch.optim.AdamW(groups, lr=rate, fused=True)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(self.optimiser, rate, total_steps=steps, pct_start=0.08)

    def step(self, loss: Tensor) -> None:
        self.optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.learnt, 1.0)
        self.optimiser.step()
        self.schedule.step()


def learn(
    variant: Variant, known: Tensor, scenes: list[Scene], tokenizer: Tokenizer, seed: int, head_start: int, steps: int, batch: int,
) -> None:
    """`known` [N, 8, 256]: what the frame encoder knows of the training clips."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    corpus = Corpus(scenes, tokenizer, seed)
    with torch.no_grad():
        width = variant.clips(variant.features(known[:1].float())).shape[1]
    meaning = Meaning(width)
    _head_start(variant, meaning, known, corpus, rng, head_start, batch)
    if not variant.system.searches:
        batch = batch // 2 // GROUP * GROUP
    temperature = variant.system.clip.logit_scale
    learnt = [p for p in (*variant.learnt(), *meaning.parameters()) if p is not temperature]
    optimiser = Optimiser(learnt, [temperature], steps)
    tell = Teller(variant.name, steps)
    for step in range(steps):
        rows = rng.integers(0, len(scenes), batch)
        claims, reverse, ids, mask = corpus.draw(rows)
        with processor_half():
            features = variant.features(stretch(known[torch.from_numpy(rows)], rng).float())
            cut, other = cuts(features, rng)
            clips = torch.cat([features, features.flip(1), cut]).float()
            texts, videos = by_length(variant.texts, ids, mask).float(), variant.clips(clips).float()
            if not variant.system.searches:
                similarity, compared = by_group(variant, texts, clips, batch)
        if variant.system.searches:
            similarity, compared = texts @ videos.T, None
        loss, twins = contrast(corpus, rows, other, claims + reverse, similarity, variant.scale(), compared)
        shown = meaning.loss(videos[: 2 * batch], corpus.shown(rows))
        loss = loss + 0.5 * shown + 0.5 * meaning.loss(unit(texts), meant_by(claims + reverse))
        if variant.name == CAPTIONED:
            loss = loss + _captions(variant, clips[: 2 * batch], *plain_captions([scenes[row] for row in rows], tokenizer))
        optimiser.step(loss)
        with torch.no_grad():
            temperature.clamp_(max=math.log(100))
        tell(step, loss=loss, twins=twins)
    variant.eval()


def _head_start(variant: Variant, meaning: Meaning, known: Tensor, corpus: Corpus, rng: np.random.Generator, steps: int, batch: int) -> None:
    """Without captions: what happens, and who does it to whom."""
    optimiser = Optimiser([*variant.learnt(), *meaning.parameters()], [], steps)
    tell = Teller(f"{variant.name}, head start", steps)
    for step in range(steps):
        rows = rng.integers(0, len(corpus.scenes), batch)
        with processor_half():
            features = variant.features(stretch(known[torch.from_numpy(rows)], rng).float())
            clips = variant.clips(torch.cat([features, features.flip(1)]).float()).float()
        loss = meaning.loss(clips, corpus.shown(rows))
        optimiser.step(loss)
        tell(step, loss=loss)


def by_group(variant: Variant, texts: Tensor, clips: Tensor, batch: int) -> tuple[Tensor, Tensor]:
    """[2·B, D] texts, [2·B + cuts, T, D] clips → similarity [2·B, 2·B + cuts], and which of its pairs were compared.

    A group is some clips and their twins, and the cut of the same number.
    """
    own = torch.arange(batch).view(-1, GROUP)
    of_texts = torch.cat([own, own + batch], dim=1)  # [G, 2·GROUP]
    of_clips = torch.cat([of_texts, 2 * batch + torch.arange(len(own))[:, None]], dim=1)
    found = variant.of_pairs(texts[of_texts], clips[of_clips]).float()
    place = of_texts[:, :, None].expand_as(found), of_clips[:, None].expand_as(found)
    empty = texts.new_zeros(len(texts), len(clips))
    return empty.index_put(place, found), empty.bool().index_put(place, torch.ones_like(found, dtype=torch.bool))


def plainly(scene: Scene) -> Claim:
    """All that a caption should say of a scene, whatever the captions that look for it say."""
    return full_claim(scene, texture=True)


def plain_captions(scenes: list[Scene], tokenizer: Tokenizer) -> tuple[Tensor, Tensor]:
    """Ids and mask [2·B, L] of scenes and of their reversed twins, in the plainest words: of many wordings the likeliest would
    be a vague one, because vague things can be said in fewer ways.
    """
    claims, speaker = [plainly(scene) for scene in scenes], Speaker(None)
    said = [speaker.caption(claim) for claim in (*claims, *(claim.reversed() for claim in claims))]
    return pad([encoded.ids for encoded in tokenizer.encode_batch(said)])


def _captions(variant: Variant, clips: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
    frames = clips.new_ones(clips.shape[:2])
    with processor_half():
        return caption_loss(variant.system.decoder, variant.system.caption_memory(clips, frames), frames, ids, mask)


class Teller:
    """Says now and then how it goes."""

    def __init__(self, name: str, steps: int) -> None:
        self.name, self.steps, self.began = name, steps, time.monotonic()

    def __call__(self, step: int, **losses: Tensor) -> None:
        if step % 100 == 0 or step == self.steps - 1:
            said = " ".join(f"{name} {value.item():.3f}" for name, value in losses.items())
            print(f"{self.name}: step {step:4d} {said} {time.monotonic() - self.began:.0f}s", flush=True)
