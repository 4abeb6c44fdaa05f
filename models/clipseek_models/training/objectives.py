"""What a batch costs, for each thing that can be learnt: named terms with their weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from ..systems.interface import Logits, System, Videos, full_precision
from . import losses
from .batch import Batch, Texts
from .captioner import caption_loss

Terms = dict[str, tuple[float, Tensor]]  # name → weight, value


def total(terms: Terms) -> Tensor:
    return sum(weight * value for weight, value in terms.values())


@dataclass(frozen=True)
class Objective:
    texts: Texts  # that it wants of a clip
    cost: Callable[[System, Batch], Terms]
    captions: bool = False  # whether a caption decoder learns
    retrieval: bool = True  # whether captions and clips learn to find each other
    middle_frame: bool = False  # whether it wants the frame in the middle of each video


def contrast(model: System, logits: Logits) -> Terms:
    """Each text finds its clip and each clip its text, in each of the matrices that the system compares by."""
    terms: Terms = {}
    for name, (share, scores) in logits.items():
        of_matrix, weight = f"{name}_" if len(logits) > 1 else "", share * model.direction_weight
        terms[f"{of_matrix}text_to_clip"] = weight, losses.text_to_clip(scores)
        terms[f"{of_matrix}clip_to_text"] = weight, losses.clip_to_text(scores)
    return terms


def retrieval(model: System, batch: Batch) -> Terms:
    return contrast(model, model(batch.pixels, batch.mask, batch.ids[:, 0], batch.words[:, 0]))


def narrated(model: System, batch: Batch) -> Terms:
    """Post-pretraining on narrated video, as CLIP4Clip's on HowTo100M: clips and what is said around them."""
    logits = model(batch.pixels, batch.mask, batch.ids.flatten(0, 1), batch.words.flatten(0, 1))
    said = batch.words.any(-1)
    return {name: (share, losses.mil_nce(scores.unflatten(0, said.shape), said)) for name, (share, scores) in logits.items()}


def omnisource(model: System, batch: Batch) -> Terms:
    """CLIP-ViP's post-pretraining (arXiv 2209.06430, section 3.3): clips V with their subtitles S and with captions C of
    their middle frames F. Six terms, summed.
    """
    videos = model.encode_video(batch.pixels, batch.mask)
    frames = model.encode_video(batch.middle, batch.mask[:, :1])
    texts = model.encode_text(batch.ids.transpose(0, 1).flatten(0, 1), batch.words.transpose(0, 1).flatten(0, 1))
    subtitles, captions = texts.chunk(2)

    def scores(texts: Tensor, shown: Videos) -> Tensor:
        [(_, matrix)] = model.logits(texts, shown).values()
        return matrix

    of_subtitles, of_captions, of_frames = scores(subtitles, videos), scores(captions, videos), scores(captions, frames)
    terms = {
        "subtitle_to_clip": losses.text_to_clip(of_subtitles),
        "caption_to_clip": losses.text_to_clip(of_captions),
        "clip_to_subtitle": losses.clip_among_both(of_subtitles, of_captions),
        "clip_to_caption": losses.clip_among_both(of_captions, of_subtitles),
        "caption_to_frame": losses.text_to_clip(of_frames),
        "frame_to_caption": losses.clip_to_text(of_frames),
    }
    return {name: (1.0, value) for name, value in terms.items()}


def captions(model: System, batch: Batch) -> Terms:
    """Captions alone, as UniVL's fine-tuning for captions has it (arXiv 2002.06353)."""
    return _captions(model, batch, count_padding=False)


def captions_as_published(model: System, batch: Batch) -> Terms:
    return _captions(model, batch, count_padding=True)


def _captions(model: System, batch: Batch, count_padding: bool) -> Terms:
    videos = model.encode_video(batch.pixels, batch.mask)
    return {"caption": (1.0, _said(model, videos, batch, count_padding))}


def retrieval_and_captions(model: System, batch: Batch) -> Terms:
    """Both losses added: one model that finds and describes."""
    videos = model.encode_video(batch.pixels, batch.mask)
    logits = model.logits(model.encode_text(batch.ids[:, 0], batch.words[:, 0]), videos)
    return contrast(model, logits) | {"caption": (1.0, _said(model, videos, batch, count_padding=False))}


def _said(model: System, videos: Videos, batch: Batch, count_padding: bool) -> Tensor:
    with full_precision(videos.frames):
        memory = model.caption_memory(videos.frames, videos.mask)
    return caption_loss(model.decoder, memory, videos.mask, batch.ids[:, 0], batch.words[:, 0], count_padding)


OBJECTIVES = {
    "retrieval": Objective("one", retrieval),
    "narrated": Objective("bag", narrated),
    "omnisource": Objective("sources", omnisource, middle_frame=True),
    "captions": Objective("one", captions, captions=True, retrieval=False),
    "captions-as-published": Objective("one", captions_as_published, captions=True, retrieval=False),
    "retrieval-and-captions": Objective("one", retrieval_and_captions, captions=True),
}
