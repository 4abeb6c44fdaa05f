"""Compares clipseek with PyAV (FFmpeg's libraries) on every file below a folder: how many frames there are, and when each
is shown, within 1 ms. Prints a line for each file that differs, by kind, and a summary. Pictures are not compared.

    python3 -m venv venv && venv/bin/pip install av
    venv/bin/python tests/peers/sweep.py DIR --clipseek target/release/clipseek

Times count from where the medium starts: the container's start_time, in MP4 zero on its own clock (in fragmented MP4 its
first fragment). Frames that are said to be shown at one time count once. A file that PyAV gives no frame of is counted,
not compared. Exit: 0 all agree, 1 some differ.
"""

import argparse
import collections
import concurrent.futures
import json
import os
import pathlib
import subprocess
import sys
import tempfile

NEAR = 0.001
TIMEOUT = 120
# Kinds of difference, in the order in which they are told.
KINDS = {
    "fails": "clipseek gives no frame",
    "fewer": "clipseek gives fewer frames",
    "more": "clipseek gives more frames",
    "shifted": "all times differ by the same",
    "times": "some times differ",
}


def is_fragmented(path):
    """Whether an MP4 file has fragments, told by its first boxes."""
    with open(path, "rb") as file:
        for _ in range(200):
            head = file.read(16)
            if len(head) < 8:
                return False
            size, kind = int.from_bytes(head[:4], "big"), head[4:8]
            if kind == b"moof":
                return True
            if size == 1 and len(head) == 16:
                size = int.from_bytes(head[8:], "big")
            if size < 8:
                return False
            file.seek(size - len(head), 1)
    return False


def frames_of_pyav(path):
    """Runs in a process of its own: some files kill it."""
    import av

    av.logging.set_level(av.logging.PANIC)
    with av.open(path) as container:
        stream = container.streams.best("video")
        if stream is None or stream.disposition & av.stream.Disposition.attached_pic:
            return {"frames": 0, "times": []}
        start = (container.start_time or 0) / 1_000_000
        if "mp4" in container.format.name and not is_fragmented(path):
            start = 0.0
        times, count = [], 0
        packets = container.demux(stream)
        while True:
            try:
                packet = next(packets)
            except (StopIteration, av.FFmpegError):
                break
            try:
                frames = packet.decode()
            except av.FFmpegError:
                continue
            for frame in frames:
                count += 1
                if frame.pts is not None:
                    times.append(float(frame.pts * frame.time_base) - start)
    return {"frames": count, "times": times}


def run(command):
    """What it printed, as JSON, and what it said if it failed."""
    # Neither may fill a pipe that nobody reads while it works.
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        try:
            subprocess.run(command, stdout=out, stderr=err, stdin=subprocess.DEVNULL, timeout=TIMEOUT)
        except subprocess.TimeoutExpired:
            return None, f"no end after {TIMEOUT} s"
        out.seek(0), err.seek(0)
        try:
            return json.load(out), None
        except ValueError:
            return None, err.read().decode(errors="replace").strip()[-200:] or "it died"


def different(expected, found):
    """The kind of difference and its details, or None. Both lists ascend."""
    if len(expected) != len(found):
        return "fewer" if len(found) < len(expected) else "more", f"{len(found)} frames, not {len(expected)}"
    shifts = [b - a for a, b in zip(expected, found)]
    worst = max(range(len(shifts)), key=lambda n: abs(shifts[n]), default=None)
    if worst is None or abs(shifts[worst]) <= NEAR:
        return None
    if max(shifts) - min(shifts) <= 2 * NEAR:
        return "shifted", f"by {shifts[0]:+.6f} s"
    return "times", f"frame {worst} at {found[worst]:.6f} s, not {expected[worst]:.6f} s"


def compare(path, clipseek):
    """Kind of difference ('agrees', 'nothing' where PyAV has no frame) and its details."""
    theirs, problem = run([sys.executable, os.path.abspath(__file__), "--pyav", str(path)])
    if theirs is None or theirs["frames"] == 0:
        return "nothing", problem or "PyAV gives no frame"
    with tempfile.TemporaryDirectory() as data:
        command = [clipseek, "--data", data, "probe", "--frames", "--json", "--every", "0", "--sampling", "all", str(path)]
        ours, problem = run(command)
    file = ours["files"][0] if ours else {}
    found = file.get("frames_s") or []
    if not found:
        return "fails", file.get("error") or problem or "no frame"
    expected = theirs["times"]
    if len(expected) < theirs["frames"]:
        # FFmpeg knows no times either: only the number can be compared.
        if len(found) == theirs["frames"]:
            return "agrees", ""
        return "fewer" if len(found) < theirs["frames"] else "more", f"{len(found)} frames, not {theirs['frames']}"
    difference = different(sorted(set(expected)), found)
    if difference is None:
        return "agrees", ""
    told = "; ".join(problem["detail"] for problem in file.get("problems", []))
    return difference[0], difference[1] + (f" (it says: {told})" if told else "")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dir", nargs="?", type=pathlib.Path, help="folder with files")
    parser.add_argument("--clipseek", default="clipseek", help="the program")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="files at a time")
    parser.add_argument("--pyav", metavar="FILE", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.pyav:
        print(json.dumps(frames_of_pyav(arguments.pyav)))
        return 0
    if arguments.dir is None or not arguments.dir.is_dir():
        parser.error("give the folder with the files")
    files = sorted(path for path in arguments.dir.rglob("*") if path.is_file())
    with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
        results = list(zip(files, pool.map(lambda path: compare(path, arguments.clipseek), files)))
    for kind, meaning in KINDS.items():
        lines = [(path, detail) for path, (found, detail) in results if found == kind]
        if lines:
            print(f"{meaning}:")
        for path, detail in lines:
            print(f"  {path.relative_to(arguments.dir)}: {detail}")
    counted = collections.Counter(kind for _, (kind, _) in results)
    videos = len(results) - counted["nothing"]
    differing = {kind: counted[kind] for kind in KINDS if counted[kind]}
    listed = ", ".join(f"{number} {kind}" for kind, number in differing.items()) or "none differs"
    print(f"{counted['agrees']} of {videos} files agree ({listed}); {counted['nothing']} without a frame by PyAV")
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
