"""The shipped bundle is as good as its card says. Needs numpy, pillow, tokenizers and onnxruntime; no PyTorch.

Searching the footage needs ffmpeg too, and is skipped where there is none.
"""

import shutil
from pathlib import Path

import numpy as np
import pytest

from clipseek_models.bundle import Bundle
from clipseek_models.world.dataset import strangers
from clipseek_models.world.dataset import test_set as make_test_set
from clipseek_models.world.evaluate import evaluate
from clipseek_models.world.scope import distances
from clipseek_models.world.windows import scope, search_footage

MODELS = Path(__file__).resolve().parent.parent
SHAPES = MODELS / "bundles" / "shapes"
FOOTAGE = MODELS.parent / "tests" / "fixtures" / "footage"


@pytest.fixture(scope="module")
def bundle():
    return Bundle(SHAPES)


def test_figures_of_the_card(bundle):
    """The targets of the shipped bundle: 0.90, 0.95 and 0.85."""
    scores = evaluate(bundle, make_test_set())
    assert scores.reach(), scores


def test_size():
    assert sum(path.stat().st_size for path in SHAPES.iterdir()) < 12_000_000


def test_the_head_takes_windows_of_other_lengths_and_ignores_padding(bundle):
    rng = np.random.default_rng(0)
    frames = rng.standard_normal((2, 32, bundle.manifest["dim"])).astype(np.float32)
    for count in (1, 5, 32):
        assert np.allclose(np.linalg.norm(bundle.pool(frames[:, :count]), axis=1), 1, atol=1e-5)
    mask = np.ones((2, 32), np.float32)
    mask[:, 6:] = 0
    padded = bundle.sessions["head"].run(None, {"frames": frames, "mask": mask})[0]
    assert np.allclose(padded, bundle.pool(frames[:, :6]), atol=1e-5)


def test_padding_a_caption_changes_nothing(bundle):
    alone = bundle.texts(["a red ball"])
    together = bundle.texts(["a red ball", "a small blue square moves slowly to the left on a tiled floor"])[:1]
    assert np.allclose(alone, together, atol=1e-5)


def test_words_of_ones_own(bundle):
    """A person's wording is nearer to the grammar's for the same thing than for its opposite."""
    mine, left, right = bundle.texts(["a red ball rolling to the left", "the red circle goes left", "the red circle goes right"])
    assert mine @ left > mine @ right


@pytest.mark.skipif(not shutil.which("ffmpeg"), reason="needs ffmpeg to decode")
def test_captions_find_their_footage(bundle):
    assert search_footage(bundle, FOOTAGE) == 0


def test_scope_tells_the_world_from_other_pictures(bundle):
    mean, std, limit = scope(bundle)
    clips = make_test_set().clips
    inside = distances(bundle.frame_features(clips.reshape(-1, 64, 64, 3)), mean, std).reshape(len(clips), -1).mean(1)
    outside = distances(bundle.frame_features(strangers(np.random.default_rng(99), 100, clips[:, 0])), mean, std)
    assert inside.max() < limit
    assert (outside > limit).mean() >= 0.9
