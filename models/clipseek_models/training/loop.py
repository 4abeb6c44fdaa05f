"""The training itself: epochs of steps, a snapshot now and then, a judgement after each epoch, the best one kept.

In the folder `out`: `best.pt`, weights that `load` and `export` read, with the settings that an export needs; `snapshot.pt` to
go on from; `left-out.jsonl`, the clips that could not be used and why.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import torch

from .. import checkpoints
from ..checkpoints import CheckpointError
from ..systems.clip import VOCABULARY
from . import captioned, sets, snapshot
from .batch import Batch
from .caption_figures import NoScorers, demand_scorers
from .captioned import Clip, DataError
from .clips import Clips, Reading, loader, order, parted
from .fresh import SMALL, clip_state
from .initial import StartError, halve, start
from .objectives import OBJECTIVES
from .optimisers import RULES, freeze
from .progress import Progress
from .settings import Settings
from .snapshot import SnapshotError
from .step import Stepper
from .validate import Judgement, judge

BEST, SNAPSHOT, LEFT_OUT = "best.pt", "snapshot.pt", "left-out.jsonl"
Tell = Callable[[str], None]


class TrainingError(Exception):
    """Why a training cannot begin or go on."""


class Training:
    def __init__(self, settings: Settings, out: Path, resume: bool = False, tell: Tell = print, stop: Callable[[], bool] = lambda: False) -> None:
        settings.check()
        self.settings, self.out, self.tell, self.stop = settings, out, tell, stop
        if not resume and (out / SNAPSHOT).exists():
            raise TrainingError(f"{out} holds a training already: go on with it (--resume), or name another folder")
        if resume and not (out / SNAPSHOT).exists():
            raise TrainingError(f"{out / SNAPSHOT}: not there, so there is nothing to go on from")
        self.device = _device(settings.device)
        torch.manual_seed(settings.seed)
        self.objective = OBJECTIVES[settings.objective]
        self.left_out: dict[str, str] = {}  # a clip as JSON, and why
        clips, held = self._read()
        self._build()
        self._prepare_clips(clips, held)
        self.steps_per_epoch = len(self._batches(0))
        self.epoch = self.step = 0  # finished epochs; finished steps of the one that runs
        self.best: Judgement | None = None
        rule, steps = RULES[settings.optimiser], self.steps_per_epoch * settings.epochs
        optimiser, schedule = rule.build(self.model, settings.rate, settings.share, settings.decay, steps, settings.warmup)
        self.stepper = Stepper(self.model, self.objective.cost, optimiser, schedule, settings.precision, settings.most_gradient, settings.weights == "float32")
        out.mkdir(parents=True, exist_ok=True)
        if resume:
            self._resume()

    def _read(self) -> tuple[list[Clip], list[Clip]]:
        """The clips to learn from, and those to judge by."""
        settings = self.settings
        clips, held = self._listed()
        judged_by = settings.validation or settings.judged_by
        clips, found = self._there(clips, "training"), self._there(held, "validation")
        if held and not found:
            raise TrainingError(f"{judged_by}: none of its clips are there")
        if held and self.objective.captions:
            try:
                demand_scorers()
            except NoScorers as error:
                raise TrainingError(str(error)) from error
        held = found
        silent = [clip.line for clip in clips if clip.subtitle is None]
        if silent and self.objective.texts == "sources":
            raise TrainingError(f'{settings.data}: {len(silent)} clips lack a "subtitle" (the first in line {silent[0]}), which {settings.objective} learns from')
        if self.objective.texts == "one":
            clips = captioned.one_a_sentence(clips) if settings.sentences == "each" else captioned.one_a_video(clips)
        if len(clips) < 2:
            raise TrainingError(f"{settings.data}: {len(clips)} clips are there, training needs two to tell apart")
        return clips, captioned.one_a_video(held)

    def _listed(self) -> tuple[list[Clip], list[Clip]]:
        """What the files list, whether its videos are there or not."""
        settings = self.settings
        if settings.set == "jsonl":
            held = captioned.read(settings.validation, settings.videos) if settings.validation else []
            return captioned.read(settings.data, settings.videos), held
        parts = []
        for split in ("train", settings.judged_by):
            clips, silent = sets.read(settings.set, split, settings.data, settings.videos)
            if silent:
                self.tell(f"{settings.set}, {split}: of {len(silent)} videos nothing is said (the first is {silent[0]})")
            # CLIP-ViP looks at whole videos where CLIP4Clip's loaders cut them.
            whole = settings.plan.system == "clip_vip"
            parts.append([replace(clip, start_s=None, end_s=None) for clip in clips] if whole else clips)
        return parts[0], parts[1]

    def _there(self, clips: list[Clip], kind: str) -> list[Clip]:
        """Files that are missing are said before hours of training, not in the midst of them."""
        there = []
        for clip in clips:
            if clip.video.is_file():
                there.append(clip)
            else:
                self._leave_out(clip, "no such file")
        if len(there) < len(clips):
            self.tell(f"{len(clips) - len(there)} of {len(clips)} {kind} clips are left out, their videos are missing: see {self.out / LEFT_OUT}")
        return there

    def _build(self) -> None:
        settings = self.settings
        try:
            weights = checkpoints.read(settings.start) if settings.start else clip_state(SMALL, settings.seed)
            self.model = start(weights, settings.plan, settings.seed)
        except (CheckpointError, StartError) as error:
            raise TrainingError(f"{settings.start}: {error}") from error
        limits = self.model.limits
        if settings.patch not in (None, limits.patch):
            raise TrainingError(f"{settings.start}: has patches of {limits.patch} pixels, {settings.recipe} starts from patches of {settings.patch}")
        if limits.vocabulary != VOCABULARY:
            raise TrainingError(f"{settings.start}: knows {limits.vocabulary} tokens, CLIP's tokenizer makes {VOCABULARY}")
        if limits.frames is not None and settings.frames > limits.frames:
            raise TrainingError(f"{settings.frames} frames a clip are more than there are positions for ({limits.frames})")
        if settings.words > limits.words:
            raise TrainingError(f"{settings.words} tokens a text are more than there are positions for ({limits.words})")
        for module in self.model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = settings.dropout
        if settings.weights == "float16":
            halve(self.model)
        self.model.to(self.device)
        frozen = freeze(self.model, settings.freeze)
        learnt = sum(parameter.numel() for parameter in self.model.parameters() if parameter.requires_grad)
        self.tell(f"{self.model.title}: {learnt / 1e6:.1f} million numbers learn, {frozen / 1e6:.1f} million are frozen")

    def _prepare_clips(self, clips: list[Clip], held: list[Clip]) -> None:
        settings, objective = self.settings, self.objective
        side, system = self.model.limits.side, settings.plan.system
        reading = Reading(system, side, settings.frames, settings.words, settings.divisor, settings.jitter)
        self.clips = Clips(clips, reading, objective.texts, settings.bag, settings.seed, objective.middle_frame)
        self.held = Clips(held, reading, jittered=False) if held else None
        self.identity = self._identity()
        texts = [text for clip in clips for text in (*clip.captions, *([clip.subtitle] if objective.texts == "sources" else []))]
        long = sum(map(self.clips.reader.too_long, texts))
        if long:
            self.tell(f"{long} of {len(texts)} texts are longer than {settings.words} tokens and lose their end")

    def _batches(self, epoch: int) -> list[list[int]]:
        return order(len(self.clips), self.settings.batch, epoch, self.settings.seed, self.settings.drop_last)

    def run(self) -> bool:
        """Whether it came to its end; False where it was stopped, and can go on."""
        self._list_left_out()
        self.progress = Progress(self.settings.epochs, self.steps_per_epoch, self.epoch * self.steps_per_epoch + self.step)
        while self.epoch < self.settings.epochs:
            if not self._run_epoch():
                self._mean_losses()
                self.save()
                self.tell(f"stopped after step {self.step} of epoch {self.epoch + 1}; --resume goes on from there")
                return False
            self._judge()
            self.epoch, self.step = self.epoch + 1, 0
            self.save()
        return True

    def _run_epoch(self) -> bool:
        settings, progress, used, done = self.settings, self.progress, 0, self.step
        batches = self._batches(self.epoch)[done:]
        ready = iter(loader(self.clips, parted(batches, settings.accumulate), self.epoch, settings.workers, self.device.type == "cuda"))
        for _ in batches:
            if self.stop():
                return False
            with progress.waiting():
                parts = [next(ready) for _ in range(settings.accumulate)]
            rates = dict.fromkeys(group["lr"] for group in self.stepper.optimiser.param_groups if group["params"])
            clips = self._step(parts)
            self.step, used = self.step + 1, used + clips
            last = self.step == self.steps_per_epoch
            if self.step % settings.tell_every == 0 or last or self.step % settings.save_every == 0:
                self.tell(progress.line(self.epoch, self.step, self._mean_losses(), rates))
            if self.step % settings.save_every == 0 and not last:
                self.save()
        if not used and not done:
            raise TrainingError(f"no clip of epoch {self.epoch + 1} can be read: see {self.out / LEFT_OUT}")
        return True

    def _mean_losses(self) -> dict[str, float]:
        """Since they were last asked for; asked before anything is kept, so that what is kept is sound."""
        mean = self.progress.mean_losses()
        if not math.isfinite(mean.get("loss", 0.0)):
            raise TrainingError(
                f"the loss is {mean['loss']} by step {self.step} of epoch {self.epoch + 1}: try a lower rate, or float32; "
                f"{self.out / SNAPSHOT} is from before"
            )
        return mean

    def _step(self, parts: list[Batch]) -> int:
        """How many clips it learnt from."""
        self.model.train()
        for part in parts:
            for index, reason in part.problems:
                self._leave_out(self.clips.clips[index], reason)
        if any(part.problems for part in parts):
            self._list_left_out()
        usable = [part for part in parts if len(part) > 1]  # a clip alone has nothing to be told apart from
        count = sum(map(len, usable))
        losses = self.stepper(usable) if usable else self.stepper.skip()
        self.progress.took(losses, count)
        return count

    def _judge(self) -> None:
        settings, number = self.settings, self.epoch + 1
        if self.held is None:
            return self._keep()
        if number % settings.judge_every and number < settings.epochs:
            return None
        judged = judge(self.model, self.objective, self.held, settings.part, settings.workers, self.device, settings.precision)
        if judged is None:
            raise TrainingError(f"{settings.validation or settings.judged_by}: none of its clips can be read")
        for index, reason in judged.problems:
            self._leave_out(self.held.clips[index], reason)
        self._list_left_out()
        better = self.best is None or judged.key > self.best.key
        self.tell(f"epoch {number}/{settings.epochs} {judged}{', the best so far' if better else ''}")
        if better:
            self.best = judged
            self._keep()

    def _keep(self) -> None:
        snapshot.write_weights(self.out / BEST, self.model, self.settings.for_export())

    def save(self) -> None:
        stepper = self.stepper
        content = {
            "settings": json.dumps(self.settings.lasting(), sort_keys=True), "epochs": self.settings.epochs, "clips": self.identity,
            "epoch": self.epoch, "step": self.step, "best": json.dumps(asdict(self.best)) if self.best else None,
            "model": self.model.state_dict(), "optimiser": stepper.optimiser.state_dict(), "schedule": stepper.schedule.state_dict(),
            "scaler": stepper.descent.scaler.state_dict(), "random": snapshot.random_state(),
        }
        snapshot.write(self.out / SNAPSHOT, content)

    def _resume(self) -> None:
        saved, file, stepper = snapshot.read(self.out / SNAPSHOT), self.out / SNAPSHOT, self.stepper
        then, now = json.loads(saved["settings"]), json.loads(json.dumps(self.settings.lasting(), sort_keys=True))
        changed = sorted(key for key in then.keys() | now.keys() if then.get(key) != now.get(key))
        if changed:
            said = ", ".join(f"{key} was {then.get(key)} and is {now.get(key)}" for key in changed)
            raise SnapshotError(f"{file}: of a training with other settings: {said}")
        if saved["clips"] != self.identity:
            raise SnapshotError(f"{file}: of a training on other clips; captions, or which videos are there, have changed")
        self.epoch, self.step = saved["epoch"], saved["step"]
        if self.settings.epochs < self.epoch or (self.settings.epochs == self.epoch and not self.step):
            raise SnapshotError(f"{file}: has had its {self.epoch} epochs; --epochs with a larger number makes the training longer")
        self.model.load_state_dict(saved["model"])
        stepper.optimiser.load_state_dict(saved["optimiser"])
        stepper.schedule.load_state_dict(saved["schedule"])
        stepper.descent.scaler.load_state_dict(saved["scaler"])
        snapshot.set_random_state(saved["random"])
        if saved["best"]:
            self.best = Judgement(**json.loads(saved["best"]))
        self.tell(f"goes on after step {self.step} of epoch {self.epoch + 1}")
        if saved["epochs"] != self.settings.epochs:
            stepper.follow_schedule()
            self.tell(f"for {self.settings.epochs} epochs in place of {saved['epochs']}: from here on the rate follows the schedule of a training of that length")

    def _identity(self) -> str:
        """Of the clips that are trained on: another order, or one more or less, is another training."""
        folder = self.settings.videos
        names = [clip.video.relative_to(folder) if clip.video.is_relative_to(folder) else clip.video for clip in self.clips.clips]
        said = [(str(name), clip.captions, clip.start_s, clip.end_s, clip.subtitle) for name, clip in zip(names, self.clips.clips)]
        return hashlib.sha256(json.dumps(said).encode()).hexdigest()

    def _leave_out(self, clip: Clip, reason: str) -> None:
        self.left_out[json.dumps(clip.said())] = reason

    def _list_left_out(self) -> None:
        lines = [json.dumps(json.loads(clip) | {"reason": reason}) + "\n" for clip, reason in self.left_out.items()]
        file = self.out / LEFT_OUT
        if lines:
            file.write_text("".join(lines))
        else:
            file.unlink(missing_ok=True)


def _device(name: str) -> torch.device:
    """No silent fallback: asked for a GPU and not there is an error."""
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise TrainingError(f"no device {name!r}: cpu, or cuda for an NVIDIA GPU") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise TrainingError("PyTorch finds no CUDA device; --device cpu trains, slowly")
    if device.type not in ("cpu", "cuda"):
        raise TrainingError(f"no device {name!r}: cpu, or cuda for an NVIDIA GPU")
    return device


__all__ = ["DataError", "Training", "TrainingError"]
