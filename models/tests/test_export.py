"""Untrained networks export to graphs that agree with them. Needs PyTorch."""

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from clipseek_models.bundle import Bundle  # noqa: E402
from clipseek_models.world import tokenizer  # noqa: E402
from clipseek_models.world.align import Model  # noqa: E402
from clipseek_models.world.export import export_model  # noqa: E402
from clipseek_models.world.nets import DIM, FrameEncoder, MeanPool, SequentialHead, TextEncoder  # noqa: E402

SCOPE = {"mean": [0.0] * DIM, "std": [1.0] * DIM, "max_distance": 2.0}


@pytest.fixture(scope="module", params=[SequentialHead, MeanPool])
def exported(request, tmp_path_factory):
    torch.manual_seed(0)
    words = tokenizer.build()
    model = Model(FrameEncoder().eval(), request.param().eval(), TextEncoder(words.get_vocab_size()).eval(), 20.0)
    folder = tmp_path_factory.mktemp("bundle")
    export_model(model, words, SCOPE, folder)
    return model, Bundle(folder)


def test_graphs_agree_with_their_modules(exported):
    model, bundle = exported
    features = torch.randn(3, 9, DIM)
    with torch.no_grad():
        expected = model.head(features, torch.ones(3, 9)).numpy()
    assert np.allclose(bundle.pool(features.numpy()), expected, atol=1e-5)


def test_the_manifest_names_what_is_there(exported):
    model, bundle = exported
    assert ("head" in bundle.manifest["graphs"]) == isinstance(model.head, SequentialHead)
    assert json.loads((bundle.folder / "scope.json").read_text()) == SCOPE


def test_the_sequential_head_follows_the_paper():
    """x = Blocks(F + P) + F, then the mean of normalised rows, normalised; padding has no say."""
    torch.manual_seed(1)
    head, frames = SequentialHead().eval(), torch.randn(2, 6, DIM)
    mask = torch.tensor([[1.0] * 6, [1.0] * 4 + [0.0] * 2])
    with torch.no_grad():
        padded = head(frames, mask)
        alone = head(frames[1:, :4], torch.ones(1, 4))
        x = frames[1:, :4] + head.frame_position_embeddings[:4]
        for block in head.blocks:
            x = block(x, torch.zeros(1, 1, 1, 4))
        x = x + frames[1:, :4]
        mean = (x / x.norm(dim=-1, keepdim=True)).mean(1)
    assert torch.allclose(padded[1:], alone, atol=1e-5)
    assert torch.allclose(alone, mean / mean.norm(dim=-1, keepdim=True), atol=1e-5)
