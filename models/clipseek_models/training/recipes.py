"""Published trainings, a file each in `recipes/`: everything that the paper or the code states. Needs no PyTorch.

`[plan]` and `[settings]` are what a training by the recipe has: as published, but for the rate of CLIP's own layers and for what the
epochs are judged by. `[as-published]` has those two as the authors had them.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / "recipes"


class RecipeError(Exception):
    """What is wrong with a recipe, or with its name."""


@dataclass(frozen=True)
class Recipe:
    name: str
    title: str
    source: str  # where each of its numbers stands
    set: str  # the data set, by its name in `sets.py`; "jsonl": no public one
    plan: dict[str, object]
    settings: dict[str, object]
    as_published: dict[str, object]
    patch: int | None = None  # of the image encoder that it starts from, in pixels
    published_row: str | None = None  # of `clipseek eval --published`
    unsure: str | None = None  # what neither code nor paper states, or what others found
    start: str | None = None  # "fresh": from random weights of a small CLIP
    licence: str | None = None  # of what comes of it; a recipe with one ends in a bundle


def names() -> list[str]:
    return sorted(file.stem for file in FOLDER.glob("*.toml"))


def load(name: str) -> Recipe:
    if name not in names():
        raise RecipeError(f"no recipe {name!r}: there are {', '.join(names())}")
    content = tomllib.loads((FOLDER / f"{name}.toml").read_text(encoding="utf-8"))
    published = content.pop("as-published", {})
    return Recipe(name, as_published=published, **content)
