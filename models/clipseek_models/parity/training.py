"""Training: losses, gradients and steps of the original optimisers, on one batch. Needs PyTorch.

A fixture (shared/fixtures/parity/training) has no weights of its own but names those of a fixture of inference. It is compared
parameter by parameter; a line of the report is the worst of them.
"""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from .. import checkpoints
from ..systems import build
from ..training.batch import Batch
from ..training.captioner import caption_loss, tie
from ..training.objectives import OBJECTIVES, Terms, total
from ..training.optimisers import RULES, Rule, frozen_names
from ..training.step import Stepper
from .report import Report
from .systems import heads

STEPS = 3
ROUNDINGS = 1e-6  # norm of what a movement may be off by, whatever it is: parameters near 1 move by few roundings of float32
# Other losses of the same batch, for people to recognise a mistake by.
OTHER_LOSSES = ("_if_", "_of_the_weighted_sum", "_with_published_masks")

Arrays = dict[str, np.ndarray]


def training(folder: Path, report: Report) -> None:
    for path in sorted(folder.rglob("meta.json")):
        meta = json.loads(path.read_text())
        if "training" in meta:
            _variant(path.parent, meta, report)


def _variant(folder: Path, meta: dict, report: Report) -> None:
    name = f"training/{meta['training']['system']}/{meta['training']['variant']}"
    weights = _weights(folder, meta["weights"])
    missing = [file for file in ("inputs.npz", "expected.npz") if not (folder / file).exists()]
    if weights is None or missing:
        report.skip(name, f"not there: {', '.join([*missing, *([] if weights else [meta['weights']])])}")
        return
    objective = meta["training"]["objective"]
    if objective not in OBJECTIVES:
        report.same(name, False, f"no objective {objective!r}")
        return
    with np.load(folder / "inputs.npz") as arrays:
        inputs = {key: torch.from_numpy(arrays[key]) for key in arrays.files}
    with np.load(folder / "expected.npz") as arrays:
        expected = dict(arrays)
    case = Case(name, meta, build(checkpoints.read(weights), heads(meta["config"])), inputs, expected, report)
    case.losses()
    case.gradients()
    if meta["optimiser"]:
        case.groups()
        case.steps()


def _weights(folder: Path, named: str) -> Path | None:
    """`named` is relative to the folder of all fixtures, of which the one of trainings is a part; or to where a copy was put."""
    found = [above / named for above in folder.parents if (above / named).exists()]
    return found[0] if found else None


@dataclass
class Case:
    name: str
    meta: dict
    model: nn.Module
    inputs: dict[str, Tensor]
    expected: Arrays
    report: Report

    def __post_init__(self) -> None:
        for parameter in self.model.parameters():
            parameter.data = parameter.data.clone()
            parameter.requires_grad_(True)
        if getattr(self.model, "decoder", None) is not None:
            tie(self.model.decoder)
        self.model.train()
        self.objective, self.tolerances = self.meta["training"]["objective"], self.meta["tolerances"]
        if "center_weight" in self.meta["config"]:
            self.model.center_weight = self.meta["config"]["center_weight"]
        self.named = dict(self.model.named_parameters())
        self.memory = self.inputs["memory"].clone().requires_grad_(True) if "memory" in self.inputs else None

    def worst(self, what: str, errors: dict[str, float], detail: str = "") -> None:
        """`errors`: each as a share of what is allowed."""
        at = max(errors, key=lambda key: errors[key] if errors[key] == errors[key] else float("inf"))
        said = f"{errors[at]:.4f} of what is allowed" + (f", {len(errors)} {detail}" if detail else "")
        self.report.same(f"{self.name} {what}", errors[at] <= 1, said)

    def cost(self, model: nn.Module, batch: Batch) -> Terms:
        if self.memory is not None:
            loss = caption_loss(model.decoder, self.memory, batch.mask, batch.ids[:, 0], batch.words[:, 0], count_padding=True)
            return {"caption": (1.0, loss)}
        return OBJECTIVES[self.objective].cost(model, batch)

    def batch(self) -> Batch:
        inputs = self.inputs
        texts = [("token_ids", "token_mask"), ("caption_ids", "caption_mask")]
        ids, words = (torch.stack([inputs[pair[part]] for pair in texts if pair[0] in inputs], dim=1) for part in (0, 1))
        pixels = inputs["frames"] if "frames" in inputs else torch.zeros(len(ids), 0)
        mask = inputs["frame_mask"] if "frame_mask" in inputs else torch.ones(pixels.shape[:2])
        return Batch(pixels, mask, ids, words, inputs.get("image"))

    def losses(self) -> None:
        batch = self.batch()
        terms = self.cost(self.model, batch)
        loss = total(terms)
        loss.backward()
        found = {"loss": loss.item()} | {f"loss_{name}": value.item() for name, (_, value) in terms.items()}
        for kind in ("global", "tab"):  # of which the fixture has the means of both directions too
            both = [value.item() for name, (_, value) in terms.items() if name.startswith(f"{kind}_")]
            if both:
                found[f"loss_{kind}"] = sum(both) / 2
        wanted = {key: float(value) for key, value in self.expected.items() if key.startswith("loss") and not any(mark in key for mark in OTHER_LOSSES)}
        lacking = wanted.keys() - found.keys()
        if lacking:
            self.report.same(f"{self.name} losses", False, f"not computed here: {', '.join(sorted(lacking))}")
        allowed = self.tolerances["loss_relative"]
        self.worst("losses", {key: abs(found[key] - wanted[key]) / abs(wanted[key]) / allowed for key in wanted.keys() & found.keys()}, "terms")
        self._as_one_might_expect(batch)
        if self.memory is not None:
            self._direction("gradient of the memory", {"": (self.memory.grad, self.expected["gradient_of_memory"])}, "gradient")
        else:
            self._matrices(batch)

    def _as_one_might_expect(self, batch: Batch) -> None:
        """Padding left out, which is what we do by default."""
        key = "loss_if_padding_were_ignored"
        if self.memory is not None and key in self.expected:
            with torch.no_grad():
                found = caption_loss(self.model.decoder, self.memory, batch.mask, batch.ids[:, 0], batch.words[:, 0]).item()
            wanted = float(self.expected[key])
            self.worst(key.removeprefix("loss_").replace("_", " "), {key: abs(found - wanted) / wanted / self.tolerances["loss_relative"]})

    def _matrices(self, batch: Batch) -> None:
        """What the loss is made of, temperature included."""
        with torch.no_grad():
            logits = self.model(batch.pixels, batch.mask, batch.ids[:, 0], batch.words[:, 0])
        matrices = {name: scores for name, (_, scores) in logits.items()}
        own = {"sim": matrices.get("retrieval"), "logits": matrices.get("retrieval")} | {f"sim_{name}": scores for name, scores in matrices.items()}
        for key, tolerance in (("sim", "sim_absolute"), ("logits", "logits_absolute")):
            there = [name for name in self.expected if name.startswith(key) and own.get(name) is not None]
            if there and tolerance in self.tolerances:
                errors = {name: float(np.abs(own[name].numpy() - self.expected[name]).max()) / self.tolerances[tolerance] for name in there}
                self.worst("scores", errors, "matrices")

    def gradients(self) -> None:
        names, noise, unused = self.meta["parameters"], set(self.meta["noise"]), set(self.meta["unused"])
        norms = self.expected["gradient_norms"].astype(np.float64)
        whole = float(np.sqrt((norms**2).sum()))
        strangers = self.named.keys() ^ set(names)
        if strangers:
            self.report.same(f"{self.name} gradients", False, f"other parameters: {', '.join(sorted(strangers)[:3])}")
            return
        gradients = {name: parameter.grad for name, parameter in self.named.items()}
        moved = {name for name in unused if gradients[name] is not None and gradients[name].norm() > 0}
        self.report.same(f"{self.name} unused parameters", not moved, f"{len(unused)} without a gradient")
        if noise:
            self.worst("gradients of noise", {name: float(gradients[name].norm()) / (1e-5 * whole) for name in noise})
        rest = [name for name in names if name not in noise | unused]
        self._parameters("gradients", gradients, rest, "gradient", self.expected["gradient_norms"], self.expected["gradient_means"], self.expected["gradient_entries"])

    def _parameters(
        self, what: str, found: dict[str, Tensor], names: list[str], kind: str, norms: np.ndarray, means: np.ndarray, entries: np.ndarray,
        full: str = "gradient/",
    ) -> None:
        """Each in full where it is there in full, else by norm, mean and entries."""
        place = {name: number for number, name in enumerate(self.meta["parameters"])}
        relative = self.tolerances[f"{kind}_relative_norm_error"]
        allowed, whole = ROUNDINGS if kind == "moved" else 0.0, {}
        errors: dict[str, float] = {}
        for name in names:
            value, number = found[name].detach().double().flatten(), place[name]
            if f"{full}{name}" in self.expected:
                whole[name] = (found[name], self.expected[f"{full}{name}"])
                continue
            if not len(value):
                continue
            count, norm = len(value), float(norms[number])
            picked = value[torch.arange(64) * count // 64].numpy()
            wanted = entries[number].astype(np.float64)
            off = {
                "norm": abs(float(value.norm()) - norm) / (relative * norm + allowed + 1e-30),
                "mean": abs(float(value.mean()) - float(means[number])) / ((relative * norm + allowed) / count**0.5 + 1e-30),
                # Of 64 of the numbers no more can be asked than of all: an entry may be off by its share of what all may be off.
                "entries": float(np.linalg.norm(picked - wanted)) / (relative * max(float(np.linalg.norm(wanted)), norm * (64 / max(count, 64)) ** 0.5) + allowed + 1e-30),
            }
            errors[name] = max(off.values())
        if errors:
            self.worst(f"{what}, in samples", errors, "parameters")
        if whole:
            self._direction(f"{what}, in full", whole, kind)

    def _direction(self, what: str, pairs: dict[str, tuple[Tensor, np.ndarray]], kind: str) -> None:
        """Relative norm of the difference, and cosine."""
        relative, least = self.tolerances[f"{kind}_relative_norm_error"], self.tolerances[f"{kind}_cosine_at_least"]
        errors = {}
        for name, (found, wanted) in pairs.items():
            one, other = found.detach().double().numpy().ravel(), wanted.astype(np.float64).ravel()
            if one.shape != other.shape:
                errors[name] = float("inf")
                continue
            if not one.size:
                continue
            off, norm = np.linalg.norm(one - other), np.linalg.norm(other)
            allowed = ROUNDINGS if kind == "moved" else 0.0
            cosine = one @ other / max(np.linalg.norm(one) * norm, 1e-30)
            errors[name] = off / (relative * norm + allowed + 1e-30)
            if off > allowed:
                errors[name] = max(errors[name], (1 - cosine) / (1 - least))
        self.worst(what, errors, "parameters" if len(errors) > 1 else "")

    @property
    def rule(self) -> Rule:
        return RULES["univl" if self.memory is not None else self.meta["training"]["system"]]

    def _rates(self) -> tuple[float, float, float, int, float]:
        """Rate, share, decay, steps, warm-up."""
        said = self.meta["optimiser"]
        # CLIP-ViP's share is the temperature's, which its groups tell.
        of_temperature = [group["lr_multiplier"] for group in said["groups"] if "lr_multiplier" in group and "clipmodel.logit_scale" in group["parameters"]]
        share = said.get("coef_lr", of_temperature[0] if of_temperature else 1.0)
        return (
            said.get("lr", said.get("learning_rate")), share, said["weight_decay"], said.get("t_total", said.get("num_train_steps")),
            said.get("warmup_proportion", said.get("warmup_ratio")),
        )

    def groups(self) -> None:
        """Which parameters learn at which rate, decay, and are frozen."""
        rate, share, decay, steps, warmup = self._rates()
        ours = {(round(group.rate, 15), group.decay, group_name) for group in self.rule.groups(self.model, rate, share, decay) for group_name in group.names}
        theirs = set()
        for group in self.meta["optimiser"]["groups"]:
            of_group = round(group.get("lr", rate * group.get("lr_multiplier", 1)), 15)
            theirs |= {(of_group, group["weight_decay"], name) for name in group["parameters"]}
        different = {name for _, _, name in ours ^ theirs}
        self.report.same(f"{self.name} groups", not different, f"{len(ours)} parameters" + (f", {len(different)} differ: {min(different)}" if different else ""))
        for number, names in self.meta.get("frozen_by_freeze_layer_num", {}).items():
            found = frozen_names(self.model, int(number))
            self.report.same(f"{self.name} frozen at {number}", set(found) == set(names), f"{len(names)} parameters")

        factors = np.array([self.rule.factor(step, steps, warmup, rate) for step in range(len(self.expected["rates_of_all_steps"]))])
        wanted = self.expected["rates_of_all_steps"].astype(np.float64)
        errors = np.abs(factors * rate - wanted) / np.maximum(wanted, 1e-12) / self.tolerances["learning_rate_relative"]
        self.worst("rates of all steps", {str(step): float(error) for step, error in enumerate(errors)}, "steps")

    def steps(self) -> None:
        """Three of them, on the same batch."""
        rate, share, decay, count, warmup = self._rates()
        model, batch = copy.deepcopy(self.model), self.batch()
        model.zero_grad(set_to_none=True)
        if getattr(model, "decoder", None) is not None:
            tie(model.decoder)
        for name, parameter in model.named_parameters():
            if name in set(self.meta["frozen"]):
                parameter.requires_grad_(False)
        optimiser, schedule = self.rule.build(model, rate, share, decay, count, warmup)
        stepper = Stepper(model, self.cost, optimiser, schedule, "float32", self.meta["optimiser"].get("grad_norm", 1.0))
        before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
        losses, gradients, rates = [], [], []
        for step in range(STEPS):
            if self.memory is not None:
                self.memory.grad = None
            rates.append({name: group["lr"] for group, names in zip(optimiser.param_groups, self.rule.groups(model, rate, share, decay)) for name in names.names})
            told = stepper([batch])
            losses.append(told["loss"].item())
            gradients.append(told["gradient"].item())
            moved = {name: parameter.detach().double() - before[name].double() for name, parameter in model.named_parameters()}
            self._moved(step, moved)
        with torch.no_grad():
            losses.append(total(self.cost(model, batch)).item())
        self._numbers("losses of the steps", losses, self.expected["step_losses"], "step_losses_relative")
        self._numbers("gradient norms", gradients, self.expected["gradient_norms_before_clipping"], "gradient_norms_before_clipping_relative")
        self._group_rates(rates)

    def _numbers(self, what: str, found: list[float], wanted: np.ndarray, tolerance: str) -> None:
        errors = {str(i): abs(one - float(other)) / max(abs(float(other)), 1e-12) / self.tolerances[tolerance] for i, (one, other) in enumerate(zip(found, wanted, strict=True))}
        self.worst(what, errors)

    def _group_rates(self, rates: list[dict[str, float]]) -> None:
        wanted, errors = self.expected["learning_rates"], {}
        for number, group in enumerate(self.meta["optimiser"]["groups"]):
            for name in group["parameters"]:
                for step in range(STEPS):
                    right = float(wanted[step, number])
                    errors[f"{step} {name}"] = abs(rates[step][name] - right) / max(right, 1e-12) / self.tolerances["learning_rate_relative"]
        self.worst("rates of the steps", errors, "of parameters and steps")

    def _moved(self, step: int, moved: dict[str, Tensor]) -> None:
        norms, means, entries = (self.expected[f"moved_{what}"][step] for what in ("norms", "means", "entries"))
        if not norms.any():
            still = max(float(value.norm()) for value in moved.values())
            self.report.same(f"{self.name} step {step + 1}", still == 0, "nothing moves")
            return
        frozen = set(self.meta["frozen"])
        strayed = [name for name in frozen | set(self.meta["unused"]) if moved[name].any()]
        if strayed:
            self.report.same(f"{self.name} step {step + 1}, frozen", False, f"moved: {', '.join(strayed[:3])}")
        left = frozen | set(self.meta["unused"]) | set(self.meta["noise"])
        names = [name for name in self.meta["parameters"] if name not in left]
        self._parameters(f"step {step + 1}", moved, names, "moved", norms, means, entries, "moved_3/" if step == 2 else "never/")
