"""Writes a model's folder as a bundle: frame graph, text graph, tokenizer, manifest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from ..attention_nodes import Calls, attention_modules
from ..bundles import demand_new, report, staged
from ..checkpoints import CheckpointError
from ..graphs import GraphError, Writer, manifest_entries
from ..manifest import Pixels, Text, windows
from ..manifest import manifest as write_manifest
from ..systems.attention import separate_operators
from ..systems.export import FRAMES, INTERVAL_S, INTERVAL_TOLERANCE, Settings
from ..systems.graph_modules import ExportError
from . import folder as folders
from .towers import Towers

PORTS = {"frame": ("pixel_values", None, "image_embeds"), "text": ("input_ids", None, "text_embeds")}


def command(checkpoint: Path, out: Path, system: str | None, settings: Settings) -> int:
    """`export` for the command line."""
    return report(lambda: export(checkpoint, out, system, settings, tell=print), out)


def export(
    path: Path, out: Path, family: str | None = None, settings: Settings = Settings(),
    tell: Callable[[str], None] = lambda line: None,
) -> None:
    """A model's folder → the bundle `out`, which must not be there yet. `family`, where given, must be the folder's."""
    demand_new(out)
    settings = replace(settings, frames=settings.frames or FRAMES)
    folder = folders.recognise(path)
    if family not in (None, folder.family):
        raise ExportError(f"{path} is a model of {folder.family}, not of {family}")
    towers = load(folder)
    try:
        towers.texts.demand(towers.rows)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    words = context(towers, settings)
    licence = settings.licence if settings.licence != Settings.licence else folders.licence(path) or Settings.licence
    with staged(out) as staging:
        with separate_operators(settings.separate_attention):
            dim = write_graphs(towers, Writer(staging, settings.precision, tell))
        towers.texts.tokenizer.save(str(staging / "tokenizer.json"))
        said = manifest(towers, out.name, path.resolve().name, licence, words, dim, settings)
        (staging / "bundle.toml").write_text("\n".join([said, *manifest_entries(staging, PORTS)]), encoding="utf-8")


def load(folder: folders.Folder) -> Towers:
    # Imported late: each needs libraries that the other does not.
    try:
        if folder.family in ("pe_core", "mobileclip"):
            from .open_clip_models import load as of_library
        else:
            from .hugging_face import load as of_library
    except ImportError as error:
        raise ExportError(f"{error}: pip install 'clipseek-models[families]'") from error
    return of_library(folder)


def context(towers: Towers, settings: Settings) -> int:
    """Most tokens of a text."""
    known = towers.texts.context
    if settings.words is None or settings.words == known:
        return known
    if settings.words > known:
        raise ExportError(f"{settings.words} words are more than the checkpoint's positions are for ({known})")
    if towers.texts.padding == "max-length":
        raise ExportError(f"texts of this model always have {known} tokens, so they cannot have {settings.words}")
    return settings.words


def write_graphs(towers: Towers, writer: Writer) -> int:
    """Both graphs; the length of their vectors."""
    side, longest = towers.pictures.side, towers.texts.context
    pictures = [torch.randn(count, 3, side, side) for count in (2, 3)]
    free = towers.texts.padding == "longest"
    texts = [some_texts(towers, count, length) for count, length in ((2, longest), (3, min(7, longest) if free else longest))]
    image = write("frame", towers.frame, pictures, {0: "batch"}, writer)
    text = write("text", towers.text, texts, {0: "batch"} | ({1: "length"} if free else {}), writer)
    if image != text:
        raise ExportError(f"vectors of pictures have {image} numbers, those of texts {text}: they cannot be compared")
    return image


def write(name: str, module: nn.Module, examples: list[Tensor], axes: dict[int, str], writer: Writer) -> int:
    """A graph, in which every layer's attention must be one node; the length of its vectors."""
    module.eval()
    with torch.no_grad(), Calls() as attention:
        dim = module(examples[0]).shape[1]
    modules = attention_modules(module)
    if attention.count != modules:
        raise GraphError(f"{name}.onnx: {modules} modules are named attention, {attention.count} compute it with PyTorch's function")
    port, _, output = PORTS[name]
    sample, trial = ({port: example} for example in examples)
    writer.write(name, module, output, {port: axes}, sample, trial)
    return dim


def some_texts(towers: Towers, count: int, length: int) -> Tensor:
    """[count, length] ids, each text with its end token: the last one is half padding."""
    ids = torch.randint(towers.rows, (count, length))
    ids[ids == towers.texts.end] = 0 if towers.texts.end else 1
    ids[:, -1] = towers.texts.end
    half = length // 2
    ids[-1, half], ids[-1, half + 1 :] = towers.texts.end, towers.texts.pad
    return ids


def manifest(towers: Towers, name: str, source: str, licence: str, words: int, dim: int, settings: Settings) -> str:
    """What `bundle.toml` says before its graphs."""
    pictures, texts = towers.pictures, towers.texts
    return write_manifest(
        name, towers.title, licence, f"folder {source}, exported in {settings.precision} by clipseek's models package", dim,
        windows("frames+head", settings.frames, INTERVAL_S, INTERVAL_TOLERANCE),
        Pixels(pictures.side, pictures.mean, pictures.std, pictures.resize, pictures.interpolation),
        Text(words, texts.pad, texts.padding), towers.logit_scale,
    )
