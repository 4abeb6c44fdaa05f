"""`train`: its settings, Ctrl-C, and what it says at the end."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path

from . import recipes
from .captioned import DataError
from .choices import CAPTIONED, Plan
from .options import CHOICES, NUMBERS, PLAN
from .recipes import Recipe, RecipeError
from .settings import Settings, SettingsError

INTERRUPTED = 130
FOOTAGE = Path(__file__).resolve().parents[3] / "tests" / "fixtures" / "footage"  # of the repository, if this is in it
DECODER_LAYERS = 3  # UniVL's, for captions
# What a system's published trainings have in common and the defaults have not.
OF_SYSTEM = {
    "clip_vip": {
        "optimiser": "clip_vip", "sentences": "one", "jitter": True, "drop_last": False, "rate": 1e-6, "share": 1.0, "freeze": -1, "warmup": 0.01,
        "words": 50,
    },
}
OF_TIGHT = {"dropout": 0.1}
OF_CAPTIONS = {"optimiser": "univl", "rate": 3e-5, "decay": 0.01, "dropout": 0.1}
OF_OMNISOURCE = {"rate": 5e-6, "decay": 0.05, "most_gradient": 5.0, "words": 70}


def settings_of(arguments: argparse.Namespace) -> tuple[Settings, Recipe | None]:
    """What was said, then what the recipe says, then what the published trainings of the system had."""
    recipe = recipes.load(arguments.recipe) if arguments.recipe else None
    said = {name: getattr(arguments, name) for _, name, *_ in (*CHOICES, *NUMBERS)}
    said |= {name: getattr(arguments, name) for name in ("jitter", "precision", "weights")}
    said = {name: value for name, value in said.items() if value is not None}
    shape = {name: getattr(arguments, name) for _, name, *_ in PLAN if getattr(arguments, name) is not None}
    if recipe:
        taken = [option for option, name, *_ in (*PLAN, *CHOICES) if name in shape or name in said]
        if taken:
            raise SettingsError(f"{', '.join(taken)}: the recipe {recipe.name} says this already")
        if arguments.as_published and not recipe.as_published:
            raise SettingsError(f"--as-published: the recipe {recipe.name} is as published already")
        shape, basis = dict(recipe.plan), recipe.settings | (recipe.as_published if arguments.as_published else {})
    else:
        if arguments.as_published:
            raise SettingsError("--as-published: is said of a recipe")
        objective = said.get("objective", "retrieval")
        basis = OF_SYSTEM.get(shape.get("system", "clip4clip"), {}) | (OF_CAPTIONS if objective in CAPTIONED else {})
        basis |= OF_OMNISOURCE if objective == "omnisource" else {}
        basis |= OF_TIGHT if shape.get("head") == "tightTransf" else {}
    chosen = basis | said
    if chosen.get("objective") in CAPTIONED:
        shape.setdefault("decoder_layers", DECODER_LAYERS)
        shape["decoder_positions"] = chosen.get("words", Settings.words)
    shape.setdefault("times", chosen.get("frames", Settings.frames))
    plan = Plan(**shape)
    _demand_applicable(plan, chosen, {name for name in (*said, *(() if recipe else shape))})
    return Settings(**_files(arguments, recipe), plan=plan, **chosen, device=arguments.device), recipe


def _demand_applicable(plan: Plan, chosen: dict[str, object], given: set[str]) -> None:
    """What would be without effect is an error, not silence."""
    objective, clip4clip = chosen.get("objective", "retrieval"), plan.system == "clip4clip"
    captions = objective in CAPTIONED
    layered = plan.system == "clip2video" or clip4clip and plan.head in ("seqTransf", "tightTransf")
    applies = {
        "head": (clip4clip, "is CLIP4Clip's"), "patches": (clip4clip, "is CLIP4Clip's"), "centres": (plan.system == "clip2video", "is CLIP2Video's"),
        "layers": (layered, "is of seqTransf, tightTransf and CLIP2Video"), "decoder_layers": (captions, "is of captions"),
        "bag": (objective == "narrated", "is of narrated video"), "divisor": (plan.system == "clip2video", "is CLIP2Video's"),
        "dropout": (captions or clip4clip and plan.head == "tightTransf", "is of tightTransf and captions"),
        "jitter": (plan.system == "clip_vip", "is CLIP-ViP's"), "sentences": (objective not in ("narrated", "omnisource"), "is not of post-pretraining"),
    }
    options = {name: option for option, name, *_ in (*PLAN, *CHOICES, *NUMBERS)} | {"jitter": "--jitter"}
    problems = [f"{options[name]} {why}" for name, (does, why) in applies.items() if name in given and not does]
    if problems:
        raise SettingsError("; ".join(problems))


def _files(arguments: argparse.Namespace, recipe: Recipe | None) -> dict[str, object]:
    data, start = arguments.data, arguments.start
    if recipe and recipe.set == "footage" and not data:
        if not FOOTAGE.is_dir():
            raise SettingsError("--data: this package is not in its repository; say where the repository's tests/fixtures/footage is")
        data = FOOTAGE
    fresh = recipe is not None and recipe.start == "fresh"
    lacking = [option for option, value in (("--data", data), ("--from", start or fresh), ("--out", arguments.out)) if not value]
    if lacking:
        raise SettingsError(f"{', '.join(lacking)}: must be said")
    of_set = recipe is not None and recipe.set != "jsonl" and data.is_dir()
    if of_set and arguments.validation:
        raise SettingsError(f"--validation: the data set {recipe.set} has clips of its own to judge by")
    if not of_set and data.is_dir():
        raise SettingsError(f"{data}: a folder; a file of lines is wanted, or a recipe of the folder's data set")
    videos = arguments.videos or (data if of_set else data.parent)
    return {
        "data": data, "videos": videos, "start": start, "validation": arguments.validation, "recipe": recipe.name if recipe else None,
        "set": recipe.set if of_set else "jsonl", "patch": recipe.patch if recipe else None,
    }


def describe() -> None:
    """All recipes, a line each."""
    for name in recipes.names():
        print(f"{name:<34} {recipes.load(name).title}")


def command(arguments: argparse.Namespace) -> int:
    """Exit status: 0 done, 1 an error, 130 interrupted."""
    if arguments.recipe == "list":
        describe()
        return 0
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # workers are forks of a process that has used it
    from .loop import BEST, LEFT_OUT, Training, TrainingError
    from .snapshot import SnapshotError

    asked_to_stop = False

    def interrupt(number: int, frame: object) -> None:
        nonlocal asked_to_stop
        if asked_to_stop:
            raise KeyboardInterrupt
        asked_to_stop = True
        print("finishing this step; again to stop at once, from the last snapshot", file=sys.stderr, flush=True)

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        settings, recipe = settings_of(arguments)
        if recipe:
            print(f"{recipe.name}: {recipe.title}\n  from {recipe.source}", flush=True)
            if recipe.unsure:
                print(f"  unsure: {recipe.unsure}", flush=True)
        training = Training(settings, arguments.out, arguments.resume, lambda line: print(line, flush=True), lambda: asked_to_stop)
        if not training.run():
            return INTERRUPTED
    except (DataError, RecipeError, SettingsError, SnapshotError, TrainingError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED
    finally:
        signal.signal(signal.SIGINT, before)
    if training.left_out:
        print(f"{len(training.left_out)} clips could not be used: see {arguments.out / LEFT_OUT}")
    if recipe and recipe.published_row and settings.set != "jsonl":
        name, _, row = recipe.published_row.partition("/")
        print(
            "beside the published figures: python -m clipseek_models export, then\n"
            f"  clipseek eval --set {name} --annotations {settings.data} --videos {settings.videos} --model BUNDLE --published {row}"
        )
    print(arguments.out / BEST)
    if recipe and recipe.licence:
        return _bundle(arguments.out / BEST, arguments.out / f"clipseek-{recipe.name}", recipe.licence)
    return 0


def _bundle(best: Path, out: Path, licence: str) -> int:
    from ..systems.export import Settings as ExportSettings
    from ..systems.export import command as export

    status = export(best, out, None, ExportSettings(licence=licence))
    if status == 0:
        print(f"clipseek index {FOOTAGE} --model {out}\nclipseek search \"an orange heart moves to the left\"")
    return status


