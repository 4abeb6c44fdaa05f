"""The caption decoder of UniVL (arXiv 2002.06353), the code base that CLIP4Clip grew from.

CLIP4Clip's journal version captions too, but published neither code nor weights for it. Post-norm layers as in BERT:
attention to the words so far, attention to the frames, feed-forward.

A checkpoint holds it alone, or beside the keys of a loose CLIP4Clip model, whose frames it then describes (clip4clip.py).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from .. import decoding
from .attention import attend
from .blocks import TEMPORAL_EPS
from .shapes import Heads, Shapes, heads_of

MASKED = -10_000.0  # added to the scores of what must not be looked at
BEAMS = 5


def frames_mask(mask: Tensor) -> Tensor:
    """[B, T] → additive [B, 1, 1, T]"""
    return (mask == 0)[:, None, None, :] * MASKED


class Projections(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))


class AddAndNorm(nn.Module):
    """[B, L, hidden], residual [B, L, W] → [B, L, W]"""

    def __init__(self, hidden: int, width: int) -> None:
        super().__init__()
        self.dense = nn.Linear(hidden, width)
        self.LayerNorm = nn.LayerNorm(width, eps=TEMPORAL_EPS)
        self.dropout = nn.Dropout(0.0)  # what a training sets it to

    def forward(self, x: Tensor, residual: Tensor) -> Tensor:
        return self.LayerNorm(residual + self.dropout(self.dense(x)))


class Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.att = Projections(width)
        self.output = AddAndNorm(width, width)
        self.dropout = nn.Dropout(0.0)  # of who looks at whom

    def forward(self, x: Tensor, over: Tensor, mask: Tensor) -> Tensor:
        """[B, L, W] looking at [B, N, W] → [B, L, W]"""
        dropout = self.dropout.p if self.training else 0.0
        seen = attend(self.att.query(x), self.att.key(over), self.att.value(over), self.heads, mask, dropout)
        return self.output(seen, residual=x)


class Layer(nn.Module):
    def __init__(self, width: int, hidden: int, heads: int) -> None:
        super().__init__()
        self.slf_attn, self.enc_attn = Attention(width, heads), Attention(width, heads)
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(width, hidden)})
        self.output = AddAndNorm(hidden, width)

    def forward(self, x: Tensor, memory: Tensor, words_mask: Tensor, memory_mask: Tensor) -> Tensor:
        """[B, L, W] words, [B, T, W] frames → [B, L, W]"""
        x = self.slf_attn(x, x, words_mask)
        return self.feed_forward(self.enc_attn(x, memory, memory_mask))

    def feed_forward(self, x: Tensor) -> Tensor:
        """[B, L, W] → [B, L, W]"""
        return self.output(functional.gelu(self.intermediate["dense"](x)), residual=x)


class Embeddings(nn.Module):
    def __init__(self, vocabulary: int, positions: int, width: int) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(vocabulary, width)
        self.position_embeddings = nn.Embedding(positions, width)
        self.LayerNorm = nn.LayerNorm(width, eps=TEMPORAL_EPS)
        self.dropout = nn.Dropout(0.0)

    def forward(self, ids: Tensor, first: int = 0) -> Tensor:
        """[B, L], the position of the first → [B, L, W]"""
        return self.dropout(self.LayerNorm(self.word_embeddings(ids) + self.position_embeddings.weight[first : first + ids.shape[1]]))


class Predictions(nn.Module):
    """[B, L, W] → [B, L, vocabulary] logits"""

    def __init__(self, vocabulary: int, width: int) -> None:
        super().__init__()
        self.transform = nn.ModuleDict({"dense": nn.Linear(width, width), "LayerNorm": nn.LayerNorm(width, eps=TEMPORAL_EPS)})
        # The table of the words again: checkpoints hold it under both names.
        self.decoder = nn.Linear(width, vocabulary, bias=False)
        self.bias = nn.Parameter(torch.empty(vocabulary))

    def forward(self, x: Tensor) -> Tensor:
        x = self.transform["LayerNorm"](functional.gelu(self.transform["dense"](x)))
        return self.decoder(x) + self.bias


class Decoder(nn.Module):
    """[B, L] words so far, [B, T, W] frames → what each word is followed by."""

    def __init__(self, shapes: Shapes, heads: int | None) -> None:
        super().__init__()
        vocabulary, width = shapes.of("decoder.embeddings.word_embeddings.weight", 2)
        positions, _ = shapes.of("decoder.embeddings.position_embeddings.weight", 2)
        hidden, _ = shapes.of("decoder.decoder.layer.0.intermediate.dense.weight", 2)
        heads = heads_of(width, heads, "caption decoder")
        count = shapes.layers("decoder.decoder.layer")
        self.vocabulary, self.positions, self.width, self.heads = vocabulary, positions, width, heads
        self.embeddings = Embeddings(vocabulary, positions, width)
        self.decoder = nn.ModuleDict({"layer": nn.ModuleList(Layer(width, hidden, heads) for _ in range(count))})
        self.classifier = nn.ModuleDict({"cls": nn.ModuleDict({"predictions": Predictions(vocabulary, width)})})

    @property
    def layers(self) -> nn.ModuleList:
        return self.decoder["layer"]

    @property
    def predictions(self) -> Predictions:
        return self.classifier["cls"]["predictions"]

    def logits(self, ids: Tensor, mask: Tensor, memory: Tensor, memory_mask: Tensor) -> Tensor:
        """[B, L] ids and mask, [B, T, W] frames and mask [B, T] → [B, L, vocabulary]: what each word is followed by."""
        length = ids.shape[1]
        later = torch.ones(length, length, dtype=torch.bool, device=ids.device).triu(1)
        words_mask = (later | (mask == 0)[:, None, :])[:, None] * MASKED
        x = self.embeddings(ids)
        for layer in self.layers:
            x = layer(x, memory, words_mask, frames_mask(memory_mask))
        return self.predictions(x)

    def log_prob(self, ids: Tensor, mask: Tensor, memory: Tensor, memory_mask: Tensor) -> Tensor:
        """As `logits`, normalised."""
        return self.logits(ids, mask, memory, memory_mask).log_softmax(dim=-1)

    def caption(
        self, memory: Tensor, memory_mask: Tensor, start: int, end: int, pad: int, words: int, beams: int = BEAMS,
    ) -> tuple[list[int], float]:
        """[T, W] frames and mask [T] of one clip → what `decoding.search` finds. With one beam it is greedy."""
        return decoding.search(_NextWord(self, memory, memory_mask), start, end, pad, words, beams)


class _NextWord:
    """A step of `decoding.search`: all words so far go through the decoder again."""

    def __init__(self, decoder: Decoder, memory: Tensor, memory_mask: Tensor) -> None:
        self.decoder, self.memory, self.mask = decoder, memory, memory_mask
        self.ids = torch.empty(1, 0, dtype=torch.int64, device=memory.device)

    @torch.no_grad()
    def __call__(self, words: np.ndarray, origins: np.ndarray) -> np.ndarray:
        last = torch.from_numpy(words).to(self.ids)
        self.ids = torch.cat([self.ids[torch.from_numpy(origins)], last[:, None]], dim=1)
        memory, mask = (part.expand(len(words), *part.shape) for part in (self.memory, self.mask))
        return self.decoder.log_prob(self.ids, torch.ones_like(self.ids), memory, mask)[:, -1].float().cpu().numpy()


class CaptionDecoder(nn.Module):
    """A checkpoint that holds nothing else."""

    system, title = "clip4clip", "caption decoder"
    searches = reranks = gives_candidates = clamps_before_step = False

    def __init__(self, shapes: Shapes, heads: Heads) -> None:
        super().__init__()
        self.decoder = Decoder(shapes, heads.captions)

    def clamp_temperature(self) -> None:
        """It has none."""

    def caption_memory(self, frames: Tensor, _mask: Tensor) -> Tensor:
        """[B, T, W] → [B, T, W]: it is given frames that are as wide as it is."""
        return frames
