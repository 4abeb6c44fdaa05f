"""Writes tiny bundles of the research systems, and what their modules make of the same frames and words, for clipseek's own
tests: `tests/fixtures/systems`. Run in `models/` with PyTorch: `python tests/make_bundles.py`, all or those that are named.
"""

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from make_fixtures import caption_decoder
from safetensors.torch import load_file
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from torch import Tensor, nn

from clipseek_models import pixels
from clipseek_models.systems import Heads, build
from clipseek_models.systems.caption_export import CaptionSettings
from clipseek_models.systems.clip4clip import MeanP, TightTransf
from clipseek_models.systems.export import Settings, manifest, parts_of, write_parts
from clipseek_models.systems.interface import Videos

HERE = Path(__file__).resolve().parent
OUT = HERE.parent.parent / "tests" / "fixtures" / "systems"
LOOSE, TIGHT = "clip4clip/seqTransf", "clip4clip/tightTransf"
SYSTEMS = {
    "clip4clip": (LOOSE, Heads(2, 2, 2), 5),
    "clip2video": ("clip2video/full", Heads(2, 2, 2), 5),
    "clip-vip": ("clip_vip/M1", Heads(4, 3), 4),
    "clip4clip-tight": (TIGHT, Heads(2, 2, 2), 5),
    "clip4clip-two": (LOOSE, Heads(2, 2, 2), 5),  # re-ranked by the one before
    "clip4clip-captions": (LOOSE, Heads(2, 2, 2, 2), 5),  # with a decoder beside it
}
WORDS = "a red ball rolls to the left man plays guitar".split()
TEXTS = ["a red ball rolls to the left", "Man plays a guitar", "the ball", "to the left the man"]
WINDOWS = [[0, 1, 2, 3, 4], [4, 3, 2, 1, 0], [7, 8, 9], [5, 6, 7, 8], [2, 2, 9, 9, 1]]
PIECES = "[PAD] [UNK] [CLS] [SEP] a the man woman dog cat ball guitar is in on with to left right red blue play ##s ##ing roll jump snow , .".split()
PAD, START, END = (PIECES.index(token) for token in ("[PAD]", "[CLS]", "[SEP]"))
CAPTIONS = [  # of each window, as often as they stand here
    ["a cat jumps on the red ball , a dog jumps on the blue ball"],  # longer than captions may become
    # Most begin with "a", but none of these is as frequent as the last one: greedy takes the wrong turn.
    ["a dog jumps", "a cat is jumping", "a woman is playing", "a blue ball", "a man rolls"] + 2 * ["a red ball rolls"] + 4 * ["the dog is in the snow"],
    ["a woman with a cat"] + 2 * ["a man plays the guitar ."],
    ["the ball is rolling"],
    # The first of these has ended, second best and going on, when the others part and fall behind it.
    4 * ["a cat"] + [f"the red ball rolls {how}" for how in ("left", "left", "right", "on snow", "in the snow", "with the dog", "to the dog")],
]
MOST_WORDS, STEPS = 10, 600


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
    side = model.limits.side
    if model.system == "clip_vip":
        # Exactly so many frames, repeated where there are fewer.
        picks = [picks[int(place)] for place in np.linspace(0, len(picks) - 1, frames)]
        return model.clip_embedding(torch.stack([frame(k, side) for k in picks])[None])[0]
    mask = torch.ones(1, len(picks))
    clip = torch.stack([frame(k, side) for k in picks])[None]
    if model.system == "clip2video":
        # Padded with zero pictures to a full window, which has a say.
        missing = frames - len(picks)
        clip = torch.cat([clip, clip.new_zeros(1, missing, *clip.shape[2:])], dim=1)
        mask = torch.cat([mask, mask.new_zeros(1, missing)], dim=1)
    return model.clip_embedding(model.frame_features(clip), mask)[0]


def text_vector(model: nn.Module, words: Tokenizer, text: str) -> Tensor:
    ids = torch.tensor([words.encode(text).ids])
    return model.encode_text(ids, torch.ones_like(ids))[0]


def features(model: nn.Module, picks: list[int]) -> tuple[Tensor, Tensor]:
    """[1, T, D] of one window's frames, and the mask [1, T]."""
    pictures = torch.stack([frame(k, model.limits.side) for k in picks])[None]
    return model.frame_features(pictures), torch.ones(1, len(picks))


def weights(fixture: str) -> dict[str, Tensor]:
    return {key: value.float() for key, value in load_file(HERE / "fixtures" / fixture / "model.safetensors").items()}


def word_pieces() -> Tokenizer:
    """As BERT's, but smaller."""
    made = Tokenizer(models.WordPiece({piece: i for i, piece in enumerate(PIECES)}, unk_token="[UNK]"))
    made.normalizer, made.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    made.decoder = decoders.WordPiece()
    made.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]"])
    return made


def taught(model: MeanP) -> MeanP:
    """The decoder learns `CAPTIONS` by heart, so that something can be read and nothing hangs on the last bit."""
    words, most = word_pieces(), model.decoder.positions
    for key, parameter in model.named_parameters():
        parameter.requires_grad = "decoder." in key or "caption" in key
    optimiser = torch.optim.Adam([parameter for parameter in model.parameters() if parameter.requires_grad], lr=3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, STEPS)
    with torch.no_grad():
        clips = [features(model, picks) for picks in WINDOWS]
    # The end is followed by itself: hypotheses that have ended go on at no cost.
    texts = [[[START, *words.encode(text).ids, *most * [END]][: most + 1] for text in of_clip] for of_clip in CAPTIONS]
    for _ in range(STEPS):
        loss = torch.zeros(())
        for (frames, mask), of_clip in zip(clips, map(torch.tensor, texts)):
            memory = model.caption_memory(frames, mask).expand(len(of_clip), -1, -1)
            before, after = of_clip[:, :-1], of_clip[:, 1:, None]
            found = model.decoder.log_prob(before, torch.ones_like(before), memory, mask.expand(len(of_clip), -1))
            loss = loss - found.gather(2, after).sum(1).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return model.requires_grad_(False)


def rerank_scores(tight: TightTransf, words: Tokenizer) -> list[list[float]]:
    """Of each text, for each window."""
    rows = []
    for text in TEXTS:
        of_text = tight.clip.text_features(torch.tensor([words.encode(text).ids]))
        rows.append([tight.similarity(of_text, Videos(None, *features(tight, picks))).item() for picks in WINDOWS])
    return rows


def captions(model: MeanP) -> list[dict]:
    """Of each window, greedy and with five beams."""
    words, found = word_pieces(), []
    for picks in WINDOWS:
        frames, mask = features(model, picks)
        clip = model.caption_memory(frames, mask)[0], mask[0]
        beam, score = model.decoder.caption(*clip, START, END, PAD, MOST_WORDS)
        greedy, greedy_score = model.decoder.caption(*clip, START, END, PAD, MOST_WORDS, beams=1)
        said = {"greedy": (greedy, greedy_score), "beam5": (beam, score)}
        found.append({kind: {"ids": ids, "text": words.decode(ids), "score": total} for kind, (ids, total) in said.items()})
    return found


def write(name: str) -> dict:
    source, heads, frames = SYSTEMS[name]
    state, folder = weights(source), OUT / name
    settings = Settings(frames=frames, licence="MIT OR Apache-2.0", heads=heads)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    if name == "clip4clip-captions":
        word_pieces().save(str(folder / "caption_tokenizer.json"))
        settings = replace(settings, captions=CaptionSettings(folder / "caption_tokenizer.json", words=MOST_WORDS))
        model = taught(build(state | caption_decoder(len(PIECES), seed=4), heads))
    else:
        model = build(state, heads)
    tight = build(weights(TIGHT), heads) if name == "clip4clip-two" else None
    parts = parts_of(model, tight, settings)
    vocabulary = model.limits.vocabulary
    words = tokenizer(vocabulary)
    words.save(str(folder / "tokenizer.json"))
    # CLIP-ViP pads with the end token, which is another one here.
    head = manifest(parts, name, f"models/tests/fixtures/{source}", settings).replace("pad_id = 49407", f"pad_id = {vocabulary - 1}")
    (folder / "bundle.toml").write_text("\n".join([head, *write_parts(parts, folder, settings)]))
    with torch.inference_mode():
        clips = torch.stack([clip_vector(parts.model, window, frames) for window in WINDOWS])
        texts = torch.stack([text_vector(parts.model, words, text) for text in TEXTS])
        expected = {"windows": clips.tolist(), "texts": texts.tolist(), "similarities": (texts @ clips.T).tolist()}
        if parts.tight:
            expected["rerank"] = rerank_scores(parts.tight, words)
        if parts.words:
            expected["captions"] = captions(parts.model)
    return expected


if __name__ == "__main__":
    torch.manual_seed(0)
    torch.set_num_threads(1)  # tiny matrices; on a busy machine more threads wait for each other
    file = OUT / "expected.json"
    expected = json.loads(file.read_text()) | {"texts": TEXTS, "windows": WINDOWS}
    expected |= {name: write(name) for name in sys.argv[1:] or SYSTEMS}
    file.write_text(json.dumps(expected) + "\n")
