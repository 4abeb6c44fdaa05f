"""A line per array, the last word of which is the verdict. No other line may hold that word."""

from __future__ import annotations

import numpy as np


class Report:
    def __init__(self) -> None:
        self.compared = self.differing = self.skipped = 0

    def close(self, name: str, found: np.ndarray | None, expected: np.ndarray, tolerance: float) -> None:
        """Equal in shape, and nowhere further apart than the tolerance."""
        if found is None:
            self.same(name, False, "not computed here")
        elif found.shape != expected.shape:
            self.same(name, False, f"shape {list(found.shape)}, expected {list(expected.shape)}")
        else:
            error = float(np.abs(found.astype(np.float64) - expected).max(initial=0))
            self.same(name, error <= tolerance, f"off by {error:.1e}, allowed {tolerance:.1e}")  # NaN is not <=

    def same(self, name: str, equal: bool, detail: str) -> None:
        self.compared += 1
        self.differing += not equal
        print(f"{name:<54} {detail:<34} {'pass' if equal else 'FAIL'}")

    def skip(self, name: str, why: str) -> None:
        self.skipped += 1
        print(f"{name:<54} skipped: {why}")

    def finish(self, folder: object) -> int:
        if not self.compared:
            print(f"nothing to compare in {folder}")
            return 1
        print(f"{self.compared} compared, {self.differing} differ, {self.skipped} skipped")
        return 1 if self.differing else 0
