"""The comparison of all systems on the synthetic world, in the smallest: that each learns, is judged and kept. Needs PyTorch."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("pycocoevalcap")

from clipseek_models.bundle import Bundle  # noqa: E402
from clipseek_models.comparison import command, judge  # noqa: E402
from clipseek_models.comparison.command import Settings, compare, result_file  # noqa: E402
from clipseek_models.comparison.export import export  # noqa: E402
from clipseek_models.comparison.learn import GROUP, by_group, learn  # noqa: E402
from clipseek_models.comparison.variants import NAMES, PLANS, Variant  # noqa: E402
from clipseek_models.world import dataset, tokenizer  # noqa: E402
from clipseek_models.world.align import Corpus, pad, unit  # noqa: E402
from clipseek_models.world.motion import draw_scene  # noqa: E402
from clipseek_models.world.nets import FrameEncoder  # noqa: E402
from clipseek_models.world.pretrain import to_pixels  # noqa: E402
from clipseek_models.world.scenes import EVENT_NAMES  # noqa: E402
from clipseek_models.world.tokenizer import CONTEXT_LENGTH, END, PAD, START, UNKNOWN  # noqa: E402

SHAPES = Path(__file__).resolve().parents[1] / "bundles" / "shapes"


def test_every_system_gets_its_row(tmp_path, capsys):
    steps = dict.fromkeys(NAMES, 1)
    small = Settings(clips=40, frame_steps=1, steps=steps, head_start=1, batch=8, whole_clips=8, whole_frame_steps=1, whole_batch=4, test_clips=27)
    assert compare(tmp_path, [1], None, SHAPES, processes=2, settings=small) == 0
    table = (tmp_path / "table.md").read_text()
    assert [line.split("|")[1].strip() for line in table.splitlines()[2:-2]] == [*NAMES, command.SHIPPED]
    shipped = json.loads(result_file(tmp_path, command.SHIPPED, 1).read_text())["scores"]
    assert shipped["recall"] > 0.9 and f"| {100 * shipped['recall']:.1f} |" in table
    said = json.loads(result_file(tmp_path, command.CAPTIONED, 1).read_text())["captions"]
    assert (tmp_path / f"{command.BUNDLE}-1" / "caption_step.onnx").exists()
    assert len(said["examples"]) == 8 and said["bleu4"] >= 0

    # What is there is not trained again.
    before = result_file(tmp_path, "meanP", 1).stat().st_mtime_ns
    assert compare(tmp_path, [1], ["meanP"], SHAPES, processes=1, settings=small) == 0
    assert result_file(tmp_path, "meanP", 1).stat().st_mtime_ns == before
    assert compare(tmp_path, [1], ["GPT"], SHAPES, processes=1) == 1
    assert "no system GPT: there are meanP" in capsys.readouterr().err


@pytest.fixture(scope="module")
def world():
    rng = np.random.default_rng(3)
    scenes = [draw_scene(rng, False, EVENT_NAMES[i % len(EVENT_NAMES)]) for i in range(16)]
    return scenes, torch.randn(16, 8, 256, generator=torch.Generator().manual_seed(3)), tokenizer.build()


@pytest.mark.parametrize("name, steps", [("seqTransf", 20), ("tightTransf", 60)])
def test_variants_learn_a_handful_by_heart(name, steps, world):
    scenes, known, words = world
    variant = Variant(name, words.get_vocab_size(), 1)
    learn(variant, known, scenes, words, 1, 10, steps, 16)
    corpus = Corpus(scenes, words, 5)
    _, _, ids, mask = corpus.draw(np.arange(16))
    with torch.no_grad():
        similarity = variant.compare(variant.texts(ids[:16], mask[:16]), variant.features(known))
    # Of all pairs, so that no single caption decides: half of the wrong clips are above the right one by chance, and 0.08 to
    # 0.16 after so many steps, whatever the seed and the processor.
    assert (similarity > similarity.diagonal()[:, None]).float().mean() < 0.3


def test_processors_without_bfloat16_train_all_the_same():
    """oneDNN is told to do as on a processor without AVX-512, where it has neither fast bfloat16 nor an LSTM in it."""
    code = """
import torch
from clipseek_models.comparison.variants import Variant
from clipseek_models.half import processor_half
variant = Variant("seqLSTM", 100, 1)
with processor_half():
    clips = variant.clips(variant.features(torch.randn(2, 8, 256)))
    assert (variant.features(torch.randn(2, 8, 256)).dtype, clips.dtype) == (torch.float32, torch.float32)
with torch.autocast("cpu", torch.bfloat16):
    variant.clips(variant.features(torch.randn(2, 8, 256))).sum().backward()
"""
    environment = os.environ | {"ONEDNN_MAX_CPU_ISA": "AVX2", "PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)


def test_the_systems_see_the_end_token_wherever_it_is(world):
    """The synthetic world's tokenizer has it as one of the smallest ids, the systems look for the largest."""
    _, _, words = world
    variant = Variant("meanP", words.get_vocab_size(), 1).eval()
    short, long = words.encode("a red ball").ids, words.encode("a red ball rolls to the left").ids
    with torch.no_grad():
        alone, beside = variant.texts(*pad([short])), variant.texts(*pad([short, long]))
    assert torch.allclose(alone[0], beside[0], atol=1e-5) and not torch.allclose(beside[0], beside[1], atol=1e-2)


def test_groups_compare_what_they_say(world):
    _, known, words = world
    variant = Variant("tightTransf", words.get_vocab_size(), 1).eval()
    batch = 2 * GROUP
    features = variant.features(known[: 2 * batch + 2])
    texts = torch.randn(2 * batch, features.shape[2])
    clips = torch.cat([features, features[: 2 * batch + 2 - len(features)]])
    with torch.no_grad():
        found, compared = by_group(variant, texts, clips, batch)
        everything = variant.compare(texts, clips)
    assert torch.allclose(found[compared], everything[compared], atol=1e-4) and not found[~compared].any()
    assert compared[0].nonzero().flatten().tolist() == [0, 1, 2, 3, 8, 9, 10, 11, 16]
    assert compared[:, : 2 * batch].diagonal().all()


def test_meanp_cannot_tell_twins_apart(world):
    _, known, words = world
    tests = dataset.test_set(27)
    variant = Variant("meanP", words.get_vocab_size(), 1).eval()
    scores = judge.retrieval(variant, variant.features(known[:1].expand(27, -1, -1) + torch.randn(27, 8, 256)), tests, words)
    assert scores.twins == 0.5


def test_the_captioned_variant_is_a_bundle(world, tmp_path):
    _, _, words = world
    encoder, variant = FrameEncoder().eval(), Variant(command.CAPTIONED, words.get_vocab_size(), 1).eval()
    export(variant, encoder, words, tmp_path / "small")
    bundle, tests = Bundle(tmp_path / "small"), dataset.test_set(4)
    with torch.no_grad():
        known = encoder.knowledge(to_pixels(tests.clips.reshape(-1, 64, 64, 3))).reshape(4, 8, -1)
        features = variant.features(known)
        texts = variant.texts(*pad([encoded.ids for encoded in words.encode_batch(tests.captions)]))
        memory = variant.system.caption_memory(features, torch.ones(4, 8))
        ids, _ = variant.system.decoder.caption(memory[0], torch.ones(8), START, END, PAD, CONTEXT_LENGTH)
    found = bundle.frame_features(tests.clips.reshape(-1, 64, 64, 3)).reshape(4, 8, -1)
    assert np.allclose(found, features.numpy(), atol=1e-4)
    assert np.allclose(bundle.pool(found), variant.clips(features).detach().numpy(), atol=1e-4)
    assert np.allclose(bundle.texts(tests.captions), texts.numpy(), atol=1e-4)
    caption = bundle.captions(found)[0]
    assert caption.ids == ids and caption.text == " ".join(words.id_to_token(i) for i in ids if i not in (START, END, PAD, UNKNOWN))


def test_captions_are_judged_against_many_wordings():
    tests = dataset.test_set(27)
    right = judge.references(tests)
    assert len(right) == 27 and all(len(ways) == judge.REFERENCES for ways in right)


def test_every_plan_has_its_variant():
    vocabulary = tokenizer.build().get_vocab_size()
    for name in PLANS:
        variant = Variant(name, vocabulary, 1).eval()
        with torch.no_grad():
            clips = variant.clips(variant.features(torch.randn(2, 32, 256)))
        assert torch.allclose(clips, unit(clips), atol=1e-5) and (variant.system.title in name or name in variant.system.title or name.startswith("seqTransf"))
