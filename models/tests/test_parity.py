"""The research systems agree with what their published code computed. The models among them need PyTorch.

All of the published outputs are in shared/fixtures/parity, beside the repository; some of them are in tests/fixtures too.
"""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from clipseek_models import metrics, sampling
from clipseek_models.parity import around, parity
from clipseek_models.parity.report import Report

HERE = Path(__file__).resolve().parent
OWN = HERE / "fixtures"
SHARED = HERE.parents[2] / "shared" / "fixtures" / "parity"
FOLDERS = [
    pytest.param(OWN, id="own"),
    pytest.param(SHARED, id="shared", marks=pytest.mark.skipif(not SHARED.exists(), reason=f"needs {SHARED}")),
]


@pytest.mark.parametrize("folder", FOLDERS)
@pytest.mark.parametrize("part", [around.frame_sampling, around.pixels, around.tokens, around.ranks])
def test_what_stands_around_the_models(folder, part):
    report = Report()
    part(folder, report)
    assert report.compared and not report.differing


@pytest.mark.parametrize("folder", FOLDERS)
def test_everything(folder, capsys):
    pytest.importorskip("torch")
    assert parity(folder) == 0
    lines = capsys.readouterr().out.splitlines()
    verdicts = [line for line in lines if line.endswith(" pass")]
    assert len(verdicts) > 100
    assert all("pass" not in line.removesuffix(" pass") and "FAIL" not in line for line in lines)


def copied(variant: str, tmp_path: Path) -> Path:
    return Path(shutil.copytree(OWN / variant, tmp_path / variant))


@pytest.mark.parametrize(
    "variant, array",
    [("clip4clip/seqTransf", "sim"), ("clip2video/full", "tdb_temporal_out"), ("clip_vip/M1", "vision_last_hidden")],
)
def test_one_number_that_is_off_fails_its_line(variant, array, tmp_path, capsys):
    pytest.importorskip("torch")
    folder = copied(variant, tmp_path)
    tolerance = json.loads((folder / "meta.json").read_text())["tolerance_abs"][array]
    with np.load(folder / "expected.npz") as arrays:
        arrays = dict(arrays)
    arrays[array].flat[-1] += 2 * tolerance
    np.savez(folder / "expected.npz", **arrays)
    assert parity(tmp_path) == 1
    failed = [line for line in capsys.readouterr().out.splitlines() if line.endswith(" FAIL")]
    assert {line.split("  ")[0] for line in failed} <= {f"{variant} {array}", f"{variant} onnx {array}"}


def test_an_array_that_nobody_computes_fails(tmp_path, capsys):
    pytest.importorskip("torch")
    folder = copied("clip4clip/seqTransf", tmp_path)
    np.savez(folder / "expected.npz", made_up=np.zeros(3))
    assert parity(tmp_path) == 1
    assert "made_up" in capsys.readouterr().out


def test_weights_of_another_shape_fail(tmp_path, capsys):
    pytest.importorskip("torch")
    from safetensors.torch import load_file, save_file

    folder = copied("clip4clip/seqTransf", tmp_path)
    state = load_file(folder / "model.safetensors")
    del state["clip.ln_final.bias"]
    save_file(state, folder / "model.safetensors")
    assert parity(tmp_path) == 1
    assert "the key clip.ln_final.bias is missing" in capsys.readouterr().out


def test_what_is_not_there_is_skipped_and_said(tmp_path, capsys):
    pytest.importorskip("torch")
    copied("clip4clip/seqTransf", tmp_path)
    copied("tokenizer", tmp_path)
    (copied("clip2video/full", tmp_path) / "expected.npz").unlink()
    assert parity(tmp_path) == 0
    skipped = [line for line in capsys.readouterr().out.splitlines() if "skipped: not there" in line]
    assert [line.split("  ")[0] for line in skipped] == [
        "tokenizer merge list", "clip2video/full torch copy of the weights", "clip2video/full expected.npz",
        "clip4clip/seqTransf torch copy of the weights",
    ]


def test_a_folder_without_fixtures_is_no_success(tmp_path, capsys):
    pytest.importorskip("torch")
    assert parity(tmp_path) == 1
    assert "nothing to compare" in capsys.readouterr().out


def test_ties_are_counted_once_and_reported():
    similarity = np.array([[1.0, 1.0, 0.0], [0.0, 0.5, 1.0], [0.2, 0.3, 0.4]])
    assert metrics.ranks(similarity).tolist() == [0, 1, 0]
    assert metrics.ties(similarity).tolist() == [1, 0, 0]
    assert metrics.published_ranks(similarity).tolist() == [0, 1, 1, 0]


def test_a_frame_rate_below_one_is_refused():
    with pytest.raises(ValueError, match="at least 1"):
        sampling.clip4clip(10, 0.5, 1, 12, "uniform")


TRAINING = SHARED / "training"
needs_training = pytest.mark.skipif(not TRAINING.exists(), reason=f"needs {TRAINING}")


def training_case(variant: str, tmp_path: Path) -> Path:
    """A copy with the weights that it names."""
    folder = tmp_path / "training" / variant
    shutil.copytree(TRAINING / variant, folder)
    weights = json.loads((folder / "meta.json").read_text())["weights"]
    (tmp_path / weights).parent.mkdir(parents=True)
    shutil.copy(SHARED / weights, tmp_path / weights)
    return folder


@needs_training
@pytest.mark.parametrize(
    "variant, key, line",
    [
        ("clip4clip/meanP", "loss_clip_to_text", "losses"),
        ("clip4clip/meanP", "gradient/clip.ln_final.weight", "gradients, in full"),
        ("clip4clip/meanP", "moved_entries", "step 3, in samples"),
        ("clip4clip/meanP", "rates_of_all_steps", "rates of all steps"),
        ("clip_vip/M1", "step_losses", "losses of the steps"),
        ("clip_vip/M1", "gradient_norms_before_clipping", "gradient norms"),
    ],
)
def test_training_that_is_off_fails_its_line(variant, key, line, tmp_path, capsys):
    """A hundredth is enough."""
    pytest.importorskip("torch")
    folder = training_case(variant, tmp_path)
    with np.load(folder / "expected.npz") as arrays:
        arrays = dict(arrays)
    arrays[key] = arrays[key] * np.float64(1.01)
    np.savez(folder / "expected.npz", **arrays)
    assert parity(tmp_path / "training") == 1, "the weights are found beside the folder of trainings"
    assert f"training/{variant} {line}" in {line.split("  ")[0] for line in capsys.readouterr().out.splitlines() if line.endswith(" FAIL")}


@needs_training
def test_another_optimiser_would_not_pass(tmp_path, capsys, monkeypatch):
    """What was there before: AdamW of PyTorch, which corrects its moments and decays first."""
    torch = pytest.importorskip("torch")
    from clipseek_models.training import optimisers

    folder = training_case("clip4clip/meanP", tmp_path)

    def plain(groups, rate, betas, epsilon):  # noqa: ANN001, ANN202: as the class that it stands for
        return torch.optim.AdamW(groups, lr=rate, betas=betas, eps=epsilon)

    monkeypatch.setitem(optimisers.RULES, "clip4clip", replace(optimisers.RULES["clip4clip"], kind=plain))
    assert parity(folder) == 1
    failed = [line for line in capsys.readouterr().out.splitlines() if line.endswith(" FAIL")]
    assert any("step 2" in line for line in failed) and any("step 3, in full" in line for line in failed)


@needs_training
def test_a_training_fixture_without_its_weights_is_skipped_and_said(tmp_path, capsys):
    pytest.importorskip("torch")
    shutil.copytree(TRAINING / "clip4clip/meanP", tmp_path / "alone")
    assert parity(tmp_path) == 1
    assert "training/clip4clip/meanP" in capsys.readouterr().out
