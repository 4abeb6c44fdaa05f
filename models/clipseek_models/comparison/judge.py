"""Figures of a variant on clips that it has not seen: retrieval as the shipped model is judged, captions as papers do."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

import torch
from tokenizers import Tokenizer
from torch import Tensor

from ..training.caption_figures import scored
from ..world.align import pad
from ..world.captions import Speaker
from ..world.dataset import TestSet
from ..world.evaluate import Scores, judge
from ..world.tokenizer import END, PAD, START
from .learn import plainly
from .variants import Variant

WORDS = 24  # most of a caption
REFERENCES = 20  # wordings of what a test clip shows, as many as MSR-VTT has for a clip


@dataclass(frozen=True)
class CaptionScores:
    """As papers give them: times 100."""

    bleu4: float
    cider: float
    exact: float  # share in percent of captions that say everything, and in the very words that were taught
    examples: list[tuple[str, str]]  # said, and one way of saying it right


@torch.no_grad()
def retrieval(variant, clips: Tensor, tests: TestSet, tokenizer: Tokenizer) -> Scores:
    """`clips` [N, T, …]: features of a per-frame variant, pixels of CLIP-ViP."""
    texts = variant.texts(*pad([encoded.ids for encoded in tokenizer.encode_batch(tests.captions)]))
    to_clips, to_twins = (variant.compare(texts, frames).numpy() for frames in (clips, clips.flip(1)))
    return judge(to_clips, to_twins, tests)


@torch.no_grad()
def captions(variant: Variant, features: Tensor, tests: TestSet, tokenizer: Tokenizer) -> CaptionScores:
    """Beam search over every test clip; BLEU-4 and CIDEr of pycocoevalcap, without its tokenizer: our grammar says plain
    words in lower case.
    """
    mask = features.new_ones(features.shape[:2])
    memory = variant.system.caption_memory(features, mask)
    said = []
    for frames in memory:
        ids, _ = variant.system.decoder.caption(frames, torch.ones(len(frames)), START, END, PAD, WORDS)
        said.append(tokenizer.decode([i for i in ids if i != END], skip_special_tokens=False))
    right = references(tests)
    bleu4, _, cider = scored({i: [text] for i, text in enumerate(said)}, dict(enumerate(right)))
    exact = sum(text == ways[0] for text, ways in zip(said, right)) / len(said)
    return CaptionScores(bleu4, cider, 100 * exact, [(text, ways[0]) for text, ways in zip(said, right)][:8])


def references(tests: TestSet) -> list[list[str]]:
    """The plainest wording, then others of what the clip's own caption claims."""
    plain, speaker = Speaker(None), Speaker(Random(0))
    others = [[speaker.caption(claim) for _ in range(REFERENCES - 1)] for claim in tests.claims]
    return [[plain.caption(plainly(scene)), *wordings] for scene, wordings in zip(tests.scenes, others)]
