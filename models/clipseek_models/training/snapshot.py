"""Files of a training: complete or not there, whatever happens while they are written."""

from __future__ import annotations

import json
import os
from pathlib import Path

import torch
from torch import Tensor, nn


class SnapshotError(Exception):
    """Why a training cannot go on from its last snapshot."""


def write(file: Path, content: object) -> None:
    part = file.with_name(f".{file.name}.part")
    with part.open("wb") as target:
        torch.save(content, target)
        target.flush()
        os.fsync(target.fileno())
    part.rename(file)


def write_weights(file: Path, model: nn.Module, settings: dict[str, object]) -> None:
    """A state dict under the authors' names, in float32, and what an export needs to know beside it: `load` and `export` read both."""
    weights = {name: value.detach().float().cpu().clone() for name, value in model.state_dict().items()}
    write(file, {"state_dict": weights, "settings": json.dumps(settings)})


def read(file: Path) -> dict:
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file makes the reader fail in any way it likes
        raise SnapshotError(f"{file}: damaged, or no snapshot of a training ({str(error).partition(chr(10))[0]})") from error


def random_state() -> dict[str, Tensor | list[Tensor]]:
    return {"cpu": torch.get_rng_state(), "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []}


def set_random_state(state: dict[str, Tensor | list[Tensor]]) -> None:
    torch.set_rng_state(state["cpu"])
    if torch.cuda.is_available() and state["cuda"]:
        torch.cuda.set_rng_state_all(state["cuda"])
