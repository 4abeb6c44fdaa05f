"""What several tests begin with. Imported late: not every test needs PyTorch."""

import pytest


@pytest.fixture(scope="session")
def weights(tmp_path_factory):
    """Of a tiny CLIP, before any training."""
    from safetensors.torch import save_file
    from training_cases import SIZES

    from clipseek_models.training.fresh import clip_state

    file = tmp_path_factory.mktemp("weights") / "clip.safetensors"
    save_file(clip_state(SIZES), file)
    return file


@pytest.fixture
def settings(weights, tmp_path):
    """Of a training on a handful of clips."""
    from training_cases import FOOTAGE, few, lines

    from clipseek_models.training.choices import Plan
    from clipseek_models.training.settings import Settings

    return Settings(
        lines(tmp_path, few(subtitles=True)), FOOTAGE, weights, Plan("clip4clip", "seqTransf", layers=1), epochs=4, batch=6, frames=3, words=16,
        rate=2e-3, share=0.5, warmup=0.0, freeze=-1, decay=0.05, workers=0,
    )
