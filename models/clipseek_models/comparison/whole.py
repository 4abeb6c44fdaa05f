"""CLIP-ViP, small: its encoder takes whole clips of pixels, so it learns to see by itself, end to end.

First single frames, taught by what the renderer knows of them, as the shared frame encoder is (`pretrain.py`); then clips
and captions, with the losses of the others.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional as F

from ..half import processor_half
from ..systems.load import build
from ..training.choices import Plan
from ..training.initial import begun
from ..world.align import Corpus, Meaning, by_length, contrast, meant_by
from ..world.dataset import SIDE, Clips
from ..world.nets import FEATURES, MAP, AttributeReader, MapReader
from ..world.pretrain import attribute_loss, map_loss, questions, to_pixels
from ..world.steps import OneCycle
from .variants import DIM, FRAME_POSITIONS, WHOLE, clip_weights, end_last, text_sizes

PATCH, LAYERS = 16, 4
FRAME_BATCH = 128
TIMES = "clipmodel.vision_model.embeddings.temporal_embedding"


class WholeVariant(nn.Module):
    def __init__(self, vocabulary: int, frames: int, seed: int) -> None:
        super().__init__()
        self.vocabulary = vocabulary
        weights = clip_weights(text_sizes(vocabulary, side=SIDE, patch=PATCH, vision_width=DIM, vision_layers=LAYERS), seed)
        state = begun(weights, Plan("clip_vip", times=frames), seed)
        state[TIMES] = FRAME_POSITIONS * torch.randn(state[TIMES].shape, generator=torch.Generator().manual_seed(seed))
        self.system = build(state)
        self.system.requires_grad_(True)

    def learnt(self) -> list[nn.Parameter]:
        return list(self.parameters())

    def texts(self, ids: Tensor, mask: Tensor) -> Tensor:
        """[B, L] → [B, D] of unit length"""
        return self.system.encode_text(end_last(ids, self.vocabulary))

    def clips(self, frames: Tensor) -> Tensor:
        """[B, T, 3, S, S] → [B, D] of unit length"""
        return self.system.clip_embedding(frames)

    @torch.no_grad()
    def compare(self, texts: Tensor, frames: Tensor) -> Tensor:
        """[N, D], [M, T, 3, S, S] → [N, M]"""
        return texts @ torch.cat([self.clips(part) for part in frames.split(50)]).T


class Reader(nn.Module):
    """What the frame encoder is asked in training, asked of CLIP-ViP's proxy and patches."""

    def __init__(self) -> None:
        super().__init__()
        self.of_proxy, self.attributes = nn.Linear(DIM, FEATURES), AttributeReader()
        # A patch answers for the four cells of the finer map that it covers.
        self.of_patches, self.map = nn.Conv2d(DIM, MAP * 4, 1), MapReader()

    def loss(self, model: WholeVariant, images: Tensor, known: dict[str, np.ndarray], rows: np.ndarray) -> Tensor:
        tower = model.system.clipmodel.vision_model
        with processor_half():
            hidden = tower.post_layernorm(tower.last_hidden(images[:, None]))
            grid = SIDE // PATCH
            patches = hidden[:, -(grid**2) :].transpose(1, 2).unflatten(2, (grid, grid))
            seen = F.pixel_shuffle(self.of_patches(patches), 2)
            vector = self.of_proxy(hidden[:, 0])
        of_vector = attribute_loss(self.attributes(vector.float()), known, rows)
        return of_vector + map_loss(self.map(seen.float()), known, rows)


def learn_whole(
    variant: WholeVariant, clips: Clips, tokenizer: Tokenizer, seed: int, frame_steps: int, steps: int, batch: int,
) -> None:
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    _learn_to_see(variant, clips, rng, frame_steps)
    corpus, meaning = Corpus(clips.scenes, tokenizer, seed), Meaning(DIM)
    temperature = variant.system.clipmodel.logit_scale
    temperature.data.fill_(math.log(1 / 0.07))
    learnt = [p for p in (*variant.learnt(), *meaning.parameters()) if p is not temperature]
    descend = OneCycle(WHOLE, learnt, steps, still=[temperature])
    for _ in range(steps):
        rows = rng.integers(0, len(clips.scenes), batch)
        claims, reverse, ids, mask = corpus.draw(rows)
        frames = pixels(clips.pixels[rows])
        quarter, length = batch // 4, frames.shape[1]
        other, at = rng.permutation(batch)[:quarter], length // 2
        cut = torch.cat([frames[:quarter, :at], frames[torch.from_numpy(other), at:]], dim=1)
        with processor_half():
            videos = variant.clips(torch.cat([frames, frames.flip(1), cut])).float()
            texts = by_length(variant.texts, ids, mask).float()
        loss, twins = contrast(corpus, rows, other, claims + reverse, texts @ videos.T, variant.system.scale())
        loss = loss + 0.5 * meaning.loss(videos[: 2 * batch], corpus.shown(rows)) + 0.5 * meaning.loss(texts, meant_by(claims + reverse))
        descend(loss, twins=twins)
        with torch.no_grad():
            temperature.clamp_(0, math.log(100))
    variant.eval()


def _learn_to_see(variant: WholeVariant, clips: Clips, rng: np.random.Generator, steps: int, batch: int = FRAME_BATCH) -> None:
    known, frames = questions(clips), clips.pixels.reshape(-1, *clips.pixels.shape[2:])
    reader = Reader()
    tower = list(variant.system.clipmodel.vision_model.parameters())
    descend = OneCycle(f"{WHOLE}, frames", [*tower, *reader.parameters()], steps)
    for _ in range(steps):
        rows = rng.integers(0, len(frames), batch)
        descend(reader.loss(variant, to_pixels(frames[rows]), known, rows))


def pixels(clips: np.ndarray) -> Tensor:
    """uint8 [N, T, S, S, 3] → [N, T, 3, S, S]"""
    return to_pixels(clips.reshape(-1, *clips.shape[2:])).unflatten(0, clips.shape[:2])
