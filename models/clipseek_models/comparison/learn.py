"""One training for all systems that encode frame by frame: as the shipped model's second phase (`align.py`)."""

from __future__ import annotations

import math

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from ..half import processor_half
from ..systems.interface import Videos
from ..training.captioner import caption_loss
from ..world.align import Corpus, Meaning, by_length, contrast, cuts, meant_by, pad, stretch, unit
from ..world.captions import Speaker, full_claim
from ..world.scenes import Claim, Scene
from ..world.steps import OneCycle
from .variants import CAPTIONED, Variant

# The tight type runs its cross-encoder on every pair that it compares, so it compares within groups of clips, and takes
# half as many clips a step: all pairs of a full batch would cost a hundred times as much.
GROUP = 4


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
    descend = OneCycle(variant.name, learnt, steps, still=[temperature])
    for _ in range(steps):
        rows = rng.integers(0, len(scenes), batch)
        claims, reverse, ids, mask = corpus.draw(rows)
        with processor_half():
            features = variant.features(stretch(known[torch.from_numpy(rows)], rng).float())
            cut, other = cuts(features, rng)
            clips = torch.cat([features, features.flip(1), cut]).float()
            texts, videos = by_length(variant.texts, ids, mask).float(), variant.clips(clips).float()
            if variant.system.searches:
                logits, compared = variant.system.logits(texts, Videos(videos)), None
            else:
                similarity, compared = by_group(variant, texts, clips, batch)
                logits = {"retrieval": (1.0, similarity)}
        loss = twins = 0.0
        for share, matrix in logits.values():  # each of CLIP2Video's two similarities learns to stand alone
            of_matrix, of_twins = contrast(corpus, rows, other, claims + reverse, matrix, 1.0, compared)
            loss, twins = loss + share * of_matrix, twins + share * of_twins
        shown = meaning.loss(videos[: 2 * batch], corpus.shown(rows))
        loss = loss + 0.5 * shown + 0.5 * meaning.loss(unit(texts), meant_by(claims + reverse))
        if variant.name == CAPTIONED:
            loss = loss + _captions(variant, clips[: 2 * batch], *plain_captions([scenes[row] for row in rows], tokenizer))
        descend(loss, twins=twins)
        with torch.no_grad():
            temperature.clamp_(max=math.log(100))
    variant.eval()


def _head_start(variant: Variant, meaning: Meaning, known: Tensor, corpus: Corpus, rng: np.random.Generator, steps: int, batch: int) -> None:
    """Without captions: what happens, and who does it to whom."""
    descend = OneCycle(f"{variant.name}, head start", [*variant.learnt(), *meaning.parameters()], steps)
    for _ in range(steps):
        rows = rng.integers(0, len(corpus.scenes), batch)
        with processor_half():
            features = variant.features(stretch(known[torch.from_numpy(rows)], rng).float())
            clips = variant.clips(torch.cat([features, features.flip(1)]).float()).float()
        descend(meaning.loss(clips, corpus.shown(rows)))


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
