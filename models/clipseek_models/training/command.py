"""`train`: its settings, Ctrl-C, and what it says at the end."""

from __future__ import annotations

import argparse
import os
import signal
import sys

from .captioned import DataError
from .initial import Plan
from .options import NUMBERS
from .settings import Settings, SettingsError
from .snapshot import SnapshotError

INTERRUPTED = 130


def settings_of(arguments: argparse.Namespace) -> Settings:
    """What was said, then what the papers had."""
    said = {name: getattr(arguments, option.removeprefix("--").replace("-", "_")) for option, name, *_ in NUMBERS}
    chosen = {name: value for name, value in said.items() if value is not None}
    captions = {"decoder_layers": arguments.decoder_layers, "decoder_positions": chosen.get("words", Settings.words)}
    plan = Plan(
        arguments.system, arguments.head, arguments.patches, arguments.layers, arguments.centres, times=chosen.get("frames", Settings.frames),
        **(captions if arguments.objective == "captions" else {}),
    )
    return Settings(
        arguments.data, arguments.videos, arguments.start, plan, arguments.validation, objective=arguments.objective,
        **chosen, precision=arguments.precision, device=arguments.device,
    )


def command(arguments: argparse.Namespace) -> int:
    """Exit status: 0 done, 1 an error, 130 interrupted."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # workers are forks of a process that has used it
    from .loop import BEST, LEFT_OUT, Training, TrainingError

    asked_to_stop = False

    def interrupt(number: int, frame: object) -> None:
        nonlocal asked_to_stop
        if asked_to_stop:
            raise KeyboardInterrupt
        asked_to_stop = True
        print("finishing this step; again to stop at once, from the last snapshot", file=sys.stderr, flush=True)

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        training = Training(settings_of(arguments), arguments.out, arguments.resume, lambda line: print(line, flush=True), lambda: asked_to_stop)
        if not training.run():
            return INTERRUPTED
    except (DataError, SettingsError, SnapshotError, TrainingError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED
    finally:
        signal.signal(signal.SIGINT, before)
    if training.left_out:
        print(f"{len(training.left_out)} clips could not be used: see {arguments.out / LEFT_OUT}")
    print(arguments.out / BEST)
    return 0
