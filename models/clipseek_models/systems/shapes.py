"""Sizes are never asked for: they are read off the shapes of a checkpoint's tensors."""

from __future__ import annotations

import re
from dataclasses import dataclass

from torch import Tensor

from ..checkpoints import CheckpointError

HEAD_WIDTH = 64  # of one attention head, in every published model


@dataclass(frozen=True)
class Heads:
    """The one size that no tensor tells. None: a head for every 64 channels, as in every published model."""

    vision: int | None = None
    text: int | None = None
    temporal: int | None = None
    captions: int | None = None


class Shapes:
    """The shapes of a checkpoint. What it lacks is an error that names the key."""

    def __init__(self, state: dict[str, Tensor]) -> None:
        self.state = state

    def __contains__(self, prefix: str) -> bool:
        """Whether any key begins like this."""
        return any(key.startswith(prefix) for key in self.state)

    def of(self, key: str, rank: int) -> tuple[int, ...]:
        if key not in self.state:
            raise CheckpointError(f"the key {key} is missing")
        shape = tuple(self.state[key].shape)
        if len(shape) != rank:
            raise CheckpointError(f"{key} has the shape {list(shape)}, expected {rank} dimensions")
        return shape

    def layers(self, prefix: str) -> int:
        """How many N there are in `prefix.N.…`."""
        numbered = re.compile(re.escape(prefix) + r"\.(\d+)\.")
        found = {match[1] for match in map(numbered.match, self.state) if match}
        if not found:
            raise CheckpointError(f"the keys {prefix}.0.… are missing")
        return len(found)


def heads_of(width: int, stated: int | None, part: str) -> int:
    heads = stated or width // HEAD_WIDTH
    if not heads or width % heads:
        shared = f"{heads} attention heads" if heads else f"attention heads of {HEAD_WIDTH}"
        raise CheckpointError(f"the {part} is {width} wide, which {shared} cannot share")
    return heads
