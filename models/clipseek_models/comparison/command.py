"""`compare`: every variant trained alike, a file each as it is done, and the table of what is there."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch

from ..bundle import Bundle
from ..world import tokenizer
from ..world.dataset import Clips, test_set, training_clips
from ..world.evaluate import evaluate
from ..world.nets import FrameEncoder
from ..world.pretrain import features, pretrain
from ..world.scenes import Look, Scene
from . import judge
from .export import export
from .learn import learn
from .variants import CAPTIONED, NAMES, STEPS, WHOLE, Variant
from .whole import WholeVariant, learn_whole, pixels

BUNDLE = "shapes-captions"  # what clipseek can caption the synthetic world with
FRAMES_SEED = 1  # what sees is the same for all; what differs from seed to seed is what a head makes of it
SHIPPED = "shipped (seqTransf, 192 wide)"


@dataclass(frozen=True)
class Settings:
    """How much training each gets: little, for the table is of what a head can learn, not of how good it can get."""

    clips: int = 24_000
    frame_steps: int = 1200  # of the shared frame encoder
    steps: Mapping[str, int] = field(default_factory=lambda: STEPS)  # on captions
    head_start: float = 0.6  # as many steps as a share of those, before them
    batch: int = 96
    # CLIP-ViP:
    whole_clips: int = 8000  # the first of the same clips, of which each is seen about once
    whole_frame_steps: float = 0.75  # as many steps on single frames as a share of those on clips, before them
    whole_batch: int = 20
    test_clips: int = 200


@dataclass(frozen=True)
class World:
    """What all variants share."""

    encoder: FrameEncoder
    known: torch.Tensor  # [N, 8, 256]: what it knows of every frame of the training clips
    scenes: list[Scene]  # of those clips
    clips: Clips | None  # pixels of the first of them, for CLIP-ViP


_world: World | None = None  # set in the parent before the workers fork, so that they share its memory


def compare(
    out: Path, seeds: list[int], only: list[str] | None, shipped: Path, processes: int, threads: int = 1, settings: Settings = Settings(),
) -> int:
    """Trains what `out` lacks of the variants named, with each seed, then prints the table and writes it to `out`/table.md."""
    global _world
    unknown = sorted(set(only or ()) - set(NAMES))
    if unknown:
        print(f"error: no system {', '.join(unknown)}: there are {', '.join(NAMES)}", file=sys.stderr)
        return 1
    out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)  # until the workers are there: threads do not survive a fork
    wanted = [(out, name, seed, threads, settings) for seed in seeds for name in only or NAMES if not result_file(out, name, seed).exists()]
    if wanted:
        clips = training_clips(settings.whole_clips) if any(name == WHOLE for _, name, *_ in wanted) else None
        _world = World(*shared_encoder(out, settings), clips)
        with multiprocessing.get_context("fork").Pool(processes) as pool:
            pool.starmap(train, wanted, chunksize=1)
    scores = evaluate(Bundle(shipped), test_set(settings.test_clips))
    save(out, SHIPPED, seeds[0], {"scores": asdict(scores), "cpu_s": None, "parameters": None})
    table = write_table(out, seeds)
    (out / "table.md").write_text(table)
    print(table)
    return 0


def shared_encoder(out: Path, settings: Settings) -> tuple[FrameEncoder, torch.Tensor, list[Scene]]:
    """The frame encoder, what it knows of every frame of the training clips, and what those show."""
    file, encoder = out / "frames.pt", FrameEncoder()
    if file.exists():
        saved = torch.load(file, weights_only=True)
        encoder.load_state_dict(saved["encoder"])
        return encoder.eval(), saved["known"], [_scene(entry) for entry in json.loads(saved["scenes"])]
    clips = training_clips(settings.clips)
    began = time.process_time()
    encoder = pretrain(clips, FRAMES_SEED, settings.frame_steps)
    known = features(encoder, clips.pixels).bfloat16()
    part, scenes = file.with_suffix(".part"), json.dumps([asdict(scene) for scene in clips.scenes])
    torch.save({"encoder": encoder.state_dict(), "known": known, "scenes": scenes, "cpu_s": time.process_time() - began}, part)
    part.rename(file)
    return encoder, known, clips.scenes


def _scene(entry: dict) -> Scene:
    return Scene(**(entry | {"looks": tuple(Look(**look) for look in entry["looks"])}))


def train(out: Path, name: str, seed: int, threads: int, settings: Settings) -> None:
    print(f"== {name}, seed {seed}", flush=True)
    torch.set_num_threads(threads)
    began, words, tests = time.process_time(), tokenizer.build(), test_set(settings.test_clips)
    vocabulary, result, steps = words.get_vocab_size(), {}, settings.steps[name]
    if name == WHOLE:
        variant = WholeVariant(vocabulary, _world.clips.pixels.shape[1], seed)
        learn_whole(variant, _world.clips, words, seed, round(steps * settings.whole_frame_steps), steps, settings.whole_batch)
        shown = pixels(tests.clips)
    else:
        variant = Variant(name, vocabulary, seed)
        learn(variant, _world.known, _world.scenes, words, seed, round(steps * settings.head_start), steps, settings.batch)
        with torch.no_grad():
            shown = variant.features(features(_world.encoder, tests.clips))
    result["cpu_s"] = time.process_time() - began
    result["parameters"] = sum(parameter.numel() for parameter in variant.learnt())
    result["scores"] = asdict(judge.retrieval(variant, shown, tests, words))
    if name == CAPTIONED:
        result["captions"] = asdict(judge.captions(variant, shown, tests, words))
        bundle = out / f"{BUNDLE}-{seed}"
        shutil.rmtree(bundle, ignore_errors=True)  # of a run that did not come to its end
        export(variant, _world.encoder, words, bundle)
    torch.save(variant.state_dict(), result_file(out, name, seed).with_suffix(".pt"))
    save(out, name, seed, result)
    print(f"== {name}: {result}", flush=True)


def result_file(out: Path, name: str, seed: int) -> Path:
    return out / f"{name.replace(' ', '-')}-{seed}.json"


def save(out: Path, name: str, seed: int, result: dict) -> None:
    file = result_file(out, name, seed)
    part = file.with_suffix(".part")
    part.write_text(json.dumps(result, indent=1))
    part.rename(file)


def write_table(out: Path, seeds: list[int]) -> str:
    """A row each: means of the seeds that there are, and between which figures they lie."""
    lines = [
        "| system | parameters | CPU minutes | R@1 | twins told apart | R@1 with twins | BLEU-4 | CIDEr | all said right |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name in (*NAMES, SHIPPED):
        files = [file for seed in seeds if (file := result_file(out, name, seed)).exists()]
        if not files:
            continue
        results = [json.loads(file.read_text()) for file in files]
        size = f"{results[0]['parameters'] / 1e6:.2f} M" if results[0]["parameters"] else ""
        minutes = spread([result["cpu_s"] / 60 for result in results]) if results[0]["cpu_s"] else ""
        shares = [spread([100 * result["scores"][key] for result in results]) for key in ("recall", "twins", "recall_with_twins")]
        words = [spread([result["captions"][key] for result in results]) if name == CAPTIONED else "" for key in ("bleu4", "cider", "exact")]
        lines.append(f"| {' | '.join([name, size, minutes, *shares, *words])} |")
    return "\n".join([*lines, "", f"Seeds {' '.join(map(str, seeds))}, on {os.cpu_count()} processor cores.", ""])


def spread(figures: list[float]) -> str:
    """`96.2 (94.0–98.5)`"""
    mean = f"{sum(figures) / len(figures):.1f}"
    return mean if len(figures) == 1 else f"{mean} ({min(figures):.1f}–{max(figures):.1f})"
