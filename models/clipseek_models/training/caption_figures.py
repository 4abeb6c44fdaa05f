"""What papers say of captions: BLEU-4, ROUGE-L, CIDEr and METEOR of pycocoevalcap (times 100).

Its tokenizer (Penn Treebank's, by Stanford) and METEOR run Java. Where there is none, words are told apart by a plain rule of
our own, which the figures then say, and there is no METEOR.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
from dataclasses import dataclass


@dataclass(frozen=True)
class CaptionFigures:
    bleu4: float
    rouge_l: float
    cider: float
    meteor: float | None  # None: not without Java
    tokenizer: str

    def __str__(self) -> str:
        meteor = "" if self.meteor is None else f" METEOR {self.meteor:.1f}"
        return f"BLEU-4 {self.bleu4:.1f} ROUGE-L {self.rouge_l:.1f} CIDEr {self.cider:.1f}{meteor} ({self.tokenizer})"


class NoScorers(Exception):
    """pycocoevalcap is not there."""


def demand_scorers() -> None:
    if importlib.util.find_spec("pycocoevalcap") is None:
        raise NoScorers("captions are judged by pycocoevalcap: pip install 'clipseek-models[compare]'")


def caption_figures(said: list[str], references: list[list[str]]) -> CaptionFigures:
    """A caption of each clip, and all that people say of it."""
    java = shutil.which("java") is not None
    tokenize = _by_java if java else lambda texts: {number: [plain_words(text) for text in ways] for number, ways in texts.items()}
    found, expected = tokenize({i: [text] for i, text in enumerate(said)}), tokenize(dict(enumerate(references)))
    meteor = 100 * float(_meteor(expected, found)) if java else None
    return CaptionFigures(*scored(found, expected), meteor, "PTB tokenizer" if java else "plain tokenizer, for want of Java; no METEOR")


def scored(found: dict[int, list[str]], expected: dict[int, list[str]]) -> tuple[float, float, float]:
    """BLEU-4, ROUGE-L and CIDEr of captions whose words have blanks between them: one of each clip, and what people say of it."""
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    bleu, _ = Bleu(4).compute_score(expected, found, verbose=0)
    rouge, _ = Rouge().compute_score(expected, found)
    cider, _ = Cider().compute_score(expected, found)
    return 100 * float(bleu[3]), 100 * float(rouge), 100 * float(cider)


def plain_words(text: str) -> str:
    """Lower case, punctuation away, and 's, n't and the like apart, much as the Treebank's tokenizer does it."""
    text = re.sub(r"(n't|'s|'re|'ve|'ll|'d|'m)\b", r" \1", text.lower())
    return " ".join(re.findall(r"n't|'\w+|\w+(?:-\w+)*", text))


def _by_java(texts: dict[int, list[str]]) -> dict[int, list[str]]:
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    return PTBTokenizer().tokenize({number: [{"caption": text} for text in ways] for number, ways in texts.items()})


def _meteor(expected: dict[int, list[str]], found: dict[int, list[str]]) -> float:
    from pycocoevalcap.meteor.meteor import Meteor

    return Meteor().compute_score(expected, found)[0]
