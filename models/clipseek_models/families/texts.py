"""How a model reads its texts: the tokenizer with all that its library does before and after, as one `tokenizer.json`."""

from __future__ import annotations

import string
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

from .. import clip_tokenizer
from ..checkpoints import CheckpointError
from ..systems.load import listed

SPACE = "\u2581"  # sentencepiece's


@dataclass(frozen=True)
class Texts:
    tokenizer: Tokenizer
    context: int  # most tokens of a text, start and end token included
    padding: str  # "longest" or "max-length"
    pad: int
    end: int  # the token that every text ends with

    def demand(self, rows: int) -> None:
        """That the tokenizer makes the ids that the model has a vector for, all of them and no others."""
        ids = set(self.tokenizer.get_vocab(with_added_tokens=True).values())
        if ids != set(range(rows)):
            missing, strange = set(range(rows)) - ids, ids - set(range(rows))
            problems = [f"{len(missing)} ids are missing, the first is {min(missing)}"] if missing else []
            problems += [f"{len(strange)} ids are too many, the first is {min(strange)}"] if strange else []
            raise CheckpointError(f"the tokenizer knows {len(ids)} tokens, the checkpoint {rows}: {listed(problems, '; ')}")
        if self.pad not in ids or self.end not in ids:
            raise CheckpointError(f"texts end with token {self.end} and are padded with {self.pad}, the tokenizer has no such ids")
        if self.tokenizer.encode("a").ids[-1:] != [self.end]:
            raise CheckpointError(f"the tokenizer does not end texts with token {self.end}, which the checkpoint expects there")


def clip_bpe(context: int, padding: str) -> Texts:
    """CLIP's vocabulary, padded with zeros, as open_clip has it."""
    tokenizer = clip_tokenizer.build(repairs=clip_tokenizer.REPAIRS)
    return Texts(tokenizer, context, padding, pad=0, end=clip_tokenizer.END_ID)


def sentencepiece(path: Path) -> Tokenizer:
    """SigLIP's `spiece.model`: lower case, no punctuation, white space collapsed, then the pieces, then the end token.

    As big_vision trains it (prompt_engineering.py, canonicalize_text); only ASCII's punctuation is meant.
    """
    from google.protobuf.message import DecodeError
    from sentencepiece import sentencepiece_model_pb2

    try:
        model = sentencepiece_model_pb2.ModelProto.FromString(path.read_bytes())
    except (DecodeError, OSError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error
    if not model.pieces or model.trainer_spec.model_type != model.trainer_spec.UNIGRAM:
        raise CheckpointError(f"{path} is no unigram model of sentencepiece")
    pieces = [(piece.piece, piece.score) for piece in model.pieces]
    trained = model.trainer_spec
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=trained.unk_id, byte_fallback=trained.byte_fallback))
    steps = [
        normalizers.Replace(SPACE, " "), normalizers.Lowercase(),
        normalizers.Replace(Regex(f"[{''.join(map(escaped, string.punctuation))}]"), ""),
        normalizers.Replace(Regex(r"\s+"), " "), normalizers.Strip(),
    ]
    if model.normalizer_spec.precompiled_charsmap:
        steps.append(normalizers.Precompiled(model.normalizer_spec.precompiled_charsmap))
    tokenizer.normalizer = normalizers.Sequence(steps)
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(SPACE, prepend_scheme="always")
    end = next((i for i, (piece, _) in enumerate(pieces) if piece == "</s>"), None)
    if end is None:
        raise CheckpointError(f"{path} has no end token, </s>")
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", end)])
    return tokenizer


def escaped(character: str) -> str:
    return "\\" + character
