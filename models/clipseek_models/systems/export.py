"""Writes a checkpoint of a research system as a bundle."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from .. import clip_tokenizer, pixels
from ..bundles import demand_new, staged
from ..checkpoints import CheckpointError
from ..graphs import GraphError, manifest_entries
from .clip2video import Clip2Video
from .clip4clip import MeanP
from .clip_vip import ClipVip
from .graph_modules import ExportError, facts, write_graphs
from .load import load
from .shapes import Heads

VOCABULARY = clip_tokenizer.END_ID + 1
INTERVAL_S = 1.0  # between the frames of a window: what the systems look at of a clip of usual length


@dataclass(frozen=True)
class Settings:
    """What a checkpoint does not tell."""

    frames: int = 12
    words: int | None = None  # of a text, start and end token included; None: as the system was evaluated
    licence: str = "unknown"
    precision: str = "float32"
    heads: Heads = Heads()


def command(checkpoint: Path, out: Path, system: str | None, settings: Settings) -> int:
    """`export` for the command line."""
    try:
        export(checkpoint, out, system, settings, tell=print)
    except (CheckpointError, ExportError, GraphError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"wrote {out}")
    return 0


def export(
    checkpoint: Path, out: Path, system: str | None = None, settings: Settings = Settings(),
    tell: Callable[[str], None] = lambda line: None,
) -> None:
    """A checkpoint file → the bundle `out`, which must not be there yet. `system`, where given, must be the checkpoint's."""
    demand_new(out)
    model = load(checkpoint, settings.heads)
    if system not in (None, model.system):
        raise ExportError(f"{checkpoint} is a checkpoint of {model.title}, not of {system}")
    known = facts(model)
    if known.vocabulary != VOCABULARY:
        raise ExportError(f"the checkpoint knows {known.vocabulary} tokens, CLIP's tokenizer makes {VOCABULARY}")
    most = most_frames(model, settings)
    if most is not None and settings.frames > most:
        raise ExportError(f"{settings.frames} frames per window are more than this checkpoint's positions are for ({most})")
    with staged(out) as staging:
        ports = write_graphs(model, settings.frames, staging, settings.precision, tell)
        repairs = None if isinstance(model, ClipVip) else clip_tokenizer.REPAIRS
        clip_tokenizer.build(repairs=repairs).save(str(staging / "tokenizer.json"))
        text = manifest(model, out.name, checkpoint.name, settings)
        (staging / "bundle.toml").write_text("\n".join([text, *manifest_entries(staging, ports)]))


def most_frames(model: nn.Module, settings: Settings) -> int | None:
    """Of a window; None: any number. CLIP2Video's head takes full windows, filled up where they are not."""
    if isinstance(model, Clip2Video):
        return settings.frames
    return model.most_frames if isinstance(model, MeanP) else None


def manifest(model: nn.Module, name: str, file: str, settings: Settings) -> str:
    """What `bundle.toml` says before its graphs."""
    known, vip, two_vectors = facts(model), isinstance(model, ClipVip), isinstance(model, Clip2Video)
    words = min(settings.words or (50 if vip else 32), known.context)
    video = [f'topology = "{"video" if known.whole_windows else "frames+head"}"', f"frames = {settings.frames}"]
    most = most_frames(model, settings)
    if most is not None and not known.whole_windows:
        video.append(f"max_frames = {most}")
    if two_vectors:
        video.append(f"feature_dim = {known.dim}")
    return f"""format = 1
name = "{name}"
summary = "{model.title}"
licence = {json.dumps(settings.licence)}
source = {json.dumps(f"checkpoint {file}, exported in {settings.precision} by clipseek's models package")}
dim = {2 * known.dim if two_vectors else known.dim}

[video]
{chr(10).join(video)}
interval_s = {INTERVAL_S}
interval_tolerance = 0.5
stride_frames = {max(settings.frames // 2, 1)}

[pixels]
width = {known.side}
height = {known.side}
resize = "{"stretch" if vip else "shortest-edge"}"
interpolation = "{"bicubic-a075" if vip else "bicubic"}"
antialias = {"false" if vip else "true"}
mean = {list(pixels.MEAN)}
std = {list(pixels.STD)}

[text]
context_length = {words}
padding = "longest"
pad_id = {clip_tokenizer.END_ID if vip else 0}
templates = ["{{}}"]

[similarity]
kind = "cosine"
logit_scale = {known.logit_scale:.4f}
"""
