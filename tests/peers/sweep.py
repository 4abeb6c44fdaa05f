"""Compares clipseek with PyAV (FFmpeg's libraries) on every file below a folder: how many frames there are, when each is
shown (within 1 ms), and the pictures (mean difference at most 2/255, turned as the display matrix says, interlaced ones
against ffmpeg's yadif). Prints a line for each file that differs as soon as it is known, a line for each folder, and a summary.

    python3 -m venv venv && venv/bin/pip install av numpy pillow imageio-ffmpeg
    venv/bin/python tests/peers/sweep.py DIR --clipseek target/release/clipseek

Times count from where the medium starts: the container's start_time, in MP4 zero on its own clock (in fragmented MP4 its
first fragment). Where time stamps jump, they are those that ffmpeg's showinfo prints. Frames that are said to be shown at
one time count once. Where FFmpeg's times do not ascend from picture to picture (containers that have times of decoding alone),
pictures may agree in the order of their times or in that in which the decoder gives them. Counted apart, not compared: files that PyAV gives no frame of; those that are encrypted, of which FFmpeg
gives noise; those of a codec that no package decodes which `deploy/install-packages.sh` installs on Debian 12. Exit: 0 all agree,
1 some differ.
"""

import argparse
import collections
import concurrent.futures
import hashlib
import json
import os
import pathlib
import shutil
import struct
import subprocess
import sys
import tempfile

import numpy

from sweep_reference import SIDE

# A millisecond, and what rounding adds to differences of times in milliseconds.
NEAR = 0.001_001
MOST_DIFFERENCE = 2.0
# FFmpeg's, and ours: this is no measurement, and long films in AV1 take long on two cores.
TIMEOUT, OUR_TIMEOUT = 120, 1800
GREETING = b"csd\x08"
REQUEST, PROBE, FRAME, DONE, FAILED = 1, 2, 3, 5, 6
# Codecs that FFmpeg decodes since a version later than Debian 12's (5.1), and that no plug-in there has; and those for which
# gst-libav has a decoder in name only: `gst-inspect-1.0 avdec_NAME` says that it takes "unknown/unknown", which GStreamer's base
# class of decoders refuses.
NO_DECODER = {"vqc", "media100", "rtv1", "vmix", "pdv", "lead", "vvc", "apv", "prores_raw"} | {
    "agm", "cllc", "dfa", "dxa", "fic", "g2m", "hap", "hq_hqa", "hqx", "imm4", "magicyuv", "mts2", "mwsc", "notchlc", "pixlet", "prosumer",
    "rasc", "rscc", "scpr", "screenpresso", "sgirle", "sheervideo", "tdsc", "utvideo", "vble", "wcmv", "ylc",
}  # fmt: skip
# Kinds of difference, in the order in which they are told.
KINDS = {
    "fails": "clipseek gives no frame",
    "fewer": "clipseek gives fewer frames",
    "more": "clipseek gives more frames",
    "shifted": "all times differ by the same",
    "times": "some times differ",
    "pictures": "some pictures differ",
}
# Kinds of files that are not compared.
APART = {
    "nothing": "without a frame by PyAV",
    "encrypted": "encrypted: FFmpeg gives noise",
    "no decoder": "without a decoder in Debian 12",
}


def reference(path, ffmpeg, kept):
    """Times, places of the pictures, pictures; what is not compared, and why. `kept`: a folder where they are kept."""
    script = pathlib.Path(__file__).with_name("sweep_reference.py")
    stat = path.stat()
    # Another reference may say something else.
    told = f"{path.resolve()} {stat.st_size} {stat.st_mtime_ns} {hashlib.sha256(script.read_bytes()).hexdigest()}"
    name = hashlib.sha256(told.encode()).hexdigest()
    out = kept / f"{name}.npz"
    if not out.exists():
        command = [sys.executable, str(script), str(path), str(out), ffmpeg]
        try:
            ran = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, timeout=TIMEOUT, check=False)
            problem = ran.stderr.decode(errors="replace").strip()[-200:] or "it died"
        except subprocess.TimeoutExpired:
            problem = f"no end after {TIMEOUT} s"
        if not out.exists():
            # The next time it would be no other.
            numpy.savez(out, times=[], places=[], pictures=[], problem=problem)
    with numpy.load(out) as found:
        frames, codec = (found["times"], found["places"], found["pictures"]), str(found.get("codec", ""))
        if len(frames[0]) == 0:
            return frames, "nothing", str(found.get("problem", "")) or "PyAV gives no frame"
        if found["encrypted"]:
            return frames, "encrypted", codec
        return frames, "no decoder" if codec in NO_DECODER else None, codec


def clipseek(program, path, places):
    """Speaks with its decoding process. Times of all frames, the pictures of those at these places, and what it says."""
    request = {
        "track": None, "decode": True, "want": {"every": {"secs": 0, "nanos": 1}}, "zero": "medium", "sampling": "all",
        "tolerance": 0, "from": {"secs": 0, "nanos": 0}, "thumbnail_px": None,
        "pixels": {"width": SIDE, "height": SIDE, "resize": "stretch", "interpolation": "bilinear", "antialias": True},
    }  # fmt: skip
    task = json.dumps(request).encode()
    body = struct.pack("<I", len(task)) + task + os.fsencode(os.path.abspath(path))
    process = subprocess.Popen(
        ["timeout", str(OUR_TIMEOUT), program, "decode-child"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    times, pictures, says = [], {}, "it died"
    wanted = set(places)
    with process:
        process.stdin.write(GREETING + struct.pack("<BI", REQUEST, len(body)) + body)
        process.stdin.flush()
        if process.stdout.read(len(GREETING)) == GREETING:
            while len(head := process.stdout.read(5)) == 5:
                kind, length = struct.unpack("<BI", head)
                message = process.stdout.read(length)
                if kind == FRAME:
                    if len(times) in wanted:
                        pixels = numpy.frombuffer(message, numpy.uint8, SIDE * SIDE * 3, offset=24)
                        pictures[len(times)] = pixels.reshape(SIDE, SIDE, 3)
                    times.append(struct.unpack_from("<Q", message)[0] / 1e9)
                elif kind == DONE:
                    says = "; ".join(problem["detail"] for problem in json.loads(message)["problems"])
                    break
                elif kind == FAILED:
                    error = json.loads(message)
                    says = json.dumps(error) if isinstance(error, dict) else str(error)
                    break
        process.stdin.close()
    return numpy.asarray(times), pictures, says


def different(expected, found):
    """The kind of difference of the times and its details, or None. Both ascend."""
    if len(expected) != len(found):
        return "fewer" if len(found) < len(expected) else "more", f"{len(found)} frames, not {len(expected)}"
    if numpy.isnan(expected).any() or len(expected) == 0:
        # FFmpeg knows no times either: only the number can be compared.
        return None
    shifts = found - expected
    worst = int(numpy.abs(shifts).argmax())
    if abs(shifts[worst]) <= NEAR:
        return None
    if shifts.max() - shifts.min() <= 2 * NEAR:
        return "shifted", f"by {shifts[0]:+.6f} s"
    return "times", f"frame {worst} at {found[worst]:.6f} s, not {expected[worst]:.6f} s"


def unlike(theirs, ours):
    """Of those that differ too much: how many, the worst of them and by how much; or None."""
    def difference(pictures, own):
        return min(float(numpy.abs(picture.astype(numpy.int16) - own).mean()) for picture in pictures)

    differences = {place: difference(pictures, ours[place]) for place, pictures in theirs.items() if place in ours}
    wrong = {place: difference for place, difference in differences.items() if difference > MOST_DIFFERENCE}
    if not wrong:
        return None
    worst = max(wrong, key=wrong.get)
    return "pictures", f"{len(wrong)} of {len(differences)}, frame {worst} by {wrong[worst]:.1f}"


def ordered(times, places, pictures):
    """In the order in which they are shown, each time once: times, and the pictures by their place in it."""
    if numpy.isnan(times).any():
        return times, dict(zip(places.tolist(), pictures))
    unique, first = numpy.unique(times, return_index=True)
    rank = {int(index): place for place, index in enumerate(first)}
    return unique, {rank[int(at)]: picture for at, picture in zip(places, pictures) if int(at) in rank}


def as_decoded(times, places, pictures):
    """The pictures by their place in the order in which the decoder gives them, where that is not the order of the times."""
    if numpy.isnan(times).any() or len(numpy.unique(times)) < len(times) or (numpy.diff(times) > 0).all():
        return None
    return dict(zip(places.tolist(), pictures))


def compare(path, program, ffmpeg, kept):
    """Kind of difference ('agrees', or why it is not compared) and its details."""
    theirs, apart, detail = reference(path, ffmpeg, kept)
    if apart:
        return apart, detail
    expected, pictures = ordered(*theirs)
    decoded = as_decoded(*theirs)
    found, ours, says = clipseek(program, path, [*pictures, *(decoded or [])])
    if len(found) == 0:
        return "fails", f"{says} ({len(expected)} frames)"
    difference = different(expected, found) or unlike(pictures, ours)
    if difference and difference[0] == "pictures" and decoded and not unlike(decoded, ours):
        difference = None
    if difference is None:
        return "agrees", ""
    return difference[0], difference[1] + (f" (it says: {says})" if says else "")


def find_ffmpeg():
    if found := shutil.which("ffmpeg"):
        return found
    try:
        import imageio_ffmpeg

        return imageio_ffmpeg.get_ffmpeg_exe()
    except ImportError:
        return ""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dir", type=pathlib.Path, help="folder with files")
    parser.add_argument("--clipseek", default="clipseek", help="the program")
    parser.add_argument("--kept", type=pathlib.Path, help="folder in which PyAV's results are kept for the next time")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="files at a time")
    arguments = parser.parse_args()
    if not arguments.dir.is_dir():
        parser.error("give the folder with the files")
    ffmpeg = find_ffmpeg()
    if not ffmpeg:
        print("no ffmpeg: where time stamps jump, they are not continued", file=sys.stderr)
    files = sorted(path for path in arguments.dir.rglob("*") if path.is_file())
    with (
        tempfile.TemporaryDirectory() as temporary,
        concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool,
    ):
        kept = arguments.kept or pathlib.Path(temporary)
        kept.mkdir(parents=True, exist_ok=True)
        found = pool.map(lambda path: compare(path, arguments.clipseek, ffmpeg, kept), files)
        folders = collections.defaultdict(collections.Counter)
        without_decoder = collections.Counter()
        for number, (path, (kind, detail)) in enumerate(zip(files, found), start=1):
            path = path.relative_to(arguments.dir)
            folders[path.parts[0] if len(path.parts) > 1 else "."][kind] += 1
            without_decoder[detail] += kind == "no decoder"
            if kind in KINDS:
                print(f"{path}: {KINDS[kind]}: {detail}", flush=True)
            if kind == "encrypted":
                print(f"{path}: not compared: {APART[kind]}", flush=True)
            if number % 100 == 0:
                counted = sum(folders.values(), collections.Counter())
                print(f"{number} of {len(files)}: {summary(counted)}", file=sys.stderr, flush=True)
    for folder, counted in folders.items():
        print(f"{folder}: {summary(counted)}")
    counted = sum(folders.values(), collections.Counter())
    print(f"all: {summary(counted)}")
    if counted["no decoder"]:
        print("no decoder: " + ", ".join(f"{count} {codec}" for codec, count in (+without_decoder).items()))
    return 1 if any(counted[kind] for kind in KINDS) else 0


def summary(counted):
    videos = sum(counted.values()) - sum(counted[kind] for kind in APART)
    differing = ", ".join(f"{counted[kind]} {kind}" for kind in KINDS if counted[kind]) or "none differs"
    apart = ", ".join(f"{counted[kind]} {words}" for kind, words in APART.items() if counted[kind] or kind == "nothing")
    return f"{counted['agrees']} of {videos} files agree ({differing}); not compared: {apart}"


if __name__ == "__main__":
    sys.exit(main())
