"""Published trainings, the official annotation files, the command line, and the try-out. Needs PyTorch and PyAV."""

import argparse
import pickle
import shutil
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("av")

from training_cases import ANNOTATIONS, FOOTAGE, PUBLISHED, TIMELINE, few, lines, quiet  # noqa: E402

from clipseek_models import checkpoints  # noqa: E402
from clipseek_models.__main__ import main  # noqa: E402
from clipseek_models.bundle import Bundle  # noqa: E402
from clipseek_models.training import choices, decode, optimisers, recipes, sets  # noqa: E402
from clipseek_models.training.captioned import DataError  # noqa: E402
from clipseek_models.training.command import settings_of  # noqa: E402
from clipseek_models.training.loop import Training, TrainingError  # noqa: E402
from clipseek_models.training.objectives import OBJECTIVES  # noqa: E402
from clipseek_models.training.options import add_arguments  # noqa: E402
from clipseek_models.training.settings import SettingsError  # noqa: E402


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
        for words in ((), ("--as-published",)) if recipe.as_published else ((),):
            data = tmp_path if recipe.set != "jsonl" else tmp_path / "lines"
            settings, _ = settings_of(arguments("--recipe", name, "--data", data, "--from", "x", "--out", "y", "--device", "cuda", *words))
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
        (["--recipe", "clip_vip-msrvtt-b32", "--as-published"], "clip_vip-msrvtt-b32 is as published already"),
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


def test_without_a_recipe_a_system_has_what_its_published_trainings_have_in_common(tmp_path):
    def chosen(*given):
        return settings_of(arguments("--data", lines(tmp_path, few()), "--from", "x", "--out", "y", *given))[0]

    assert chosen("--head", "tightTransf").dropout == 0.1 and chosen().dropout == 0.0
    vip = chosen("--system", "clip_vip", "--frames", 6)
    assert (vip.optimiser, vip.jitter, vip.sentences, vip.drop_last, vip.words, vip.plan.times) == ("clip_vip", True, "one", False, 50, 6)
    assert chosen("--system", "clip_vip", "--objective", "omnisource").most_gradient == 5.0
    captions = chosen("--objective", "captions", "--words", 20)
    assert (captions.optimiser, captions.plan.decoder_layers, captions.plan.decoder_positions) == ("univl", 3, 20)


def test_numbers_that_are_given_go_before_the_recipe(tmp_path):
    settings, _ = settings_of(arguments("--recipe", "clip_vip-didemo-b16", "--data", tmp_path, "--from", "x", "--out", "y", "--epochs", 3))
    assert (settings.epochs, settings.words, settings.share, settings.sentences) == (3, 70, 10.0, "one") and settings.plan.times == 12


def test_names_on_the_command_line_are_those_of_the_code():
    assert choices.OBJECTIVES == tuple(OBJECTIVES) and choices.OPTIMISERS == tuple(optimisers.RULES)
    assert {name for name, objective in OBJECTIVES.items() if objective.captions} == set(choices.CAPTIONED)


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
    assert f"clipseek eval --set msvd --annotations {data} --videos {FOOTAGE} --model BUNDLE --published clip4clip-meanP" in said
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
