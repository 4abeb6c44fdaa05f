"""The caption decoder in training: its first values, and the loss of a caption under teacher forcing (§3.8)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ..systems.caption_decoder import Decoder

LAYERS = 3  # UniVL's, for captions
WORDS = "decoder.embeddings.word_embeddings.weight"
TIED = "decoder.classifier.cls.predictions.decoder.weight"  # the same table under another name
IGNORED = -100


def decoder_state(
    width: int, vocabulary: int, positions: int, layers: int = LAYERS, seed: int = 0, words: Tensor | None = None,
) -> dict[str, Tensor]:
    """As wide as the frames that it looks at. `words` [vocabulary, width]: a table to begin with, such as CLIP's own: a
    vocabulary of tens of thousands is much to learn from captions alone. Else, and for the rest, BERT's values.
    """
    drawn = torch.Generator().manual_seed(seed)
    state: dict[str, Tensor] = {}

    def linear(key: str, rows: int, columns: int) -> None:
        state[f"{key}.weight"] = 0.02 * torch.randn(rows, columns, generator=drawn)
        state[f"{key}.bias"] = torch.zeros(rows)

    def norm(key: str) -> None:
        state.update({f"{key}.weight": torch.ones(width), f"{key}.bias": torch.zeros(width)})

    own = words is not None and words.shape == (vocabulary, width)
    state[WORDS] = words.clone() if own else 0.02 * torch.randn(vocabulary, width, generator=drawn)
    state["decoder.embeddings.position_embeddings.weight"] = 0.02 * torch.randn(positions, width, generator=drawn)
    norm("decoder.embeddings.LayerNorm")
    for layer in range(layers):
        place = f"decoder.decoder.layer.{layer}"
        for attention in ("slf_attn", "enc_attn"):
            for part in ("query", "key", "value"):
                linear(f"{place}.{attention}.att.{part}", width, width)
            linear(f"{place}.{attention}.output.dense", width, width)
            norm(f"{place}.{attention}.output.LayerNorm")
        linear(f"{place}.intermediate.dense", 4 * width, width)
        linear(f"{place}.output.dense", width, 4 * width)
        norm(f"{place}.output.LayerNorm")
    head = "decoder.classifier.cls.predictions"
    linear(f"{head}.transform.dense", width, width)
    norm(f"{head}.transform.LayerNorm")
    return state | {f"{head}.bias": torch.zeros(vocabulary), TIED: state[WORDS]}


def tie(decoder: Decoder) -> None:
    """One table of words again: a checkpoint holds it under two names."""
    decoder.predictions.decoder.weight = decoder.embeddings.word_embeddings.weight


def caption_loss(decoder: Decoder, memory: Tensor, memory_mask: Tensor, ids: Tensor, mask: Tensor, count_padding: bool = False) -> Tensor:
    """Mean over words of how badly each was foreseen from the true ones before it.

    memory [B, T, D] frames that know of each other, memory_mask [B, T]; ids and mask [B, L], from start to end token.

    `count_padding`: mean over all positions, padding being wanted behind the end. UniVL's code has it so by oversight: it
    ignores the target -1, and its reader of captions pads with 0.
    """
    foreseen = mask[:, 1:]  # positions that a word or the end token follows
    logits = decoder.logits(ids[:, :-1] * foreseen, foreseen, memory, memory_mask)
    target = ids[:, 1:] * foreseen if count_padding else ids[:, 1:].masked_fill(foreseen == 0, IGNORED)
    return F.cross_entropy(logits.flatten(0, 1).float(), target.flatten(), ignore_index=IGNORED)
