"""Fine-tuning and post-pretraining: every system and objective on real files, interruption, bad input. Needs PyTorch and PyAV."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("av")

from safetensors.torch import save_file  # noqa: E402
from training_cases import FEW, FOOTAGE, SIZES, SYSTEMS, cost, few, lines, quiet, run, state  # noqa: E402

from clipseek_models.__main__ import main  # noqa: E402
from clipseek_models.systems import load  # noqa: E402
from clipseek_models.systems.export import Settings as ExportSettings  # noqa: E402
from clipseek_models.systems.export import export  # noqa: E402
from clipseek_models.training import snapshot  # noqa: E402
from clipseek_models.training.choices import Plan  # noqa: E402
from clipseek_models.training.fresh import clip_state  # noqa: E402
from clipseek_models.training.loop import Training, TrainingError  # noqa: E402
from clipseek_models.training.settings import SettingsError  # noqa: E402
from clipseek_models.training.snapshot import SnapshotError  # noqa: E402


@pytest.mark.parametrize("case", SYSTEMS)
def test_the_loss_of_every_system_and_objective_falls(case, settings, tmp_path):
    plan, others = SYSTEMS[case]
    training = Training(replace(settings, plan=plan, **({"epochs": 6} | others)), tmp_path / "out", tell=quiet)
    before = cost(training)
    assert training.run()
    assert cost(training) < 0.9 * before
    best = load(tmp_path / "out" / "best.pt")
    assert type(best) is type(training.model)
    assert all(torch.equal(value, training.model.state_dict()[key]) for key, value in best.state_dict().items())


@pytest.mark.parametrize("case", ["captions", "seqTransf with 3-D patches", "tightTransf", "CLIP2Video", "CLIP-ViP"])
def test_a_trained_checkpoint_becomes_a_bundle(case, settings, tmp_path):
    plan, others = SYSTEMS[case]
    run(replace(settings, plan=plan, **(others | {"epochs": 1})), tmp_path / "out")
    export(tmp_path / "out" / "best.pt", tmp_path / "bundle", None, ExportSettings(frames=3, words=16))
    assert (tmp_path / "bundle" / "caption_step.onnx").exists() == (case == "captions")
    assert (tmp_path / "bundle" / "bundle.toml").exists()


@pytest.mark.parametrize("case", ["seqTransf", "captions", "in parts"])
def test_a_resumed_training_ends_with_the_same_weights(case, settings, tmp_path):
    """Stopped in the midst of an epoch, and once more after one, with other numbers of workers."""
    plan, others = SYSTEMS[case]
    settings = replace(settings, plan=plan, **(others | {"batch": 4, "epochs": 3}))
    settings = replace(settings, data=lines(tmp_path, [*few(), {"video": "tape.mp4", "caption": ["one", "two", "three"], "start_s": 2, "end_s": 4}]))
    whole = run(settings, tmp_path / "whole")
    for stop_after, workers in ((1, 1), (3, 0)):
        steps = iter([False] * stop_after)
        parts = Training(replace(settings, workers=workers), tmp_path / "parts", resume=stop_after > 1, tell=quiet, stop=lambda: next(steps, True))
        assert not parts.run()
    parts = run(settings, tmp_path / "parts", resume=True)
    assert all(torch.equal(value, parts.model.state_dict()[key]) for key, value in whole.model.state_dict().items())
    assert all(torch.equal(value, state(tmp_path / "parts" / "best.pt")[key]) for key, value in state(tmp_path / "whole" / "best.pt").items())


def test_ctrl_c_ends_the_step_and_the_training_goes_on_later(settings, tmp_path):
    out = tmp_path / "out"
    command = [
        sys.executable, "-m", "clipseek_models", "train", "--data", settings.data, "--videos", FOOTAGE, "--from", settings.start, "--out", out,
        "--epochs", "400", "--batch", "3", "--frames", "2", "--workers", "1", "--words", "16",
    ]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    process = subprocess.Popen([*map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    for line in process.stdout:
        if " step 2/2 " in line:
            break
    process.send_signal(signal.SIGINT)
    said, complained = process.communicate(timeout=120)
    assert process.returncode == 130, complained
    assert "--resume goes on from there" in said and "finishing this step" in complained
    saved = snapshot.read(out / "snapshot.pt")
    assert saved["epoch"] >= 1 and [path.name for path in out.iterdir() if path.name.endswith(".part")] == []


def test_the_best_epoch_is_kept(settings, tmp_path):
    said = []
    settings = replace(settings, validation=lines(tmp_path, [*few()[:3], {"video": "tape.mp4", "caption": ["a", "b"], "end_s": 2}], "held.jsonl"))
    training = run(settings, tmp_path / "out", tell=said.append)
    judged = [line for line in said if "text to video" in line]
    assert len(judged) == settings.epochs and "(4 clips)" in judged[0] and judged[0].endswith("the best so far")
    best = max(range(len(judged)), key=lambda i: (judged[i].endswith("the best so far"), i))
    assert (best == settings.epochs - 1) == all(
        torch.equal(value, training.model.state_dict()[key]) for key, value in state(tmp_path / "out" / "best.pt").items()
    )


def test_a_training_can_be_made_longer(settings, tmp_path):
    """It says so, and goes on where it was; to ask for no more than it has had is an error."""
    run(replace(settings, epochs=1), tmp_path / "out")
    with pytest.raises(SnapshotError, match="has had its 1 epochs; --epochs with a larger number"):
        Training(replace(settings, epochs=1), tmp_path / "out", resume=True, tell=quiet)
    said = []
    longer = run(replace(settings, epochs=3), tmp_path / "out", resume=True, tell=said.append)
    assert longer.epoch == 3 and any("for 3 epochs in place of 1" in line for line in said)
    [second] = [line for line in said if "epoch 2/3 step" in line]
    assert "rate 0.00075/0.0015 " in second, "of a training of 3 epochs, not what was left of the one of 1"


def test_long_texts_are_counted(settings, tmp_path):
    said = []
    Training(replace(settings, words=5), tmp_path / "out", tell=said.append)
    assert "6 of 6 texts are longer than 5 tokens and lose their end" in said


def test_every_sentence_is_a_clip_or_one_of_a_videos(settings, tmp_path):
    said = [{"video": FEW[0]["file"], "caption": ["a", "b"]}, {"video": FEW[1]["file"], "caption": "c"}, {"video": FEW[1]["file"], "caption": "d"}]
    data = lines(tmp_path, said)
    each = Training(replace(settings, data=data), tmp_path / "each", tell=quiet)
    assert [clip.captions for clip in each.clips.clips] == [("a",), ("b",), ("c",), ("d",)]
    one = Training(replace(settings, data=data, sentences="one"), tmp_path / "one", tell=quiet)
    assert [clip.captions for clip in one.clips.clips] == [("a", "b"), ("c", "d")]


def test_training_goes_on_from_a_simpler_head(settings, tmp_path):
    """Post-pretraining with meanP, then fine-tuning with seqTransf; what is there already stays."""
    run(replace(settings, plan=Plan("clip4clip"), objective="narrated", epochs=1), tmp_path / "first")
    run(replace(settings, start=tmp_path / "first" / "best.pt", epochs=1), tmp_path / "second")
    then = run(replace(settings, start=tmp_path / "second" / "best.pt", epochs=1, rate=1e-12), tmp_path / "third")
    same = state(tmp_path / "second" / "best.pt")
    assert all(torch.allclose(value, same[key], atol=1e-6) for key, value in then.model.state_dict().items())


def test_videos_that_are_missing_or_broken_are_listed_and_do_not_stop_the_run(settings, tmp_path):
    folder = tmp_path / "videos"
    folder.mkdir()
    for clip in FEW[:3]:
        (folder / clip["file"]).write_bytes((FOOTAGE / clip["file"]).read_bytes())
    (folder / "text.mp4").write_text("no video")
    (folder / "cut.mp4").write_bytes((FOOTAGE / "h264.mp4").read_bytes()[:9000])
    broken = [{"video": name, "caption": "x"} for name in ("text.mp4", "cut.mp4", "missing.mp4")]
    late = {"video": FEW[0]["file"], "caption": "x", "start_s": 500, "end_s": 501}
    said, settings = [], replace(settings, videos=folder, data=lines(tmp_path, [*few()[:3], *broken, late]), epochs=2, workers=2)
    run(settings, tmp_path / "out", tell=said.append)
    left = {json.loads(line)["video"].rpartition("/")[2]: json.loads(line) for line in (tmp_path / "out" / "left-out.jsonl").read_text().splitlines()}
    assert left.keys() == {"text.mp4", "cut.mp4", "missing.mp4", FEW[0]["file"]}
    assert left["missing.mp4"]["reason"] == "no such file" and left["missing.mp4"]["line"] == 6
    assert left[FEW[0]["file"]]["reason"] == "no frames between 500 s and 501 s"
    assert any("1 of 7 training clips are left out" in line for line in said)


def test_where_no_clip_can_be_read_the_run_ends(settings, tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.mp4").write_text("no video")
    data = lines(tmp_path, [{"video": f"{name}.mp4", "caption": "x"} for name in "ab"])
    with pytest.raises(TrainingError, match="no clip of epoch 1 can be read"):
        Training(replace(settings, videos=tmp_path, data=data), tmp_path / "out", tell=quiet).run()
    with pytest.raises(TrainingError, match="0 clips are there"):
        Training(replace(settings, videos=tmp_path / "elsewhere"), tmp_path / "other", tell=quiet)


@pytest.mark.parametrize(
    "change, problem",
    [
        ({"objective": "sleep"}, "no objective 'sleep'"),
        ({"optimiser": "luck"}, "no optimiser 'luck'"),
        ({"objective": "captions", "plan": Plan("clip_vip", decoder_layers=1)}, "captions look at CLIP4Clip's frame sequence"),
        ({"objective": "captions"}, "captions need a decoder of at least one layer"),
        ({"objective": "omnisource"}, "omnisource is CLIP-ViP's"),
        ({"precision": "float16"}, "float16 is for GPUs"),
        ({"batch": 4, "accumulate": 4}, "2 clips at least"),
        ({"epochs": 0, "warmup": 1.5}, "epochs must be at least 1; warmup is a share"),
    ],
)
def test_settings_that_do_not_go_together(change, problem, settings):
    with pytest.raises(SettingsError, match=problem):
        replace(settings, **change).check()


def test_trainings_that_cannot_begin(settings, tmp_path):
    out = tmp_path / "out"
    no_subtitles = {"plan": Plan("clip_vip"), "objective": "omnisource", "data": lines(tmp_path, few(), "silent.jsonl")}
    for change, problem in [
        ({"frames": 78}, r"78 frames a clip are more than there are positions for \(77\)"),
        ({"words": 78}, r"78 tokens a text are more"),
        ({"device": "cuda"}, "PyTorch finds no CUDA device"),
        ({"device": "teapot"}, "no device 'teapot'"),
        ({"start": tmp_path / "none"}, "cannot be read"),
        ({"validation": lines(tmp_path, [{"video": "none.mp4", "caption": "x"}], "gone.jsonl")}, "none of its clips are there"),
        (no_subtitles, '6 clips lack a "subtitle"'),
    ]:
        if change.get("device") == "cuda" and torch.cuda.is_available():
            continue
        with pytest.raises(TrainingError, match=problem):
            Training(replace(settings, **change), out, tell=quiet)
    small = tmp_path / "small.safetensors"
    save_file(clip_state(replace(SIZES, vocabulary=100)), small)
    with pytest.raises(TrainingError, match="knows 100 tokens, CLIP's tokenizer makes 49408"):
        Training(replace(settings, start=small), out, tell=quiet)


def test_a_folder_in_use_and_a_snapshot_of_something_else_are_refused(settings, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(TrainingError, match="nothing to go on from"):
        Training(settings, out, resume=True, tell=quiet)
    run(replace(settings, epochs=1), out)
    with pytest.raises(TrainingError, match="holds a training already"):
        Training(settings, out, tell=quiet)
    with pytest.raises(SnapshotError, match="rate was 0.002 and is 0.1"):
        Training(replace(settings, rate=0.1), out, resume=True, tell=quiet)
    with pytest.raises(SnapshotError, match="of a training on other clips"):
        Training(replace(settings, epochs=1, data=lines(tmp_path, few()[:4])), out, resume=True, tell=quiet)
    (out / "snapshot.pt").write_bytes((out / "snapshot.pt").read_bytes()[:1000])
    with pytest.raises(SnapshotError, match="damaged"):
        Training(replace(settings, epochs=1), out, resume=True, tell=quiet)


def test_a_loss_that_is_no_number_ends_the_run(settings, tmp_path):
    training = Training(settings, tmp_path / "out", tell=quiet)
    training.model.clip.visual.proj.data.fill_(float("nan"))
    with pytest.raises(TrainingError, match="the loss is nan by step 1 of epoch 1: try a lower rate"):
        training.run()


def test_the_command(settings, tmp_path, capsys, monkeypatch):
    given = ["clipseek_models", "train", "--data", settings.data, "--videos", FOOTAGE, "--from", settings.start, "--out", tmp_path / "out"]
    monkeypatch.setattr(sys, "argv", [str(part) for part in [*given, "--system", "clip_vip", "--epochs", 1, "--batch", 6, "--frames", 2, "--workers", 0]])
    assert main() == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(tmp_path / "out" / "best.pt")
    assert main() == 1
    assert "holds a training already" in capsys.readouterr().err
