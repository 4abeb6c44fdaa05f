"""What a matrix of scores costs. Rows are texts, columns are clips; the right pairs are on the diagonal."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def symmetric(scores: Tensor) -> Tensor:
    """[B, B] → mean of texts that look for clips and clips that look for texts (arXiv 2104.08860; CLIP2Video alike)."""
    own = torch.arange(len(scores), device=scores.device)
    return (F.cross_entropy(scores, own) + F.cross_entropy(scores.T, own)) / 2


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


def omnisource(subtitles: Tensor, captions: Tensor, frames: Tensor) -> dict[str, Tensor]:
    """CLIP-ViP's learning from all sources (arXiv 2209.06430, section 3.3, "V↔S,C + F↔C"), all [B, B].

    A clip must find its subtitle among the others' subtitles and captions, and its caption likewise, neither counting
    against the other; subtitles and captions find their clip; frames and captions find each other.
    """
    count = len(subtitles)
    own = torch.arange(count, device=subtitles.device)
    diagonal = torch.eye(count, dtype=torch.bool, device=subtitles.device)

    def among_both(wanted: Tensor, other: Tensor) -> Tensor:
        return F.cross_entropy(torch.cat([wanted.T, other.T.masked_fill(diagonal, float("-inf"))], dim=1), own)

    from_clips = among_both(subtitles, captions) + among_both(captions, subtitles)
    from_texts = F.cross_entropy(subtitles, own) + F.cross_entropy(captions, own)
    return {"video": (from_clips + from_texts) / 2, "frame": symmetric(frames)}
