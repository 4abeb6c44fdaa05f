"""PE-Core and MobileCLIP, from a folder of open_clip, whose image encoders are timm's."""

from __future__ import annotations

import open_clip
from timm.utils import reparameterize_model

from ..checkpoints import CheckpointError
from . import pictures, texts
from .folder import OPEN_CLIP, Folder
from .towers import Towers

TITLES = {"pe_core": "PE-Core", "mobileclip": "MobileCLIP"}


def load(folder: Folder) -> Towers:
    text = folder.config.get("text_cfg", {})
    strange = [name for name in ("hf_model_name", "hf_tokenizer_name", "tokenizer_kwargs") if text.get(name)]
    if strange:
        only = "only CLIP's own tokenizer and text encoder can be exported"
        raise CheckpointError(f"{folder.path / OPEN_CLIP}: {', '.join(strange)}: {only}")
    try:
        model = open_clip.create_model(f"local-dir:{folder.path}", require_pretrained=True)
    except Exception as error:  # damaged files, unknown names, keys that are missing: each has its own exception
        raise CheckpointError(f"{folder.path}: {reason(error)}") from error
    model.eval()
    side = pictures.one_side(model.visual.image_size)
    # Attention masks of open_clip's text encoder are as long as the context, so texts are as well.
    return Towers(
        # In training the convolutions have branches, which are one convolution afterwards.
        frame=reparameterize_model(model.visual, inplace=True),
        text=model.text,
        title=f"{TITLES[folder.family]}, {folder.config['vision_cfg']['timm_model_name']}, pictures of {side}",
        rows=model.vocab_size,
        pictures=pictures.of_open_clip(model.visual.preprocess_cfg, side),
        texts=texts.clip_bpe(model.context_length, "max-length"),
        logit_scale=model.logit_scale.exp().item(),
    )


def reason(error: Exception) -> str:
    """The first lines of what the library says: a title and, for weights, the keys."""
    lines = [line.strip() for line in str(error).strip().splitlines() if line.strip()]
    return " ".join(lines[:3])[:600] or type(error).__name__
