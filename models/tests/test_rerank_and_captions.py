"""Re-ranking and captions: checkpoints, their graphs, and bundles run with ONNX Runtime alone. Needs PyTorch."""

import json
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import onnx  # noqa: E402
import onnxruntime  # noqa: E402
from make_bundles import CAPTIONS, MOST_WORDS, OUT, PIECES, TEXTS, WINDOWS, frame, word_pieces  # noqa: E402
from make_fixtures import caption_decoder  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402
from tokenizers import Tokenizer, models  # noqa: E402

from clipseek_models import clip_tokenizer, decoding  # noqa: E402
from clipseek_models.bundle import Bundle  # noqa: E402
from clipseek_models.checkpoints import CheckpointError  # noqa: E402
from clipseek_models.systems import Heads, build, load  # noqa: E402
from clipseek_models.systems.caption_export import CaptionSettings, caption_words, clip_decoder  # noqa: E402
from clipseek_models.systems.clip4clip import MeanP, SeqTransf  # noqa: E402
from clipseek_models.systems.export import Settings, command, export  # noqa: E402
from clipseek_models.systems.graph_modules import ExportError  # noqa: E402
from clipseek_models.systems.interface import Videos  # noqa: E402

FIXTURES = Path(__file__).resolve().parent / "fixtures" / "clip4clip"
HEADS = Heads(2, 2, 2, 2)
SETTINGS = Settings(frames=5, heads=HEADS)
in_every_precision = pytest.mark.parametrize("precision", ["float32", "float16", "int8"])


def state(variant: str, whole_vocabulary: bool = False) -> dict[str, torch.Tensor]:
    weights = {key: value.float() for key, value in load_file(FIXTURES / variant / "model.safetensors").items()}
    if whole_vocabulary:
        weights["clip.token_embedding.weight"] = torch.randn(49408, 16, generator=torch.Generator().manual_seed(0))
    return weights


def captioner(variant: str = "seqTransf") -> dict[str, torch.Tensor]:
    weights = state("seqTransf", whole_vocabulary=True) | caption_decoder(len(PIECES), seed=5, scale=1.0)
    return without_time(weights) if variant == "meanP" else weights


def without_time(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """What is left is meanP."""
    return {key: value for key, value in weights.items() if not key.startswith(("frame_", "transformerClip"))}


@pytest.fixture
def files(tmp_path):
    """Checkpoints with the whole vocabulary, and a tokenizer for captions."""
    save_file(state("tightTransf", True), tmp_path / "tight.bin")
    save_file(state("seqTransf", True), tmp_path / "loose.bin")
    save_file(captioner(), tmp_path / "captioner.bin")
    word_pieces().save(str(tmp_path / "words.json"))
    return tmp_path


def with_words(folder: Path, **changes) -> Settings:
    return replace(SETTINGS, captions=CaptionSettings(folder / "words.json", **changes))


def windows(dim: int) -> tuple[np.ndarray, np.ndarray]:
    """Frame features of three windows, the last of which is short."""
    frames, mask = np.random.default_rng(0).standard_normal((3, 5, dim)).astype(np.float32), np.ones((3, 5), np.float32)
    frames[2, 3:], mask[2, 3:] = 0, 0
    return frames, mask


# The bundles that clipseek is tested with.


def features(bundle: Bundle, picks: list[int]) -> np.ndarray:
    """[1, T, D]"""
    graph = bundle.manifest["graphs"]["frame"]
    pictures = np.stack([frame(k, bundle.manifest["pixels"]["width"]).numpy() for k in picks])
    return bundle.sessions["frame"].run([graph["output"]], {graph["input"]: pictures})[0][None]


def padded(windows: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Windows of several lengths as one batch."""
    most = max(window.shape[1] for window in windows)
    frames = [np.pad(window, ((0, 0), (0, most - window.shape[1]), (0, 0))) for window in windows]
    return np.concatenate(frames), np.array([[i < window.shape[1] for i in range(most)] for window in windows], np.float32)


@pytest.mark.parametrize("name", ["clip4clip-tight", "clip4clip-two"])
def test_fixture_bundles_rerank_as_their_modules(name):
    bundle, expected = Bundle(OUT / name), json.loads((OUT / "expected.json").read_text())[name]
    clips = padded([features(bundle, picks) for picks in WINDOWS])
    for text, scores in zip(TEXTS, expected["rerank"], strict=True):
        assert np.allclose(bundle.rerank(text, *clips), scores, atol=1e-5)
    assert np.allclose(bundle.texts(TEXTS), expected["texts"], atol=1e-5)


def test_the_fixture_bundle_captions_as_its_module():
    bundle, expected = Bundle(OUT / "clip4clip-captions"), json.loads((OUT / "expected.json").read_text())["clip4clip-captions"]
    clips = padded([features(bundle, picks) for picks in WINDOWS])
    for kind, beams in (("greedy", 1), ("beam5", None)):
        for found, window in zip(bundle.captions(*clips, beams), expected["captions"], strict=True):
            assert (found.ids, found.text) == (window[kind]["ids"], window[kind]["text"])
            assert found.score == pytest.approx(window[kind]["score"], abs=1e-4)
    # What is special about each window, see make_bundles.py.
    greedy, beam = ([window[kind] for window in expected["captions"]] for kind in ("greedy", "beam5"))
    assert len(beam[0]["ids"]) == MOST_WORDS and beam[0]["ids"][-1] != bundle.manifest["captions"]["end_id"]
    assert beam[1]["text"] == CAPTIONS[1][-1] and greedy[1]["text"] != beam[1]["text"] and greedy[1]["score"] < beam[1]["score"]
    assert beam[4]["text"] == "a cat"


# The search.


def scripted(table: dict[tuple[int, ...], dict[int, float]], vocabulary: int = 6):
    """A step that knows what follows each hypothesis; what the table lacks is followed by the end, for certain."""
    hypotheses = [()]

    def step(words: np.ndarray, origins: np.ndarray) -> np.ndarray:
        nonlocal hypotheses
        hypotheses = [(*hypotheses[origin], int(word)) for word, origin in zip(words, origins)]
        rows = np.full((len(words), vocabulary), -100, np.float32)
        for row, hypothesis in zip(rows, hypotheses):
            for word, share in table.get(hypothesis[1:], {1: 1.0}).items():
                row[word] = np.log(share)
        return rows

    return step


START, END, PAD = 0, 1, 2


def test_the_best_caption_is_not_always_the_greedy_one():
    table = {(): {3: 0.6, 4: 0.4}, (3,): {3: 0.5, 4: 0.5}}
    greedy, score = decoding.search(scripted(table), START, END, PAD, 8, 1)
    assert greedy == [3, 3, END] and score == pytest.approx(np.log(0.3))
    best, score = decoding.search(scripted(table), START, END, PAD, 8, 2)
    assert best == [4, END] and score == pytest.approx(np.log(0.4))


def test_captions_that_have_ended_go_on_until_the_best_one_ends():
    """The one with 4 has ended when the other is still better; what is counted against it afterwards counts."""
    table = {(): {3: 0.6, 4: 0.4}, (3,): {3: 1.0}, (3, 3): {3: 0.4, 4: 0.3, 5: 0.3}, (4, END): {END: 0.75, 5: 0.25}}
    best, score = decoding.search(scripted(table), START, END, PAD, 8, 2)
    assert best == [4, END] and score == pytest.approx(np.log(0.4 * 0.75))


def test_captions_are_cut_at_padding_and_at_their_most_words():
    assert decoding.search(scripted({(): {3: 1.0}, (3,): {PAD: 1.0}, (3, PAD): {4: 1.0}}), START, END, PAD, 8, 3)[0] == [3]
    assert decoding.search(scripted({(): {3: 1.0}, (3,): {4: 1.0}}), START, END, PAD, 2, 3)[0] == [3, 4]
    assert decoding.search(scripted({(): {END: 1.0}}), START, END, PAD, 8, 5)[0] == [END]


# Checkpoints.


def test_a_decoder_beside_the_keys_of_clip4clip_is_part_of_it():
    model = build(captioner(), HEADS)
    assert type(model) is SeqTransf and model.caption_projection is not None
    frames, mask = map(torch.from_numpy, windows(16))
    with torch.no_grad():
        memory = model.caption_memory(frames, mask)
        assert torch.allclose(memory, model.caption_projection(model.over_time(frames, mask)))
    plain = build(captioner("meanP"), HEADS)
    assert type(plain) is MeanP and plain.decoder is not None


@pytest.mark.parametrize(
    "change, problem",
    [
        (lambda s: s.pop("decoder.embeddings.LayerNorm.bias"), "the key decoder.embeddings.LayerNorm.bias is missing"),
        (lambda s: s.pop("caption_projection.bias"), "the key caption_projection.bias is missing"),
        (lambda s: [s.pop(f"caption_projection.{part}") for part in ("weight", "bias")], "the key caption_projection.weight is missing"),
        (lambda s: s.update({"caption_projection.bias": torch.ones(3)}), r"caption_projection.bias has the shape \[3\], expected \[24\]"),
        (lambda s: s.update({"decoder.extra": torch.ones(3)}), "the key decoder.extra does not belong to this model"),
        (lambda s: s.pop("clip.ln_final.bias"), "the key clip.ln_final.bias is missing"),
    ],
)
def test_a_key_that_does_not_fit_is_named(change, problem):
    weights = captioner()
    change(weights)
    with pytest.raises(CheckpointError, match=problem):
        build(weights, HEADS)


def test_a_cross_encoder_with_a_decoder_is_refused():
    with pytest.raises(CheckpointError, match="decoder.* does not belong to this model"):
        build(state("tightTransf") | caption_decoder(len(PIECES), seed=5), HEADS)


# Bundles.


@in_every_precision
def test_a_cross_encoder_alone(precision, files):
    export(files / "tight.bin", files / "tight", None, replace(SETTINGS, precision=precision))
    bundle, model = Bundle(files / "tight"), load(files / "tight.bin", HEADS)
    assert set(bundle.manifest["graphs"]) == {"frame", "text"} and "feature_dim" not in bundle.manifest["video"]
    assert bundle.manifest["video"]["max_frames"] == 15 and "they find poorly" in bundle.manifest["summary"]
    frames, mask = windows(16)
    ids = torch.tensor([clip_tokenizer.Clip4ClipTokenizer().feed("a red ball", 5)[0]])
    with torch.no_grad():
        expected = model.similarity(model.encode_text(ids), Videos(None, *map(torch.from_numpy, (frames, mask))))
    allowed = {"float32": 1e-5, "float16": 5e-3, "int8": 0.1}[precision]
    assert np.allclose(bundle.rerank("a red ball", frames, mask), expected[0], atol=allowed * expected.abs().max().item())


def test_two_checkpoints_side_by_side(files, capsys):
    assert command(files / "loose.bin", files / "two", None, SETTINGS, files / "tight.bin") == 0
    assert [line.split(",")[0] for line in capsys.readouterr().out.splitlines()[:-1]] == ["frame.onnx", "head.onnx", "text.onnx", "rerank.onnx"]
    bundle, loose, tight = Bundle(files / "two"), load(files / "loose.bin", HEADS), load(files / "tight.bin", HEADS)
    said = bundle.manifest
    assert (said["dim"], said["video"]["feature_dim"], said["video"]["max_frames"]) == (16, 32, 15)
    assert said["summary"] == "CLIP4Clip seqTransf, re-ranked by CLIP4Clip tightTransf"
    assert "loose.bin and tight.bin" in said["source"]
    pictures = torch.randn(1, 5, 3, 16, 16)
    given = {"pixel_values": pictures[0].numpy()}
    both = bundle.sessions["frame"].run(None, given)[0][None]
    with torch.no_grad():
        features = [model.frame_features(pictures) for model in (loose, tight)]
        vector = loose.clip_embedding(features[0], torch.ones(1, 5))
        ids = torch.tensor([bundle.tokenizer.encode("a red ball").ids])
        score = tight.similarity(tight.encode_text(ids), Videos(None, features[1], torch.ones(1, 5)))
    assert np.allclose(both, torch.cat(features, dim=-1), atol=1e-5)
    assert np.allclose(bundle.pool(both), vector, atol=1e-5)
    assert np.allclose(bundle.rerank("a red ball", both), score[0], atol=1e-5)


def test_the_same_pictures_are_encoded_once(files):
    own = {key: value for key, value in state("tightTransf", True).items() if key.startswith("clip.")}
    save_file(own, files / "plain.bin")
    export(files / "plain.bin", files / "shared", None, SETTINGS, files / "tight.bin")
    bundle = Bundle(files / "shared")
    assert set(bundle.manifest["graphs"]) == {"frame", "text"} and "feature_dim" not in bundle.manifest["video"]
    assert bundle.manifest["summary"] == "CLIP4Clip meanP, re-ranked by CLIP4Clip tightTransf"
    # Of a mean over other pictures a head must take its part.
    save_file(without_time(state("seqTransf", True)), files / "other.bin")
    export(files / "other.bin", files / "apart", None, SETTINGS, files / "tight.bin")
    bundle, model = Bundle(files / "apart"), load(files / "other.bin", HEADS)
    frames, mask = windows(32)
    with torch.no_grad():
        expected = model.clip_embedding(torch.from_numpy(frames[..., :16]), torch.from_numpy(mask))
    assert np.allclose(bundle.sessions["head"].run(None, {"frames": frames, "mask": mask})[0], expected, atol=1e-5)


@in_every_precision
@pytest.mark.parametrize("variant", ["seqTransf", "meanP"])
def test_captions_of_a_checkpoint(variant, precision, files):
    save_file(captioner(variant), files / "captioner.bin")
    export(files / "captioner.bin", files / "bundle", None, replace(with_words(files), precision=precision))
    bundle, model = Bundle(files / "bundle"), load(files / "captioner.bin", HEADS)
    said = bundle.manifest["captions"]
    assert [said[key] for key in ("start_id", "end_id", "pad_id", "max_words", "beams")] == [2, 3, 0, 12, 5]
    assert bundle.manifest["summary"] == f"{model.title}, with captions"
    frames, mask = windows(16)
    with torch.no_grad():
        memory = model.caption_memory(torch.from_numpy(frames), torch.from_numpy(mask))
    found = bundle.captions(frames, mask)
    for caption, clip, of_clip in zip(found, memory, torch.from_numpy(mask), strict=True):
        assert caption.text == word_pieces().decode(caption.ids)
        with torch.no_grad():
            ids, score = model.decoder.caption(clip, of_clip, 2, 3, 0, 12)
        if precision == "float32":
            assert caption.ids == ids
        assert caption.score == pytest.approx(score, rel={"float32": 1e-4, "float16": 0.02, "int8": 0.2}[precision])


def test_captions_and_reranking_in_one_bundle(files):
    export(files / "captioner.bin", files / "all", None, with_words(files, words=8, beams=3), files / "tight.bin")
    export(files / "captioner.bin", files / "alone", None, with_words(files, words=8, beams=3))
    frames, mask = windows(32)
    together = Bundle(files / "all")
    assert together.manifest["summary"] == "CLIP4Clip seqTransf, re-ranked by CLIP4Clip tightTransf, with captions"
    assert (together.manifest["captions"]["max_words"], together.manifest["captions"]["beams"]) == (8, 3)
    assert together.captions(frames, mask) == Bundle(files / "alone").captions(frames[..., :16], mask)


def as_run(path: Path, scratch: Path) -> Counter:
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(scratch / "optimised.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return Counter(node.op_type for node in onnx.load(scratch / "optimised.onnx").graph.node)


@in_every_precision
def test_attention_is_one_node_with_kept_words_too(precision, files):
    export(files / "captioner.bin", files / "all", None, replace(with_words(files), precision=precision), files / "tight.bin")
    attentions = {name: as_run(files / "all" / f"{name}.onnx", files)["MultiHeadAttention"] for name in ("rerank", "caption_memory", "caption_step")}
    assert attentions == {"rerank": 1 + 2, "caption_memory": 1, "caption_step": 2 * 2}
    kinds = {"input_ids", "ids"}
    for path in (files / "all").glob("*.onnx"):
        graph = onnx.load(path).graph
        for port in [*graph.input, *graph.output]:
            wanted = onnx.TensorProto.INT64 if port.name in kinds else onnx.TensorProto.FLOAT
            assert port.type.tensor_type.elem_type == wanted, (path.name, port.name)
        if precision == "float16":
            weights = [onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer]
            constants = [onnx.numpy_helper.to_array(a.t) for node in graph.node if node.op_type == "Constant" for a in node.attribute]
            assert all(np.isfinite(value).all() for value in [*weights, *constants])


# What is refused.


def refused(problem: str, *arguments) -> None:
    with pytest.raises(ExportError, match=problem):
        export(*arguments)


def test_pairs_that_do_not_go_together_are_refused(files):
    out = files / "bundle"
    refused("candidates come from a loose CLIP4Clip", files / "tight.bin", out, None, SETTINGS, files / "tight.bin")
    refused("only CLIP4Clip tightTransf re-ranks", files / "loose.bin", out, None, SETTINGS, files / "loose.bin")
    clip2video = load_file(FIXTURES.parent / "clip2video/full/model.safetensors")
    save_file(clip2video, files / "clip2video.bin")
    refused("CLIP2Video does not go together with", files / "clip2video.bin", out, None, SETTINGS, files / "tight.bin")
    larger = state("tightTransf", True)
    larger["clip.visual.positional_embedding"] = torch.zeros(10, 16)
    save_file(larger, files / "larger.bin")
    refused("pictures of 16 pixels, .* of 24", files / "loose.bin", out, None, SETTINGS, files / "larger.bin")
    save_file(state("tightTransf"), files / "fewer.bin")
    refused("49408 tokens, CLIP4Clip tightTransf 64", files / "loose.bin", out, None, SETTINGS, files / "fewer.bin")
    deep = captioner() | {"clip.visual.conv2.weight": torch.zeros(16, 3, 3, 8, 8)}
    save_file(deep, files / "deep.bin")
    refused("3-D patches", files / "deep.bin", out, None, with_words(files))
    refused("3-D patches", files / "deep.bin", out, None, with_words(files), files / "tight.bin")
    refused("16 frames per window are more than .* for .15", files / "loose.bin", out, None, replace(SETTINGS, frames=16), files / "tight.bin")
    assert not out.exists()


def test_tokenizers_that_are_not_the_decoders_are_refused(files):
    def settings(tokenizer: Tokenizer | None, **changes) -> Settings:
        if tokenizer:
            tokenizer.save(str(files / "words.json"))
        return with_words(files, **changes)

    def fails(problem: str, settings: Settings) -> None:
        refused(problem, files / "captioner.bin", files / "bundle", None, settings)

    fails(r"knows 29 words, CLIP's tokenizer has 49408; give the decoder's own with --caption-tokenizer", SETTINGS)
    other = word_pieces()
    other.add_tokens(["more"])
    fails("knows 29 words, .*words.json has 30", settings(other))
    mute = word_pieces()
    mute.decoder = None
    fails("has no decoder", settings(mute))
    nameless = Tokenizer(models.WordLevel({f"word{i}": i for i in range(len(PIECES))}, unk_token="word0"))
    nameless.decoder = word_pieces().decoder
    fails(r"has no \[CLS\] \[SEP\] \[PAD\], nor .*--caption-tokens", settings(nameless))
    fails("has no <s> </s> word2", settings(None, tokens=("<s>", "</s>", "word2")))
    words = caption_words(build(captioner(), HEADS).decoder, settings(None, tokens=("word4", "word5", "word6")).captions)
    assert (words.start, words.end, words.pad) == (4, 5, 6)
    fails(r"captions of 13 words are longer than the decoder's positions are for \(12\)", settings(word_pieces(), words=13))
    (files / "words.json").write_text("{")
    fails("words.json is no tokenizer", settings(None))


def test_clips_own_tokenizer_reads_and_writes():
    words = clip_decoder()
    for text in ("a man is playing a guitar !", "an \u00e9clair , two dogs & 3 cats", "\u732b"):
        assert words.decode(words.encode(text, add_special_tokens=False).ids) == text
    weights = captioner() | {
        key: torch.randn(49408, 24) for key in captioner() if key.endswith(("word_embeddings.weight", "predictions.decoder.weight"))
    }
    weights["decoder.classifier.cls.predictions.bias"] = torch.zeros(49408)
    found = caption_words(build(weights, HEADS).decoder, CaptionSettings())
    assert (found.start, found.end, found.pad) == (49406, 49407, 49407)


def test_the_command_line(files):
    """The sizes of heads cannot be said there, so this gets as far as they matter."""
    said = subprocess.run(
        [sys.executable, "-m", "clipseek_models", "export", "--checkpoint", files / "captioner.bin", "--rerank", files / "tight.bin",
         "--caption-tokenizer", files / "words.json", "--caption-tokens", "[CLS]", "[SEP]", "[PAD]", "--caption-words", "8", "--out", files / "bundle"],
        capture_output=True, text=True, cwd=Path(__file__).resolve().parent.parent,
    )
    assert said.returncode == 1 and "16 wide, which attention heads of 64 cannot share" in said.stderr
