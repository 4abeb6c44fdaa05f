"""The captioned variant as a bundle of clipseek's: frames, head, texts, and captions."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders
from torch import Tensor, nn

from ..graphs import Writer, manifest_entries
from ..systems.caption_export import CaptionWords, caption_entries
from ..systems.graph_modules import Head
from ..world.dataset import FRAMES, SIDE
from ..world.export import world_manifest
from ..world.nets import FrameEncoder
from ..world.tokenizer import CONTEXT_LENGTH, END, PAD, START
from .variants import DIM, Variant


class _Frame(nn.Module):
    """[N, 3, S, S] → [N, D]: the shared encoder, then the variant's own projection."""

    def __init__(self, encoder: FrameEncoder, variant: Variant) -> None:
        super().__init__()
        self.encoder, self.variant = encoder, variant

    def forward(self, pixels: Tensor) -> Tensor:
        return self.variant.features(self.encoder.knowledge(pixels))


class _Text(nn.Module):
    """[B, L] ids of the tokenizer → [B, D] of unit length"""

    def __init__(self, variant: Variant) -> None:
        super().__init__()
        self.variant = variant

    def forward(self, ids: Tensor) -> Tensor:
        return self.variant.texts(ids, torch.ones_like(ids))


def export(variant: Variant, encoder: FrameEncoder, words: Tokenizer, folder: Path) -> None:
    """Every graph is compared with its module first. A captioned variant's captions are among them."""
    folder.mkdir(parents=True)
    writer, windows = Writer(folder), {0: "batch", 1: "time"}
    frame = _Frame(encoder.to(memory_format=torch.contiguous_format), variant)
    pictures = [{"pixel_values": torch.randn(count, 3, SIDE, SIDE)} for count in (2, 5)]
    writer.write("frame", frame, "image_embeds", {"pixel_values": {0: "batch"}}, *pictures)
    masks = torch.ones(2, FRAMES), torch.ones(3, 13)
    masks[1][1, 7:] = 0
    sample, trial = ({"frames": torch.randn(*mask.shape, DIM), "mask": mask} for mask in masks)
    writer.write("head", Head(variant.system), "embedding", {"frames": windows, "mask": windows}, sample, trial)
    known = words.get_vocab_size()
    ids = [torch.randint(END + 1, known, shape) for shape in ((2, 7), (3, 11))]
    for batch in ids:
        batch[:, -1] = END
    writer.write("text", _Text(variant), "text_embeds", {"input_ids": {0: "batch", 1: "length"}}, *({"input_ids": batch} for batch in ids))
    words.save(str(folder / "tokenizer.json"))
    ports = {"frame": ("pixel_values", None, "image_embeds"), "head": ("frames", "mask", "embedding"), "text": ("input_ids", None, "text_embeds")}
    entries = manifest_entries(folder, ports)
    if variant.system.decoder is not None:
        spoken = Tokenizer.from_str(words.to_str())
        spoken.decoder = decoders.WordPiece(cleanup=False)  # whole words with blanks between
        said = CaptionWords(spoken, START, END, PAD, CONTEXT_LENGTH)
        entries += caption_entries(variant.system, FRAMES, DIM, DIM, writer, said, beams=5)
    summary = f"small model of a synthetic world of moving shapes, briefly trained: {variant.name}"
    source = "trained from nothing by clipseek's own models package (compare) on clips that the package renders"
    text = world_manifest(folder.name, summary, source, DIM, variant.scale().item())
    (folder / "bundle.toml").write_text("\n".join([text, *entries]))
