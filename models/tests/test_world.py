"""The synthetic world, its captions and its pixels. Needs numpy, pillow and tokenizers."""

from random import Random

import numpy as np
import pytest

from clipseek_models.world import footage, tokenizer
from clipseek_models.world.captions import Speaker, draw_claim, full_claim, ing, third, vocabulary
from clipseek_models.world.dataset import test_set as make_test_set
from clipseek_models.world.dataset import training_clips
from clipseek_models.world.motion import draw_scene, poses
from clipseek_models.world.render import render
from clipseek_models.world.scenes import EVENT_NAMES, Look, encode_claims, encode_scenes, held_out, truth

TIMES = np.arange(8) * 0.25


@pytest.fixture(scope="module")
def tests():
    return make_test_set()


def scenes(count: int, unseen: bool = False):
    rng = np.random.default_rng(7)
    return [draw_scene(rng, unseen, EVENT_NAMES[i % len(EVENT_NAMES)]) for i in range(count)]


def test_rendering_is_deterministic():
    for scene in scenes(27):
        first = render(scene, TIMES, 64)
        assert first.shape == (8, 64, 64, 3) and first.dtype == np.uint8
        assert (first == render(scene, TIMES, 64)).all()


def test_training_clips_do_not_depend_on_the_number_of_processes():
    one, two = training_clips(600, processes=1), training_clips(600, processes=2)
    assert (one.pixels == two.pixels).all() and one.scenes == two.scenes


def test_objects_stay_in_the_picture():
    for scene in scenes(270):
        for pose in poses(scene, TIMES):
            assert (pose.x > -0.05).all() and (pose.x < 1.05).all() and (pose.y > -0.05).all() and (pose.y < 1.05).all()


def test_training_shows_no_held_out_pair_and_tests_always_do(tests):
    def unseen(scene):
        looks = [*scene.looks] + ([Look(scene.looks[0].shape, scene.turns_to)] if scene.turns_to >= 0 else [])
        return any(held_out(look) for look in looks)

    assert not any(unseen(scene) for scene in scenes(540))
    assert all(unseen(scene) for scene in tests.scenes)


def test_test_captions_are_unique_and_true_of_one_clip(tests):
    assert len(tests.captions) == 200 and len(set(tests.captions)) == 200
    said = encode_claims(tests.claims)
    own = np.eye(200, dtype=bool)
    assert (truth(said, encode_scenes(tests.scenes)) == own).all()
    true_of_twins = truth(said, encode_scenes([scene.reversed() for scene in tests.scenes]))
    assert (true_of_twins == own & ~np.array([scene.has_twin for scene in tests.scenes])).all()


def test_a_reversed_claim_is_true_of_the_reversed_scene():
    words = Random(3)
    shown = scenes(540)
    claims = [draw_claim(scene, words) for scene in shown]
    reverse = [claim.reversed() for claim in claims]
    assert truth(encode_claims(claims), encode_scenes(shown)).diagonal().all()
    assert truth(encode_claims(reverse), encode_scenes([scene.reversed() for scene in shown])).diagonal().all()
    assert [claim.reversed() for claim in reverse] == claims
    assert all(Speaker(words).caption(claim) for claim in reverse)


def test_twins_are_captioned_in_reverse():
    said = {scene.event: Speaker(None).caption(full_claim(scene).reversed()) for scene in scenes(27)}
    assert said["left"].endswith("moves to the right")
    assert said["grow"].endswith("shrinks")
    assert said["spin_clockwise"].endswith("spins counterclockwise")
    assert said["chase_left"].endswith("to the right")
    assert said["still"].endswith("stays still")


def test_some_event_pairs_are_exact_reversals_in_pixels():
    """A scene and its opposite drawn with the same numbers show the same frames, the other way round."""
    scene = next(s for s in scenes(27) if s.event == "grow")
    opposite = scene.reversed()
    opposite.numbers.update(start=1.75 - scene.numbers["stop"], stop=1.75 - scene.numbers["start"])
    assert (render(opposite, 1.75 - TIMES, 64) == render(scenes(27)[EVENT_NAMES.index("grow")], TIMES, 64)).all()


def test_every_word_of_the_grammar_has_a_token():
    built = tokenizer.build()
    words = Random(5)
    speaker = Speaker(words)
    for scene in scenes(1000):
        ids = built.encode(speaker.caption(draw_claim(scene, words))).ids
        assert tokenizer.UNKNOWN not in ids and len(ids) <= tokenizer.CONTEXT_LENGTH
    assert len(vocabulary()) == len(set(vocabulary()))


def test_the_tokenizer_survives_what_people_type():
    built = tokenizer.build()
    assert built.encode("A RED, ball — rolling!").ids == built.encode("a red ball rolling").ids
    assert built.encode("").ids == [tokenizer.START, tokenizer.END]
    assert built.encode("a frobnicated ball").ids[2] == tokenizer.UNKNOWN
    assert len(built.encode("ball " * 500).ids) == tokenizer.CONTEXT_LENGTH


@pytest.mark.parametrize("verb, he, now", [("move", "moves", "moving"), ("fly", "flies", "flying"), ("spin", "spins", "spinning"), ("vanish", "vanishes", "vanishing"), ("go", "goes", "going")])
def test_verbs(verb, he, now):
    assert (third(verb), ing(verb)) == (he, now)


def test_footage_captions_are_true_of_one_scene_or_clip():
    tape, tape_claims, clips, clip_claims = footage.script()
    said, shown = encode_claims(tape_claims + clip_claims), encode_scenes(tape + clips)
    assert (truth(said, shown) == np.eye(len(shown), dtype=bool)).all()
    assert 120 <= sum(scene.duration for scene in tape) <= 180
