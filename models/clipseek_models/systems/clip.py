"""CLIP's encoders (arXiv 2103.00020, section 2.4) under OpenAI's names, as CLIP4Clip and CLIP2Video use them."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from .blocks import CLIP_EPS, Transformer, causal_mask
from .interface import Limits, System
from .shapes import Heads, Shapes, heads_of

VOCABULARY = 49408  # of CLIP's tokenizer


class ImageEncoder(nn.Module):
    """A vision transformer whose class token is the frame's feature."""

    def __init__(self, shapes: Shapes, prefix: str, heads: int | None) -> None:
        super().__init__()
        width, _, _, patch = shapes.of(f"{prefix}conv1.weight", 4)
        tokens, _ = shapes.of(f"{prefix}positional_embedding", 2)
        _, dim = shapes.of(f"{prefix}proj", 2)
        grid = round(math.sqrt(tokens - 1))
        self.side = patch * grid
        self.conv1 = nn.Conv2d(3, width, patch, stride=patch, bias=False)
        # Files of 3-D models hold conv1 too, unused.
        self.conv2 = None
        if f"{prefix}conv2." in shapes:
            self.conv2 = nn.Conv3d(3, width, (3, patch, patch), stride=(1, patch, patch), padding=(1, 0, 0), bias=False)
        self.class_embedding = nn.Parameter(torch.empty(width))
        self.positional_embedding = nn.Parameter(torch.empty(1 + grid**2, width))
        self.ln_pre = nn.LayerNorm(width, eps=CLIP_EPS)
        layers = shapes.layers(f"{prefix}transformer.resblocks")
        self.transformer = Transformer(width, layers, heads_of(width, heads, "image encoder"), CLIP_EPS)
        self.ln_post = nn.LayerNorm(width, eps=CLIP_EPS)
        self.proj = nn.Parameter(torch.empty(width, dim))

    def forward(self, frames: Tensor) -> Tensor:
        """[B, T, 3, H, W] pixels → [B, T, D] frame features, not normalised.

        With 2-D patches every frame stands for itself, and so may be fed as a clip of one.
        """
        clips, count = frames.shape[:2]
        if self.conv2 is None:
            patches = self.conv1(frames.flatten(0, 1))
        else:
            # Each frame sees the one before and the one after; beyond the ends there is nothing (CLIP4Clip, section 3.1).
            patches = self.conv2(frames.transpose(1, 2)).transpose(1, 2).flatten(0, 1)
        patches = patches.flatten(2).transpose(1, 2)  # [B·T, grid², width]
        first = self.class_embedding.expand(patches.shape[0], 1, -1)
        x = torch.cat([first, patches], dim=1) + self.positional_embedding
        x = self.transformer(self.ln_pre(x))
        return (self.ln_post(x[:, 0]) @ self.proj).unflatten(0, (clips, count))


class Clip(nn.Module):
    """Both encoders and the temperature, under the names that the checkpoints give them."""

    def __init__(self, shapes: Shapes, heads: Heads, prefix: str = "clip.") -> None:
        super().__init__()
        vocabulary, width = shapes.of(f"{prefix}token_embedding.weight", 2)
        context, _ = shapes.of(f"{prefix}positional_embedding", 2)
        _, self.dim = shapes.of(f"{prefix}text_projection", 2)
        layers = shapes.layers(f"{prefix}transformer.resblocks")
        self.visual = ImageEncoder(shapes, f"{prefix}visual.", heads.vision)
        self.token_embedding = nn.Embedding(vocabulary, width)
        self.positional_embedding = nn.Parameter(torch.empty(context, width))
        self.transformer = Transformer(width, layers, heads_of(width, heads.text, "text encoder"), CLIP_EPS)
        self.ln_final = nn.LayerNorm(width, eps=CLIP_EPS)
        self.text_projection = nn.Parameter(torch.empty(width, self.dim))
        self.logit_scale = nn.Parameter(torch.empty(()))

    def token_features(self, ids: Tensor) -> Tensor:
        """[B, L] ids → [B, L, D]: every position of the text, after LayerNorm and projection."""
        x = self.token_embedding(ids) + self.positional_embedding[: ids.shape[1]]
        return self.ln_final(self.transformer(x, causal_mask(x))) @ self.text_projection

    def text_features(self, ids: Tensor) -> Tensor:
        """[B, L] ids → [B, D], not normalised: the position of the end token."""
        return at_end_token(self.token_features(ids), ids)

    def scale(self) -> Tensor:
        """What similarities are multiplied by."""
        return self.logit_scale.exp()


class OpenAiClip(System):
    """What CLIP4Clip and CLIP2Video share: CLIP under OpenAI's names, which encodes frames one by one."""

    most_scale = math.log(100)

    def __init__(self, shapes: Shapes, heads: Heads) -> None:
        super().__init__()
        self.clip = Clip(shapes, heads)

    @property
    def dim(self) -> int:
        return self.clip.dim

    @property
    def whole_windows(self) -> bool:
        return self.clip.visual.conv2 is not None

    @property
    def most_frames(self) -> int | None:
        """Of a clip; None: any number."""
        return None

    @property
    def limits(self) -> Limits:
        clip = self.clip
        patch = clip.visual.conv1.kernel_size[0]
        return Limits(clip.visual.side, patch, clip.token_embedding.num_embeddings, len(clip.positional_embedding), self.most_frames)

    @property
    def temperature(self) -> nn.Parameter:
        return self.clip.logit_scale

    def frame_features(self, frames: Tensor) -> Tensor:
        """[B, T, 3, H, W] → [B, T, D], not normalised."""
        return self.clip.visual(frames)


def at_end_token(rows: Tensor, ids: Tensor) -> Tensor:
    """[B, L, D], [B, L] ids → [B, D]: the row of the largest id, which is the end token; the first if there are several.

    The causal mask keeps whatever follows the end token out of it, so padding needs no mask.
    """
    return rows[torch.arange(ids.shape[0], device=ids.device), ids.argmax(dim=-1)]
