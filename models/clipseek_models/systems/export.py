"""Writes a checkpoint of a research system as a bundle."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from torch import nn

from .. import checkpoints, clip_tokenizer, pixels
from ..bundles import demand_new, report, staged
from ..graphs import Writer, manifest_entries
from ..manifest import Pixels, Text, windows
from ..manifest import manifest as write_manifest
from .attention import separate_operators
from .caption_export import CaptionSettings, CaptionWords, caption_entries, caption_words
from .clip import VOCABULARY
from .clip4clip import TightTransf
from .graph_modules import ExportError, write_graphs
from .interface import System
from .load import load
from .rerank import check_pair, own_candidates, same_frames, write_rerank
from .shapes import Heads

FRAMES = 12
INTERVAL_S, INTERVAL_TOLERANCE = 1.0, 0.5  # between the frames of a window: what the systems look at of a clip of usual length
CLIP_PIXELS = partial(Pixels, mean=pixels.MEAN, std=pixels.STD)
CLIP_VIP_PIXELS = partial(CLIP_PIXELS, resize="stretch", interpolation="bicubic-a075", antialias=False)


@dataclass(frozen=True)
class Settings:
    """What a checkpoint does not tell."""

    frames: int | None = None  # of a window; None: as it was trained by this package, else 12
    words: int | None = None  # of a text, start and end token included; None: as it was trained by this package, or evaluated
    licence: str = "unknown"
    precision: str = "float32"
    heads: Heads = Heads()
    captions: CaptionSettings = CaptionSettings()
    separate_attention: bool = False  # as operators of ONNX alone, for TensorRT


@dataclass(frozen=True)
class Parts:
    """What a bundle is made of."""

    model: System  # of its vectors
    tight: TightTransf | None = None  # re-ranks what they find
    words: CaptionWords | None = None  # of the model's captions

    @property
    def beside(self) -> TightTransf | None:
        """The second model, where it has frame features of its own: those of both stand side by side."""
        return None if self.tight is None or same_frames(self.model, self.tight) else self.tight

    @property
    def feature_dim(self) -> int:
        """Of what is stored of a frame."""
        return self.model.dim + (self.beside.dim if self.beside else 0)

    def most_frames(self, settings: Settings) -> int | None:
        """Of a window; None: any number. CLIP2Video's head takes full windows, filled up where they are not."""
        if self.model.bundle.head == "full windows":
            return settings.frames
        limits = [part.limits.frames for part in (self.model, self.tight) if part]
        return min((limit for limit in limits if limit is not None), default=None)

    @property
    def summary(self) -> str:
        title = self.model.title
        if self.tight and self.model.clip is self.tight.clip:
            title = f"{self.tight.title}, which re-ranks the means of its own frames: trained through it only, they find poorly"
        elif self.tight:
            title += f", re-ranked by {self.tight.title}"
        return f"{title}, with captions" if self.words else title


def command(checkpoint: Path, out: Path, system: str | None, settings: Settings, rerank: Path | None = None) -> int:
    """`export` for the command line."""
    return report(lambda: export(checkpoint, out, system, settings, rerank, tell=print), out)


def export(
    checkpoint: Path, out: Path, system: str | None = None, settings: Settings = Settings(), rerank: Path | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> None:
    """A checkpoint file → the bundle `out`, which must not be there yet. `system`, where given, must be the checkpoint's.

    `rerank`: a checkpoint of CLIP4Clip tightTransf, which is to re-rank what the vectors find.
    """
    demand_new(out)
    model, trained = load(checkpoint, settings.heads), checkpoints.settings(checkpoint)
    settings = replace(
        settings, frames=settings.frames or trained.get("frames", FRAMES), words=settings.words or trained.get("words"),
        captions=settings.captions.limited_to(trained.get("words")),
    )
    if system not in (None, model.system):
        raise ExportError(f"{checkpoint} is a checkpoint of {model.title}, not of {system}")
    parts = parts_of(model, load(rerank, settings.heads) if rerank else None, settings)
    known = parts.model.limits
    if known.vocabulary != VOCABULARY:
        raise ExportError(f"the checkpoint knows {known.vocabulary} tokens, CLIP's tokenizer makes {VOCABULARY}")
    most = parts.most_frames(settings)
    if most is not None and settings.frames > most:
        raise ExportError(f"{settings.frames} frames per window are more than this checkpoint's positions are for ({most})")
    with staged(out) as staging:
        repairs = clip_tokenizer.REPAIRS if model.bundle.repaired else None
        clip_tokenizer.build(repairs=repairs).save(str(staging / "tokenizer.json"))
        text = manifest(parts, out.name, " and ".join(file.name for file in (checkpoint, rerank) if file), settings)
        with separate_operators(settings.separate_attention):
            entries = write_parts(parts, staging, settings, tell)
        (staging / "bundle.toml").write_text("\n".join([text, *entries]))


def parts_of(model: nn.Module, tight: nn.Module | None, settings: Settings) -> Parts:
    """What becomes of one checkpoint, or two, if they go together."""
    if model.reranks:
        if tight:
            raise ExportError(f"candidates come from a loose CLIP4Clip, the checkpoint is of {model.title}; that one is for --rerank")
        model, tight = own_candidates(model), model
    if tight:
        check_pair(model, tight)
    if not model.searches:
        raise ExportError(f"{model.title} gives no vector to search with, so there is nothing to export")
    decoder = getattr(model, "decoder", None)
    if decoder is None:
        return Parts(model, tight)
    if model.whole_windows:
        raise ExportError(f"{model.title} has 3-D patches here: no frame has a feature of its own for captions to be made of")
    return Parts(model, tight, caption_words(decoder, settings.captions))


def write_parts(
    parts: Parts, folder: Path, settings: Settings, tell: Callable[[str], None] = lambda line: None,
) -> list[str]:
    """The graphs of a bundle, beside its tokenizer; what the manifest says of both."""
    dim, feature_dim, writer = parts.model.dim, parts.feature_dim, Writer(folder, settings.precision, tell)
    ports = write_graphs(parts.model, settings.frames, folder, settings.precision, tell, parts.beside)
    entries = manifest_entries(folder, ports)
    if parts.tight:
        entries.append(write_rerank(parts.tight, settings.frames, dim, feature_dim, writer))
    if parts.words:
        entries += caption_entries(parts.model, settings.frames, dim, feature_dim, writer, parts.words, settings.captions.beams)
    return entries


def manifest(parts: Parts, name: str, files: str, settings: Settings) -> str:
    """What `bundle.toml` says before its graphs."""
    model, traits, limits = parts.model, parts.model.bundle, parts.model.limits
    words = min(settings.words or traits.words, *(part.limits.words for part in (model, parts.tight) if part))
    more, most = {}, parts.most_frames(settings)
    if most is not None and not model.whole_windows:
        more["max_frames"] = most
    if model.vector_parts > 1 or parts.beside:
        more["feature_dim"] = parts.feature_dim
    return write_manifest(
        name, parts.summary, settings.licence, f"checkpoint {files}, exported in {settings.precision} by clipseek's models package",
        model.vector_parts * model.dim,
        windows("video" if model.whole_windows else "frames+head", settings.frames, INTERVAL_S, INTERVAL_TOLERANCE, **more),
        CLIP_VIP_PIXELS(limits.side) if traits.stretch else CLIP_PIXELS(limits.side),
        Text(words, 0 if traits.repaired else clip_tokenizer.END_ID), model.scale().item(),
    )
