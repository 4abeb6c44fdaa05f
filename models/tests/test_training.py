"""Fine-tuning and post-pretraining: every system and objective on real files, interruption, bad input. Needs PyTorch and PyAV."""

import argparse
import json
import math
import os
import pickle
import shutil
import signal
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("av")

from safetensors.torch import save_file  # noqa: E402

from clipseek_models import checkpoints, pixels, sampling  # noqa: E402
from clipseek_models.__main__ import main  # noqa: E402
from clipseek_models.bundle import Bundle  # noqa: E402
from clipseek_models.systems import load  # noqa: E402
from clipseek_models.systems.export import Settings as ExportSettings  # noqa: E402
from clipseek_models.systems.export import export  # noqa: E402
from clipseek_models.training import captioned, choices, clips, decode, losses, names, optimisers, recipes, sets, snapshot  # noqa: E402
from clipseek_models.training.caption_figures import caption_figures  # noqa: E402
from clipseek_models.training.captioned import DataError  # noqa: E402
from clipseek_models.training.choices import Plan  # noqa: E402
from clipseek_models.training.command import settings_of  # noqa: E402
from clipseek_models.training.fresh import Sizes, clip_state  # noqa: E402
from clipseek_models.training.initial import StartError, begun, start  # noqa: E402
from clipseek_models.training.loop import Training, TrainingError  # noqa: E402
from clipseek_models.training.objectives import OBJECTIVES, total  # noqa: E402
from clipseek_models.training.options import add_arguments  # noqa: E402
from clipseek_models.training.settings import Settings, SettingsError  # noqa: E402
from clipseek_models.training.snapshot import SnapshotError  # noqa: E402
from clipseek_models.training.validate import judge  # noqa: E402

FOOTAGE = Path(__file__).resolve().parents[2] / "tests" / "fixtures" / "footage"
ANNOTATIONS = FOOTAGE.parent / "annotations"
PUBLISHED = FOOTAGE.parents[2] / "src" / "eval" / "published.toml"
TIMELINE = json.loads((FOOTAGE / "timeline.json").read_text())
FEW = TIMELINE["clips"][:6]
SIZES = Sizes(vision_layers=1, text_layers=2)
SYSTEMS = {
    "meanP": (Plan("clip4clip"), {}),
    "meanP with 3-D patches": (Plan("clip4clip", patches="3d"), {}),
    "seqLSTM": (Plan("clip4clip", "seqLSTM"), {}),
    "seqTransf": (Plan("clip4clip", "seqTransf", layers=1), {}),
    "seqTransf with 3-D patches": (Plan("clip4clip", "seqTransf", "3d", layers=1), {}),
    "tightTransf": (Plan("clip4clip", "tightTransf", layers=1), {"epochs": 15}),
    "CLIP2Video": (Plan("clip2video", layers=1), {}),
    "CLIP-ViP": (Plan("clip_vip", times=3), {"optimiser": "clip_vip", "jitter": True, "share": 1.0}),
    "captions": (Plan("clip4clip", "seqTransf", layers=1, decoder_layers=1, decoder_positions=16), {"objective": "captions", "optimiser": "univl", "dropout": 0.1}),
    "retrieval and captions": (Plan("clip4clip", layers=1, decoder_layers=1, decoder_positions=16), {"objective": "retrieval-and-captions"}),
    "narrated": (Plan("clip4clip"), {"objective": "narrated", "bag": 2}),
    "omnisource": (Plan("clip_vip", times=3), {"objective": "omnisource", "optimiser": "clip_vip", "share": 1.0}),
    "in bfloat16": (Plan("clip2video", layers=1), {"precision": "bfloat16"}),
    "in parts": (Plan("clip4clip", "seqTransf", layers=1), {"accumulate": 2}),
}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    file = tmp_path_factory.mktemp("weights") / "clip.safetensors"
    save_file(clip_state(SIZES), file)
    return file


def lines(folder: Path, entries: list[dict], name: str = "train.jsonl") -> Path:
    file = folder / name
    file.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    return file


def few(subtitles: bool = False) -> list[dict]:
    return [{"video": clip["file"], "caption": clip["caption"]} | ({"subtitle": f"so {clip['caption']}"} if subtitles else {}) for clip in FEW]


@pytest.fixture
def settings(weights, tmp_path):
    return Settings(
        lines(tmp_path, few(subtitles=True)), FOOTAGE, weights, Plan("clip4clip", "seqTransf", layers=1), epochs=4, batch=6, frames=3, words=16,
        rate=2e-3, share=0.5, warmup=0.0, freeze=-1, decay=0.05, workers=0,
    )


def quiet(line: str) -> None:
    pass


def run(settings: Settings, out: Path, **others) -> Training:
    training = Training(settings, out, tell=others.pop("tell", quiet), **others)
    assert training.run()
    return training


def state(file: Path) -> dict:
    return checkpoints.read(file)


def cost(training: Training) -> float:
    batch = training.clips.batch([training.clips[index, 0] for index in range(len(training.clips))])
    with torch.no_grad():
        return total(training.objective.cost(training.model.eval(), batch)).item()


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


def test_frozen_layers_do_not_move(settings, tmp_path):
    training = Training(replace(settings, freeze=1, epochs=1), tmp_path / "out", tell=quiet)
    before = {name: value.clone() for name, value in training.model.named_parameters()}
    training.run()
    moved = {name for name, value in training.model.named_parameters() if not torch.equal(value, before[name])}
    still = before.keys() - moved
    assert {"clip.visual.conv1.weight", "clip.token_embedding.weight", "clip.positional_embedding", "clip.visual.ln_pre.weight"} <= still
    assert {name for name in before if ".resblocks.0." in name and name.startswith("clip.")} <= still
    assert {"clip.visual.proj", "clip.text_projection", "clip.ln_final.weight", "clip.logit_scale"} <= moved
    assert "clip.transformer.resblocks.1.mlp.c_fc.weight" in moved and "transformerClip.resblocks.0.mlp.c_fc.weight" in moved


def test_the_temperature_stays_within_its_bounds(weights):
    for plan, low, high in ((Plan("clip4clip"), -2.0, math.log(100)), (Plan("clip_vip"), 0.0, math.log(200))):
        model = start(checkpoints.read(weights), plan)
        for value, kept in ((-2.0, low), (9.0, high)):
            model.temperature.data.fill_(value)
            model.clamp_temperature()
            assert model.temperature.item() == pytest.approx(kept)


@pytest.mark.parametrize("name, schedule", [("clip4clip", optimisers.bert_cosine), ("univl", optimisers.bert_linear), ("clip_vip", optimisers.vip_cosine)])
def test_rates_rise_and_fall_to_nothing(name, schedule):
    rates = [schedule(step, 100, 0.1) for step in range(100)]
    assert rates[:9] == sorted(rates[:9]) and rates[10:] == sorted(rates[10:], reverse=True) and 0 <= rates[99] < 0.02
    assert (rates[0] == 0) == (name != "clip_vip"), "BertAdam's first step fills its moments only"
    assert schedule(0, 3, 0.0) == 1.0 or name == "clip_vip"


def test_the_temperature_may_learn_faster(weights):
    model = start(checkpoints.read(weights), Plan("clip_vip", times=3))
    groups = optimisers.RULES["clip_vip"].groups(model, 1e-6, 10.0, 0.2)
    assert [group.names for group in groups if group.rate == pytest.approx(1e-5)] == [(), ("clipmodel.logit_scale",)]


# --- what a training starts from ----------------------------------------------------------------------------------


def test_both_names_of_clip_are_the_same_weights():
    state = clip_state(SIZES)
    there = names.hugging_face({key.removeprefix("clip."): value for key, value in state.items()})
    assert "clipmodel.text_model.encoder.layers.1.self_attn.v_proj.bias" in there
    back = names.openai({key.removeprefix("clipmodel."): value for key, value in there.items()} | {"text_model.embeddings.position_ids": torch.ones(1)})
    assert back.keys() == state.keys() and all(torch.equal(back[key], value) for key, value in state.items())


def test_a_system_starts_where_clip_is(weights):
    """With 3-D patches as with 2-D ones; CLIP-ViP's text as CLIP4Clip's, whichever names the file has."""
    clip = checkpoints.read(weights)
    frames, ids = torch.randn(2, 3, 3, 32, 32), torch.randint(1, 400, (2, 8))
    with torch.no_grad():
        flat, deep = (start(clip, Plan("clip4clip", patches=patches)).frame_features(frames) for patches in ("2d", "3d"))
        assert torch.allclose(flat, deep, atol=1e-5)
        text = start(clip, Plan("clip4clip")).encode_text(ids)
        for file in (clip, names.hugging_face(clip)):
            assert torch.allclose(start(file, Plan("clip_vip")).encode_text(ids), text, atol=1e-5)
            assert torch.allclose(start(file, Plan("clip2video", layers=2)).clip.text_features(ids), start(clip, Plan("clip4clip")).clip.text_features(ids), atol=1e-5)


def test_new_layers_begin_as_the_papers_say(weights):
    clip = checkpoints.read(weights)
    seq = begun(clip, Plan("clip4clip", "seqTransf", layers=2))
    assert torch.equal(seq["transformerClip.resblocks.1.attn.in_proj_weight"], clip["clip.transformer.resblocks.1.attn.in_proj_weight"])
    assert torch.equal(seq["frame_position_embeddings.weight"], clip["clip.positional_embedding"])
    tight = begun(clip, Plan("clip4clip", "tightTransf", layers=2))
    assert torch.equal(tight["cross.transformer.resblocks.0.ln_1.weight"], clip["clip.transformer.resblocks.0.ln_1.weight"])
    assert torch.equal(tight["cross.embeddings.position_embeddings.weight"], clip["clip.positional_embedding"])
    deep = begun(clip, Plan("clip4clip", patches="3d"))["clip.visual.conv2.weight"]
    assert torch.equal(deep[:, :, 1], clip["clip.visual.conv1.weight"]) and not deep[:, :, ::2].any()
    two = begun(clip, Plan("clip2video", layers=2))
    assert torch.equal(two["type_position_embeddings.weight"], clip["clip.positional_embedding"][:2])
    assert torch.equal(two["actionClip.resblocks.0.mlp.c_fc.bias"], clip["clip.transformer.resblocks.0.mlp.c_fc.bias"])
    vip = begun(clip, Plan("clip_vip", proxies=4, times=6))
    place = "clipmodel.vision_model.embeddings"
    assert vip[f"{place}.added_cls"].shape == (3, 64) and not vip[f"{place}.temporal_embedding"].any()
    assert vip[f"{place}.temporal_embedding"].shape == (1, 6, 64) and vip["clipmodel.logit_scale"] == pytest.approx(4.6)


def test_training_goes_on_from_a_simpler_head(settings, tmp_path):
    """Post-pretraining with meanP, then fine-tuning with seqTransf; what is there already stays."""
    run(replace(settings, plan=Plan("clip4clip"), objective="narrated", epochs=1), tmp_path / "first")
    run(replace(settings, start=tmp_path / "first" / "best.pt", epochs=1), tmp_path / "second")
    then = run(replace(settings, start=tmp_path / "second" / "best.pt", epochs=1, rate=1e-12), tmp_path / "third")
    same = state(tmp_path / "second" / "best.pt")
    assert all(torch.allclose(value, same[key], atol=1e-6) for key, value in then.model.state_dict().items())


@pytest.mark.parametrize(
    "change, plan, problem",
    [
        ({}, Plan("clip4clip", "seqTransf"), "4 temporal layers are wanted, the text encoder has only 2"),
        ({"clip.positional_embedding": torch.ones(77, 128)}, Plan("clip2video", layers=1), "the text is 128 wide and the shared vectors 64"),
        ({"clip.visual.conv1.weight": None}, Plan("clip4clip"), "holds no CLIP with a vision transformer"),
        ({"clip.visual.class_embedding": None}, Plan("clip_vip"), "holds no CLIP with a vision transformer"),
    ],
)
def test_a_start_that_does_not_fit_is_refused(change, plan, problem):
    state = {key: value for key, value in (clip_state(SIZES) | change).items() if value is not None}
    with pytest.raises(StartError, match=problem):
        start(state, plan)


# --- losses -------------------------------------------------------------------------------------------------------


def test_the_symmetric_loss_is_as_in_the_paper():
    scores = torch.randn(4, 4)
    by_hand = -sum(math.log(math.exp(scores[i, i]) / scores[i].exp().sum()) + math.log(math.exp(scores[i, i]) / scores[:, i].exp().sum()) for i in range(4)) / 8
    assert losses.symmetric(scores).item() == pytest.approx(by_hand, rel=1e-5)


def test_mil_nce_is_as_in_the_paper():
    scores, present = torch.randn(3, 2, 3), [(0, 0), (0, 1), (1, 0), (2, 0), (2, 1)]  # bag and text; bag 1 has but one
    there = torch.zeros(3, 2, dtype=torch.bool)
    by_hand = 0.0
    for bag, text in present:
        there[bag, text] = True
    for i in range(3):
        own = sum(math.exp(scores[bag, text, i]) for bag, text in present if bag == i)
        other_clips = sum(math.exp(scores[bag, text, j]) for bag, text in present if bag == i for j in range(3) if j != i)
        other_texts = sum(math.exp(scores[bag, text, i]) for bag, text in present if bag != i)
        by_hand += math.log((own + other_clips + other_texts) / own) / 3
    assert losses.mil_nce(scores, there).item() == pytest.approx(by_hand, rel=1e-5)


def test_a_clip_among_texts_of_both_kinds_is_as_in_the_paper():
    wanted, other = torch.randn(2, 3, 3)
    by_hand = 0.0
    for i in range(3):
        wrong = [*wanted[[j for j in range(3) if j != i], i], *other[[j for j in range(3) if j != i], i]]
        by_hand -= math.log(math.exp(wanted[i, i]) / (math.exp(wanted[i, i]) + sum(math.exp(x) for x in wrong))) / 3
    assert losses.clip_among_both(wanted, other).item() == pytest.approx(by_hand, rel=1e-5)


# --- clips --------------------------------------------------------------------------------------------------------


def test_every_kind_of_file_is_decoded():
    for clip in TIMELINE["clips"]:
        shown = decode.pictures(FOOTAGE / clip["file"], lambda count, rate: [0, count // 2, count - 1, 0])
        assert len(shown) == 4 and shown[0].mode == "RGB", clip
        assert np.array_equal(np.asarray(shown[0]), np.asarray(shown[3]))


def ffmpeg(path: Path, size: tuple[int, int]) -> np.ndarray:
    raw = subprocess.run(["ffmpeg", "-v", "error", "-i", path, "-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", "rgb24", "-"], check=True, capture_output=True)
    return np.frombuffer(raw.stdout, np.uint8).reshape(-1, size[1], size[0], 3).astype(int)


@pytest.mark.parametrize("file", ["h264-bframes.mkv", "turned.mp4", "mpeg2.ts", "mpeg4.avi"])
def test_the_frames_asked_for_come_upright_and_in_order(file):
    wanted = [0, 1, 30, 59]
    shown = decode.pictures(FOOTAGE / file, lambda count, rate: wanted)
    every = ffmpeg(FOOTAGE / file, shown[0].size)
    for index, picture in zip(wanted, shown):
        off = [np.abs(np.asarray(picture).astype(int) - every[other]).mean() for other in (max(index - 4, 0), index, min(index + 4, len(every) - 1))]
        assert off[1] == min(off) and off[1] < 3, (file, index, off)


def test_a_stretch_is_a_clip_of_its_own():
    every = ffmpeg(FOOTAGE / "tape.mp4", (256, 256))
    shown = decode.pictures(FOOTAGE / "tape.mp4", lambda count, rate: [0, count - 1] if (count, rate) == (31, 15.0) else [], 100.0, 102.0)
    for picture, index in zip(shown, (1500, 1530)):
        assert np.abs(np.asarray(picture).astype(int) - every[index]).mean() < 3


def test_each_system_samples_in_its_own_way():
    assert clips.Reading("clip4clip", 32, 12, 32).pick(75, 25.0) == [0, 25, 50]
    assert clips.Reading("clip2video", 32, 12, 32, divisor=2).pick(75, 25.0) == [0, 10, 20, 35, 45, 55, 70]
    assert clips.Reading("clip2video", 32, 4, 32, divisor=2).pick(12, 25.0) == [0, 0, 0, 0]
    assert clips.Reading("clip_vip", 32, 4, 50).pick(75, 25.0) == [0, 24, 49, 74]


def test_a_batch_has_padding_behind_a_mask(tmp_path):
    entries = captioned.read(lines(tmp_path, [{"video": "h264.mp4", "caption": "a ball"}]), FOOTAGE)
    data = clips.Clips(entries, clips.Reading("clip4clip", 32, 5, 8))
    batch = data.batch([data[0, 0], (0, "broken")])
    assert batch.pixels.shape == (1, 5, 3, 32, 32) and batch.mask.tolist() == [[1, 1, 1, 0, 0]] and not batch.pixels[0, 3:].any()
    assert batch.ids[0, 0].tolist() == [49406, 320, 1069, 49407, 0, 0, 0, 0] and batch.words[0, 0].tolist() == [1, 1, 1, 1, 0, 0, 0, 0]
    assert batch.problems == [(0, "broken")]


def test_epochs_see_every_clip_once_in_another_order():
    first, second = clips.order(10, 3, 0, 7, False), clips.order(10, 3, 1, 7, False)
    assert sorted(sum(first, [])) == sorted(sum(second, [])) == list(range(10)) and first != second
    assert first == clips.order(10, 3, 0, 7, False) and min(map(len, first)) > 1


def test_a_short_last_batch_is_dropped_where_it_was_in_the_original():
    assert [len(batch) for batch in clips.order(11, 4, 0, 7, drop_last=True)] == [4, 4]
    assert [len(batch) for batch in clips.order(3, 4, 0, 7, drop_last=True)] == [3], "there is no other"
    assert clips.parted([[1, 2, 3, 4, 5]], 2) == [[1, 2], [3, 4, 5]]


def test_narration_near_in_time_makes_a_bag(tmp_path):
    said = [{"video": video, "caption": f"{i}", "start_s": start, "end_s": start + 2} for i, (video, start) in enumerate([("a", 0), ("b", 1), ("a", 9), ("a", 3)])]
    read = captioned.read(lines(tmp_path, said), tmp_path)
    assert captioned.bags(read, 2) == [[0, 3], [1], [2, 3], [3, 0]]


def test_long_texts_are_counted(settings, tmp_path):
    said = []
    Training(replace(settings, words=5), tmp_path / "out", tell=said.append)
    assert "6 of 6 texts are longer than 5 tokens and lose their end" in said


# --- what is wrong is said ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line, problem",
    [
        ("{", "line 2: no JSON"),
        ("[]", "line 2: no JSON object but list"),
        ('{"caption": "x"}', 'line 2: "video" must name a file'),
        ('{"video": "a"}', 'line 2: "caption" must be a text or a list'),
        ('{"video": "a", "caption": ["x", ""]}', 'line 2: "caption" must be'),
        ('{"video": "a", "caption": "x", "start_s": -1}', '"start_s" must be a number of seconds'),
        ('{"video": "a", "caption": "x", "end_s": NaN}', '"end_s" must be a number of seconds'),
        ('{"video": "a", "caption": "x", "start_s": 3, "end_s": 3}', "ends at 3 s, which is not after its start"),
        ('{"video": "a", "caption": "x", "subtitle": 4}', '"subtitle" must be a text'),
    ],
)
def test_lines_with_problems_are_named(line, problem, tmp_path):
    (tmp_path / "data").write_text('{"video": "a", "caption": "x"}\n' + line + "\n\n" + line + "\n")
    with pytest.raises(DataError, match=problem.replace("[", r"\[")) as error:
        captioned.read(tmp_path / "data", tmp_path)
    assert "line 2" in str(error.value) and "line 4" in str(error.value)


def test_no_captions_at_all(tmp_path):
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "noise").write_bytes(b"\xff\xfe\x00")
    for name, problem in (("empty", "holds no clips"), ("none", "cannot be read"), ("noise", "cannot be read")):
        with pytest.raises(DataError, match=problem):
            captioned.read(tmp_path / name, tmp_path)


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


# --- recipes and what they are read from ----------------------------------------------------------------------------


def arguments(*given: object) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args([str(part) for part in given])


def test_every_recipe_makes_settings(tmp_path):
    published = tomllib.loads(PUBLISHED.read_text()) if PUBLISHED.exists() else None
    rows = {f"{row['set']}/{row['name']}" for row in published["row"]} if published else set()
    assert len(recipes.names()) > 35
    for name in recipes.names():
        recipe = recipes.load(name)
        for words in ((), ("--as-published",)):
            settings, _ = settings_of(arguments("--recipe", name, "--data", tmp_path if recipe.set != "jsonl" else tmp_path / "lines", "--from", "x", "--out", "y", *words))
            settings.check()
            assert settings.recipe == name and recipe.set in (*sets.SETS, "jsonl") and recipe.source
            if recipe.set in sets.SETS:
                assert settings.judged_by in sets.SETS[recipe.set]
            if "share" in recipe.as_published:
                assert settings.rate * settings.share == pytest.approx(1e-7 if words else 1e-5)
        assert recipe.published_row is None or not rows or recipe.published_row in rows, recipe.published_row
        assert recipe.patch in (16, 32, None)


def test_published_systems_have_all_their_rows():
    """Every row of the papers' tables that `clipseek eval` knows has a recipe; those of dual softmax are not another training."""
    if not PUBLISHED.exists():
        pytest.skip(f"needs {PUBLISHED}")
    rows = {f"{row['set']}/{row['name']}" for row in tomllib.loads(PUBLISHED.read_text())["row"] if not row["name"].endswith("-dsl")}
    assert rows == {recipes.load(name).published_row for name in recipes.names()} - {None}


@pytest.mark.parametrize(
    "given, problem",
    [
        (["--head", "seqLSTM", "--system", "clip_vip"], "--head is CLIP4Clip's"),
        (["--layers", 2], "--layers is of seqTransf, tightTransf and CLIP2Video"),
        (["--bag", 2, "--dropout", 0.1], "--bag is of narrated video; --dropout is of tightTransf and captions"),
        (["--jitter"], "--jitter is CLIP-ViP's"),
        (["--as-published"], "--as-published: is said of a recipe"),
        (["--recipe", "clip4clip-msrvtt-meanP", "--head", "seqLSTM", "--sentences", "one"], "--head, --sentences: the recipe clip4clip-msrvtt-meanP says this already"),
        (["--recipe", "clip4clip-msvd-meanP", "--validation", "x"], "--validation: the data set msvd has clips of its own"),
    ],
)
def test_options_that_do_not_apply_are_refused(given, problem, tmp_path):
    data = tmp_path if "--recipe" in given else lines(tmp_path, few())
    with pytest.raises(SettingsError, match=problem):
        settings_of(arguments("--data", data, "--from", "x", "--out", "y", *given))


def test_what_must_be_said_is_asked_for():
    with pytest.raises(SettingsError, match="--data, --from, --out: must be said"):
        settings_of(arguments())
    with pytest.raises(recipes.RecipeError, match="no recipe 'x': there are clip2video-msrvtt,"):
        settings_of(arguments("--recipe", "x"))


def test_numbers_that_are_given_go_before_the_recipe(tmp_path):
    settings, _ = settings_of(arguments("--recipe", "clip_vip-didemo-b16", "--data", tmp_path, "--from", "x", "--out", "y", "--epochs", 3))
    assert (settings.epochs, settings.words, settings.share, settings.sentences) == (3, 70, 10.0, "one") and settings.plan.times == 12


@pytest.mark.parametrize("name", ["msrvtt-full", "msvd", "vatex"])
def test_sets_with_many_captions_a_video(name):
    found, silent = sets.read(name, "test1k5" if name == "vatex" else "test", ANNOTATIONS / name, FOOTAGE)
    assert [(clip.video.name, len(clip.captions), clip.captions[0]) for clip in found] == [
        ("h264.mp4", 2, "an orange heart moves to the left"), ("vp8.webm", 3, "a white star moves down"), ("turned.mp4", 1, "a purple triangle shrinks"),
    ]
    assert silent == ["nothing-said"]


def test_sets_of_pairs_and_of_paragraphs():
    found, _ = sets.read("msrvtt-9k", "test", ANNOTATIONS / "msrvtt-1ka", FOOTAGE)
    assert found[0].captions == ("an orange heart, to the left",) and len(found) == 4, "a comma within quotes"
    found, _ = sets.read("lsmdc", "test", ANNOTATIONS / "lsmdc", FOOTAGE)
    assert found[1].captions == ('"A white star moves down."',), "quotes are text"
    [tape, *_], _ = sets.read("didemo", "test", ANNOTATIONS / "didemo", FOOTAGE)
    assert tape.captions == ("a yellow square and an orange star move apart a red circle",) and (tape.start_s, tape.end_s) == (0, 31)
    [tape, *_], _ = sets.read("activitynet", "test", ANNOTATIONS / "activitynet", FOOTAGE)
    assert tape.video == FOOTAGE / "tape.mp4" and tape.end_s == 157, "the prefix is dropped"


def test_sets_that_are_not_in_form_are_refused(tmp_path):
    (tmp_path / "train_list.txt").write_text("a\n")
    (tmp_path / "raw-captions.pkl").write_bytes(pickle.dumps({"a": Path("x")}))
    (tmp_path / "LSMDC16_annos_training.csv").write_text("one\ttwo\n")
    for name, problem in [("msvd", "asks for pathlib"), ("lsmdc", "training.csv:1: six columns"), ("vatex", "vatex_data.json: cannot be read"), ("footage", "cannot be read")]:
        with pytest.raises(DataError, match=problem):
            sets.read(name, "train", tmp_path, tmp_path)


def test_a_recipe_trains_on_the_official_files(weights, tmp_path, capsys, monkeypatch):
    """MSVD's, whose videos are found by name; the best epoch is chosen on the validation list and knows how it is to be exported."""
    data, out = tmp_path / "msvd", tmp_path / "out"
    shutil.copytree(ANNOTATIONS / "msvd", data)
    (data / "train_list.txt").write_text("h264\nvp8\nturned\nmissing\n")
    given = ["train", "--recipe", "clip4clip-msvd-meanP", "--data", data, "--videos", FOOTAGE, "--from", weights, "--out", out, "--epochs", 1, "--batch", 4, "--workers", 0]
    monkeypatch.setattr(sys, "argv", ["clipseek_models", *map(str, given)])
    monkeypatch.setattr(recipes, "load", lambda name, load=recipes.load: replace(load(name), patch=None))
    assert main() == 0
    said = capsys.readouterr().out
    assert "msvd, train: of 1 videos nothing is said (the first is missing)" in said and "left" in said and "the best so far" in said
    assert checkpoints.settings(out / "best.pt") == {"system": "clip4clip", "frames": 12, "words": 32, "recipe": "clip4clip-msvd-meanP", "objective": "retrieval"}


def test_a_backbone_of_another_patch_size_is_refused(settings, tmp_path):
    with pytest.raises(TrainingError, match="has patches of 16 pixels, clip4clip-msrvtt-meanP starts from patches of 32"):
        Training(replace(settings, patch=32, recipe="clip4clip-msrvtt-meanP"), tmp_path / "out", tell=quiet)


def test_the_try_out_recipe_ends_in_a_bundle_that_finds(tmp_path, capsys, monkeypatch):
    """From nothing, on the repository's own footage, in a minute or so (with a fraction of its epochs), as someone would type it."""
    monkeypatch.setattr(sys, "argv", ["clipseek_models", "train", "--recipe", "try", "--out", str(tmp_path / "out"), "--epochs", "20", "--judge-every", "20"])
    assert main() == 0
    said = capsys.readouterr().out.splitlines()
    assert said[-1] == 'clipseek search "an orange heart moves to the left"' and said[-2].endswith(f"--model {tmp_path / 'out' / 'clipseek-try'}")
    bundle = Bundle(tmp_path / "out" / "clipseek-try")
    assert bundle.manifest["video"]["frames"] == 4 and bundle.manifest["licence"] == "MIT OR Apache-2.0"
    shorts = TIMELINE["clips"]
    windows = [decode.pictures(FOOTAGE / clip["file"], lambda count, rate: [0, int(rate), 2 * int(rate)]) for clip in shorts]
    features = bundle.frame_features(np.stack([bundle.pixels(picture) for window in windows for picture in window]))
    vectors = bundle.pool(features.reshape(len(shorts), 3, -1))
    found = (bundle.texts([clip["caption"] for clip in shorts]) @ vectors.T).argmax(1)
    assert (found == np.arange(len(shorts))).mean() > 0.4  # by chance 0.08; 0.9 with all epochs


# --- judgement ------------------------------------------------------------------------------------------------------


def test_captions_of_one_video_are_judged_together(settings, tmp_path):
    """On lines of their own or on one: a clip must find one of its captions, and not each of them."""
    captions = {clip["file"]: [clip["caption"], f"again {clip['caption']}"] for clip in FEW[:3]}
    apart = [{"video": video, "caption": caption} for video, both in captions.items() for caption in both]
    together = [{"video": video, "caption": both} for video, both in captions.items()]
    found = []
    for name, held in (("apart", [apart[i] for i in (0, 2, 4, 1, 3, 5)]), ("together", together)):
        training = Training(replace(settings, validation=lines(tmp_path, held, f"{name}.jsonl")), tmp_path / name, tell=quiet)
        found.append(judge(training.model, OBJECTIVES["retrieval"], training.held, 4, 0, torch.device("cpu"), "float32"))
    assert found[0] == found[1] and "(3 clips)" in found[0].said


def test_every_sentence_is_a_clip_or_one_of_a_videos(settings, tmp_path):
    said = [{"video": FEW[0]["file"], "caption": ["a", "b"]}, {"video": FEW[1]["file"], "caption": "c"}, {"video": FEW[1]["file"], "caption": "d"}]
    data = lines(tmp_path, said)
    each = Training(replace(settings, data=data), tmp_path / "each", tell=quiet)
    assert [clip.captions for clip in each.clips.clips] == [("a",), ("b",), ("c",), ("d",)]
    one = Training(replace(settings, data=data, sentences="one"), tmp_path / "one", tell=quiet)
    assert [clip.captions for clip in one.clips.clips] == [("a", "b"), ("c", "d")]


def test_captions_are_judged_as_papers_do():
    pytest.importorskip("pycocoevalcap")
    references = [["A red ball rolls to the left.", "the red ball goes left"], ["two dogs run", "two dogs are running"], ["a man's hat", "the hat of a man"]]
    right = caption_figures([ways[0] for ways in references], references)
    assert right.bleu4 == pytest.approx(100, abs=1) and right.rouge_l == pytest.approx(100) and right.cider > 100
    java = shutil.which("java") is not None
    assert (right.meteor is not None) == java and ("PTB" in str(right)) == java


def test_without_java_another_tokenizer_is_said(monkeypatch):
    pytest.importorskip("pycocoevalcap")
    monkeypatch.setattr("shutil.which", lambda name: None)
    wrong = caption_figures(["two dogs run", "a red ball rolls to the left"], [["a red ball"], ["two dogs"]])
    assert wrong.bleu4 < 1 and wrong.cider < 10
    found = caption_figures(["It isn't the dog's ball!"], [["it is n't the dog 's ball"]])
    assert found.bleu4 == pytest.approx(100, abs=1) and found.meteor is None and "plain tokenizer, for want of Java; no METEOR" in str(found)


def test_captions_alone_are_chosen_by_bleu(settings, tmp_path, monkeypatch):
    pytest.importorskip("pycocoevalcap")
    monkeypatch.setattr("shutil.which", lambda name: None)  # METEOR would take longer than the training
    plan, others = SYSTEMS["captions"]
    said = []
    run(replace(settings, plan=plan, **(others | {"epochs": 1}), validation=lines(tmp_path, few()[:2], "held.jsonl")), tmp_path / "out", tell=said.append)
    [judged] = [line for line in said if "BLEU-4" in line]
    assert "ROUGE-L" in judged and "text to video" not in judged and judged.endswith("the best so far")


def test_a_training_can_be_made_longer(settings, tmp_path):
    """It says so, and goes on where it was; to ask for no more than it has had is an error."""
    run(replace(settings, epochs=1), tmp_path / "out")
    with pytest.raises(SnapshotError, match="has had its 1 epochs; --epochs with a larger number"):
        Training(replace(settings, epochs=1), tmp_path / "out", resume=True, tell=quiet)
    said = []
    longer = run(replace(settings, epochs=3), tmp_path / "out", resume=True, tell=said.append)
    assert longer.epoch == 3 and any("for 3 epochs in place of 1" in line for line in said)
    assert sum("epoch 2/3 step" in line for line in said) == 1


def test_names_on_the_command_line_are_those_of_the_code():
    assert choices.OBJECTIVES == tuple(OBJECTIVES) and choices.OPTIMISERS == tuple(optimisers.RULES)
    assert {name for name, objective in OBJECTIVES.items() if objective.captions} == set(choices.CAPTIONED)


def test_dropout_is_where_the_originals_have_it(weights):
    """In the input of the cross-encoder and in the decoder: after embeddings, of attention, after both output layers."""
    for plan, places in ((Plan("clip4clip", "tightTransf", layers=1), 1), (Plan("clip4clip", decoder_layers=1), 1 + 2 * 2 + 1), (Plan("clip4clip", "seqTransf", layers=1), 0)):
        model = start(checkpoints.read(weights), plan)
        assert sum(isinstance(module, torch.nn.Dropout) for module in model.modules()) == places


def test_frames_of_clip_vip_are_drawn_within_an_interval_of_the_ends():
    drawn = [sampling.jittered(120, 12, Random(seed)) for seed in range(50)]
    assert all(len(frames) == 12 and 0 <= frames[0] <= 10 and 109 <= frames[-1] <= 119 for frames in drawn)
    assert len({tuple(frames) for frames in drawn}) > 20 and sampling.jittered(1, 12, Random(0)) == [0] * 12
    reading = clips.Reading("clip_vip", 32, 12, 50, jitter=True)
    assert reading.pick(120, 25.0) == sampling.clip_vip(120, 12), "not in judgement"


def test_the_middle_frame_is_the_videos(settings, tmp_path):
    entries = captioned.read(lines(tmp_path, [{"video": "h264.mp4", "caption": "a", "subtitle": "b"}]), FOOTAGE)
    reading = clips.Reading("clip_vip", 32, 4, 50)
    data = clips.Clips(entries, reading, "sources", middle=True)
    batch = data.batch([data[0, 0]])
    [middle] = decode.pictures(FOOTAGE / "h264.mp4", lambda count, rate: [count // 2])
    assert batch.pixels.shape == (1, 4, 3, 32, 32) and np.allclose(batch.middle[0, 0].numpy(), pixels.clip_vip(middle, 32))


@pytest.mark.parametrize("described, rate", [(30.0, 29.833), (None, 25.0), (29.97, 29.97), (30.0, 30.0)])
def test_a_frame_rate_that_is_described_wrongly_is_corrected(described, rate):
    times = [round(frame / rate, 3) for frame in range(1189)]
    assert int(sampling.frame_rate(times, described)) == int(rate)
    assert sampling.frame_rate([0.0], described) == (described or 1.0)
