"""How the epochs of a training are judged. Needs PyTorch and PyAV."""

import shutil
from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("av")

from training_cases import FEW, SYSTEMS, few, lines, quiet, run  # noqa: E402

from clipseek_models.training.caption_figures import caption_figures  # noqa: E402
from clipseek_models.training.loop import Training  # noqa: E402
from clipseek_models.training.objectives import OBJECTIVES  # noqa: E402
from clipseek_models.training.validate import judge  # noqa: E402


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
