"""What a matrix of scores costs. Rows are texts, columns are clips; the right pairs are on the diagonal."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def text_to_clip(scores: Tensor) -> Tensor:
    """[B, B] → mean over texts of how badly each finds its clip."""
    return F.cross_entropy(scores, torch.arange(len(scores), device=scores.device))


def clip_to_text(scores: Tensor) -> Tensor:
    """[B, B] → mean over clips of how badly each finds its text."""
    return text_to_clip(scores.T)


def mil_nce(scores: Tensor, present: Tensor) -> Tensor:
    """MIL-NCE (arXiv 1912.06430): several texts near a clip in time, of which one or another may be right.

    scores [B, K, B] of bag b's text k and each clip, present [B, K]. A bag's sum over its clip, against that and all that
    shares the clip or one of the texts. With one text a bag it is cross entropy over a row and a column at once.
    """
    count = len(scores)
    scores = scores.masked_fill(present[..., None] == 0, float("-inf"))
    diagonal = torch.arange(count, device=scores.device)
    own = scores[diagonal, :, diagonal]  # [B, K]
    elsewhere = torch.eye(count, dtype=torch.bool, device=scores.device)[:, None]
    same_texts = scores.masked_fill(elsewhere, float("-inf")).flatten(1)  # [B, K·B]: its texts, other clips
    same_clip = scores.flatten(0, 1).T  # [B, B·K]: all texts, its own among them
    return (torch.cat([same_texts, same_clip], dim=1).logsumexp(1) - own.logsumexp(1)).mean()


def clip_among_both(wanted: Tensor, other: Tensor) -> Tensor:
    """CLIP-ViP's (arXiv 2209.06430, section 3.3, "V↔S,C"), both [B, B]: a clip must find its text of the wanted kind among
    all texts of both kinds; its own text of the other kind is neither right nor wrong.
    """
    diagonal = torch.eye(len(wanted), dtype=torch.bool, device=wanted.device)
    candidates = torch.cat([wanted.T, other.T.masked_fill(diagonal, float("-inf"))], dim=1)
    return F.cross_entropy(candidates, torch.arange(len(wanted), device=wanted.device))
