"""Folders of other libraries become bundles that give what the libraries give. Needs PyTorch, transformers and open_clip."""

import json
import shutil
import tomllib
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
open_clip = pytest.importorskip("open_clip")

import family_folders  # noqa: E402
import onnx  # noqa: E402
import transformers  # noqa: E402
from PIL import Image  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402

from clipseek_models import __main__, precision  # noqa: E402
from clipseek_models.bundle import Bundle, unit  # noqa: E402
from clipseek_models.checkpoints import CheckpointError  # noqa: E402
from clipseek_models.families import FAMILIES  # noqa: E402
from clipseek_models.families.export import command, export  # noqa: E402
from clipseek_models.families.folder import licence, recognise  # noqa: E402
from clipseek_models.graphs import GraphError  # noqa: E402
from clipseek_models.systems.export import Settings  # noqa: E402
from clipseek_models.systems.graph_modules import ExportError  # noqa: E402

FOOTAGE = Path(__file__).resolve().parent.parent.parent / "tests" / "fixtures" / "footage" / "animated.gif"
TEXTS = [
    "a man plays a guitar", "The RED ball, rolling!", "don't stop (the car)", "na\u00efve caf\u00e9 \u2014 \u201cquotes\u201d", "!!!",
    " tabs\tand\nnewlines  ", "a dog " * 40, "\u65e5\u672c\u8a9e",
]
LAYERS = family_folders.LAYERS
# Of the frame graphs.
ATTENTIONS = {"clip": LAYERS, "siglip": LAYERS + 1, "siglip2": LAYERS + 1, "pe_core": LAYERS + 1, "mobileclip": 2}
TOKENIZERS = {"clip": "CLIPTokenizer", "siglip": "SiglipTokenizer", "siglip2": "Siglip2Tokenizer"}
of_every_family = pytest.mark.parametrize("family", FAMILIES)
of_transformers = pytest.mark.parametrize("family", TOKENIZERS)
of_open_clip = pytest.mark.parametrize("family", ["pe_core", "mobileclip"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder of a family, not to be changed."""
    return cache(lambda family: family_folders.make(family, tmp_path_factory.mktemp("models") / family))


@pytest.fixture(scope="module")
def bundle(folder, tmp_path_factory):
    @cache
    def exported(family: str, bits: str) -> Bundle:
        torch.manual_seed(0)
        out = tmp_path_factory.mktemp("bundles") / family
        export(folder(family), out, family, Settings(precision=bits))
        return Bundle(out)

    return lambda family, bits="float32": exported(family, bits)


@pytest.fixture
def broken(folder, tmp_path):
    """A copy of a family's folder, to be damaged."""

    def copy(family: str) -> Path:
        shutil.copytree(folder(family), tmp_path / "broken")
        return tmp_path / "broken"

    return copy


def pictures() -> list[Image.Image]:
    """Of the footage: wide, tall, small, with a palette. Differences to the square are even, see the test of odd ones."""
    frame = Image.open(FOOTAGE)
    wide = frame.convert("RGB").resize((96, 64), Image.Resampling.BICUBIC)
    return [frame, wide.transpose(Image.Transpose.ROTATE_90), wide.resize((24, 24)), wide.resize((640, 480))]


def of_library(family: str, path: Path) -> tuple[Callable, Callable, Callable]:
    """What the library makes of pictures and texts: pixels [N, 3, S, S], vectors of pictures, ids and vectors of texts."""
    if family in TOKENIZERS:
        model = transformers.AutoModel.from_pretrained(path).eval()
        processor = transformers.AutoImageProcessor.from_pretrained(path)
        tokenizer = getattr(transformers, TOKENIZERS[family]).from_pretrained(path)
        padding = True if family == "clip" else "max_length"
        return (
            lambda images: processor([image.convert("RGB") for image in images], return_tensors="pt").pixel_values,
            lambda pixels: model.get_image_features(pixel_values=pixels).pooler_output,
            lambda texts: given(tokenizer(texts, padding=padding, truncation=True, max_length=16, return_tensors="pt"), model),
        )
    model, preprocess = open_clip.create_model_from_pretrained(f"local-dir:{path}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{path}")
    model.eval()
    return (
        # Colours first: open_clip would take a palette's numbers for them when it resizes.
        lambda images: torch.stack([preprocess(image.convert("RGB")) for image in images]),
        model.encode_image,
        lambda texts: (tokenizer(texts), model.encode_text(tokenizer(texts))),
    )


def given(tokens: dict[str, torch.Tensor], model: torch.nn.Module) -> tuple[torch.Tensor, torch.Tensor]:
    return tokens["input_ids"], model.get_text_features(**tokens).pooler_output


def pixels(bundle: Bundle, images: list[Image.Image]) -> np.ndarray:
    return np.stack([bundle.pixels(image) for image in images])


@of_every_family
def test_pictures_are_what_the_library_makes_of_them(family, folder, bundle):
    made, run = bundle(family), of_library(family, folder(family))
    spec = made.manifest["pixels"]
    with torch.no_grad():
        wanted = run[0](pictures())
        vectors = run[1](wanted).numpy()
    found = pixels(made, pictures())
    normalised = (found / np.float32(255) - np.float32(spec["mean"])) / np.float32(spec["std"])
    # transformers resizes with torchvision, which rounds otherwise than Pillow: a byte more or less.
    steps = np.abs(normalised.transpose(0, 3, 1, 2) - wanted.numpy()) * np.float32(spec["std"])[:, None, None] * 255
    assert steps.max() < (1.01 if family in TOKENIZERS else 0.01)
    assert (unit(made.frame_features(found)) * unit(vectors)).sum(1).min() > (0.999 if family in TOKENIZERS else 0.99999)


@of_every_family
def test_vectors_of_the_same_pixels_are_the_same(family, folder, bundle):
    made, run = bundle(family), of_library(family, folder(family))
    found = pixels(made, pictures())
    spec = made.manifest["pixels"]
    normalised = (found / np.float32(255) - np.float32(spec["mean"])) / np.float32(spec["std"])
    with torch.no_grad():
        expected = run[1](torch.from_numpy(normalised.transpose(0, 3, 1, 2).astype(np.float32))).numpy()
    assert np.allclose(made.frame_features(found), expected, atol=1e-4 * np.abs(expected).max())


@of_every_family
def test_texts_are_what_the_library_makes_of_them(family, folder, bundle):
    made, run = bundle(family), of_library(family, folder(family))
    with torch.no_grad():
        ids, expected = run[2](TEXTS)
    made.tokenizer.enable_truncation(16)
    for row, text in zip(ids.tolist(), TEXTS):
        found = made.tokenizer.encode(text).ids
        assert found + [made.manifest["text"]["pad_id"]] * (len(row) - len(found)) == row, text
    assert np.allclose(made.texts(TEXTS), unit(expected.numpy()), atol=1e-5)
    # One at a time as well: the padding is another where it is to the longest.
    assert np.allclose(made.texts(TEXTS[:1]), unit(expected.numpy())[:1], atol=1e-5)


def test_a_crop_of_an_odd_rest_may_be_a_pixel_off():
    """transformers cuts off the half, torchvision and so CLIP itself rounds it to even: clipseek does as CLIP."""
    picture = Image.fromarray(np.arange(32 * 35, dtype=np.uint8).reshape(32, 35).repeat(3).reshape(32, 35, 3))
    processor = transformers.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}, do_normalize=False)
    theirs = (processor([picture], return_tensors="pt").pixel_values[0] * 255).round().numpy().astype(np.uint8).transpose(1, 2, 0)
    assert (theirs == np.asarray(picture)[:, 1:33]).all()
    assert round((35 - 32) / 2) == 2


@of_every_family
def test_the_manifest_says_what_the_folder_says(family, bundle):
    manifest = tomllib.loads((bundle(family).folder / "bundle.toml").read_text())
    pixels, text = manifest["pixels"], manifest["text"]
    resize, interpolation, padding, pad = {
        "clip": ("shortest-edge", "bicubic", "longest", 519), "siglip": ("stretch", "bicubic", "max-length", 1),
        "siglip2": ("stretch", "bilinear", "max-length", 0), "pe_core": ("stretch", "bilinear", "max-length", 0),
        "mobileclip": ("shortest-edge", "bilinear", "max-length", 0),
    }[family]
    assert (pixels["resize"], pixels["interpolation"], pixels["antialias"]) == (resize, interpolation, True)
    assert pixels["width"] == pixels["height"] == {"pe_core": 64, "mobileclip": 64}.get(family, 32)
    assert (text["context_length"], text["padding"], text["pad_id"], text["templates"]) == (16, padding, pad, ["{}"])
    assert manifest["video"]["topology"] == "frames+head" and set(manifest["graphs"]) == {"frame", "text"}
    assert manifest["similarity"]["logit_scale"] == pytest.approx({"siglip": 7.3891, "siglip2": 7.3891}.get(family, 1 / 0.07), abs=1e-3)
    assert manifest["licence"] == ("mit" if family == "clip" else "unknown")
    assert manifest["name"] == family and manifest["summary"].startswith({"pe_core": "PE-Core"}.get(family, ""))


@of_every_family
@pytest.mark.parametrize("bits", precision.PRECISIONS)
def test_attention_is_one_node_per_layer_in_every_precision(family, bits, bundle):
    made = bundle(family, bits)
    for name, count in (("frame", ATTENTIONS[family]), ("text", LAYERS)):
        nodes = [node.op_type for node in onnx.load(made.folder / f"{name}.onnx").graph.node]
        assert nodes.count("MultiHeadAttention") == count and "Softmax" not in nodes and "Tanh" not in nodes
    exact, texts = bundle(family), TEXTS[:3]
    assert (made.texts(texts) * exact.texts(texts)).sum(1).min() > precision.LEAST_COSINE.get(bits, 0.9999)


@pytest.mark.parametrize("bits", precision.PRECISIONS)
def test_weights_too_many_for_one_file_lie_beside_it(bits, folder, bundle, tmp_path, monkeypatch):
    whole = bundle("clip", bits)
    monkeypatch.setattr(precision, "LARGEST_FILE", 20_000)
    export(folder("clip"), tmp_path / "large", "clip", Settings(precision=bits))
    made = Bundle(tmp_path / "large")
    for name in ("frame", "text"):
        assert made.manifest["graphs"][name]["weights"]["file"] == f"{name}.onnx_data"
        assert (made.folder / f"{name}.onnx").stat().st_size < (whole.folder / f"{name}.onnx").stat().st_size
    assert len(list(made.folder.iterdir())) == 6
    assert np.allclose(made.texts(TEXTS), whole.texts(TEXTS), atol=1e-5)
    (made.folder / "text.onnx_data").write_bytes(b"")
    with pytest.raises(ValueError, match="text.onnx_data is not the file that the manifest describes"):
        Bundle(made.folder)


def test_attention_in_another_form_is_refused(folder, tmp_path, monkeypatch):
    def by_hand(self, hidden_states, **_):
        q, k, v = self.q_proj(hidden_states), self.k_proj(hidden_states), self.v_proj(hidden_states)
        return self.out_proj((q @ k.transpose(1, 2)).softmax(2) @ v), None

    monkeypatch.setattr(transformers.models.clip.modeling_clip.CLIPAttention, "forward", by_hand)
    with pytest.raises(GraphError, match="frame.onnx: 2 modules are named attention, 0 compute it with PyTorch's function"):
        export(folder("clip"), tmp_path / "slow")
    assert not list(tmp_path.iterdir())


def test_the_command(folder, tmp_path, capsys, monkeypatch):
    arguments = ["clipseek_models", "export", "--checkpoint", str(folder("clip")), "--out", str(tmp_path / "mine")]
    monkeypatch.setattr("sys.argv", [*arguments, "--frames", "6", "--words", "9", "--licence", "my own"])
    assert __main__.main() == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("frame.onnx, float32: largest error") and said[-1] == f"wrote {tmp_path / 'mine'}"
    manifest = Bundle(tmp_path / "mine").manifest
    assert (manifest["video"]["frames"], manifest["text"]["context_length"], manifest["licence"]) == (6, 9, "my own")
    monkeypatch.setattr("sys.argv", [*arguments[:3], str(folder("clip") / "model.safetensors"), *arguments[4:], "--system", "clip"])
    with pytest.raises(SystemExit):
        __main__.main()
    assert "a model of clip is a folder, with its configuration, weights and tokenizer" in capsys.readouterr().err


@of_every_family
def test_another_family_is_refused(family, folder, tmp_path, capsys):
    other = "clip" if family != "clip" else "siglip"
    assert command(folder(family), tmp_path / "new", other, Settings()) == 1
    assert f"is a model of {family}, not of {other}" in capsys.readouterr().err
    assert command(folder(family), tmp_path / "new", "clip4clip", Settings()) == 1
    assert f"is a model of {family}, not of clip4clip" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def refused(path: Path, problem: str, settings: Settings = Settings()) -> None:
    with pytest.raises((CheckpointError, ExportError), match=problem):
        export(path, path.parent / "new", None, settings)
    assert not (path.parent / "new").exists()


def change(path: Path, **settings: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))


def test_a_folder_that_says_nothing_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="is no folder"):
        recognise(tmp_path / "none")
    with pytest.raises(CheckpointError, match="no config.json that names a model type and no open_clip_config.json"):
        recognise(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match="config.json cannot be read: Expecting property name"):
        recognise(tmp_path)


@pytest.mark.parametrize("file, content, problem", [
    ("config.json", {"model_type": "bert"}, "the model type 'bert' is none that can be exported: CLIP, SigLIP or SigLIP2"),
    ("config.json", {"model_type": "siglip2"}, "is SigLIP2 NaFlex, which takes pictures of any shape"),
    ("config.json", ["clip"], "holds no settings but list"),
    ("open_clip_config.json", {"model_cfg": {"vision_cfg": {"layers": 12}}}, "the image encoder of open_clip itself is none"),
    ("open_clip_config.json", {"model_cfg": {"vision_cfg": {"timm_model_name": "resnet50"}}}, "the image encoder resnet50 is none"),
])
def test_models_of_no_family_are_refused(file, content, problem, tmp_path):
    (tmp_path / file).write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match=problem):
        recognise(tmp_path)


@of_every_family
def test_weights_that_are_damaged_or_not_there_are_refused(family, broken):
    path = broken(family)
    file = next(path.glob("*.safetensors"))
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    refused(path, "broken: .*(nvalid|ncomplete|header|deserializ)")
    file.unlink()
    refused(path, "broken.*[wW]eights")


@of_every_family
def test_weights_of_another_size_are_refused(family, broken):
    path = broken(family)
    file = next(path.glob("*.safetensors"))
    state = load_file(file)
    layer = next(key for key in state if "layers.1." in key or "resblocks.1." in key)
    save_file({key: value for key, value in state.items() if key != layer}, file, {"format": "pt"})
    refused(path, f"broken: .*{layer.split('.', 1)[1]}")
    save_file(state | {layer.replace("1.", "7."): state[layer].clone()}, file, {"format": "pt"})
    refused(path, f"broken: .*{layer.replace('1.', '7.').split('.', 1)[1]}")


@of_transformers
def test_a_tokenizer_of_another_model_is_refused(family, broken, folder):
    path = broken(family)
    config = json.loads((path / "config.json").read_text())
    rows = config["text_config"]["vocab_size"]
    state = load_file(path / "model.safetensors")
    key = "text_model.embeddings.token_embedding.weight"
    for more in (-7, 7):
        config["text_config"]["vocab_size"] = rows + more
        config["text_config"] |= {"eos_token_id": 1, "bos_token_id": 2, "pad_token_id": 1}
        (path / "config.json").write_text(json.dumps(config))
        table = torch.zeros(rows + more, state[key].shape[1])
        save_file(state | {key: table}, path / "model.safetensors", {"format": "pt"})
        problem = f"7 ids are {'missing' if more > 0 else 'too many'}, the first is {rows if more > 0 else rows - 7}"
        refused(path, f"broken: the tokenizer knows {rows} tokens, the checkpoint {rows + more}: {problem}")
    for file in ("spiece.model", "tokenizer.json"):
        (path / file).unlink(missing_ok=True)
    refused(path, "broken holds no tokenizer: .*(spiece.model|tokenizer.json).* is missing")


@of_open_clip
def test_open_clip_has_only_the_one_tokenizer(family, broken):
    path = broken(family)
    config = json.loads((path / "open_clip_config.json").read_text())
    config["model_cfg"]["text_cfg"]["vocab_size"] = 1000
    (path / "open_clip_config.json").write_text(json.dumps(config))
    state = load_file(path / "open_clip_model.safetensors")
    key = "text.token_embedding.weight"
    save_file(state | {key: state[key][:1000].clone()}, path / "open_clip_model.safetensors")
    refused(path, "the tokenizer knows 49408 tokens, the checkpoint 1000: 48408 ids are too many, the first is 1000")
    config["model_cfg"]["text_cfg"]["hf_tokenizer_name"] = "somebody/words"
    (path / "open_clip_config.json").write_text(json.dumps(config))
    refused(path, "hf_tokenizer_name: only CLIP's own tokenizer")


def test_an_end_token_that_is_not_there_is_refused(broken):
    path = broken("siglip2")
    made = json.loads((path / "tokenizer.json").read_text())
    (path / "tokenizer.json").write_text(json.dumps(made | {"post_processor": None}))
    change(path / "tokenizer_config.json", add_eos_token=False)
    refused(path, "does not end texts with token 1, which the checkpoint expects there")


def test_padding_on_the_left_is_refused(broken):
    path = broken("siglip2")
    change(path / "tokenizer_config.json", padding_side="left")
    refused(path, "texts are padded on the left")


@pytest.mark.parametrize("family, settings, problem", [
    ("clip", {"size": {"shortest_edge": 40}}, r"resized to \{'shortest_edge': 40\} and cropped to .*the model's 32 × 32"),
    ("clip", {"do_center_crop": False}, "cropped to nothing"),
    ("clip", {"do_resize": False}, "resized to nothing"),
    ("siglip", {"resample": 1}, "resample is 1; a bundle has 2, 3"),
    ("siglip", {"do_rescale": False}, "bytes are not rescaled"),
])
def test_preprocessing_that_a_manifest_cannot_say_is_refused(family, settings, problem, broken):
    path = broken(family)
    change(path / "preprocessor_config.json", **settings)
    refused(path, problem)


@pytest.mark.parametrize("settings, problem", [
    ({"resize_mode": "longest"}, "resize_mode is 'longest'; a bundle has shortest, squash"),
    ({"interpolation": "random"}, "interpolation is 'random'; a bundle has bilinear, bicubic"),
])
def test_preprocessing_of_open_clip_that_a_manifest_cannot_say_is_refused(settings, problem, broken):
    path = broken("mobileclip")
    config = json.loads((path / "open_clip_config.json").read_text())
    change(path / "open_clip_config.json", preprocess_cfg=config["preprocess_cfg"] | settings)
    refused(path, problem)


def test_numbers_of_words_that_do_not_fit_are_refused(folder, tmp_path):
    for family, words, problem in [("clip", 17, r"17 words are more .*\(16\)"), ("siglip", 8, "always have 16 tokens")]:
        with pytest.raises(ExportError, match=problem):
            export(folder(family), tmp_path / "new", None, Settings(words=words))
    assert not list(tmp_path.iterdir())


def test_a_folder_as_openai_wrote_it(broken):
    """The end token is called 2, which it is not: the row of the largest id is pooled. The weights hold what is no weight."""
    path = broken("clip")
    state = load_file(path / "model.safetensors")
    state |= {f"{tower}_model.embeddings.position_ids": torch.arange(16)[None] for tower in ("text", "vision")}
    save_file({key: value.half().clone() for key, value in state.items()}, path / "model.safetensors", {"format": "pt"})
    config = json.loads((path / "config.json").read_text())
    change(path / "config.json", text_config=config["text_config"] | {"eos_token_id": 2, "bos_token_id": 0, "pad_token_id": 1})
    export(path, path.parent / "legacy")
    run = of_library("clip", path)
    with torch.no_grad():
        expected = run[2](TEXTS)[1].numpy()
    assert np.allclose(Bundle(path.parent / "legacy").texts(TEXTS), unit(expected), atol=1e-5)


@pytest.mark.parametrize("header, said", [
    ("license: apache-2.0", "apache-2.0"), ("license: other\nlicense_name: apple-amlr", "apple-amlr"), ("license: other", "other"),
    ("tags: []", None),
])
def test_the_licence_of_the_model_card(header, said, tmp_path):
    (tmp_path / "README.md").write_text(f"---\n{header}\n---\n# A model\n")
    assert licence(tmp_path) == said


def test_a_model_card_that_cannot_be_read(tmp_path):
    assert licence(tmp_path) is None
    (tmp_path / "README.md").write_text("---\nlicense: [mit\n---\n")
    with pytest.raises(CheckpointError, match="README.md: its header cannot be read"):
        licence(tmp_path)


def test_siglip_is_told_from_siglip2_by_the_tokenizer_alone(broken):
    path = broken("siglip")
    (path / "tokenizer_config.json").unlink()
    assert recognise(path).family == "siglip"
    (path / "spiece.model").unlink()
    assert recognise(path).family == "siglip2"
