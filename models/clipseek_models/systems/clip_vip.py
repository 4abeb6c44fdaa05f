"""CLIP-ViP: "Adapting Pre-trained Image-Text Model to Video-Language Representation Alignment" (arXiv 2209.06430).

A few video proxy tokens look at every patch of every frame; a patch looks at the proxies and at its own frame.
The names of the parts are those of the checkpoints, which took them from Hugging Face's CLIP.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from .attention import attend
from .blocks import CLIP_EPS, causal_mask, feed_forward, unit
from .clip import at_end_token
from .interface import BundleTraits, Limits, Logits, System, Videos, full_precision
from .shapes import Heads, Shapes, heads_of


class Attention(nn.Module):
    """One set of projections; who looks at whom is decided by `towards`."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj, self.k_proj = nn.Linear(width, width), nn.Linear(width, width)
        self.v_proj, self.out_proj = nn.Linear(width, width), nn.Linear(width, width)

    def projected(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.q_proj(x), self.k_proj(x), self.v_proj(x)


class CausalAttention(Attention):
    """Of the text encoder."""

    def forward(self, x: Tensor) -> Tensor:
        """[B, L, W] → [B, L, W]"""
        return self.out_proj(attend(*self.projected(x), self.heads, causal_mask(x)))


class ProxyGuidedAttention(Attention):
    """The video proxy mechanism: proxies attend to everything, a patch attends to the proxies and the patches of its own frame.

    The same as attention with a block mask, at the cost of what is not masked.
    """

    def forward(self, x: Tensor, proxies: int, frames: int) -> Tensor:
        """[B, M + T·g², W] → the same"""
        q, k, v = self.projected(x)
        of_proxies = attend(q[:, :proxies], k, v, self.heads)

        def by_frame(x: Tensor) -> Tensor:
            """[B, M + T·g², W] → [B, T, g², W]"""
            return x[:, proxies:].unflatten(1, (frames, -1))

        def with_proxies(x: Tensor) -> Tensor:
            """[B, M + T·g², W] → [B·T, M + g², W]"""
            shared = x[:, None, :proxies].expand(-1, frames, -1, -1)
            return torch.cat([shared, by_frame(x)], dim=2).flatten(0, 1)

        of_patches = attend(by_frame(q).flatten(0, 1), with_proxies(k), with_proxies(v), self.heads)
        of_patches = of_patches.unflatten(0, (-1, frames)).flatten(1, 2)
        return self.out_proj(torch.cat([of_proxies, of_patches], dim=1))


class Mlp(nn.Module):
    """[B, L, W] → [B, L, W] through four times the width, with QuickGELU."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return feed_forward(x, self.fc1, self.fc2, self.training)


class Layer(nn.Module):
    """Pre-norm residual block around either kind of attention."""

    def __init__(self, width: int, attention: Attention) -> None:
        super().__init__()
        self.layer_norm1 = nn.LayerNorm(width, eps=CLIP_EPS)
        self.self_attn = attention
        self.layer_norm2 = nn.LayerNorm(width, eps=CLIP_EPS)
        self.mlp = Mlp(width)

    def forward(self, x: Tensor, *layout: int) -> Tensor:
        """[B, L, W] → [B, L, W]. `layout`: proxies and frames, for the attention that wants to know."""
        x = x + self.self_attn(self.layer_norm1(x), *layout)
        return x + self.mlp(self.layer_norm2(x))


class Encoder(nn.Module):
    def __init__(self, layers: list[Layer]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor, *layout: int) -> Tensor:
        """[B, L, W] → [B, L, W]"""
        for layer in self.layers:
            x = layer(x, *layout)
        return x


class VideoEmbeddings(nn.Module):
    """Pixels to the sequence [M proxies; patches of frame 0; patches of frame 1; …]."""

    def __init__(self, shapes: Shapes, prefix: str) -> None:
        super().__init__()
        width, _, _, patch = shapes.of(f"{prefix}patch_embedding.weight", 4)
        added, _ = shapes.of(f"{prefix}added_cls", 2)
        _, times, _ = shapes.of(f"{prefix}temporal_embedding", 3)
        tokens, _ = shapes.of(f"{prefix}position_embedding.weight", 2)
        grid = round(math.sqrt(tokens - 1))
        self.width, self.side = width, patch * grid
        self.class_embedding = nn.Parameter(torch.empty(width))
        self.added_cls = nn.Parameter(torch.empty(added, width))
        self.temporal_embedding = nn.Parameter(torch.empty(1, times, width))
        self.patch_embedding = nn.Conv2d(3, width, patch, stride=patch, bias=False)
        self.position_embedding = nn.Embedding(1 + grid**2, width)

    def times(self, frames: int) -> Tensor:
        """Temporal positions for any number of frames, [T, W]: linear between the stored ones, half-pixel centres."""
        if frames == self.temporal_embedding.shape[1]:
            return self.temporal_embedding[0]
        stored = self.temporal_embedding.transpose(1, 2)
        return functional.interpolate(stored, size=frames, mode="linear", align_corners=False)[0].T

    def proxies(self) -> Tensor:
        """[M, W]: each stands at spatial position 0, and at no time."""
        return torch.cat([self.class_embedding[None], self.added_cls]) + self.position_embedding.weight[0]

    def forward(self, frames: Tensor) -> Tensor:
        """[B, T, 3, H, W] → [B, M + T·g², W]"""
        clips, count = frames.shape[:2]
        patches = self.patch_embedding(frames.flatten(0, 1)).flatten(2).transpose(1, 2).unflatten(0, (clips, count))
        patches = patches + self.times(count)[:, None] + self.position_embedding.weight[1:]
        proxies = self.proxies()
        return torch.cat([proxies.expand(clips, *proxies.shape), patches.flatten(1, 2)], dim=1)


class VideoEncoder(nn.Module):
    """The vision tower, which takes a whole clip at once."""

    def __init__(self, shapes: Shapes, prefix: str, heads: int | None) -> None:
        super().__init__()
        self.embeddings = VideoEmbeddings(shapes, f"{prefix}embeddings.")
        width = self.embeddings.width
        heads = heads_of(width, heads, "video encoder")
        self.pre_layrnorm = nn.LayerNorm(width, eps=CLIP_EPS)  # sic
        count = shapes.layers(f"{prefix}encoder.layers")
        self.encoder = Encoder([Layer(width, ProxyGuidedAttention(width, heads)) for _ in range(count)])
        self.post_layernorm = nn.LayerNorm(width, eps=CLIP_EPS)

    def last_hidden(self, frames: Tensor) -> Tensor:
        """[B, T, 3, H, W] → [B, M + T·g², W]"""
        proxies = 1 + self.embeddings.added_cls.shape[0]
        return self.encoder(self.pre_layrnorm(self.embeddings(frames)), proxies, frames.shape[1])

    def forward(self, frames: Tensor) -> Tensor:
        """[B, T, 3, H, W] → [B, W]: the class proxy; the others have done their work."""
        return self.post_layernorm(self.last_hidden(frames)[:, 0])


class TextEmbeddings(nn.Module):
    def __init__(self, shapes: Shapes, prefix: str) -> None:
        super().__init__()
        vocabulary, self.width = shapes.of(f"{prefix}token_embedding.weight", 2)
        context, _ = shapes.of(f"{prefix}position_embedding.weight", 2)
        self.token_embedding = nn.Embedding(vocabulary, self.width)
        self.position_embedding = nn.Embedding(context, self.width)

    def forward(self, ids: Tensor) -> Tensor:
        """[B, L] → [B, L, W]"""
        return self.token_embedding(ids) + self.position_embedding.weight[: ids.shape[1]]


class TextEncoder(nn.Module):
    """CLIP's text tower."""

    def __init__(self, shapes: Shapes, prefix: str, heads: int | None) -> None:
        super().__init__()
        self.embeddings = TextEmbeddings(shapes, f"{prefix}embeddings.")
        width = self.embeddings.width
        heads = heads_of(width, heads, "text encoder")
        count = shapes.layers(f"{prefix}encoder.layers")
        self.encoder = Encoder([Layer(width, CausalAttention(width, heads)) for _ in range(count)])
        self.final_layer_norm = nn.LayerNorm(width, eps=CLIP_EPS)

    def forward(self, ids: Tensor) -> Tensor:
        """[B, L] ids → [B, W]: the first end token. Padding repeats it, and comes later."""
        return at_end_token(self.final_layer_norm(self.encoder(self.embeddings(ids))), ids)


class TwoTowers(nn.Module):
    """Everything under the checkpoint's `clipmodel.`"""

    def __init__(self, shapes: Shapes, heads: Heads) -> None:
        super().__init__()
        self.text_model = TextEncoder(shapes, "clipmodel.text_model.", heads.text)
        self.vision_model = VideoEncoder(shapes, "clipmodel.vision_model.", heads.vision)
        dim, width = shapes.of("clipmodel.visual_projection.weight", 2)
        self.visual_projection = nn.Linear(width, dim, bias=False)
        self.text_projection = nn.Linear(self.text_model.embeddings.width, dim, bias=False)
        self.logit_scale = nn.Parameter(torch.empty(()))


class ClipVip(System):
    system, title = "clip_vip", "CLIP-ViP"
    bundle = BundleTraits(words=50, stretch=True, repaired=False)
    whole_windows = True
    direction_weight = 1.0  # both directions are summed, not halved
    least_scale, most_scale = 0.0, math.log(200)
    clamps_before_step = True

    def __init__(self, shapes: Shapes, heads: Heads) -> None:
        super().__init__()
        self.clipmodel = TwoTowers(shapes, heads)

    def clip_embedding(self, frames: Tensor) -> Tensor:
        """[B, T, 3, H, W] → [B, D] of unit length. No mask: short clips repeat frames."""
        return unit(self.clipmodel.visual_projection(self.clipmodel.vision_model(frames)).float())

    @property
    def dim(self) -> int:
        return self.clipmodel.text_projection.out_features

    @property
    def limits(self) -> Limits:
        text, video = self.clipmodel.text_model.embeddings, self.clipmodel.vision_model.embeddings
        return Limits(video.side, video.patch_embedding.kernel_size[0], text.token_embedding.num_embeddings, text.position_embedding.num_embeddings, None)

    @property
    def temperature(self) -> nn.Parameter:
        return self.clipmodel.logit_scale

    def encode_video(self, frames: Tensor, mask: Tensor) -> Videos:
        return Videos(self.clip_embedding(frames))

    def encode_text(self, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        return unit(self.clipmodel.text_projection(self.clipmodel.text_model(ids)).float())

    def similarity(self, texts: Tensor, videos: Videos) -> Tensor:
        """The plain cosine: evaluation multiplies it by nothing."""
        with full_precision(texts):
            return texts @ videos.vectors.T

    def logits(self, texts: Tensor, videos: Videos) -> Logits:
        return {"retrieval": (1.0, self.scale() * self.similarity(texts, videos))}


def dual_softmax(similarity: Tensor) -> Tensor:
    """[texts, clips] → the same, each clip's column weighted by its softmax over all texts.

    It needs every query at once, so a live index cannot have it: the "DSL" rows of the paper are not comparable.
    """
    return similarity * (100 * similarity).softmax(dim=0)
