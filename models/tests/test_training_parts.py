"""What a training is made of: first values, losses, rates, what is frozen. Needs PyTorch and PyAV."""

import math
from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("av")

from training_cases import SIZES, quiet  # noqa: E402

from clipseek_models import checkpoints  # noqa: E402
from clipseek_models.training import losses, names, optimisers  # noqa: E402
from clipseek_models.training.batch import Batch  # noqa: E402
from clipseek_models.training.choices import Plan  # noqa: E402
from clipseek_models.training.fresh import clip_state  # noqa: E402
from clipseek_models.training.initial import StartError, begun, halve, start  # noqa: E402
from clipseek_models.training.loop import Training  # noqa: E402
from clipseek_models.training.objectives import OBJECTIVES  # noqa: E402
from clipseek_models.training.settings import SettingsError  # noqa: E402
from clipseek_models.training.step import Stepper  # noqa: E402


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


def test_dropout_is_where_the_originals_have_it(weights):
    """In the input of the cross-encoder and in the decoder: after embeddings, of attention, after both output layers."""
    for plan, places in ((Plan("clip4clip", "tightTransf", layers=1), 1), (Plan("clip4clip", decoder_layers=1), 1 + 2 * 2 + 1), (Plan("clip4clip", "seqTransf", layers=1), 0)):
        model = start(checkpoints.read(weights), plan)
        assert sum(isinstance(module, torch.nn.Dropout) for module in model.modules()) == places


def test_the_symmetric_loss_is_as_in_the_paper():
    scores = torch.randn(4, 4)
    by_hand = -sum(math.log(math.exp(scores[i, i]) / scores[i].exp().sum()) + math.log(math.exp(scores[i, i]) / scores[:, i].exp().sum()) for i in range(4)) / 8
    found = 0.5 * losses.text_to_clip(scores) + 0.5 * losses.clip_to_text(scores)
    assert found.item() == pytest.approx(by_hand, rel=1e-5)


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


def test_weights_as_published_are_halves_where_the_original_has_them(settings, weights, tmp_path):
    """Matrices of CLIP, and nothing else; the optimiser's moments are halves then, too."""
    model = start(checkpoints.read(weights), Plan("clip4clip", "seqTransf", layers=1))
    halve(model)
    halves = {name for name, parameter in model.named_parameters() if parameter.dtype == torch.float16}
    assert {"clip.visual.conv1.weight", "clip.visual.proj", "clip.text_projection", "clip.transformer.resblocks.0.attn.in_proj_bias"} <= halves
    assert not any("ln_" in name or "embedding" in name or not name.startswith("clip.") or "logit_scale" in name for name in halves)
    optimiser, schedule = optimisers.RULES["clip4clip"].build(model, 1e-2, 1.0, 0.2, 10, 0.1)
    stepper = Stepper(model, OBJECTIVES["retrieval"].cost, optimiser, schedule, "float16", 1.0, masters=False)
    ids = torch.randint(1, 49406, (2, 1, 4))
    before = model.clip.text_projection.detach().clone()
    for _ in range(3):
        told = stepper([Batch(torch.randn(2, 1, 3, 32, 32), torch.ones(2, 1), ids, torch.ones_like(ids))])
    assert math.isfinite(told["loss"].item()) and not torch.equal(before, model.clip.text_projection)
    assert optimiser.state[model.clip.text_projection]["second"].dtype == torch.float16
    with pytest.raises(SettingsError, match="want --precision float16"):
        replace(settings, weights="float16").check()
