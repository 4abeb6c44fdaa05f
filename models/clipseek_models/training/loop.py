"""The training itself: epochs of steps, a snapshot now and then, a judgement after each epoch, the best one kept.

In the folder `out`: `best.pt`, plain weights that `load` and `export` read, the caption decoder's among them; `snapshot.pt` to
go on from; `left-out.jsonl`, the clips that could not be used and why.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import torch
from torch import nn

from .. import checkpoints, metrics
from ..checkpoints import CheckpointError
from . import captioned, snapshot
from .captioned import Clip, DataError
from .clips import Batch, Clips, Reading, loader, order
from .initial import StartError, start
from .objectives import OBJECTIVES
from .optimiser import BETAS, EPSILON, freeze, groups, schedule
from .settings import Settings
from .sides import clamp_temperature, context, most_frames, side, vocabulary
from .snapshot import SnapshotError
from .validate import Validation, validate

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
        clips = captioned.read(settings.data, settings.videos)
        held = captioned.read(settings.validation, settings.videos) if settings.validation else []
        self.left_out: dict[str, str] = {}  # a clip as JSON, and why
        clips, held = self._there(clips, "training"), self._there(held, "validation")
        if len(clips) < 2:
            raise TrainingError(f"{settings.data}: {len(clips)} clips are there, training needs two to tell apart")
        if settings.validation and not held:
            raise TrainingError(f"{settings.validation}: none of its clips are there")
        self.objective = OBJECTIVES[settings.objective]
        silent = [clip.line for clip in clips if clip.subtitle is None]
        if silent and self.objective.texts == "sources":
            raise TrainingError(f'{settings.data}: {len(silent)} clips lack a "subtitle" (the first in line {silent[0]}), which {settings.objective} learns from')
        self._build()
        reading = Reading(settings.plan.system, side(self.model), settings.frames, settings.words)
        self.clips = Clips(clips, reading, self.objective.texts, settings.bag, settings.seed)
        self.held = Clips(held, reading) if held else None
        self.identity = self._identity()
        self._count_long(clips)
        parts = len(order(len(clips), settings.part, 0, settings.seed))
        self.steps_per_epoch = -(-parts // settings.accumulate)
        self.epoch = self.step = 0  # finished epochs; finished steps of the one that runs
        self.best: Validation | None = None
        self._prepare_optimiser()
        out.mkdir(parents=True, exist_ok=True)
        if resume:
            self._resume()

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
            self.model = start(checkpoints.read(settings.start), settings.plan, settings.seed)
        except (CheckpointError, StartError) as error:
            raise TrainingError(f"{settings.start}: {error}") from error
        if vocabulary(self.model) != 49408:
            raise TrainingError(f"{settings.start}: knows {vocabulary(self.model)} tokens, CLIP's tokenizer makes 49408")
        most = most_frames(self.model)
        if most is not None and settings.frames > most:
            raise TrainingError(f"{settings.frames} frames a clip are more than there are positions for ({most})")
        if settings.words > context(self.model):
            raise TrainingError(f"{settings.words} tokens a text are more than there are positions for ({context(self.model)})")
        self.model.to(self.device)
        frozen = freeze(self.model, settings.freeze)
        learnt = sum(parameter.numel() for parameter in self.model.parameters() if parameter.requires_grad)
        self.tell(f"{self.model.title}: {learnt / 1e6:.1f} million numbers learn, {frozen / 1e6:.1f} million are frozen")

    def _count_long(self, clips: list[Clip]) -> None:
        texts = [text for clip in clips for text in (*clip.captions, *([clip.subtitle] if self.objective.texts == "sources" else []))]
        long = sum(map(self.clips.reader.too_long, texts))
        if long:
            self.tell(f"{long} of {len(texts)} texts are longer than {self.settings.words} tokens and lose their end")

    def _prepare_optimiser(self) -> None:
        settings = self.settings
        parts = groups(self.model, settings.rate, settings.of_clip, settings.decay)
        self.optimiser = torch.optim.AdamW(parts, betas=BETAS, eps=EPSILON)
        self.schedule = schedule(self.optimiser, self.steps_per_epoch * settings.epochs, settings.warmup)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=settings.precision == "float16")

    def run(self) -> bool:
        """Whether it came to its end; False where it was stopped, and can go on."""
        self._list_left_out()
        while self.epoch < self.settings.epochs:
            if not self._run_epoch():
                self.save()
                self.tell(f"stopped after step {self.step} of epoch {self.epoch + 1}; --resume goes on from there")
                return False
            self._judge()
            self.epoch, self.step = self.epoch + 1, 0
            self.save()
        return True

    def _run_epoch(self) -> bool:
        settings, began, waited = self.settings, time.monotonic(), 0.0
        parts = order(len(self.clips), settings.part, self.epoch, settings.seed)[self.step * settings.accumulate :]
        ready = iter(loader(self.clips, parts, self.epoch, settings.workers, self.device.type == "cuda"))
        seen = used = 0
        for first in range(0, len(parts), settings.accumulate):
            if self.stop():
                return False
            asked = time.monotonic()
            batches = [next(ready) for _ in parts[first : first + settings.accumulate]]
            waited += time.monotonic() - asked
            rates = "/".join(f"{group['lr']:.2g}" for group in self.optimiser.param_groups)
            told = self._step(batches)
            self.step += 1
            seen, used = seen + sum(len(b) + len(b.problems) for b in batches), used + sum(map(len, batches))
            if self.step % settings.tell_every == 0 or self.step == self.steps_per_epoch:
                passed = time.monotonic() - began
                self.tell(
                    f"epoch {self.epoch + 1}/{settings.epochs} step {self.step}/{self.steps_per_epoch} {told} rate {rates} "
                    f"{used / passed:.1f} clips/s, {waited / passed:.0%} waiting for clips"
                )
            if self.step % settings.save_every == 0:
                self.save()
        if seen and not used:
            raise TrainingError(f"no clip of epoch {self.epoch + 1} can be read: see {self.out / LEFT_OUT}")
        return True

    def _step(self, batches: list[Batch]) -> str:
        """What it cost, in words."""
        self.model.train()
        for batch in batches:
            for index, reason in batch.problems:
                self._leave_out(self.clips.clips[index], reason)
        if any(batch.problems for batch in batches):
            self._list_left_out()
        # A clip alone has nothing to be told apart from.
        usable, totals = [batch for batch in batches if len(batch) > 1], {}
        for batch in usable:
            losses = self.objective.cost(self.model, batch.to(self.device), self.settings.precision)
            loss = sum(losses.values()) / len(usable)
            if not torch.isfinite(loss):
                raise TrainingError(
                    f"the loss is {loss.item()} in step {self.step + 1} of epoch {self.epoch + 1}: try a lower rate, or float32; "
                    f"{self.out / SNAPSHOT} is from before"
                )
            self.scaler.scale(loss).backward()
            for name, value in losses.items():
                totals[name] = totals.get(name, 0.0) + value.item() / len(usable)
        if usable:
            self.scaler.unscale_(self.optimiser)
            nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.most_gradient)
            self.scaler.step(self.optimiser)
            self.scaler.update()
        else:
            self.optimiser.step()  # without gradients nothing moves
        self.schedule.step()
        self.optimiser.zero_grad(set_to_none=True)
        clamp_temperature(self.model)
        return " ".join(f"{name} {value:.4f}" for name, value in totals.items()) or "no clip could be read"

    def _judge(self) -> None:
        settings = self.settings
        if self.held is None:
            return self._keep()
        judged = validate(self.model, self.held, settings.part, settings.workers, self.device, settings.precision)
        if judged is None:
            raise TrainingError(f"{settings.validation}: none of its clips can be read")
        for index, reason in judged.problems:
            self._leave_out(self.held.clips[index], reason)
        self._list_left_out()
        better = judged.better_than(self.best)
        self.tell(f"epoch {self.epoch + 1}/{settings.epochs} {judged}{', the best so far' if better else ''}")
        if better:
            self.best = judged
            self._keep()

    def _keep(self) -> None:
        snapshot.write_weights(self.out / BEST, self.model)

    def save(self) -> None:
        content = {
            "settings": json.dumps(self.settings.lasting(), sort_keys=True), "clips": self.identity, "epoch": self.epoch, "step": self.step,
            "best": json.dumps(asdict(self.best)) if self.best else None,
            "model": self.model.state_dict(), "optimiser": self.optimiser.state_dict(), "schedule": self.schedule.state_dict(), "scaler": self.scaler.state_dict(),
            "random": snapshot.random_state(),
        }
        snapshot.write(self.out / SNAPSHOT, content)

    def _resume(self) -> None:
        saved = snapshot.read(self.out / SNAPSHOT)
        then, now = json.loads(saved["settings"]), json.loads(json.dumps(self.settings.lasting(), sort_keys=True))
        changed = sorted(key for key in then.keys() | now.keys() if then.get(key) != now.get(key))
        if changed:
            said = ", ".join(f"{key} was {then.get(key)} and is {now.get(key)}" for key in changed)
            raise SnapshotError(f"{self.out / SNAPSHOT}: of a training with other settings: {said}")
        if saved["clips"] != self.identity:
            raise SnapshotError(f"{self.out / SNAPSHOT}: of a training on other clips; captions, or which videos are there, have changed")
        self.model.load_state_dict(saved["model"])
        self.optimiser.load_state_dict(saved["optimiser"])
        self.schedule.load_state_dict(saved["schedule"])
        self.scaler.load_state_dict(saved["scaler"])
        snapshot.set_random_state(saved["random"])
        self.epoch, self.step = saved["epoch"], saved["step"]
        if saved["best"]:
            best = json.loads(saved["best"])
            best |= {side: metrics.Scores(**best[side]) for side in ("texts", "clips")}
            self.best = Validation(**best)
        self.tell(f"goes on after step {self.step} of epoch {self.epoch + 1}")

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
