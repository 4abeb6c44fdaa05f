"""Compares this package with outputs of the published systems, array by array: `python -m clipseek_models parity DIR`."""

from __future__ import annotations

from pathlib import Path

from .report import Report


def parity(folder: Path) -> int:
    """Everything that is in the folder, at any depth. Exit status 1 where anything differs, or nothing was compared."""
    from . import around, systems, training

    report = Report()
    for compare in (around.frame_sampling, around.pixels, around.tokens, around.ranks, systems.systems, training.training):
        compare(folder, report)
    return report.finish(folder)
