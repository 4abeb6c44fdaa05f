"""Writes tiny bundles of the research systems, and what their modules make of the same frames and words, for clipseek's own
tests: `tests/fixtures/systems`. Run in `models/` with PyTorch: `python tests/make_bundles.py`
"""

import json
import shutil
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from torch import Tensor, nn

from clipseek_models import pixels
from clipseek_models.graphs import manifest_entries
from clipseek_models.systems import Heads, build
from clipseek_models.systems.clip2video import Clip2Video
from clipseek_models.systems.clip_vip import ClipVip
from clipseek_models.systems.export import Settings, manifest
from clipseek_models.systems.graph_modules import facts, write_graphs

HERE = Path(__file__).resolve().parent
OUT = HERE.parent.parent / "tests" / "fixtures" / "systems"
SYSTEMS = {
    "clip4clip": ("clip4clip/seqTransf", Heads(2, 2, 2), 5),
    "clip2video": ("clip2video/full", Heads(2, 2, 2), 5),
    "clip-vip": ("clip_vip/M1", Heads(4, 3), 4),
}
WORDS = "a red ball rolls to the left man plays guitar".split()
TEXTS = ["a red ball rolls to the left", "Man plays a guitar", "the ball", "to the left the man"]
WINDOWS = [[0, 1, 2, 3, 4], [4, 3, 2, 1, 0], [7, 8, 9], [5, 6, 7, 8], [2, 2, 9, 9, 1]]


def tokenizer(vocabulary: int) -> Tokenizer:
    """Whole words; start and end are the two largest ids, as in CLIP."""
    start, end = vocabulary - 2, vocabulary - 1
    words = {"<pad>": 0, "<start>": start, "<end>": end} | {word: i for i, word in enumerate(WORDS, 1)}
    made = Tokenizer(models.WordLevel(words, unk_token="<pad>"))
    made.normalizer, made.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.WhitespaceSplit()
    made.post_processor = processors.TemplateProcessing(single="<start> $A <end>", special_tokens=[("<start>", start), ("<end>", end)])
    return made


def frame(k: int, side: int) -> Tensor:
    """The tests make the same picture: byte i of frame k is (7 i + 31 k) mod 256. [3, S, S], normalised"""
    rgb = ((np.arange(side * side * 3) * 7 + 31 * k) % 256).reshape(side, side, 3)
    scaled = (rgb / 255 - np.array(pixels.MEAN)) / np.array(pixels.STD)
    return torch.from_numpy(scaled.transpose(2, 0, 1).astype(np.float32))


def clip_vector(model: nn.Module, picks: list[int], frames: int) -> Tensor:
    """[D] of one window, as the system itself would have it."""
    side = facts(model).side
    if isinstance(model, ClipVip):
        # Exactly so many frames, repeated where there are fewer.
        picks = [picks[int(place)] for place in np.linspace(0, len(picks) - 1, frames)]
        return model.clip_embedding(torch.stack([frame(k, side) for k in picks])[None])[0]
    mask = torch.ones(1, len(picks))
    clip = torch.stack([frame(k, side) for k in picks])[None]
    if isinstance(model, Clip2Video):
        # Padded with zero pictures to a full window, which has a say.
        missing = frames - len(picks)
        clip = torch.cat([clip, clip.new_zeros(1, missing, *clip.shape[2:])], dim=1)
        mask = torch.cat([mask, mask.new_zeros(1, missing)], dim=1)
    return model.clip_embedding(model.frame_features(clip), mask)[0]


def text_vector(model: nn.Module, words: Tokenizer, text: str) -> Tensor:
    ids = torch.tensor([words.encode(text).ids])
    return (model.text_embedding(ids, torch.ones_like(ids)) if isinstance(model, Clip2Video) else model.text_embedding(ids))[0]


def write(name: str) -> dict:
    fixture, heads, frames = SYSTEMS[name]
    state = {key: value.float() for key, value in load_file(HERE / "fixtures" / fixture / "model.safetensors").items()}
    model, folder = build(state, heads), OUT / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    vocabulary = facts(model).vocabulary
    words = tokenizer(vocabulary)
    words.save(str(folder / "tokenizer.json"))
    settings = Settings(frames=frames, licence="MIT OR Apache-2.0", heads=heads)
    # CLIP-ViP pads with the end token, which is another one here.
    head = manifest(model, name, f"models/tests/fixtures/{fixture}", settings).replace("pad_id = 49407", f"pad_id = {vocabulary - 1}")
    (folder / "bundle.toml").write_text("\n".join([head, *manifest_entries(folder, write_graphs(model, frames, folder))]))
    with torch.inference_mode():
        clips = torch.stack([clip_vector(model, window, frames) for window in WINDOWS])
        texts = torch.stack([text_vector(model, words, text) for text in TEXTS])
    return {"windows": clips.tolist(), "texts": texts.tolist(), "similarities": (texts @ clips.T).tolist()}


if __name__ == "__main__":
    torch.manual_seed(0)
    expected = {"texts": TEXTS, "windows": WINDOWS} | {name: write(name) for name in SYSTEMS}
    (OUT / "expected.json").write_text(json.dumps(expected) + "\n")
