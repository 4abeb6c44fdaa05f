"""CLIP2Video: "Mastering Video-Text Retrieval via Image CLIP" (arXiv 2106.11097), in its published setting.

A Temporal Difference Block (TDB) puts motion tokens between the frames; a Temporal Alignment Block (TAB) gathers the
tokens of both sides around shared centres. Each gives a vector per side, and the similarity is a weighted sum of both.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from .blocks import CLIP_EPS, TEMPORAL_EPS, Transformer, key_mask, unit
from .clip import OpenAiClip, at_end_token
from .clip4clip import mean_pooling
from .interface import BundleTraits, Logits, Videos, full_precision
from .shapes import Heads, Shapes, heads_of

DIFFERENCE, FRAME = 0, 1  # rows of the type embeddings of the Temporal Difference Block


class Clip2Video(OpenAiClip):
    system, title = "clip2video", "CLIP2Video"
    bundle = BundleTraits(head="full windows", text_mask=True)
    vector_parts = 2
    center_weight = 0.5  # of the global similarity; the alignment's gets the rest. Checkpoints do not say

    def __init__(self, shapes: Shapes, heads: Heads) -> None:
        super().__init__(shapes, heads)
        dim = self.clip.dim
        temporal_heads = heads_of(dim, heads.temporal, "temporal transformer")

        def transformer(name: str) -> Transformer:
            return Transformer(dim, shapes.layers(f"{name}.resblocks"), temporal_heads, TEMPORAL_EPS)

        self.frame_position_embeddings = nn.Embedding(shapes.of("frame_position_embeddings.weight", 2)[0], dim)
        self.type_position_embeddings = nn.Embedding(2, dim)
        self.frame2t_attention = transformer("frame2t_attention")
        self.trans_layernorm = nn.LayerNorm(dim, eps=CLIP_EPS)
        self.transformerClip = transformer("transformerClip")
        self.actionClip = transformer("actionClip")
        centers, _ = shapes.of("weight_center", 2)
        self.weight_center = nn.Parameter(torch.empty(centers, dim))
        self.emb_center = nn.Parameter(torch.empty(centers, dim))

    @property
    def most_frames(self) -> int:
        """Of a clip."""
        return self.frame_position_embeddings.num_embeddings

    def difference_out(self, frames: Tensor, mask: Tensor) -> Tensor:
        """[B, T, D] frame features, mask [B, T] → [B, T − 1, D]: attention over what changes from frame to frame."""
        positions = self.frame_position_embeddings.weight[1 : frames.shape[1]]
        return self.frame2t_attention(frames[:, 1:] - frames[:, :-1] + positions, key_mask(mask[:, 1:]))

    def interleaved(self, frames: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """TDB. [B, T, D], mask [B, T] → frames and difference tokens in turn, [B, 2T − 1, D], and their key mask.

        A difference token has position and mask of the frame to its left, although the attention that made it went by
        the frame to its right. So the one between the last real frame and the first padded one is not masked.
        """
        count = frames.shape[1]
        positions, types = self.frame_position_embeddings.weight[:count], self.type_position_embeddings.weight
        still = frames + positions + types[FRAME]
        difference = 2 * torch.sigmoid(self.trans_layernorm(self.difference_out(frames, mask))) - 1
        moving = difference + positions[: count - 1] + types[DIFFERENCE]
        pairs = torch.stack([still[:, :-1], moving], dim=2).flatten(1, 2)
        twice = torch.stack([mask, mask], dim=2).flatten(1, 2)
        return torch.cat([pairs, still[:, -1:]], dim=1), key_mask(twice[:, :-1])

    def temporal_out(self, frames: Tensor, mask: Tensor) -> Tensor:
        """[B, T, D] → [B, 2T − 1, D]: the temporal transformer over frames and differences."""
        return self.transformerClip(*self.interleaved(frames, mask))

    def action_out(self, frames: Tensor, mask: Tensor) -> Tensor:
        """[B, T, D] → [B, 2⌈T/2⌉ − 1, D]: every second frame and the differences between those."""
        return self.actionClip(*self.interleaved(frames[:, ::2], mask[:, ::2]))

    def clip_global_embedding(self, frames: Tensor, mask: Tensor) -> Tensor:
        """[B, T, D] frame features, mask [B, T] → [B, D] of unit length."""
        return mean_pooling(self.temporal_out(frames, mask)[:, ::2] + frames, mask)

    def clip_tab_embedding(self, frames: Tensor, mask: Tensor) -> Tensor:
        """[B, T, D] frame features, mask [B, T] → [B, D] of unit length, of the frames and the actions."""
        actions = self.action_out(frames, mask)[:, ::2] + frames[:, ::2]
        return self.aligned(torch.cat([frames, actions], dim=1), torch.cat([mask, mask[:, ::2]], dim=1))

    def text_global_embedding(self, ids: Tensor) -> Tensor:
        """[B, L] ids → [B, D] of unit length."""
        return unit(self.clip.text_features(ids))

    def text_tab_embedding(self, ids: Tensor, mask: Tensor) -> Tensor:
        """[B, L] ids and mask → [B, D] of unit length, of every word but the start token."""
        return self._words_aligned(self.clip.token_features(ids), mask)

    def _words_aligned(self, words: Tensor, mask: Tensor) -> Tensor:
        return self.aligned(words, torch.cat([torch.zeros_like(mask[:, :1]), mask[:, 1:]], dim=1))

    def aligned(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """TAB. [B, N, D], mask [B, N] → [B, D] of unit length: the tokens gathered around the shared centres."""
        shares = (tokens @ self.weight_center.T).softmax(dim=-1) * mask.float()[..., None]  # [B, N, K]
        # Σ share · (token − centre), without a tensor of every token's distance to every centre.
        residuals = shares.transpose(1, 2) @ tokens - shares.sum(1)[..., None] * self.emb_center  # [B, K, D]
        return unit(unit(residuals).mean(1))

    def clip_embedding(self, frames: Tensor, mask: Tensor) -> Tensor:
        """[B, T, D] frame features, mask [B, T] → [B, 2D] of unit length, to be compared with `encode_text`'s."""
        return self._joined(self.clip_global_embedding(frames, mask), self.clip_tab_embedding(frames, mask))

    def encode_video(self, frames: Tensor, mask: Tensor) -> Videos:
        """Padding must be zero pictures, which are encoded too: the last real frame's difference token sees it."""
        features = self.frame_features(frames).float()
        with full_precision(features):
            return Videos(self.clip_embedding(features, mask), features, mask)

    def encode_text(self, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        words = self.clip.token_features(ids).float()
        with full_precision(words):
            return self._joined(unit(at_end_token(words, ids)), self._words_aligned(words, mask))

    def similarity(self, texts: Tensor, videos: Videos) -> Tensor:
        """The weighted sum of both similarities."""
        with full_precision(texts):
            return self.scaled(texts, videos.vectors)

    def scaled(self, texts: Tensor, clips: Tensor) -> Tensor:
        """[texts, D] and [clips, D] of unit length, of one kind → [texts, clips]. Of both kinds joined, the weighted sum."""
        return self.scale() * texts @ clips.T

    def logits(self, texts: Tensor, videos: Videos) -> Logits:
        """Each kind learns to stand alone: the loss is a weighted sum of two losses, not the loss of the weighted sum."""
        c = self.center_weight
        with full_precision(texts):
            kinds = zip(("global", "tab"), (c, 1 - c), texts.chunk(2, dim=1), videos.vectors.chunk(2, dim=1))
            # Joined vectors have the roots of the weights in them.
            return {name: (weight, self.scaled(text, clip) / weight) for name, weight, text, clip in kinds}

    def _joined(self, global_embedding: Tensor, tab_embedding: Tensor) -> Tensor:
        """Two unit vectors [B, D] → one of 2D, so that one inner product is the weighted sum of both similarities.

        The roots of the weights on both sides keep the length at 1.
        """
        c = self.center_weight
        return torch.cat([math.sqrt(c) * global_embedding, math.sqrt(1 - c) * tab_embedding], dim=-1)
