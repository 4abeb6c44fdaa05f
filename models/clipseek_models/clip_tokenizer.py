"""CLIP's tokenizer, as each system feeds it. Needs no PyTorch.

Byte-level BPE: 256 byte symbols, the same with a mark for the end of a word, 48894 merges, start and end token.
"""

from __future__ import annotations

import gzip
import html
from pathlib import Path

import ftfy
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

START, END = "<|startoftext|>", "<|endoftext|>"
START_ID, END_ID = 49406, 49407
WORD_END = "</w>"
PIECES = r"'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"
# What people type of the things that `clean` repairs; a tokenizer.json can hold these, but neither mojibake nor HTML.
REPAIRS = {
    "[\u02bc\u2018-\u201b]": "'", "[\u201c-\u201f]": '"',
    "\ufb00": "ff", "\ufb01": "fi", "\ufb02": "fl", "\ufb03": "ffi", "\ufb04": "ffl",
}
MERGES = Path(__file__).resolve().parent / "data" / "clip_merges.txt.gz"


def read_merges(path: Path = MERGES) -> list[tuple[str, str]]:
    """The merges of a list, ours or OpenAI's, which begins with a line of another kind and goes on after CLIP's last."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        pairs = [tuple(line.split()) for line in lines if not line.startswith(('"bpe_simple_vocab', "#version"))]
    return pairs[: START_ID - 512]


def build(merges: list[tuple[str, str]] | None = None, repairs: dict[str, str] | None = None) -> Tokenizer:
    """Any text → start token, pieces, end token; CLIP-ViP's tokenizer, and the `tokenizer.json` of bundles.

    Text is normalised to NFC, white space collapsed, lower-cased. The special tokens' names are letters like any other.
    `repairs`: patterns and what to put in their place, first of all.
    """
    tokenizer = _pieces(merges or read_merges())
    replaced = [normalizers.Replace(Regex(pattern), content) for pattern, content in (repairs or {}).items()]
    tokenizer.normalizer = normalizers.Sequence(
        [*replaced, normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{START} $A {END}", special_tokens=[(START, START_ID), (END, END_ID)]
    )
    return tokenizer


def _pieces(merges: list[tuple[str, str]]) -> Tokenizer:
    # The alphabet's order is that of the code points, for printable bytes and for the stand-ins of the others.
    symbols = sorted(pre_tokenizers.ByteLevel.alphabet())
    symbols += [symbol + WORD_END for symbol in symbols]
    words = [*symbols, *("".join(pair) for pair in merges), START, END]
    vocabulary = {word: i for i, word in enumerate(words)}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, end_of_word_suffix=WORD_END))
    pieces = pre_tokenizers.Split(Regex(PIECES), "removed", invert=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pieces, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    return tokenizer


class Clip4ClipTokenizer:
    """CLIP4Clip's and CLIP2Video's: repairs broken text first, knows the special tokens by name, pads with zeros."""

    def __init__(self, merges: list[tuple[str, str]] | None = None) -> None:
        self.tokenizer = _pieces(merges or read_merges())
        self.tokenizer.add_special_tokens([START, END])

    def tokens(self, text: str) -> list[int]:
        """Ids without start and end."""
        return self.tokenizer.encode(clean(text), add_special_tokens=False).ids

    def feed(self, text: str, max_words: int) -> tuple[list[int], int]:
        """`max_words` ids, and how many of them are not padding. A long text loses its end but not the end token."""
        ids = [START_ID, *self.tokens(text)][: max_words - 1] + [END_ID]
        return ids + [0] * (max_words - len(ids)), len(ids)


class ClipVipTokenizer:
    def __init__(self, merges: list[tuple[str, str]] | None = None) -> None:
        self.tokenizer = build(merges)

    def feed(self, text: str, max_length: int) -> tuple[list[int], int]:
        """`max_length` ids, padded with the end token, and how many of them are not padding."""
        self.tokenizer.enable_truncation(max_length)
        ids = self.tokenizer.encode(text).ids
        return ids + [END_ID] * (max_length - len(ids)), len(ids)


def clean(text: str) -> str:
    """Mojibake repaired, HTML entities resolved twice, white space collapsed, lower case."""
    text = html.unescape(html.unescape(ftfy.fix_text(text)))
    return " ".join(text.split()).lower()
