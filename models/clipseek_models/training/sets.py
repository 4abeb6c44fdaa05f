"""The annotation files of the public data sets, in the forms that `clipseek eval` reads too. Needs no PyTorch.

A set is a folder with its official files; its videos are anywhere below a folder, under any extension. What the official code
does with captions is done here: DiDeMo and ActivityNet have a paragraph a video, the others every sentence. Formats:
section 7.2 of shared/reference/models.md.
"""

from __future__ import annotations

import csv
import json
import math
import os
import pickle
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from .captioned import Clip, DataError

DIDEMO_SPAN = (0.0, 31.0)  # the official loader looks at the first half minute

Span = tuple[float, float] | None  # a part of a video in seconds
# Of each video: under which names it may be found, the likeliest first, with or without extension; captions, if there are any.
Said = Iterable[tuple[tuple[str, ...], Iterable[str] | None, Span]]


@dataclass(frozen=True)
class Split:
    """How a part of a set is read: the file that lists it, and what makes items of it."""

    file: str
    read: Callable[[Path], Said]


def read(name: str, split: str, folder: Path, videos: Path) -> tuple[list[Clip], list[str]]:
    """The clips of a split, those whose videos are missing too, under the path where they were looked for; and the videos that
    are listed but of which nothing is said.
    """
    if name not in SETS:
        raise DataError(f"no data set {name!r}: there are {', '.join(SETS)}")
    splits = SETS[name]
    if split not in splits:
        raise DataError(f"{name} has no split {split!r}, it has {', '.join(splits)}")
    if not videos.is_dir():
        raise DataError(f"{videos}: no such folder of videos")
    find, clips, silent = finder(videos), [], []
    for line, (names, captions, span) in enumerate(splits[split].read(folder / splits[split].file), 1):
        said = tuple(text for text in captions or () if text.strip())
        if said:
            clips.append(Clip(line, find(names) or videos / names[0], said, *(span or (None, None))))
        else:
            silent.append(names[0])
    if not clips:
        raise DataError(f"{folder / splits[split].file}: lists no video of which anything is said")
    return clips, silent


def finder(root: Path) -> Callable[[tuple[str, ...]], Path | None]:
    """Finds the first of some names: as a path below the root, as the name of a file anywhere below it, or as one that differs
    in its extension. Data sets were often encoded anew, into other containers.
    """
    by_name: dict[str, Path] = {}
    by_stem: dict[str, Path] = {}
    for place, _, files in sorted(os.walk(root)):
        for file in sorted(files):
            by_name.setdefault(file, Path(place, file))
            by_stem.setdefault(Path(file).stem, Path(place, file))

    def find(names: tuple[str, ...]) -> Path | None:
        for name in names:
            last = name.rpartition("/")[2]
            for path in (root / name, by_name.get(last), by_stem.get(last), by_stem.get(Path(last).stem)):
                if path is not None and path.is_file():
                    return path
        return None

    return find


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error


def _json(path: Path) -> object:
    try:
        return json.loads(_text(path))
    except json.JSONDecodeError as error:
        raise DataError(f"{path}:{error.lineno}: no JSON ({error.msg})") from error


def _names(path: Path) -> list[str]:
    return [line.strip() for line in _text(path).splitlines() if line.strip()]


def _rows(path: Path, *columns: str) -> list[tuple[str, ...]]:
    rows = list(csv.DictReader(_text(path).splitlines()))
    lacking = [column for column in columns if rows and column not in rows[0]]
    if lacking:
        raise DataError(f"{path}: has no column {', '.join(lacking)}")
    return [tuple(row[column] for column in columns) for row in rows]


def _form(path: Path, expected: str) -> DataError:
    return DataError(f"{path}: not in the form of the official file: {expected}")


def _msrvtt_pairs(path: Path) -> Said:
    return [((video,), [sentence], None) for video, sentence in _rows(path, "video_id", "sentence")]


def _msrvtt(path: Path) -> Said:
    data = path.with_name("MSRVTT_data.json")
    captions: dict[str, list[str]] = {}
    try:
        for sentence in _json(data)["sentences"]:
            captions.setdefault(sentence["video_id"], []).append(sentence["caption"])
    except (KeyError, TypeError) as error:
        raise _form(data, '{"sentences": [{"video_id": …, "caption": …}, …]}') from error
    return [((video,), captions.get(video), None) for (video,) in _rows(path, "video_id")]


class _Plain(pickle.Unpickler):
    """Reads dictionaries, lists and texts, and refuses all that a pickle could run."""

    def find_class(self, module: str, name: str) -> object:
        raise pickle.UnpicklingError(f"asks for {module}.{name}")


def _msvd(path: Path) -> Said:
    file = path.with_name("raw-captions.pkl")
    try:
        with file.open("rb") as source:
            captions = _Plain(source, encoding="utf-8").load()  # old files were written by Python 2, whose texts are bytes
        said = {video: [" ".join(words) for words in sentences] for video, sentences in captions.items()}
    except OSError as error:
        raise DataError(f"{file}: cannot be read: {error.strerror or error}") from error
    except Exception as error:  # a pickle of something else fails in any way it likes
        raise _form(file, f"a pickle of id → list of lists of words ({error})") from error
    return [((video,), said.get(video), None) for video in _names(path)]


def _lsmdc(path: Path) -> Said:
    """Quotes have no meaning in this file, so it is not read as CSV. A clip may have several lines."""
    captions: dict[str, list[str]] = {}
    for number, line in enumerate(_text(path).splitlines(), 1):
        if not line.strip():
            continue
        columns = line.strip().split("\t")
        if len(columns) != 6:
            raise DataError(f"{path}:{number}: six columns between tabs were expected: clip id, four times, sentence")
        captions.setdefault(columns[0], []).append(columns[5])
    return [((clip,), sentences, None) for clip, sentences in captions.items()]


def _paragraph(sentences: Iterable[str] | None) -> list[str] | None:
    return [" ".join(sentences)] if sentences else None


def _didemo(path: Path) -> Said:
    data = path.with_name(path.name.replace("_list.txt", "_data.json"))
    sentences: dict[str, list[str]] = {}
    try:
        for moment in _json(data):
            sentences.setdefault(moment["video"], []).append(moment["description"])
    except (KeyError, TypeError) as error:
        raise _form(data, '[{"video": …, "description": …}, …]') from error
    return [((video,), _paragraph(sentences.get(video)), DIDEMO_SPAN) for video in _names(path)]


def _activitynet(path: Path) -> Said:
    data = path.with_name("train.json" if path.name.startswith("train") else "val_1.json")
    entries, videos = _json(data), dict.fromkeys(_json(path))
    try:
        found = []
        for video in videos:
            entry = entries.get(video)
            # The official loader drops the prefix; those who downloaded the videos often kept it.
            span = (0.0, float(math.ceil(float(entry["duration"])))) if entry else None
            found.append(((video.removeprefix("v_"), video), _paragraph(entry["sentences"]) if entry else None, span))
        return found
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise _form(data, '{"v_…": {"duration": …, "sentences": […]}, …}') from error


def _vatex(path: Path) -> Said:
    data = path.with_name("vatex_data.json")
    entries = _json(data)
    try:
        return [((video,), entries.get(video, {}).get("enCap"), None) for video in _names(path)]
    except (AttributeError, TypeError) as error:
        raise _form(data, '{id: {"enCap": […]}, …}') from error


def _footage(path: Path) -> Said:
    """The repository's own test footage: short clips, and a tape of scenes."""
    timeline = _json(path)
    found = [((clip["file"],), [clip["caption"]], None) for clip in timeline["clips"]]
    scenes = timeline["tape.mp4"]
    return found + [(("tape.mp4",), [scene["caption"], *scene["queries"]], (scene["start_s"], scene["end_s"])) for scene in scenes]


def _lists(read: Callable[[Path], Said]) -> dict[str, Split]:
    return {split: Split(f"{split}_list.txt", read) for split in ("train", "val", "test")}


_PAIRS = Split("MSRVTT_JSFUSION_test.csv", _msrvtt_pairs)
SETS: dict[str, dict[str, Split]] = {
    "msrvtt-9k": {"train": Split("MSRVTT_train.9k.csv", _msrvtt), "test": _PAIRS},
    "msrvtt-7k": {"train": Split("MSRVTT_train.7k.csv", _msrvtt), "test": _PAIRS},
    "msrvtt-full": {split: Split(f"MSRVTT_{split}.full.csv", _msrvtt) for split in ("train", "val", "test")},
    "msvd": _lists(_msvd),
    "lsmdc": {
        "train": Split("LSMDC16_annos_training.csv", _lsmdc),
        "val": Split("LSMDC16_annos_val.csv", _lsmdc),
        "test": Split("LSMDC16_challenge_1000_publictect.csv", _lsmdc),
    },
    "didemo": _lists(_didemo),
    "activitynet": {"train": Split("train_ids.json", _activitynet), "test": Split("val_ids.json", _activitynet)},
    "footage": {split: Split("timeline.json", _footage) for split in ("train", "test")},
    "vatex": _lists(_vatex) | {"test1k5": Split("test1k5_sec_list.txt", _vatex)},
}
