"""A model's folder as a hub has it: which family it is of, and what it says of its licence."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..checkpoints import CheckpointError

HUGGING_FACE, OPEN_CLIP = "config.json", "open_clip_config.json"
GEMMA = ("Gemma", "Siglip2")  # how the tokenizers of SigLIP2 are called
READABLE = "CLIP, SigLIP or SigLIP2 for transformers, PE-Core or MobileCLIP for open_clip"


@dataclass(frozen=True)
class Folder:
    path: Path
    family: str
    config: dict[str, Any]  # of the file that says what the model is


def recognise(path: Path) -> Folder:
    """By the configuration alone; the weights are compared with it later."""
    if not path.is_dir():
        raise CheckpointError(f"{path} is no folder")
    config = read(path / HUGGING_FACE)
    if config is not None and "model_type" in config:
        return Folder(path, of_hugging_face(path, config["model_type"]), config)
    config = read(path / OPEN_CLIP)
    if config is not None:
        model = config.get("model_cfg", config)
        return Folder(path, of_open_clip(path, model), model)
    raise CheckpointError(f"{path} holds no {HUGGING_FACE} that names a model type and no {OPEN_CLIP}: nothing says what it is")


def read(path: Path) -> dict[str, Any] | None:
    """A JSON file, if it is there."""
    if not path.exists():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} holds no settings but {type(content).__name__}")
    return content


def of_hugging_face(path: Path, model_type: str) -> str:
    """SigLIP2 of fixed resolution is SigLIP with another tokenizer."""
    if model_type == "siglip2":
        raise CheckpointError(
            f"{path} is SigLIP2 NaFlex, which takes pictures of any shape as lists of patches; "
            "a bundle's frames are of one size: take a SigLIP2 of fixed resolution, such as base-patch16-224"
        )
    if model_type not in ("clip", "siglip"):
        raise CheckpointError(f"{path}: the model type {model_type!r} is none that can be exported: {READABLE}")
    if model_type == "siglip":
        named = (read(path / "tokenizer_config.json") or {}).get("tokenizer_class") or ""
        # Without a name, by the file that the tokenizer is read from.
        if named.startswith(GEMMA) or (not named and not (path / "spiece.model").exists()):
            return "siglip2"
    return model_type


def of_open_clip(path: Path, model: dict[str, Any]) -> str:
    vision = model.get("vision_cfg", {})
    encoder = vision.get("timm_model_name") or ""
    if encoder.startswith("vit_pe_core"):
        return "pe_core"
    # MobileCLIP2-L's image encoder is CLIP's own, which others have too: the text encoder without a causal mask tells.
    unmasked = model.get("text_cfg", {}).get("no_causal_mask")
    if encoder.startswith(("fastvit_mci", "vit_base_mci")) or (encoder.startswith("vit_large_patch14_clip") and unmasked):
        return "mobileclip"
    raise CheckpointError(f"{path}: the image encoder {encoder or 'of open_clip itself'} is none that can be exported: {READABLE}")


def licence(path: Path) -> str | None:
    """What the model card says, in its header or by its name for a licence of its own."""
    from huggingface_hub.repocard import metadata_load

    card = path / "README.md"
    try:
        said = (card.exists() and metadata_load(card)) or {}
    except Exception as error:  # whatever YAML makes of it
        raise CheckpointError(f"{card}: its header cannot be read: {str(error).splitlines()[0]}") from error
    named = said.get("license_name") if said.get("license") in (None, "other") else said["license"]
    return str(named) if named else said.get("license")
