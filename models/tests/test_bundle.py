"""The shipped bundle reaches its targets. Needs numpy, pillow, tokenizers and onnxruntime; no PyTorch."""

from pathlib import Path

import numpy as np
import pytest

from clipseek_models.bundle import Bundle
from clipseek_models.dataset import test_set as make_test_set
from clipseek_models.evaluate import evaluate

SHAPES = Path(__file__).resolve().parent.parent / "bundles" / "shapes"


@pytest.fixture(scope="module")
def bundle():
    return Bundle(SHAPES)


def test_targets(bundle):
    scores = evaluate(bundle, make_test_set())
    assert scores.recall >= 0.90
    assert scores.twins >= 0.95
    assert scores.recall_with_twins >= 0.85


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
