"""How a model wants its pictures, in the words of a bundle's manifest. What a manifest cannot say is an error."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..checkpoints import CheckpointError

KERNELS = {2: "bilinear", 3: "bicubic"}  # Pillow's numbers


@dataclass(frozen=True)
class Pictures:
    """Resized by a kernel that is as wide as the shrinking asks for (antialias), as Pillow does."""

    side: int
    resize: str
    interpolation: str
    mean: tuple[float, ...]
    std: tuple[float, ...]


def of_hugging_face(processor: Any, side: int) -> Pictures:
    """`processor`: an image processor of transformers. `side`: what the model takes."""
    size = {name: value for name, value in dict(processor.size).items() if value}
    cropped = getattr(processor, "do_center_crop", False)
    crop = {name: value for name, value in dict(processor.crop_size).items() if value} if cropped else None
    square = {"height": side, "width": side}
    if processor.do_resize and size == {"shortest_edge": side} and crop == square:
        resize = "shortest-edge"
    elif processor.do_resize and size == square and crop in (None, square):
        resize = "stretch"
    else:
        raise CheckpointError(
            f"preprocessor_config.json: pictures are resized to {size if processor.do_resize else 'nothing'} and cropped to "
            f"{crop or 'nothing'}; a bundle resizes to the model's {side} × {side}, with the shorter side or by stretching"
        )
    kernel = KERNELS.get(int(processor.resample))
    if kernel is None:
        raise CheckpointError(f"preprocessor_config.json: resample is {int(processor.resample)}; a bundle has {known(KERNELS)}")
    if not processor.do_rescale or abs(processor.rescale_factor * 255 - 1) > 1e-6:
        raise CheckpointError("preprocessor_config.json: bytes are not rescaled by 1/255, which is what a bundle's mean is about")
    mean, std = (processor.image_mean, processor.image_std) if processor.do_normalize else ((0.0,) * 3, (1.0,) * 3)
    return Pictures(side, resize, kernel, colours(mean), colours(std))


def of_open_clip(settings: dict[str, Any], side: int) -> Pictures:
    """`settings`: open_clip's preprocessing of a model."""
    resizes = {"shortest": "shortest-edge", "squash": "stretch"}
    resize, kernel = settings["resize_mode"], settings["interpolation"]
    if resize not in resizes:
        raise CheckpointError(f"open_clip_config.json: resize_mode is {resize!r}; a bundle has {known(resizes)}")
    if kernel not in KERNELS.values():
        raise CheckpointError(f"open_clip_config.json: interpolation is {kernel!r}; a bundle has {known(KERNELS.values())}")
    return Pictures(side, resizes[resize], kernel, colours(settings["mean"]), colours(settings["std"]))


def colours(values: Sequence[float]) -> tuple[float, ...]:
    if len(values) != 3:
        raise CheckpointError(f"pictures of {len(values)} colours, a frame has 3")
    return tuple(float(value) for value in values)


def one_side(size: int | Sequence[int]) -> int:
    """Of a square."""
    sides = [size] if isinstance(size, int) else list(size)
    if len(set(sides)) != 1:
        raise CheckpointError(f"pictures of {' × '.join(map(str, sides))}: only squares can be exported")
    return sides[0]


def known(names: Any) -> str:
    return ", ".join(map(str, names))
