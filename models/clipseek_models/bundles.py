"""Where a bundle is written: complete, or not there; and what the command line says of it."""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from .checkpoints import CheckpointError
from .graphs import GraphError
from .systems.graph_modules import ExportError


def report(export: Callable[[], None], out: Path) -> int:
    """Runs an export for the command line: its exit status."""
    try:
        export()
    except (CheckpointError, ExportError, GraphError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"wrote {out}")
    return 0


def demand_new(out: Path) -> None:
    """That a bundle may be written there."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,63}", out.name):
        raise ExportError(f"{out.name!r} is no name for a bundle: lower-case letters, digits, - and _, a letter or digit first")
    if out.exists():
        raise ExportError(f"{out} is already there")


@contextmanager
def staged(out: Path) -> Iterator[Path]:
    """A folder to write into, which becomes `out` once everything is in it."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as scratch:
        staging = Path(scratch) / out.name
        staging.mkdir()
        yield staging
        staging.rename(out)
