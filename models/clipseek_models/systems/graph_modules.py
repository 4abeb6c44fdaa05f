"""What each graph of a bundle computes, and the graphs themselves.

Where frames are encoded one by one, there is a graph for a frame and one for the head (the mean needs none); where they
are not, one graph takes the whole window.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from ..graphs import Writer
from .clip import OpenAiClip
from .interface import System

LEAST_FRAMES = 3  # of a window, for which CLIP2Video is well defined
Ports = dict[str, tuple[str, str | None, str]]  # of a graph: names of its input, its mask if it has one, its output


class ExportError(Exception):
    """Why a model cannot become a bundle."""


class Frame(nn.Module):
    """[N, 3, H, W] → [N, D], not normalised; of several models side by side, in this order"""

    def __init__(self, *models: OpenAiClip) -> None:
        super().__init__()
        self.models = nn.ModuleList(models)

    def forward(self, pixels: Tensor) -> Tensor:
        features = [model.frame_features(pixels[:, None])[:, 0] for model in self.models]
        return features[0] if len(features) == 1 else torch.cat(features, dim=-1)


class Columns(nn.Module):
    """A module that is given its own part of frame features that stand side by side. Frames come first of what it takes."""

    def __init__(self, module: nn.Module, first: int, count: int) -> None:
        super().__init__()
        self.module, self.first, self.count = module, first, count

    def forward(self, frames: Tensor, *others: Tensor) -> Tensor:
        return self.module(frames[..., self.first : self.first + self.count], *others)


class Head(nn.Module):
    """[B, T, D] frame features, mask [B, T] → [B, D] of unit length"""

    def __init__(self, model: OpenAiClip) -> None:
        super().__init__()
        self.model = model

    def forward(self, frames: Tensor, mask: Tensor) -> Tensor:
        return self.model.clip_embedding(frames, mask)


class PaddedHead(nn.Module):
    """CLIP2Video's: [B, T, D] frame features, mask [B, T] → [B, 2D] of unit length, T being the frames of a full window.

    The padding of short windows has a say in the published system: there it is the feature of an empty picture, which is
    put in here for whatever stands behind the mask. With one or two frames the published system attends to padding alone,
    and what comes out depends on rounding; here such frames are repeated to a full window.
    """

    def __init__(self, model: OpenAiClip) -> None:
        super().__init__()
        self.model = model
        side = model.clip.visual.side
        with torch.no_grad():
            self.register_buffer("empty", model.frame_features(torch.zeros(1, 1, 3, side, side))[0])

    def forward(self, frames: Tensor, mask: Tensor) -> Tensor:
        window, count = frames.shape[1], mask.sum(1, keepdim=True)
        few = count < LEAST_FRAMES
        repeats = (torch.arange(window) * count / window).floor().long()
        repeated = frames.gather(1, repeats[..., None].expand_as(frames))
        padded = torch.where(mask[..., None] > 0, frames, self.empty)
        return self.model.clip_embedding(torch.where(few[..., None], repeated, padded), mask.masked_fill(few, 1.0))


class Video(nn.Module):
    """[B, T, 3, H, W] → [B, D] of unit length"""

    def __init__(self, model: System) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: Tensor) -> Tensor:
        return self.model.encode_video(pixels, pixels.new_ones(pixels.shape[0], pixels.shape[1])).vectors


class Text(nn.Module):
    """[B, L] ids, and mask where the model asks for it → [B, V] of unit length"""

    def __init__(self, model: System) -> None:
        super().__init__()
        self.model = model

    def forward(self, *ids_and_mask: Tensor) -> Tensor:
        return self.model.encode_text(*ids_and_mask)


def write_graphs(
    model: System, frames: int, folder: Path, precision: str = "float32", tell: Callable[[str], None] = lambda line: None,
    beside: OpenAiClip | None = None,
) -> Ports:
    """The graphs of a model, for windows of so many frames. `tell` hears how well each agrees with its module.

    The frame graph gives the features of `beside` too, behind the model's own.
    """
    limits, ports, writer = model.limits, {}, Writer(folder, precision, tell)
    picture = (3, limits.side, limits.side)
    feature_dim = model.dim + (beside.dim if beside else 0)

    def write(name: str, module: nn.Module, output: str, draw: Callable[[int, int], dict[str, Tensor]], lengths=(0, 0)) -> None:
        """`draw`: inputs for a batch of a size, of a length; with two different lengths, the graph leaves the length open."""
        sample, trial = draw(2, lengths[0]), draw(3, lengths[1])
        free = {0: "batch"} if lengths[0] == lengths[1] else {0: "batch", 1: "length"}
        writer.write(name, module, output, dict.fromkeys(sample, free), sample, trial)
        ports[name] = (*sample, None, output) if len(sample) == 1 else (*sample, output)

    def pictures(count: int, _length: int) -> dict[str, Tensor]:
        return {"pixel_values": torch.randn(count, *picture)}

    def whole_windows(count: int, _length: int) -> dict[str, Tensor]:
        return {"pixel_values": torch.randn(count, frames, *picture)}

    def windows(count: int, length: int) -> dict[str, Tensor]:
        return draw_windows(count, length, feature_dim)

    def texts(count: int, length: int) -> dict[str, Tensor]:
        ids = {"input_ids": torch.randint(limits.vocabulary, (count, length))}
        return ids | {"attention_mask": _shorter(count, length).long()} if model.bundle.text_mask else ids

    if model.whole_windows:
        write("video", Video(model), "video_embeds", whole_windows)
    else:
        write("frame", Frame(model, beside) if beside else Frame(model), "image_embeds", pictures)
        if model.bundle.head == "full windows":
            write("head", PaddedHead(model), "embedding", windows, (frames, frames))
        elif beside:
            write("head", Columns(Head(model), 0, model.dim), "embedding", windows, (frames, frames - 1 or 2))
        elif model.bundle.head:
            write("head", Head(model), "embedding", windows, (frames, frames - 1 or 2))
    write("text", Text(model), "text_embeds", texts, (limits.words, 7))
    return ports


def draw_windows(count: int, length: int, feature_dim: int) -> dict[str, Tensor]:
    """Random frame features and a mask."""
    return {"frames": torch.randn(count, length, feature_dim), "mask": _shorter(count, length)}


def _shorter(count: int, length: int) -> Tensor:
    """A mask whose last row is only half full."""
    mask = torch.ones(count, length)
    mask[-1, (length + 1) // 2 :] = 0
    return mask
