"""Where a bundle is written: complete, or not there."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .systems.graph_modules import ExportError


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
