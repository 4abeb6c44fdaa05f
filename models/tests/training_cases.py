"""What the tests of training share. Needs PyTorch and PyAV."""

import json
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("av")

from clipseek_models import checkpoints  # noqa: E402
from clipseek_models.training.choices import Plan  # noqa: E402
from clipseek_models.training.fresh import Sizes  # noqa: E402
from clipseek_models.training.loop import Training  # noqa: E402
from clipseek_models.training.objectives import total  # noqa: E402
from clipseek_models.training.settings import Settings  # noqa: E402

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


def lines(folder: Path, entries: list[dict], name: str = "train.jsonl") -> Path:
    file = folder / name
    file.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    return file


def few(subtitles: bool = False) -> list[dict]:
    return [{"video": clip["file"], "caption": clip["caption"]} | ({"subtitle": f"so {clip['caption']}"} if subtitles else {}) for clip in FEW]


def quiet(line: str) -> None:
    pass


def run(settings: Settings, out: Path, **others) -> Training:
    training = Training(settings, out, tell=others.pop("tell", quiet), **others)
    assert training.run()
    return training


def state(file: Path) -> dict:
    return checkpoints.read(file)


def cost(training: Training) -> float:
    batch = training.clips.batch([training.clips[index, 0] for index in range(len(training.clips))]).to(torch.device("cpu"))
    with torch.no_grad():
        return total(training.objective.cost(training.model.eval(), batch)).item()
