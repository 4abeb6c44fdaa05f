"""Checkpoints of the research systems become bundles that clipseek can read. Needs PyTorch."""

import tomllib
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from safetensors.torch import load_file, save_file  # noqa: E402

from clipseek_models import clip_tokenizer  # noqa: E402
from clipseek_models.bundle import Bundle  # noqa: E402
from clipseek_models.systems import Heads, load  # noqa: E402
from clipseek_models.systems.export import Settings, command, export  # noqa: E402
from clipseek_models.systems.graph_modules import ExportError, PaddedHead  # noqa: E402

FIXTURES = Path(__file__).resolve().parent / "fixtures"
HEADS = {"clip4clip": Heads(2, 2, 2), "clip2video": Heads(2, 2, 2), "clip_vip": Heads(4, 3)}
VARIANTS = {"clip4clip": "clip4clip/seqTransf", "clip2video": "clip2video/full", "clip_vip": "clip_vip/M1"}


def checkpoint(system: str, folder: Path) -> Path:
    """Tiny, but with the whole vocabulary."""
    state = load_file(FIXTURES / VARIANTS[system] / "model.safetensors")
    key = next(key for key in state if key.endswith("token_embedding.weight"))
    state[key] = torch.randn(49408, state[key].shape[1], generator=torch.Generator().manual_seed(0))
    save_file(state, folder / f"{system}.safetensors")
    return folder / f"{system}.safetensors"


@pytest.fixture(scope="module", params=sorted(VARIANTS))
def exported(request, tmp_path_factory):
    system, folder = request.param, tmp_path_factory.mktemp(request.param)
    file = checkpoint(system, folder)
    export(file, folder / "bundle", system, Settings(frames=5, licence='"quoted" terms', heads=HEADS[system]))
    return load(file, HEADS[system]), folder / "bundle"


def test_the_manifest_says_what_clipseek_wants_to_know(exported):
    model, folder = exported
    manifest = tomllib.loads((folder / "bundle.toml").read_text())
    assert manifest["name"] == "bundle" and manifest["licence"] == '"quoted" terms' and manifest["summary"] == model.title
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        ["bundle.toml", "tokenizer.json", *(graph["file"] for graph in manifest["graphs"].values())]
    )
    video, pixels, text = manifest["video"], manifest["pixels"], manifest["text"]
    if model.system == "clip_vip":
        assert (video["topology"], set(manifest["graphs"]), manifest["dim"]) == ("video", {"video", "text"}, 40)
        assert (pixels["resize"], pixels["interpolation"], pixels["antialias"]) == ("stretch", "bicubic-a075", False)
        assert (text["context_length"], text["pad_id"]) == (50, 49407)
    else:
        assert (video["topology"], set(manifest["graphs"])) == ("frames+head", {"frame", "head", "text"})
        assert (pixels["resize"], pixels["interpolation"], pixels["antialias"]) == ("shortest-edge", "bicubic", True)
        assert (text["context_length"], text["pad_id"]) == (16, 0)
    if model.system == "clip2video":
        assert (manifest["dim"], video["feature_dim"], video["max_frames"]) == (32, 16, 5)
    if model.system == "clip4clip":
        assert (manifest["dim"], video["max_frames"]) == (16, 16)
        assert manifest["similarity"]["logit_scale"] == pytest.approx(model.clip.scale().item(), abs=1e-3)


def test_texts_are_as_the_system_reads_them(exported):
    model, folder = exported
    bundle = Bundle(folder)
    captions = ["A man is playing a guitar!", "a \u201cred\u201d ball", "dog " * 100]
    feed = clip_tokenizer.ClipVipTokenizer() if model.system == "clip_vip" else clip_tokenizer.Clip4ClipTokenizer()
    fed = [feed.feed(caption, bundle.manifest["text"]["context_length"]) for caption in captions]
    ids = torch.tensor([row for row, _ in fed])
    mask = torch.tensor([[position < length for position in range(ids.shape[1])] for _, length in fed]).long()
    with torch.no_grad():
        expected = model.encode_text(ids, mask)
    # Curly quotes are straightened by CLIP4Clip's reading; CLIP-ViP's leaves them.
    assert np.allclose(bundle.texts(captions), expected.numpy(), atol=1e-5)


def test_short_windows_are_padded_as_in_the_system(exported):
    """clipseek puts zeros behind the last frame; CLIP2Video expects the feature of an empty picture there."""
    model, folder = exported
    if model.system == "clip_vip":
        pytest.skip("windows always have all their frames")
    bundle = Bundle(folder)
    side = model.clip.visual.side
    pictures = torch.zeros(1, 5, 3, side, side)
    pictures[:, :3] = torch.randn(1, 3, 3, side, side)
    mask = torch.tensor([[1.0, 1, 1, 0, 0]])
    with torch.no_grad():
        features = model.frame_features(pictures)
        expected = model.clip_embedding(features, mask).numpy()
    given = {"frames": (features * mask[..., None]).numpy(), "mask": mask.numpy()}
    assert np.allclose(bundle.sessions["head"].run(None, given)[0], expected, atol=1e-5)


def test_clip2video_repeats_frames_of_windows_that_are_too_short_for_it():
    model = load(FIXTURES / VARIANTS["clip2video"] / "model.safetensors", HEADS["clip2video"])
    head, frames = PaddedHead(model), torch.randn(1, 4, 16)
    with torch.no_grad():
        for count, repeated in ((1, [0, 0, 0, 0]), (2, [0, 0, 1, 1])):
            mask = (torch.arange(4) < count).float()[None]
            assert torch.allclose(head(frames, mask), model.clip_embedding(frames[:, repeated], torch.ones(1, 4)), atol=1e-6)


def test_heads_take_any_number_of_frames(exported):
    model, folder = exported
    if model.system != "clip4clip":
        pytest.skip("of the number it was exported for")
    bundle = Bundle(folder)
    for count in (1, 16):
        frames = torch.randn(4, count, 16)
        with torch.no_grad():
            expected = model.clip_embedding(frames, torch.ones(4, count)).numpy()
        assert np.allclose(bundle.pool(frames.numpy()), expected, atol=1e-5)


@pytest.mark.parametrize("precision", ["float16", "int8"])
def test_a_bundle_of_another_precision(precision, tmp_path, capsys):
    file, heads, out = checkpoint("clip4clip", tmp_path), HEADS["clip4clip"], tmp_path / "small"
    assert command(file, out, None, Settings(frames=5, precision=precision, heads=heads)) == 0
    said = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in said[:-1]] == [f"{name}.onnx, {precision}" for name in ("frame", "head", "text")]
    bundle, ids = Bundle(out), torch.tensor([clip_tokenizer.Clip4ClipTokenizer().feed("a red ball", 16)[0]])
    with torch.no_grad():
        expected = load(file, heads).encode_text(ids)
    assert (bundle.texts(["a red ball"]) * expected.numpy()).sum() > 0.99
    assert f"exported in {precision}" in bundle.manifest["source"]


def test_what_cannot_be_exported_is_refused(tmp_path, capsys):
    file, heads = checkpoint("clip4clip", tmp_path), HEADS["clip4clip"]
    for out, system, settings, problem in [
        ("Bad Name", None, Settings(heads=heads), "is no name for a bundle"),
        ("other", "clip2video", Settings(heads=heads), "is a checkpoint of CLIP4Clip seqTransf, not of clip2video"),
        ("long", None, Settings(frames=17, heads=heads), r"17 frames per window are more .*\(16\)"),
    ]:
        with pytest.raises(ExportError, match=problem):
            export(file, tmp_path / out, system, settings)
    with pytest.raises(ExportError, match="knows 64 tokens, CLIP's tokenizer makes 49408"):
        export(FIXTURES / "clip4clip/seqTransf/model.safetensors", tmp_path / "small", None, Settings(heads=heads))
    with pytest.raises(ExportError, match="caption decoder gives no vector"):
        export(FIXTURES / "clip4clip/caption_decoder/model.safetensors", tmp_path / "decoder", None, Settings(heads=Heads(captions=4)))
    assert command(tmp_path / "none.bin", tmp_path / "new", None, Settings()) == 1
    assert "cannot be read" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip4clip.safetensors"]
