"""Checkpoints in every published format, and files that are none. Needs PyTorch."""

import pickle
import zipfile
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from safetensors.torch import load_file, save_file  # noqa: E402
from torch import nn  # noqa: E402

from clipseek_models import checkpoints  # noqa: E402
from clipseek_models.checkpoints import CheckpointError  # noqa: E402
from clipseek_models.systems import Heads, build, load  # noqa: E402
from clipseek_models.systems.clip2video import Clip2Video  # noqa: E402
from clipseek_models.systems.clip4clip import MeanP, SeqLSTM, SeqTransf, TightTransf  # noqa: E402
from clipseek_models.systems.clip_vip import ClipVip  # noqa: E402

FIXTURES = Path(__file__).resolve().parent / "fixtures"
SHARED = Path(__file__).resolve().parents[3] / "shared" / "fixtures" / "parity"
HEADS = Heads(2, 2, 2)


@pytest.fixture(scope="module")
def state():
    """Of CLIP4Clip seqTransf, in the published mix of float16 and float32."""
    return load_file(FIXTURES / "clip4clip" / "seqTransf" / "model.safetensors")


@pytest.fixture(scope="module")
def plain_clip(state):
    """As OpenAI publishes CLIP: no prefix, and three scalars that are no weights."""
    own = {key.removeprefix("clip."): value for key, value in state.items() if key.startswith("clip.")}
    return own | {key: torch.tensor(7) for key in ("input_resolution", "context_length", "vocab_size")}


def as_script(state: dict) -> nn.Module:
    """Nested modules that hold the tensors under their dotted names; an attribute that is no weight beside them."""
    root = nn.Module()
    for key, value in state.items():
        *path, name = key.split(".")
        module = root
        for part in path:
            if not hasattr(module, part):
                module.add_module(part, nn.Module())
            module = getattr(module, part)
        if value.is_floating_point():
            module.register_parameter(name, nn.Parameter(value, requires_grad=False))
        else:
            module.register_buffer(name, value)
        module.attn_mask = torch.ones(2, 2)
    return torch.jit.script(root)


def same(one: dict, other: dict) -> bool:
    return one.keys() == other.keys() and all(torch.equal(value.float(), other[key].float()) for key, value in one.items())


def test_every_format_gives_the_same_weights_in_float32(state, tmp_path):
    torch.save(state, tmp_path / "zip.bin")
    torch.save(state, tmp_path / "legacy.bin", _use_new_zipfile_serialization=False)
    as_script(state).save(str(tmp_path / "script.pt"))
    save_file(state, tmp_path / "model.safetensors")
    assert {value.dtype for value in state.values()} == {torch.float16, torch.float32}
    for file in sorted(tmp_path.iterdir()):
        read = checkpoints.read(file)
        assert same(read, state), file
        assert {value.dtype for value in read.values()} == {torch.float32}, file


def test_all_in_half_precision(state, tmp_path):
    torch.save({key: value.half() for key, value in state.items()}, tmp_path / "half.bin")
    assert isinstance(load(tmp_path / "half.bin", HEADS), SeqTransf)


def test_wrappers_are_taken_off(state, tmp_path):
    wrapped = {f"module.{key}": value for key, value in state.items()}
    for i, content in enumerate((wrapped, {"model_state_dict": wrapped, "step": 3}, {"model_state_dict": state})):
        torch.save(content, tmp_path / f"{i}.bin")
        assert same(checkpoints.read(tmp_path / f"{i}.bin"), state)


def test_plain_clip_is_meanp_without_fine_tuning(plain_clip, state, tmp_path):
    as_script(plain_clip).save(str(tmp_path / "ViT.pt"))
    model = load(tmp_path / "ViT.pt", HEADS)
    assert type(model) is MeanP
    assert torch.equal(model.clip.visual.proj, state["clip.visual.proj"].float())


@pytest.mark.parametrize(
    "variant, system", [("clip4clip/seqTransf", SeqTransf), ("clip2video/full", Clip2Video), ("clip_vip/M1", ClipVip)]
)
def test_the_system_is_read_off_the_keys(variant, system):
    heads = Heads(4, 3) if variant == "clip_vip/M1" else HEADS
    assert type(load(FIXTURES / variant / "model.safetensors", heads)) is system


@pytest.mark.skipif(not SHARED.exists(), reason=f"needs {SHARED}")
@pytest.mark.parametrize(
    "variant, system", [("meanP", MeanP), ("meanP3d", MeanP), ("seqLSTM", SeqLSTM), ("seqTransf", SeqTransf), ("tightTransf", TightTransf)]
)
def test_heads_are_64_wide_unless_said_otherwise(variant, system):
    """So that published files need nothing but themselves."""
    model = load(next((SHARED / "clip4clip" / variant).glob("pytorch_model.bin.*")))
    assert type(model) is system
    assert (model.clip.visual.conv2 is not None) == (variant == "meanP3d")


@pytest.mark.parametrize(
    "change, problem",
    [
        (lambda s: s.pop("clip.ln_final.bias"), "the key clip.ln_final.bias is missing"),
        (lambda s: s.pop("clip.visual.conv1.weight"), "the key clip.visual.conv1.weight is missing"),
        (lambda s: s.update(surplus=torch.ones(1)), "the key surplus does not belong to this model"),
        (
            lambda s: s.update({"clip.ln_final.bias": torch.ones(5)}),
            r"clip.ln_final.bias has the shape \[5\], expected \[16\]",
        ),
        (
            lambda s: s.update({"clip.visual.proj": torch.ones(5)}),
            r"clip.visual.proj has the shape \[5\], expected 2 dimensions",
        ),
        (
            lambda s: s.update({"transformerClip.resblocks.2.ln_1.bias": torch.ones(16)}),
            "the key transformerClip.resblocks.1.ln_1.weight is missing",
        ),
    ],
)
def test_a_key_that_does_not_fit_is_named(state, change, problem):
    changed = dict(state)
    change(changed)
    with pytest.raises(CheckpointError, match=problem):
        build(changed, HEADS)


def test_another_model_is_refused():
    with pytest.raises(CheckpointError, match="not a checkpoint of CLIP4Clip.*it holds fc.weight"):
        build({"fc.weight": torch.ones(2, 2)})


def test_widths_that_heads_cannot_share_are_refused(state):
    with pytest.raises(CheckpointError, match="16 wide, which attention heads of 64 cannot share"):
        build(state)


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors", "script"])
def test_truncated_files_are_refused(kind, plain_clip, tmp_path):
    whole = tmp_path / "whole"
    if kind == "safetensors":
        save_file(plain_clip, whole)
    elif kind == "script":
        as_script(plain_clip).save(str(whole))
    else:
        torch.save(plain_clip, whole, _use_new_zipfile_serialization=kind == "zip")
    content = whole.read_bytes()
    for length in (0, 5, 30, len(content) // 2, len(content) - 1):
        (tmp_path / "cut").write_bytes(content[:length])
        with pytest.raises(CheckpointError, match="truncated|damaged"):
            checkpoints.read(tmp_path / "cut")


def test_a_missing_file_and_a_folder_are_said(tmp_path):
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(CheckpointError, match="cannot be read"):
            checkpoints.read(path)


class RunsCode:
    """What a hostile pickle looks like: unpickled without care, it writes a file."""

    def __init__(self, witness: Path) -> None:
        self.code = f"open({str(witness)!r}, 'w').close()"

    def __reduce__(self):
        return exec, (self.code,)


@pytest.mark.parametrize("kind", ["zip", "legacy", "pickle", "script"])
def test_a_pickle_that_wants_to_run_code_is_refused(kind, plain_clip, tmp_path):
    witness, file = tmp_path / "it-ran", tmp_path / "hostile"
    content = {"weight": torch.ones(1), "trap": RunsCode(witness)}
    pickled = pickle.dumps({"trap": RunsCode(witness)}, protocol=2)
    if kind == "pickle":
        file.write_bytes(pickled)
    elif kind == "script":
        as_script(plain_clip).save(str(tmp_path / "script.pt"))
        with zipfile.ZipFile(tmp_path / "script.pt") as script, zipfile.ZipFile(file, "w") as hostile:
            for name in script.namelist():
                hostile.writestr(name, pickled if name.endswith("data.pkl") else script.read(name))
    else:
        torch.save(content, file, _use_new_zipfile_serialization=kind == "zip")
    with pytest.raises(CheckpointError, match="refused"):
        checkpoints.read(file)
    assert not witness.exists()
    pickle.loads(pickled)
    assert witness.exists(), "the trap would have worked"


def test_a_whole_pickled_model_is_refused(tmp_path):
    """Its class would have to be imported. The names of what it asks for are said."""
    torch.save(nn.Sequential(nn.Linear(2, 2)), tmp_path / "model.pt")
    with pytest.raises(CheckpointError, match="torch.nn.modules.container.Sequential"):
        checkpoints.read(tmp_path / "model.pt")


@pytest.mark.parametrize("content", [[1, 2], {}, {"epoch": 3, "weight": torch.ones(1)}])
def test_what_is_no_dictionary_of_weights_is_refused(content, tmp_path):
    torch.save(content, tmp_path / "file")
    with pytest.raises(CheckpointError, match="no dictionary of weights|is no tensor"):
        checkpoints.read(tmp_path / "file")
