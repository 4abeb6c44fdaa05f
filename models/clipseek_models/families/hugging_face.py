"""CLIP, SigLIP and SigLIP2 of fixed resolution, from a folder of transformers."""

from __future__ import annotations

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import CLIPImageProcessor, CLIPModel, CLIPTokenizer, Siglip2Tokenizer, SiglipImageProcessor, SiglipModel
from transformers import logging as transformers_logging

from ..checkpoints import CheckpointError
from ..systems.load import listed
from . import pictures, texts
from .folder import Folder
from .texts import Texts
from .towers import Towers

WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
PREPROCESSING = ("preprocessor_config.json", "processor_config.json")
TITLES = {"clip": "CLIP", "siglip": "SigLIP", "siglip2": "SigLIP2"}
LEGACY_END = 2  # what configurations of CLIP called the end token before transformers looked at it


class Tower(nn.Module):
    """What a tower pools, projected."""

    def __init__(self, tower: nn.Module, projection: nn.Module) -> None:
        super().__init__()
        self.tower, self.projection = tower, projection

    def forward(self, given: Tensor) -> Tensor:
        return self.projection(self.tower(given).pooler_output)


def load(folder: Folder) -> Towers:
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    model = weights(folder)
    clip = folder.family == "clip"
    text, vision = model.config.text_config, model.config.vision_config
    if not clip and not getattr(vision, "vision_use_head", True):
        raise CheckpointError("vision_use_head is off: without it SigLIP has no vector of a picture")
    one = nn.Identity()
    side = pictures.one_side(vision.image_size)
    return Towers(
        frame=Tower(model.vision_model, model.visual_projection if clip else one),
        text=Tower(model.text_model, model.text_projection if clip else one),
        title=f"{TITLES[folder.family]}, patches of {vision.patch_size}, pictures of {side}",
        rows=text.vocab_size,
        pictures=preprocessing(folder, side),
        texts=tokenizer(folder, text),
        logit_scale=model.logit_scale.exp().item(),
    )


def weights(folder: Folder) -> CLIPModel | SiglipModel:
    """The model, every weight accounted for."""
    if not any((folder.path / name).exists() for name in WEIGHTS):
        raise CheckpointError(f"{folder.path} holds no weights: none of {', '.join(WEIGHTS)}")
    kind = CLIPModel if folder.family == "clip" else SiglipModel
    try:
        model, said = kind.from_pretrained(
            folder.path, local_files_only=True, dtype=torch.float32, attn_implementation="sdpa", output_loading_info=True,
        )
    except Exception as error:  # a damaged file makes the readers fail in any way they like
        raise CheckpointError(f"{folder.path}: the weights cannot be read: {str(error).strip().splitlines()[0]}") from error
    problems = [f"the key {key} is missing" for key in sorted(said["missing_keys"])]
    # Older files hold the positions' numbers too, which are no weights.
    strange = [key for key in sorted(said["unexpected_keys"]) if not key.endswith(".position_ids")]
    problems += [f"the key {key} does not belong to this model" for key in strange]
    if problems:
        raise CheckpointError(f"{folder.path}: config.json and the weights differ: {listed(problems, '; ')}")
    return model.eval()


def preprocessing(folder: Folder, side: int) -> pictures.Pictures:
    if not any((folder.path / name).exists() for name in PREPROCESSING):
        raise CheckpointError(f"{folder.path} holds no {PREPROCESSING[0]}: nothing says how pictures are resized and normalised")
    kind = CLIPImageProcessor if folder.family == "clip" else SiglipImageProcessor
    try:
        processor = kind.from_pretrained(folder.path, local_files_only=True)
    except Exception as error:
        raise CheckpointError(f"{folder.path / PREPROCESSING[0]} cannot be read: {error}") from error
    return pictures.of_hugging_face(processor, side)


def tokenizer(folder: Folder, text: object) -> Texts:
    """`text`: the configuration of the text encoder.

    CLIP's end token hides what follows it, so texts are padded as it comes. SigLIP looks at all positions, padding too, and
    takes the last for the text's: always all of them, as in training, and no mask.
    """
    context, path = text.max_position_embeddings, folder.path
    if folder.family == "siglip":
        demand_files(folder, ["spiece.model"])
        pieces = texts.sentencepiece(path / "spiece.model")
        end = pieces.token_to_id("</s>")
        return Texts(pieces, context, "max-length", pad=end, end=end)
    if folder.family == "clip":
        demand_files(folder, ["tokenizer.json"], ["vocab.json", "merges.txt"])
        kind = CLIPTokenizer
    else:
        demand_files(folder, ["tokenizer.json"])
        kind = Siglip2Tokenizer
    try:
        read = kind.from_pretrained(path, local_files_only=True)
        fast = Tokenizer.from_str(read.backend_tokenizer.to_str())
    except Exception as error:
        raise CheckpointError(f"{path}: the tokenizer cannot be read: {error}") from error
    fast.no_padding()
    fast.no_truncation()
    if folder.family == "siglip2":
        if read.padding_side != "right":
            raise CheckpointError("tokenizer_config.json: texts are padded on the left, a bundle's are on the right")
        return Texts(fast, context, "max-length", pad=read.pad_token_id, end=read.eos_token_id)
    # The row that is pooled: the first of this id, or under the legacy name of the largest id.
    end = text.eos_token_id if text.eos_token_id != LEGACY_END else text.vocab_size - 1
    return Texts(fast, context, "longest", pad=read.pad_token_id, end=end)


def demand_files(folder: Folder, *sets: list[str]) -> None:
    """One of the sets."""
    if not any(all((folder.path / name).exists() for name in names) for names in sets):
        wanted = " or ".join(" and ".join(names) for names in sets)
        raise CheckpointError(f"{folder.path} holds no tokenizer: {wanted} is missing")
