"""Reads the weights out of the files that the authors publish. Nothing in a file is ever executed.

torch's zip format and the legacy pickle before it, OpenAI's TorchScript archives, safetensors. The result is always a
flat dictionary of names and float32 tensors, whatever mix of precisions the file holds.
"""

from __future__ import annotations

import json
import pickle
import re
import zipfile
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from . import torchscript

WRAPPERS = ("module.", "_orig_mod.")  # of torch's distributed and compiled modules
RESUME_KEYS = ("model_state_dict", "state_dict")  # where a file for resuming keeps the model


class CheckpointError(Exception):
    """What is wrong with a checkpoint, for the person who brought it."""


def read(path: Path) -> dict[str, Tensor]:
    """A file of any of the formats → names and float32 tensors."""
    try:
        content = _content(path)
    except CheckpointError:
        raise
    except OSError as error:
        raise CheckpointError(f"cannot be read: {error.strerror or error}") from error
    except Exception as error:  # a damaged file makes the readers fail in any way they like
        raise CheckpointError(_reason(error)) from error
    state = unwrapped(content)
    return {name: value.float() if value.is_floating_point() else value for name, value in state.items()}


def settings(path: Path) -> dict[str, object]:
    """What a training of this package said of the weights that it kept (`training/snapshot.py`); nothing of other files."""
    try:
        content = _content(path)
        said = json.loads(content["settings"]) if isinstance(content, dict) and isinstance(content.get("settings"), str) else {}
    except Exception:  # what is wrong with the file is for `read` to say
        return {}
    return said if isinstance(said, dict) else {}


def _content(path: Path) -> object:
    with path.open("rb") as file:
        start = file.read(9)
    if start[8:] == b"{":  # the length of safetensors' header, then its JSON
        return load_file(path)
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if torchscript.is_torchscript(archive):
                return torchscript.read(archive)
    elif start[:4] == b"PK\x03\x04":
        raise CheckpointError("truncated: the end of the archive is missing")
    return torch.load(path, map_location="cpu", weights_only=True)


def _reason(error: Exception) -> str:
    """PyTorch's own message would tell people how to run the code in the file after all."""
    asked_for = re.search(r"GLOBAL (\S+)", str(error))
    if asked_for:
        return f"refused: it asks for {asked_for[1]}, which is no part of any model's weights"
    if isinstance(error, pickle.UnpicklingError):
        return "refused: damaged, or a pickle of something else than weights"
    return f"damaged, or no checkpoint ({str(error).partition(chr(10))[0] or type(error).__name__})"


def unwrapped(content: object) -> dict[str, Tensor]:
    """The state dict inside of what a file held: out of a resume file's entry, without the names of wrappers."""
    for key in RESUME_KEYS:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not content:
        raise CheckpointError(f"holds no dictionary of weights but {type(content).__name__}")
    for name, value in content.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise CheckpointError(f"the entry {name!r} is no tensor but {type(value).__name__}")
    for prefix in WRAPPERS:
        if all(name.startswith(prefix) for name in content):
            content = {name.removeprefix(prefix): value for name, value in content.items()}
    return content
