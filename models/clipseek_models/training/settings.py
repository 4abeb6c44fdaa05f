"""What a training is asked for. `recipes.py` says what the published ones had."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from .choices import CAPTIONED, OBJECTIVES, OPTIMISERS, PRECISIONS, SENTENCES, WEIGHTS, Plan


class SettingsError(Exception):
    """What in the settings does not go together."""


@dataclass(frozen=True)
class Settings:
    data: Path  # captions, a JSON object a line; or the folder of a data set's own files
    videos: Path  # the folder that they speak of
    start: Path | None  # weights to start from; None: random ones of a small CLIP
    plan: Plan
    validation: Path | None = None  # captions of other clips of the same folder
    set: str = "jsonl"  # by its name in `sets.py`, where `data` is a folder
    judged_by: str | None = None  # the part of the data set that the epochs are judged by
    patch: int | None = None  # that the weights must have, in pixels
    recipe: str | None = None  # by which all of this was chosen
    objective: str = "retrieval"
    sentences: str = "each"  # "each" with its video is a clip; "one" of a video's is drawn every time
    optimiser: str = "clip4clip"
    epochs: int = 5
    batch: int = 128
    accumulate: int = 1  # parts that a batch is computed in; clips are told apart within a part only
    drop_last: bool = True  # the last batch of an epoch, where it is shorter
    frames: int = 12
    words: int = 32
    bag: int = 3  # texts around a clip, for narrated video
    divisor: int = 1  # CLIP2Video looks at one of so many of the frames that it extracts at 5 a second
    jitter: bool = False  # CLIP-ViP's first and last frame are drawn
    rate: float = 1e-4
    share: float = 0.1  # of the rate: CLIP's own; of CLIP-ViP's, the temperature's, which may be above 1
    freeze: int = 0  # blocks of CLIP below this number stay as they are; -1: all of CLIP learns
    warmup: float = 0.1  # share of all steps
    decay: float = 0.2
    dropout: float = 0.0  # in the cross-encoder's input and the caption decoder
    most_gradient: float = 1.0  # its norm
    precision: str = "float32"
    weights: str = "float32"  # or CLIP's matrices in float16 without float32 masters, as CLIP4Clip was trained
    device: str = "cpu"
    workers: int = 2
    seed: int = 42
    judge_every: int = 1  # epochs; the last is always judged
    save_every: int = 200  # steps
    tell_every: int = 20  # steps

    def check(self) -> None:
        """All problems at once."""
        problems = []
        if self.objective not in OBJECTIVES:
            raise SettingsError(f"no objective {self.objective!r}: there are {', '.join(OBJECTIVES)}")
        captions = self.objective in CAPTIONED
        if captions and (self.plan.system != "clip4clip" or self.plan.head == "tightTransf"):
            problems.append("captions look at CLIP4Clip's frame sequence: meanP, seqLSTM or seqTransf")
        if captions != (self.plan.decoder_layers > 0):
            problems.append("captions need a decoder of at least one layer, and nothing else has one")
        if self.objective == "omnisource" and self.plan.system != "clip_vip":
            problems.append("omnisource is CLIP-ViP's")
        for name, known in (("precision", PRECISIONS), ("optimiser", OPTIMISERS), ("sentences", SENTENCES), ("weights", WEIGHTS)):
            if getattr(self, name) not in known:
                problems.append(f"no {name} {getattr(self, name)!r}: there are {', '.join(known)}")
        if self.precision == "float16" and not self.device.startswith("cuda"):
            problems.append("float16 is for GPUs; processors compute bfloat16")
        if self.weights == "float16" and (self.precision != "float16" or self.plan.system == "clip_vip"):
            problems.append("weights in float16 are CLIP4Clip's and CLIP2Video's, and want --precision float16")
        for name in ("epochs", "batch", "accumulate", "frames", "bag", "divisor", "judge_every", "save_every", "tell_every"):
            if getattr(self, name) < 1:
                problems.append(f"{name} must be at least 1")
        if self.batch // max(self.accumulate, 1) < 2:
            problems.append(f"a part of a batch must have 2 clips at least: {self.batch} in {self.accumulate} parts do not")
        if self.words < 3:
            problems.append("words must be at least 3: start, a word, end")
        if not 0 <= self.warmup < 1:
            problems.append("warmup is a share of all steps, from 0 to less than 1")
        if not 0 <= self.dropout < 1:
            problems.append("dropout is a share, from 0 to less than 1")
        if self.rate <= 0 or self.share < 0 or self.decay < 0 or self.most_gradient <= 0:
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
        """What may not change between the parts of one training. More epochs make it longer."""
        free = ("patch", "workers", "device", "tell_every", "save_every", "videos", "data", "start", "validation", "epochs")
        said = {key: value for key, value in asdict(self).items() if key not in free}
        return said | {"plan": asdict(self.plan)}

    def for_export(self) -> dict[str, object]:
        """What an export needs to know, kept beside the weights."""
        return {"system": self.plan.system, "frames": self.frames, "words": self.words, "recipe": self.recipe, "objective": self.objective}
