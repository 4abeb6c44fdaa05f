"""What stands around the models: frame sampling, pixels, tokens, metrics. Needs no PyTorch."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from .. import clip_tokenizer, metrics, sampling
from .. import pixels as preprocessing
from .report import Report


def frame_sampling(folder: Path, report: Report) -> None:
    for path in sorted(folder.rglob("frame_sampling/cases.json")):
        cases = json.loads(path.read_text())

        def compare(key: str, pick: Callable[[dict], list[int]], expected: str = "selected") -> None:
            _all(report, f"frame_sampling/{key}", cases.get(key), lambda case: pick(case) == case[expected])

        compare("linspace_rounding", lambda c: sampling.uniform(c["last"], c["num"]), "indices")
        compare("clip4clip", _of_clip4clip)
        compare("clip2video", lambda c: sampling.clip2video(c["files"], c["feature_framerate"], c["max_frames"]))
        compare("clip_vip", lambda c: sampling.clip_vip(c["frame_count"], c["num_frames"]))


def _of_clip4clip(c: dict) -> list[int]:
    seconds = c.get("start_sec"), c.get("end_sec")
    return sampling.clip4clip(c["frame_count"], c["fps"], c["feature_framerate"], c["max_frames"], c["slice_framepos"], *seconds)


def pixels(folder: Path, report: Report) -> None:
    for path in sorted(folder.rglob("preprocess/cases.npz")):
        meta = json.loads((path.parent / "meta.json").read_text())
        with np.load(path) as arrays:
            for case in meta["cases"]:
                index, side = case["index"], case["size"]
                picture = Image.fromarray(arrays[f"image_{index}"])
                for system in ("clip4clip", "clip_vip"):
                    name, found = f"{system}_{index}", getattr(preprocessing, system)(picture, side)
                    if name in arrays:
                        report.close(f"preprocess/{name}", found, arrays[name], meta["tolerance_abs"][system])
                    else:
                        report.skip(f"preprocess/{name}", "not there")
            if any(name.startswith("clip_vip_antialias") for name in arrays):
                report.skip("preprocess/clip_vip_antialias", "what a later library does, not what the system does")


def tokens(folder: Path, report: Report) -> None:
    for path in sorted(folder.rglob("tokenizer/cases.json")):
        merges = clip_tokenizer.read_merges()
        lists = sorted(path.parent.glob("*.txt.gz"))
        for file in lists:
            report.same(f"tokenizer/{file.name}", clip_tokenizer.read_merges(file) == merges, f"{len(merges)} merges")
        if not lists:
            report.skip("tokenizer merge list", "not there; the package's own is used")
        repaired, plain = clip_tokenizer.Clip4ClipTokenizer(merges), clip_tokenizer.ClipVipTokenizer(merges)
        cases = json.loads(path.read_text())["cases"]

        def of_clip_vip(case: dict) -> bool:
            ids, length = plain.feed(case["text"], 50)
            return ids[:length] == case["clip_vip_ids"]

        _all(report, "tokenizer/tokens", cases, lambda c: repaired.tokens(c["text"]) == c["tokens"])
        _all(
            report, "tokenizer/clip4clip_ids_32", cases,
            lambda c: repaired.feed(c["text"], 32) == (c["clip4clip_ids_32"], c["clip4clip_length_32"]),
        )
        _all(report, "tokenizer/clip_vip_ids", cases, of_clip_vip)


def _all(report: Report, name: str, cases: Iterable[dict] | None, agrees: Callable[[dict], bool]) -> None:
    if not cases:
        report.skip(name, "not there")
        return
    verdicts = [agrees(case) for case in cases]
    wrong = verdicts.count(False)
    detail = f"{len(verdicts)} cases" + (f", {wrong} differ, first number {verdicts.index(False)}" if wrong else "")
    report.same(name, not wrong, detail)


def ranks(folder: Path, report: Report) -> None:
    for path in sorted(folder.rglob("metrics/expected.json")):
        with np.load(path.parent / "cases.npz") as similarities:
            for case in json.loads(path.read_text())["cases"]:
                similarity, groups = similarities[case["name"]], case.get("captions_per_video")
                if groups is None:
                    to_videos = metrics.published_ranks(similarity)
                    to_texts = metrics.published_ranks(similarity.T)
                    _ranks(report, f"metrics/{case['name']} t2v", to_videos, metrics.scores(to_videos), case["t2v"])
                else:
                    to_videos, scores = metrics.captions_to_videos(similarity, groups)
                    to_texts = metrics.published_ranks(metrics.videos_to_groups(similarity, groups))
                    _ranks(report, f"metrics/{case['name']} t2v", to_videos, scores, case["t2v"])
                _ranks(report, f"metrics/{case['name']} v2t", to_texts, metrics.scores(to_texts), case["v2t"])


def _ranks(report: Report, name: str, ranks: np.ndarray, scores: metrics.Scores, expected: dict) -> None:
    """Every number that the published code gives for one direction of one matrix."""
    found = {
        "cols": ranks, "R1": scores.r1, "R5": scores.r5, "R10": scores.r10,
        "MR": scores.median_rank, "MedianR": scores.median_rank, "MeanR": scores.mean_rank, "Std_Rank": np.std(ranks),
    }
    for key, value in expected.items():
        # The published code keeps some percentages in float32.
        report.close(f"{name} {key}", np.asarray(found[key]) if key in found else None, np.asarray(value), 1e-5)
