"""Captions word by word, the way UniVL searches them. Needs numpy alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

# The last word of each hypothesis [B], and which of the previous hypotheses it extends [B] → log-probabilities [B, vocabulary].
Step = Callable[[np.ndarray, np.ndarray], np.ndarray]


def search(step: Step, start: int, end: int, pad: int, words: int, beams: int) -> tuple[list[int], float]:
    """The best caption of at most `words` ids, without the start and with the end, and the sum of its log-probabilities.

    There is no penalty for length. Done when the best hypothesis has just produced the end. The others go on even past
    theirs, and the winner is cut at its first end or padding. With one beam this is greedy.
    """
    captions, scores = np.full((1, 1), start), np.zeros(1, np.float32)
    origins = np.zeros(1, np.int64)
    while captions.shape[1] <= words and captions[0, -1] != end:
        extended = scores[:, None] + step(captions[:, -1], origins)
        vocabulary = extended.shape[1]
        best = np.argsort(-extended.ravel(), kind="stable")[:beams]
        scores, origins = extended.ravel()[best], best // vocabulary
        captions = np.concatenate([captions[origins], best[:, None] % vocabulary], axis=1)
    caption = captions[0, 1:].tolist()
    cut = next((i for i, word in enumerate(caption) if word in (end, pad)), None)
    return caption if cut is None else caption[: cut + (caption[cut] == end)], float(scores[0])
