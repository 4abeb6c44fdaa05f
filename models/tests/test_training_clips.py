"""What a training is given: frames, texts, batches, lines. Needs PyTorch and PyAV."""

import subprocess
from pathlib import Path
from random import Random

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("av")

from training_cases import FOOTAGE, TIMELINE, lines  # noqa: E402

from clipseek_models import pixels, sampling  # noqa: E402
from clipseek_models.training import captioned, clips, decode  # noqa: E402
from clipseek_models.training.captioned import DataError  # noqa: E402


def test_every_kind_of_file_is_decoded():
    for clip in TIMELINE["clips"]:
        shown = decode.pictures(FOOTAGE / clip["file"], lambda count, rate: [0, count // 2, count - 1, 0])
        assert len(shown) == 4 and shown[0].mode == "RGB", clip
        assert np.array_equal(np.asarray(shown[0]), np.asarray(shown[3]))


def ffmpeg(path: Path, size: tuple[int, int]) -> np.ndarray:
    raw = subprocess.run(["ffmpeg", "-v", "error", "-i", path, "-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", "rgb24", "-"], check=True, capture_output=True)
    return np.frombuffer(raw.stdout, np.uint8).reshape(-1, size[1], size[0], 3).astype(int)


@pytest.mark.parametrize("file", ["h264-bframes.mkv", "turned.mp4", "mpeg2.ts", "mpeg4.avi"])
def test_the_frames_asked_for_come_upright_and_in_order(file):
    wanted = [0, 1, 30, 59]
    shown = decode.pictures(FOOTAGE / file, lambda count, rate: wanted)
    every = ffmpeg(FOOTAGE / file, shown[0].size)
    for index, picture in zip(wanted, shown):
        off = [np.abs(np.asarray(picture).astype(int) - every[other]).mean() for other in (max(index - 4, 0), index, min(index + 4, len(every) - 1))]
        assert off[1] == min(off) and off[1] < 3, (file, index, off)


def test_a_stretch_is_a_clip_of_its_own():
    every = ffmpeg(FOOTAGE / "tape.mp4", (256, 256))
    shown = decode.pictures(FOOTAGE / "tape.mp4", lambda count, rate: [0, count - 1] if (count, rate) == (31, 15.0) else [], 100.0, 102.0)
    for picture, index in zip(shown, (1500, 1530)):
        assert np.abs(np.asarray(picture).astype(int) - every[index]).mean() < 3


@pytest.mark.parametrize("described, rate", [(30.0, 29.833), (None, 25.0), (29.97, 29.97), (30.0, 30.0)])
def test_a_frame_rate_that_is_described_wrongly_is_corrected(described, rate):
    times = [round(frame / rate, 3) for frame in range(1189)]
    assert int(sampling.frame_rate(times, described)) == int(rate)
    assert sampling.frame_rate([0.0], described) == (described or 1.0)


def test_each_system_samples_in_its_own_way():
    assert clips.Reading("clip4clip", 32, 12, 32).pick(75, 25.0) == [0, 25, 50]
    assert clips.Reading("clip2video", 32, 12, 32, divisor=2).pick(75, 25.0) == [2, 12, 22, 37, 47, 57, 72]
    assert clips.Reading("clip2video", 32, 4, 32, divisor=2).pick(12, 25.0) == [2, 2, 2, 2]
    # As `clipseek eval`, and ffmpeg itself, take them.
    assert sampling.at_rate(26, 25.0, 5) == [2, 7, 12, 17, 22] and sampling.at_rate(13, 10.0, 5) == [0, 2, 4, 6, 8, 10, 12]
    assert sampling.at_rate(4, 3.0, 5) == [0, 0, 1, 2, 2, 3, 3] and sampling.at_rate(1, 30.0, 5) == [0]
    assert clips.Reading("clip_vip", 32, 4, 50).pick(75, 25.0) == [0, 24, 49, 74]


def test_frames_of_clip_vip_are_drawn_within_an_interval_of_the_ends():
    drawn = [sampling.jittered(120, 12, Random(seed)) for seed in range(50)]
    assert all(len(frames) == 12 and 0 <= frames[0] <= 10 and 109 <= frames[-1] <= 119 for frames in drawn)
    assert len({tuple(frames) for frames in drawn}) > 20 and sampling.jittered(1, 12, Random(0)) == [0] * 12
    reading = clips.Reading("clip_vip", 32, 12, 50, jitter=True)
    assert reading.pick(120, 25.0) == sampling.clip_vip(120, 12), "not in judgement"


def test_the_middle_frame_is_the_videos(settings, tmp_path):
    entries = captioned.read(lines(tmp_path, [{"video": "h264.mp4", "caption": "a", "subtitle": "b"}]), FOOTAGE)
    reading = clips.Reading("clip_vip", 32, 4, 50)
    data = clips.Clips(entries, reading, "sources", middle=True)
    batch = data.batch([data[0, 0]])
    [middle] = decode.pictures(FOOTAGE / "h264.mp4", lambda count, rate: [count // 2])
    assert batch.pixels.shape == (1, 4, 3, 32, 32) and np.allclose(batch.middle[0, 0].numpy(), pixels.clip_vip(middle, 32))


def test_a_batch_has_padding_behind_a_mask(tmp_path):
    entries = captioned.read(lines(tmp_path, [{"video": "h264.mp4", "caption": "a ball"}]), FOOTAGE)
    data = clips.Clips(entries, clips.Reading("clip4clip", 32, 5, 8))
    batch = data.batch([data[0, 0], (0, "broken")])
    assert batch.pixels.dtype == torch.uint8, "a quarter of what it becomes"
    batch = batch.to(torch.device("cpu"))
    shown = decode.pictures(FOOTAGE / "h264.mp4", data.reading.pick)
    assert torch.equal(batch.pixels[0, 1], torch.from_numpy(pixels.clip4clip(shown[1], 32))), "to the last bit"
    assert batch.pixels.shape == (1, 5, 3, 32, 32) and batch.mask.tolist() == [[1, 1, 1, 0, 0]] and not batch.pixels[0, 3:].any()
    assert batch.ids[0, 0].tolist() == [49406, 320, 1069, 49407, 0, 0, 0, 0] and batch.words[0, 0].tolist() == [1, 1, 1, 1, 0, 0, 0, 0]
    assert batch.problems == [(0, "broken")]


def test_epochs_see_every_clip_once_in_another_order():
    first, second = clips.order(10, 3, 0, 7, False), clips.order(10, 3, 1, 7, False)
    assert sorted(sum(first, [])) == sorted(sum(second, [])) == list(range(10)) and first != second
    assert first == clips.order(10, 3, 0, 7, False) and min(map(len, first)) > 1


def test_a_short_last_batch_is_dropped_where_it_was_in_the_original():
    assert [len(batch) for batch in clips.order(11, 4, 0, 7, drop_last=True)] == [4, 4]
    assert [len(batch) for batch in clips.order(3, 4, 0, 7, drop_last=True)] == [3], "there is no other"
    assert clips.parted([[1, 2, 3, 4, 5]], 2) == [[1, 2], [3, 4, 5]]


def test_narration_near_in_time_makes_a_bag(tmp_path):
    said = [{"video": video, "caption": f"{i}", "start_s": start, "end_s": start + 2} for i, (video, start) in enumerate([("a", 0), ("b", 1), ("a", 9), ("a", 3)])]
    read = captioned.read(lines(tmp_path, said), tmp_path)
    assert captioned.bags(read, 2) == [[0, 3], [1], [2, 3], [3, 0]]


@pytest.mark.parametrize(
    "line, problem",
    [
        ("{", "line 2: no JSON"),
        ("[]", "line 2: no JSON object but list"),
        ('{"caption": "x"}', 'line 2: "video" must name a file'),
        ('{"video": "a"}', 'line 2: "caption" must be a text or a list'),
        ('{"video": "a", "caption": ["x", ""]}', 'line 2: "caption" must be'),
        ('{"video": "a", "caption": "x", "start_s": -1}', '"start_s" must be a number of seconds'),
        ('{"video": "a", "caption": "x", "end_s": NaN}', '"end_s" must be a number of seconds'),
        ('{"video": "a", "caption": "x", "start_s": 3, "end_s": 3}', "ends at 3 s, which is not after its start"),
        ('{"video": "a", "caption": "x", "subtitle": 4}', '"subtitle" must be a text'),
    ],
)
def test_lines_with_problems_are_named(line, problem, tmp_path):
    (tmp_path / "data").write_text('{"video": "a", "caption": "x"}\n' + line + "\n\n" + line + "\n")
    with pytest.raises(DataError, match=problem.replace("[", r"\[")) as error:
        captioned.read(tmp_path / "data", tmp_path)
    assert "line 2" in str(error.value) and "line 4" in str(error.value)


def test_lines_of_clip_vips_files_are_read(tmp_path):
    """They call things otherwise, and leave the ending out."""
    read = captioned.read(lines(tmp_path, [{"clip_id": "h264", "text": ["a", "b"]}, {"clip_id": "none", "text": "c"}]), FOOTAGE)
    assert [(clip.video.name, clip.captions) for clip in read] == [("h264.mp4", ("a", "b")), ("none", ("c",))]


def test_no_captions_at_all(tmp_path):
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "noise").write_bytes(b"\xff\xfe\x00")
    for name, problem in (("empty", "holds no clips"), ("none", "cannot be read"), ("noise", "cannot be read")):
        with pytest.raises(DataError, match=problem):
            captioned.read(tmp_path / name, tmp_path)
