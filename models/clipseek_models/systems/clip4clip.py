"""CLIP4Clip: "An Empirical Study of CLIP for End to End Video Clip Retrieval" (arXiv 2104.08860).

CLIP encodes each frame and the caption; a similarity calculator compares them. Parameter-free type (meanP), sequential
types (seqLSTM, seqTransf) and tight type (tightTransf). Patches are 2-D or 3-D; the image encoder knows which.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .blocks import TEMPORAL_EPS, Transformer, key_mask, quick_gelu, unit
from .caption_decoder import Decoder
from .clip import Clip
from .shapes import Heads, Shapes, heads_of


def mean_pooling(frames: Tensor, mask: Tensor) -> Tensor:
    """[B, T, D], mask [B, T] → [B, D] of unit length. Frames are normalised before the mean, and the mean again."""
    valid = mask.float()[..., None]
    # Padding may be zeros, which have no direction: 0 / 0 would outlive the mask.
    directions = unit(frames.masked_fill(valid == 0, 1.0))
    return unit((directions * valid).sum(1) / valid.sum(1).clamp(min=1.0))


class MeanP(nn.Module):
    """Parameter-free type (CLIP4Clip, section 3.3, similarity calculator), and what the sequential types share, captions too."""

    system, title = "clip4clip", "CLIP4Clip meanP"

    def __init__(self, shapes: Shapes, heads: Heads) -> None:
        super().__init__()
        self.clip = Clip(shapes, heads)
        self.decoder = Decoder(shapes, heads.captions) if "decoder." in shapes else None
        self.caption_projection = None
        if self.decoder and ("caption_projection." in shapes or self.decoder.width != self.clip.dim):
            self.caption_projection = nn.Linear(self.clip.dim, self.decoder.width)

    @property
    def most_frames(self) -> int | None:
        """Of a clip; None: any number."""
        return None

    def frame_features(self, frames: Tensor) -> Tensor:
        """[B, T, 3, H, W] → [B, T, D], not normalised."""
        return self.clip.visual(frames)

    def over_time(self, frames: Tensor, mask: Tensor) -> Tensor:
        """[B, T, D] frame features → [B, T, D] that know of each other. Here they do not."""
        return frames

    def clip_embedding(self, frames: Tensor, mask: Tensor) -> Tensor:
        """[B, T, D] frame features, mask [B, T] → [B, D] of unit length."""
        return mean_pooling(self.over_time(frames, mask), mask)

    def caption_memory(self, frames: Tensor, mask: Tensor) -> Tensor:
        """[B, T, D] frame features, mask [B, T] → [B, T, width of the decoder]: what the decoder looks at."""
        memory = self.over_time(frames, mask)
        return memory if self.caption_projection is None else self.caption_projection(memory)

    def text_embedding(self, ids: Tensor) -> Tensor:
        """[B, L] ids → [B, D] of unit length."""
        return unit(self.clip.text_features(ids))

    def similarity(self, texts: Tensor, clips: Tensor) -> Tensor:
        """[texts, D], [clips, D] of unit length → [texts, clips]"""
        return self.clip.scale() * texts @ clips.T


class SeqLSTM(MeanP):
    """Sequential type with an LSTM (CLIP4Clip, section 3.3)."""

    title = "CLIP4Clip seqLSTM"

    def __init__(self, shapes: Shapes, heads: Heads) -> None:
        super().__init__(shapes, heads)
        dim = self.clip.dim
        self.lstm_visual = nn.LSTM(dim, dim, batch_first=True)
        # In the files of this variant too, and not used by it.
        self.frame_position_embeddings = nn.Embedding(shapes.of("frame_position_embeddings.weight", 2)[0], dim)

    def lstm_out(self, frames: Tensor, mask: Tensor) -> Tensor:
        """[B, T, D] → [B, T, D]. An LSTM looks back only, so padding behind the last frame has no say; its rows are zero."""
        start = frames.new_zeros(1, frames.shape[0], frames.shape[2], dtype=torch.float32)
        # Not every processor has an LSTM in half precision; the published training has it in float32, too.
        with torch.autocast(frames.device.type, enabled=False):
            hidden, _ = self.lstm_visual(frames.float(), (start, start))
        return hidden * mask.float()[..., None]

    def over_time(self, frames: Tensor, mask: Tensor) -> Tensor:
        return self.lstm_out(frames, mask) + frames


class SeqTransf(MeanP):
    """Sequential type with a transformer (CLIP4Clip, section 3.3)."""

    title = "CLIP4Clip seqTransf"

    def __init__(self, shapes: Shapes, heads: Heads) -> None:
        super().__init__(shapes, heads)
        dim = self.clip.dim
        self.frame_position_embeddings = nn.Embedding(shapes.of("frame_position_embeddings.weight", 2)[0], dim)
        layers = shapes.layers("transformerClip.resblocks")
        self.transformerClip = Transformer(dim, layers, heads_of(dim, heads.temporal, "temporal transformer"), TEMPORAL_EPS)

    @property
    def most_frames(self) -> int:
        return self.frame_position_embeddings.num_embeddings

    def temporal_out(self, frames: Tensor, mask: Tensor) -> Tensor:
        """[B, T, D] → [B, T, D]"""
        x = frames + self.frame_position_embeddings.weight[: frames.shape[1]]
        return self.transformerClip(x, key_mask(mask))

    def over_time(self, frames: Tensor, mask: Tensor) -> Tensor:
        """The residual adds the features without their positions."""
        return self.temporal_out(frames, mask) + frames


class CrossEmbeddings(nn.Module):
    """Positions of the text row and the frames; no types and no LayerNorm, as in the published code."""

    def __init__(self, rows: int, dim: int) -> None:
        super().__init__()
        self.position_embeddings = nn.Embedding(rows, dim)

    def forward(self, text: Tensor, frames: Tensor) -> Tensor:
        """[B, D], [B, T, D] → [B, 1 + T, D]"""
        rows = torch.cat([text[:, None], frames], dim=1)
        return rows + self.position_embeddings.weight[: rows.shape[1]]


class CrossPooler(nn.Module):
    """[B, 1 + T, D] → [B, D]: what became of the text row."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.ln_pool = nn.LayerNorm(dim, eps=TEMPORAL_EPS)
        self.dense = nn.Linear(dim, dim)

    def forward(self, rows: Tensor) -> Tensor:
        return quick_gelu(self.dense(self.ln_pool(rows[:, 0])))


class CrossEncoder(nn.Module):
    """A transformer over one text row and the frames of one clip."""

    def __init__(self, shapes: Shapes, heads: int | None) -> None:
        super().__init__()
        rows, dim = shapes.of("cross.embeddings.position_embeddings.weight", 2)
        layers = shapes.layers("cross.transformer.resblocks")
        self.embeddings = CrossEmbeddings(rows, dim)
        self.transformer = Transformer(dim, layers, heads_of(dim, heads, "cross-encoder"), TEMPORAL_EPS)
        self.pooler = CrossPooler(dim)

    def forward(self, text: Tensor, frames: Tensor, mask: Tensor) -> Tensor:
        """B pairs: [B, D], [B, T, D], mask [B, T] → [B, D]"""
        mask = torch.cat([torch.ones_like(mask[:, :1]), mask], dim=1)
        return self.pooler(self.transformer(self.embeddings(text, frames), key_mask(mask)))


class TightTransf(nn.Module):
    """Tight type (CLIP4Clip, section 3.3): a pair's score is a joint function of both, so there is no vector to store."""

    system, title = "clip4clip", "CLIP4Clip tightTransf"

    def __init__(self, shapes: Shapes, heads: Heads) -> None:
        super().__init__()
        self.clip = Clip(shapes, heads)
        self.cross = CrossEncoder(shapes, heads.temporal)
        self.similarity_dense = nn.Linear(self.clip.dim, 1)

    @property
    def most_frames(self) -> int:
        """Of a clip: the first position is the text's."""
        return self.cross.embeddings.position_embeddings.num_embeddings - 1

    def frame_features(self, frames: Tensor) -> Tensor:
        """[B, T, 3, H, W] → [B, T, D], not normalised."""
        return self.clip.visual(frames)

    def cross_pooled(self, texts: Tensor, frames: Tensor, mask: Tensor) -> Tensor:
        """[texts, D] text features, [clips, T, D] frame features, mask [clips, T] → [texts, clips, D]"""
        rows = [self.cross(text.expand(len(frames), -1), frames, mask) for text in texts]
        return torch.stack(rows)

    def similarity(self, pooled: Tensor) -> Tensor:
        """[texts, clips, D] → [texts, clips]: any real number, not a cosine."""
        return self.similarity_dense(pooled).squeeze(-1)
