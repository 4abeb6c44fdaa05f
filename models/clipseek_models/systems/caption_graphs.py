"""Captions as two graphs of a bundle (§3.8): the frames of a window, once; the next word, once per word.

The batch is the first axis of all that they keep, so that hypotheses can be gathered by row. What was computed for the
words so far is kept (`past`), and so are the frames' keys and values (`memory`); position P is the length of `past`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .attention import attend, split_heads
from .caption_decoder import Attention, Decoder, frames_mask


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
        over = self.model.caption_memory(frames, mask)
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
