"""What a training is asked for, and what the papers' trainings had where nothing is said."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from .initial import Plan
from .objectives import OBJECTIVES
from .sides import PRECISIONS


class SettingsError(Exception):
    """What in the settings does not go together."""


@dataclass(frozen=True)
class Settings:
    data: Path  # captions, a JSON object a line
    videos: Path  # the folder that they speak of
    start: Path  # weights to start from
    plan: Plan
    validation: Path | None = None  # captions of other clips of the same folder
    objective: str = "retrieval"
    epochs: int = 5
    batch: int = 128
    accumulate: int = 1  # parts that a batch is computed in; clips are told apart within a part only
    frames: int = 12
    words: int = 32
    bag: int = 3  # texts around a clip, for narrated video
    rate: float = 1e-4
    of_clip: float = 1e-3  # CLIP's share of the rate
    freeze: int = 0  # blocks of CLIP below this number stay as they are; -1: all of CLIP learns
    warmup: float = 0.1  # share of all steps
    decay: float = 0.2
    most_gradient: float = 1.0  # its norm
    precision: str = "float32"
    device: str = "cpu"
    workers: int = 2
    seed: int = 42
    save_every: int = 200  # steps
    tell_every: int = 20  # steps

    def check(self) -> None:
        """All problems at once."""
        problems = []
        if self.objective not in OBJECTIVES:
            problems.append(f"no objective {self.objective!r}: there are {', '.join(OBJECTIVES)}")
        if self.objective == "captions" and (self.plan.system != "clip4clip" or self.plan.head == "tightTransf"):
            problems.append("captions look at CLIP4Clip's frame sequence: meanP, seqLSTM or seqTransf")
        if (self.objective == "captions") != (self.plan.decoder_layers > 0):
            problems.append("captions need a decoder of at least one layer, and nothing else has one")
        if self.objective == "omnisource" and self.plan.system != "clip_vip":
            problems.append("omnisource is CLIP-ViP's")
        if self.precision not in PRECISIONS:
            problems.append(f"no precision {self.precision!r}: there are {', '.join(PRECISIONS)}")
        if self.precision == "float16" and not self.device.startswith("cuda"):
            problems.append("float16 is for GPUs; processors compute bfloat16")
        for name in ("epochs", "batch", "accumulate", "frames", "bag", "save_every", "tell_every"):
            if getattr(self, name) < 1:
                problems.append(f"{name} must be at least 1")
        if self.batch // max(self.accumulate, 1) < 2:
            problems.append(f"a part of a batch must have 2 clips at least: {self.batch} in {self.accumulate} parts do not")
        if self.words < 3:
            problems.append("words must be at least 3: start, a word, end")
        if not 0 <= self.warmup < 1:
            problems.append("warmup is a share of all steps, from 0 to less than 1")
        if self.rate <= 0 or self.of_clip < 0 or self.decay < 0 or self.most_gradient <= 0:
            problems.append("rates, decay and the gradient's norm must be positive")
        if self.workers < 0:
            problems.append("workers cannot be fewer than none")
        if problems:
            raise SettingsError("; ".join(problems))

    @property
    def part(self) -> int:
        """Clips that are computed, and told apart, at once."""
        return self.batch // self.accumulate

    def lasting(self) -> dict[str, object]:
        """What may not change between the parts of one training."""
        free = ("workers", "device", "tell_every", "save_every", "videos", "data", "start", "validation")
        said = {key: value for key, value in asdict(self).items() if key not in free}
        return said | {"plan": asdict(self.plan)}


# CLIP-ViP's published trainings differ from CLIP4Clip's, which are the defaults above.
OF_VIP = {"rate": 1e-6, "of_clip": 1.0, "freeze": -1, "warmup": 0.01, "words": 50}
OF_OMNISOURCE = OF_VIP | {"rate": 5e-6, "decay": 0.05, "most_gradient": 5.0, "words": 70}


def published(system: str, objective: str) -> dict[str, object]:
    """What differs from the defaults of `Settings`."""
    if system != "clip_vip":
        return {}
    return OF_OMNISOURCE if objective == "omnisource" else OF_VIP

