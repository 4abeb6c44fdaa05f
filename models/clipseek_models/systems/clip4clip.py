"""CLIP4Clip: "An Empirical Study of CLIP for End to End Video Clip Retrieval" (arXiv 2104.08860).

CLIP encodes each frame and the caption; a similarity calculator compares them. Parameter-free type (meanP), sequential
types (seqLSTM, seqTransf) and tight type (tightTransf). Patches are 2-D or 3-D; the image encoder knows which.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .blocks import TEMPORAL_EPS, Transformer, key_mask, quick_gelu, unit
from .caption_decoder import Decoder
from .clip import OpenAiClip
from .interface import BundleTraits, Logits, Videos, full_precision
from .shapes import Heads, Shapes, heads_of


def mean_pooling(frames: Tensor, mask: Tensor) -> Tensor:
    """[B, T, D], mask [B, T] → [B, D] of unit length. Frames are normalised before the mean, and the mean again."""
    valid = mask.float()[..., None]
    # Padding may be zeros, which have no direction: 0 / 0 would outlive the mask.
    directions = unit(frames.masked_fill(valid == 0, 1.0))
    return unit((directions * valid).sum(1) / valid.sum(1).clamp(min=1.0))


class MeanP(OpenAiClip):
    """Parameter-free type (CLIP4Clip, section 3.3, similarity calculator), and what the sequential types share, captions too."""

    system, title = "clip4clip", "CLIP4Clip meanP"
    gives_candidates = True

    def __init__(self, shapes: Shapes, heads: Heads) -> None:
        super().__init__(shapes, heads)
        self.decoder = Decoder(shapes, heads.captions) if "decoder." in shapes else None
        self.caption_projection = None
        if self.decoder and ("caption_projection." in shapes or self.decoder.width != self.clip.dim):
            self.caption_projection = nn.Linear(self.clip.dim, self.decoder.width)

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

    def encode_video(self, frames: Tensor, mask: Tensor) -> Videos:
        features = self.frame_features(frames).float()
        with full_precision(features):
            return Videos(self.clip_embedding(features, mask), features, mask)

    def encode_text(self, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        return unit(self.clip.text_features(ids).float())

    def similarity(self, texts: Tensor, videos: Videos) -> Tensor:
        with full_precision(texts):
            return self.scale() * texts @ videos.vectors.T

    def logits(self, texts: Tensor, videos: Videos) -> Logits:
        return {"retrieval": (1.0, self.similarity(texts, videos))}


class SeqLSTM(MeanP):
    """Sequential type with an LSTM (CLIP4Clip, section 3.3)."""

    title = "CLIP4Clip seqLSTM"
    bundle = BundleTraits(head="windows")

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
    bundle = BundleTraits(head="windows")

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
        self.dropout = nn.Dropout(0.0)  # what a training sets it to

    def forward(self, text: Tensor, frames: Tensor) -> Tensor:
        """[B, D], [B, T, D] → [B, 1 + T, D]"""
        rows = torch.cat([text[:, None], frames], dim=1)
        return self.dropout(rows + self.position_embeddings.weight[: rows.shape[1]])


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


class TightTransf(OpenAiClip):
    """Tight type (CLIP4Clip, section 3.3): a pair's score is a joint function of both, so there is no vector to store."""

    system, title = "clip4clip", "CLIP4Clip tightTransf"
    searches, reranks = False, True

    def __init__(self, shapes: Shapes, heads: Heads) -> None:
        super().__init__(shapes, heads)
        self.cross = CrossEncoder(shapes, heads.temporal)
        self.similarity_dense = nn.Linear(self.clip.dim, 1)

    @property
    def most_frames(self) -> int:
        """Of a clip: the first position is the text's."""
        return self.cross.embeddings.position_embeddings.num_embeddings - 1

    def encode_video(self, frames: Tensor, mask: Tensor) -> Videos:
        return Videos(None, self.frame_features(frames).float(), mask)

    def encode_text(self, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        return self.clip.text_features(ids).float()

    def cross_pooled(self, texts: Tensor, frames: Tensor, mask: Tensor) -> Tensor:
        """[texts, D] text features, [clips, T, D] frame features, mask [clips, T] → [texts, clips, D]"""
        rows = [self.cross(text.expand(len(frames), -1), frames, mask) for text in texts]
        return torch.stack(rows)

    def similarity(self, texts: Tensor, videos: Videos) -> Tensor:
        """Any real numbers, not cosines."""
        with full_precision(texts):
            return self.similarity_dense(self.cross_pooled(texts, videos.frames, videos.mask)).squeeze(-1)

    def logits(self, texts: Tensor, videos: Videos) -> Logits:
        return {"retrieval": (1.0, self.similarity(texts, videos))}
