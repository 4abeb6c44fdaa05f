"""Captions as two graphs of a bundle: the frames of a window, once; the next word, once per word.

The batch is the first axis of all that they keep, so that hypotheses can be gathered by row. What was computed for the
words so far is kept (`past`), and so are the frames' keys and values (`memory`); position P is the length of `past`.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from ..graphs import Writer
from .attention import attend, split_heads
from .caption_decoder import Attention, Decoder, frames_mask
from .graph_modules import Columns, draw_windows


def keys_and_values(attention: Attention, over: Tensor) -> Tensor:
    """[N, L, W] → [N, 2, heads, L, W / heads]"""
    kept = (attention.att.key(over), attention.att.value(over))
    return torch.stack([split_heads(x, attention.heads) for x in kept], dim=1)


class CaptionMemory(nn.Module):
    """[N, T, D] frame features, mask [N, T] → [N, layers, 2, heads, T, W / heads]: what each layer's attention to frames keeps.

    `model` is a loose CLIP4Clip with a decoder, or a decoder alone.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, frames: Tensor, mask: Tensor) -> Tensor:
        # Nobody looks at padding later on. Here it keeps the mask an input, which the exporter drops where it has no say.
        over = self.model.caption_memory(frames * mask[..., None], mask)
        return torch.stack([keys_and_values(layer.enc_attn, over) for layer in self.model.decoder.layers], dim=1)


class CaptionStep(nn.Module):
    """The last word [N, 1], `past` [N, layers, 2, heads, P, W / heads], `memory` as above, mask [N, T] → two.

    Log-probabilities of the next word [N, vocabulary]; `present`, which is `past` with this word: P + 1.
    """

    def __init__(self, decoder: Decoder) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, ids: Tensor, past: Tensor, memory: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        position = past.shape[4]
        x, present = self.decoder.embeddings(ids, position), []
        for i, layer in enumerate(self.decoder.layers):
            kept = torch.cat([past[:, i], keys_and_values(layer.slf_attn, x)], dim=3)
            present.append(kept)
            x = look(layer.slf_attn, x, kept, None)  # nothing comes later than the last word
            x = layer.feed_forward(look(layer.enc_attn, x, memory[:, i], frames_mask(mask)))
        return self.decoder.predictions(x)[:, 0].log_softmax(dim=-1), torch.stack(present, dim=1)


def look(attention: Attention, x: Tensor, kept: Tensor, mask: Tensor | None) -> Tensor:
    """[N, 1, W] looking at kept keys and values [N, 2, heads, L, W / heads] → [N, 1, W]"""
    return attention.output(attend(attention.att.query(x), kept[:, 0], kept[:, 1], attention.heads, mask), residual=x)


def write_captions(model: nn.Module, frames: int, dim: int, feature_dim: int, writer: Writer) -> tuple[Path, Path]:
    """Both graphs, for windows of so many frames. The model's own part of the stored features are the first `dim`."""
    decoder = model.decoder
    layers, heads, width = len(decoder.layers), decoder.heads, decoder.width // decoder.heads
    memory = CaptionMemory(model) if feature_dim == dim else Columns(CaptionMemory(model), 0, dim)

    def draw_step(count: int, length: int, past: int) -> dict[str, Tensor]:
        return {
            "ids": torch.randint(decoder.vocabulary, (count, 1)),
            "past": torch.randn(count, layers, 2, heads, past, width),
            "memory": torch.randn(count, layers, 2, heads, length, width),
            "mask": draw_windows(count, length, dim)["mask"],
        }

    windows = {0: "batch", 1: "length"}
    memory_path = writer.write(
        "caption_memory", memory, "memory", dict.fromkeys(("frames", "mask"), windows) | {"memory": {0: "batch", 4: "length"}},
        draw_windows(2, frames, feature_dim), draw_windows(3, frames - 1 or 2, feature_dim),
    )
    axes = {"ids": {0: "batch"}, "mask": windows, "memory": {0: "batch", 4: "length"}}
    axes |= {"past": {0: "batch", 4: "words"}, "present": {0: "batch", 4: "words and one"}}
    step_path = writer.write(
        "caption_step", CaptionStep(decoder), ("log_probs", "present"), axes,
        draw_step(2, frames, 2), draw_step(3, frames - 1 or 2, 0), compared=["log_probs"],
    )
    return memory_path, step_path
