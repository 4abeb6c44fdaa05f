"""What a bundle says of its captions: the tokenizer that turns ids into words, its start, end and padding, the two graphs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from tokenizers import Tokenizer, decoders

from .. import clip_tokenizer
from ..graphs import Writer, manifest_entry
from .caption_decoder import BEAMS, Decoder
from .caption_graphs import write_captions
from .clip4clip import MeanP
from .graph_modules import ExportError

# Start, end, padding. CLIP's tokenizer has none to pad with but its end.
KNOWN_TOKENS = [("[CLS]", "[SEP]", "[PAD]"), (clip_tokenizer.START, clip_tokenizer.END, clip_tokenizer.END)]
WORDS = 48


@dataclass(frozen=True)
class CaptionSettings:
    """What a checkpoint does not tell of its captions."""

    tokenizer: Path | None = None  # None: CLIP's
    tokens: tuple[str, str, str] | None = None  # start, end, padding; None: as they are usually called
    words: int | None = None  # most of a caption, end included; None: UniVL's 48, or what the decoder has positions for
    beams: int = BEAMS

    def limited_to(self, words: int | None) -> CaptionSettings:
        """To as many words as a training had, where nothing else is said."""
        return replace(self, words=self.words or words)


@dataclass(frozen=True)
class CaptionWords:
    """How ids become text, and when a caption ends."""

    tokenizer: Tokenizer
    start: int
    end: int
    pad: int
    most: int


def caption_words(decoder: Decoder, settings: CaptionSettings) -> CaptionWords:
    """Of a decoder, or why its captions cannot become text."""
    most = settings.words or min(WORDS, decoder.positions)
    if most > decoder.positions:
        raise ExportError(f"captions of {most} words are longer than the decoder's positions are for ({decoder.positions})")
    tokenizer, name = clip_decoder(), "CLIP's tokenizer"
    if settings.tokenizer:
        name = str(settings.tokenizer)
        try:
            tokenizer = Tokenizer.from_file(name)
        except Exception as error:  # the library has no kind of its own
            raise ExportError(f"{name} is no tokenizer: {error}") from error
    ids = tokenizer.get_vocab()
    if set(ids.values()) != set(range(decoder.vocabulary)):
        advice = "" if settings.tokenizer else "; give the decoder's own with --caption-tokenizer"
        raise ExportError(f"the caption decoder knows {decoder.vocabulary} words, {name} has {len(ids)}{advice}")
    if tokenizer.decoder is None:
        raise ExportError(f"{name} has no decoder, so its ids cannot become text")
    for tokens in [settings.tokens] if settings.tokens else KNOWN_TOKENS:
        if all(token in ids for token in tokens):
            return CaptionWords(tokenizer, *(ids[token] for token in tokens), most)
    wanted = " ".join(settings.tokens) if settings.tokens else ", nor ".join(" ".join(tokens) for tokens in KNOWN_TOKENS)
    raise ExportError(f"{name} has no {wanted}; name its start, end and padding with --caption-tokens")


def clip_decoder() -> Tokenizer:
    """CLIP's tokenizer, which can also turn ids into text."""
    tokenizer = clip_tokenizer.build()
    words = decoders.Replace(clip_tokenizer.WORD_END, " ")
    tokenizer.decoder = decoders.Sequence([decoders.ByteLevel(), words, decoders.Strip(" ", 0, 1)])
    return tokenizer


def caption_entries(
    model: MeanP, frames: int, dim: int, feature_dim: int, writer: Writer, words: CaptionWords, beams: int,
) -> list[str]:
    """Writes tokenizer and graphs; what the manifest says of them."""
    file = writer.folder / "caption_tokenizer.json"
    words.tokenizer.save(str(file))
    memory, step = write_captions(model, frames, dim, feature_dim, writer)
    ids = f"start_id = {words.start}\nend_id = {words.end}\npad_id = {words.pad}"
    of_memory = {"frames": "frames", "mask": "mask", "output": "memory"}
    of_step = {name: name for name in ("ids", "past", "memory", "mask")} | {"output": "log_probs", "present": "present"}
    return [
        f"[captions]\n{ids}\nmax_words = {words.most}\nbeams = {beams}\n",
        manifest_entry("captions.tokenizer", file, {}),
        manifest_entry("captions.memory", memory, of_memory),
        manifest_entry("captions.step", step, of_step),
    ]
