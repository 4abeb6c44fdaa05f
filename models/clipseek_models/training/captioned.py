"""Which clips there are and what is said of them: a JSON object a line, beside a folder of videos. Needs no PyTorch.

    {"video": "a.mp4", "caption": "a man plays a guitar"}
    {"video": "b.mkv", "caption": ["two dogs run", "dogs on a lawn"], "start_s": 3.5, "end_s": 9}
    {"video": "c.webm", "caption": "a cake on a table", "subtitle": "and now we add the cream"}

`caption` is a text or several; `start_s` and `end_s` cut a clip out of its video; `subtitle` is what is spoken in it,
which learning from all sources at once wants. Other keys are ignored. CLIP-ViP's files say `clip_id` and `text`, and leave the
ending out.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

SHOWN = 10  # problems in one message


class DataError(Exception):
    """What is wrong with a file of captions, for the person who wrote it."""


@dataclass(frozen=True)
class Clip:
    line: int  # in the file, from 1
    video: Path
    captions: tuple[str, ...]
    start_s: float | None = None
    end_s: float | None = None
    subtitle: str | None = None

    def said(self) -> dict[str, object]:
        """For a list of clips that could not be used."""
        times = {"start_s": self.start_s, "end_s": self.end_s}
        return {"line": self.line, "video": str(self.video)} | {key: value for key, value in times.items() if value is not None}


def read(file: Path, folder: Path) -> list[Clip]:
    """All clips of a file, or an error that names every line with a problem."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    clips, problems = [], []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            clips.append(_clip(number, json.loads(line), folder))
        except json.JSONDecodeError as error:
            problems.append(f"line {number}: no JSON ({error.msg})")
        except DataError as error:
            problems.append(f"line {number}: {error}")
    if problems:
        more = f"; and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        raise DataError(f"{file}: " + "; ".join(problems[:SHOWN]) + more)
    if not clips:
        raise DataError(f"{file}: holds no clips")
    return clips


def _clip(number: int, entry: object, folder: Path) -> Clip:
    if not isinstance(entry, dict):
        raise DataError(f"no JSON object but {type(entry).__name__}")
    video = entry.get("video", entry.get("clip_id"))
    if not isinstance(video, str) or not video.strip():
        raise DataError('"video" must name a file')
    said = entry.get("caption", entry.get("text"))
    captions = [said] if isinstance(said, str) else said
    if not isinstance(captions, list) or not captions or not all(isinstance(text, str) and text.strip() for text in captions):
        raise DataError('"caption" must be a text or a list of texts, none of them empty')
    subtitle = entry.get("subtitle")
    if subtitle is not None and (not isinstance(subtitle, str) or not subtitle.strip()):
        raise DataError('"subtitle" must be a text')
    start, end = (_seconds(entry, key) for key in ("start_s", "end_s"))
    if end is not None and end <= (start or 0):
        raise DataError(f"it ends at {end:g} s, which is not after its start at {start or 0:g} s")
    return Clip(number, _found(folder / video), tuple(captions), start, end, subtitle)


def _found(path: Path) -> Path:
    """The file itself, or the one of this name with any ending."""
    return path if path.is_file() else _without_endings(path.parent).get(path.name, path)


@cache
def _without_endings(folder: Path) -> dict[str, Path]:
    return {path.stem: path for path in sorted(folder.iterdir(), reverse=True)} if folder.is_dir() else {}


def _seconds(entry: dict, key: str) -> float | None:
    value = entry.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or value < 0:
        raise DataError(f'"{key}" must be a number of seconds from 0 on')
    return float(value)


def one_a_sentence(clips: list[Clip]) -> list[Clip]:
    """Every sentence with its video is a clip of its own, as CLIP4Clip's expanded MSR-VTT has it."""
    return [replace(clip, captions=(caption,)) for clip in clips for caption in clip.captions]


def one_a_video(clips: list[Clip]) -> list[Clip]:
    """Every stretch of a video once, with all that is said of it on any line."""
    found: dict[tuple, Clip] = {}
    for clip in clips:
        stretch = (clip.video, clip.start_s, clip.end_s)
        before = found.get(stretch)
        found[stretch] = replace(before, captions=before.captions + clip.captions) if before else clip
    return list(found.values())


def bags(clips: list[Clip], size: int) -> list[list[int]]:
    """For every clip, itself and the `size` - 1 clips of the same video that are nearest in time (fewer where there are
    fewer): what is said in narrated video is often shown a little earlier or later.
    """
    of_video: dict[Path, list[int]] = {}
    for index, clip in enumerate(clips):
        of_video.setdefault(clip.video, []).append(index)

    def middle(index: int) -> float:
        clip = clips[index]
        return ((clip.start_s or 0) + (clip.start_s or 0 if clip.end_s is None else clip.end_s)) / 2

    found = []
    for index, clip in enumerate(clips):
        others = sorted((other for other in of_video[clip.video] if other != index), key=lambda other: (abs(middle(other) - middle(index)), other))
        found.append([index, *others[: size - 1]])
    return found
