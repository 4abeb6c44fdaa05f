"""How far a medium may be from the world that a model knows, before clipseek says so.

The distance of a frame is the mean over dimensions of ((f - mean) / std)², that of a medium the mean over its frames.
"""

from __future__ import annotations

import numpy as np

MARGIN = 2.5  # a codec or a camera may take a clip this much further than the farthest training clips


def distances(features: np.ndarray, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
    """[..., D] → [...]"""
    return (((features - mean) / std) ** 2).mean(-1)


def fit(features: np.ndarray) -> dict:
    """Features of training clips, [N, T, D] → what `scope.json` holds."""
    mean = features.mean((0, 1))
    std = features.std((0, 1))
    of_clips = distances(features, mean, std).mean(1)
    return {
        "mean": [round(float(value), 5) for value in mean],
        "std": [round(float(value), 5) for value in std],
        "max_distance": round(float(MARGIN * np.quantile(of_clips, 0.999)), 3),
    }
