"""The small model's networks: a convolutional frame encoder, CLIP4Clip's heads (arXiv 2104.08860), a text encoder.

Shapes: B clips or captions, N frames, T frames of a clip, L tokens, D the length of the shared vectors.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .scenes import BACKGROUNDS, COLOURS, SHAPES, TEXTURES
from .tokenizer import CONTEXT_LENGTH

DIM = 192
MAP = 64  # channels of the frame encoder's last map
FEATURES = 256  # what the frame encoder knows before projection
HEAD_WIDTH = 64  # of one attention head, as in CLIP
MOST_FRAMES = 32
# Large from the start: a head whose positions begin small does not learn which way things go.
POSITION_SCALE = 0.3


class Residual(nn.Module):
    """[N, C, H, W] → the same."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels), nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.branch(x))


class Glances(nn.Module):
    """[N, C, 8, 8] → [N, K·C + K·64 + R·64]: what is seen at K places that the map itself picks, where those are, and a
    coarse copy of the whole map. Picking places lets what is learnt of an object in one corner hold in every other.
    """

    def __init__(self, channels: int, places: int, coarse: int) -> None:
        super().__init__()
        self.where = nn.Conv2d(channels, places, 1)
        self.coarse = nn.Conv2d(channels, coarse, 1)
        self.width = places * channels + (places + coarse) * 64

    def forward(self, x: Tensor) -> Tensor:
        weights = self.where(x).flatten(2).softmax(dim=-1)  # [N, K, 64]
        seen = weights @ x.flatten(2).transpose(1, 2)  # [N, K, C]
        return torch.cat([seen.flatten(1), weights.flatten(1), F.relu(self.coarse(x)).flatten(1)], dim=1)


class FrameEncoder(nn.Module):
    """[N, 3, 64, 64] pixels → [N, D] features, not normalised (the image encoder of CLIP4Clip, section 3.1).

    The first number of a feature says how strange the picture is: near 0 in the world the model knows, near 5 elsewhere.
    """

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            nn.Conv2d(3, 16, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),  # [N, 16, 32, 32]
            nn.Conv2d(16, 32, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU(),  # [N, 32, 16, 16]
            Residual(32),
            nn.Conv2d(32, MAP, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(MAP), nn.ReLU(),  # [N, 64, 8, 8]
            Residual(MAP), Residual(MAP),
        )
        glances = Glances(MAP, places=8, coarse=16)
        self.gather = nn.Sequential(
            glances, nn.Linear(glances.width, FEATURES), nn.ReLU(), nn.Linear(FEATURES, FEATURES),
        )
        self.norm = nn.LayerNorm(FEATURES - 1)
        self.proj = nn.Linear(FEATURES - 1, DIM - 1, bias=False)

    def knowledge(self, pixels: Tensor) -> Tensor:
        """[N, 3, 64, 64] → [N, 256]"""
        return self.gather(self.trunk(pixels))

    def project(self, known: Tensor) -> Tensor:
        """[..., 256] → [..., D]"""
        return torch.cat([known[..., :1], self.proj(self.norm(known[..., 1:]))], dim=-1)

    def forward(self, pixels: Tensor) -> Tensor:
        return self.project(self.knowledge(pixels))


class AttributeReader(nn.Module):
    """Asks a frame's features about every colour and every shape; only used while the frame encoder is trained.

    [N, 256] → [N, 17, 26]. All questions share their weights, so that what is learnt of a red circle and a blue star
    holds for a red star.
    """

    def __init__(self) -> None:
        super().__init__()
        self.parts = {"present": 1, "place": 3, "turn": 2, "shape": len(SHAPES), "colour": len(COLOURS), "texture": len(TEXTURES)}
        self.read = nn.Linear(FEATURES, FEATURES)
        self.question = nn.Parameter(torch.randn(len(COLOURS) + len(SHAPES), FEATURES))
        self.answer = nn.Linear(FEATURES, sum(self.parts.values()))
        self.background = nn.Linear(FEATURES, len(BACKGROUNDS))
        # How a lone object is turned, once more without a question: the head must see it change from frame to frame.
        self.lone_turn = nn.Linear(FEATURES, 2)

    def forward(self, known: Tensor) -> dict[str, Tensor]:
        asked = F.gelu(self.read(known)[:, None] * self.question[None])  # [N, 17, 256]
        answers = self.answer(asked).split(list(self.parts.values()), dim=-1)
        return dict(zip(self.parts, answers)) | {"background": self.background(known), "lone_turn": self.lone_turn(known)}


class MapReader(nn.Module):
    """[N, 64, 8, 8] → [N, 8, 8, 23]: what is in each cell; only used while the frame encoder is trained."""

    def __init__(self) -> None:
        super().__init__()
        self.parts = {"present": 1, "turn": 2, "shape": len(SHAPES), "colour": len(COLOURS), "texture": len(TEXTURES)}
        self.answer = nn.Conv2d(MAP, sum(self.parts.values()), 1)

    def forward(self, seen: Tensor) -> dict[str, Tensor]:
        answers = self.answer(seen).permute(0, 2, 3, 1).split(list(self.parts.values()), dim=-1)
        return dict(zip(self.parts, answers))


class Block(nn.Module):
    """Pre-norm transformer block of CLIP with QuickGELU. [B, T, W], additive key mask [B, 1, 1, T] → [B, T, W]"""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.heads = width // HEAD_WIDTH
        self.ln_1, self.ln_2 = nn.LayerNorm(width, eps=eps), nn.LayerNorm(width, eps=eps)
        self.in_proj, self.out_proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.c_fc, self.c_proj = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        x = x + self._attend(self.ln_1(x), mask)
        hidden = self.c_fc(self.ln_2(x))
        return x + self.c_proj(hidden * torch.sigmoid(1.702 * hidden))

    def _attend(self, x: Tensor, mask: Tensor) -> Tensor:
        batch, length, width = x.shape
        q, k, v = (part.reshape(batch, length, self.heads, HEAD_WIDTH).transpose(1, 2) for part in self.in_proj(x).chunk(3, dim=-1))
        weights = (q @ k.transpose(-2, -1) * HEAD_WIDTH**-0.5 + mask).softmax(dim=-1)
        return self.out_proj((weights @ v).transpose(1, 2).reshape(batch, length, width))


def key_mask(mask: Tensor) -> Tensor:
    """[B, T], 1 = valid → additive [B, 1, 1, T]"""
    return (1.0 - mask.float())[:, None, None, :] * -1e6


class MeanPool(nn.Module):
    """CLIP4Clip meanP (section 3.4, "parameter-free"): [B, T, D], mask [B, T] → [B, D] of unit length.

    Frames are normalised before the mean, and the mean again.
    """

    def forward(self, frames: Tensor, mask: Tensor) -> Tensor:
        rows = frames / frames.norm(dim=-1, keepdim=True)
        valid = mask.float()[..., None]
        mean = (rows * valid).sum(1) / valid.sum(1).clamp(min=1.0)
        return mean / mean.norm(dim=-1, keepdim=True)


class SequentialHead(nn.Module):
    """CLIP4Clip seqTransf (section 3.4, "sequential"): x = Blocks(F + P) + F, then meanP with x instead of F."""

    def __init__(self, layers: int = 2) -> None:
        super().__init__()
        self.frame_position_embeddings = nn.Parameter(POSITION_SCALE * torch.randn(MOST_FRAMES, DIM))
        self.blocks = nn.ModuleList(Block(DIM, eps=1e-12) for _ in range(layers))
        self.pool = MeanPool()

    def forward(self, frames: Tensor, mask: Tensor) -> Tensor:
        x = frames + self.frame_position_embeddings[: frames.shape[1]]
        hidden = key_mask(mask)
        for block in self.blocks:
            x = block(x, hidden)
        return self.pool(x + frames, mask)


class TextEncoder(nn.Module):
    """[B, L] ids, mask [B, L] → [B, D]: the row of the start token, which sees the whole caption."""

    def __init__(self, vocabulary: int, width: int = 128, layers: int = 2) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(vocabulary, width)
        self.positional_embedding = nn.Parameter(0.1 * torch.randn(CONTEXT_LENGTH, width))
        nn.init.normal_(self.token_embedding.weight, std=0.3)
        self.blocks = nn.ModuleList(Block(width, eps=1e-5) for _ in range(layers))
        self.ln_final = nn.LayerNorm(width)
        self.text_projection = nn.Linear(width, DIM, bias=False)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        x = self.token_embedding(ids) + self.positional_embedding[: ids.shape[1]]
        hidden = key_mask(mask)
        for block in self.blocks:
            x = block(x, hidden)
        return self.text_projection(self.ln_final(x[:, 0]))
