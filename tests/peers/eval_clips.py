"""Text to video on real clips with captions: clipseek's ranks beside those of plain Python, for the same model.

Plain Python: 8 frames spread evenly over the file, each through ONNX Runtime, normalised, averaged; every caption
compared with every file.
"""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import dataclass
from pathlib import Path

import av
import measure
import numpy as np
from clipseek_models.bundle import Bundle, unit
from sampling import upright

FRAMES = 8
CORES = len(os.sched_getaffinity(0))


@dataclass(frozen=True)
class Captioned:
    caption: str
    path: Path


def captioned(media: Path) -> list[Captioned]:
    rows = [json.loads(line) for line in (media / "captions.jsonl").read_text().splitlines()]
    return [Captioned(caption, media / row["file"]) for row in rows for caption in row["captions"]]


def plain_ranks(bundle: Bundle, queries: list[Captioned]) -> list[int]:
    paths = sorted({query.path for query in queries})
    videos = unit(np.stack([whole(bundle, path) for path in paths]))
    scores = bundle.texts([query.caption for query in queries]) @ videos.T
    right = np.array([paths.index(query.path) for query in queries])
    return [int((row > row[column]).sum()) + 1 for row, column in zip(scores, right)]


def whole(bundle: Bundle, path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        count = sum(1 for _ in container.decode(video=0))
    picks = set(np.linspace(0, count - 1, FRAMES).astype(int).tolist())
    with av.open(str(path)) as container:
        frames = [bundle.pixels(upright(frame)) for i, frame in enumerate(container.decode(video=0)) if i in picks]
    return bundle.pool(bundle.frame_features(np.stack(frames))[None])[0]


def clipseek_ranks(clipseek: Path, model: Path, data: Path, clips: Path, flags: list[str], queries: list[Captioned]) -> list[int]:
    """The rank of the right file among the files of the moments found, the best moment of a file counting for it."""
    measure.run([clipseek, "--data", data, "--quiet", "index", clips, "--model", model, *flags])
    ranks = []
    for query in queries:
        found = measure.run([clipseek, "--data", data, "--json", "search", query.caption, "--limit", "1000"], accept=(0, 1))
        files = list(dict.fromkeys(moment["path"] for moment in json.loads(found.output)["moments"]))
        right = str(query.path.resolve())
        ranks.append(files.index(right) + 1 if right in files else len(files) + 1)
    return ranks


def recall(ranks: list[int], at: int) -> float:
    return 100 * sum(rank <= at for rank in ranks) / len(ranks)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clipseek", type=Path, required=True)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--media", type=Path, required=True, help="folder with captions.jsonl and clips/")
    parser.add_argument("--data", type=Path, required=True, help="folder to work in, empty")
    args = parser.parse_args()
    media = args.media.resolve()
    queries = captioned(media)

    def ours(name: str, *flags: str) -> list[int]:
        return clipseek_ranks(args.clipseek, args.bundle, args.data / name, media / "clips", list(flags), queries)

    every = {
        "plain": plain_ranks(Bundle(args.bundle, threads=CORES), queries),
        "whole": ours("whole", "--window", "whole", "--frames", str(FRAMES)),
        "windows": ours("windows"),
    }
    print(json.dumps({name: {"r1": recall(r, 1), "r5": recall(r, 5), "ranks": r} for name, r in every.items()}))


if __name__ == "__main__":
    main()
