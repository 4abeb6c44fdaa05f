"""What every library's model is turned into before it is exported."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from .pictures import Pictures
from .texts import Texts


@dataclass(frozen=True)
class Towers:
    """`frame`: [N, 3, S, S] → [N, D]; `text`: [N, L] ids → [N, D]; neither normalised."""

    frame: nn.Module
    text: nn.Module
    title: str  # for people
    rows: int  # of the table of tokens
    pictures: Pictures
    texts: Texts
    logit_scale: float
