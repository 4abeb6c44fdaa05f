"""How many live streams a core takes: N streams of 1080p H.264 at 4 Mbit/s, a key frame every 2 s, from a real RTSP server.

    /usr/bin/python3 tests/peers/streams.py CLIPSEEK [--streams 40] [--seconds 600] [--sampling keyframes] [--clips FILE...]

Windows of 16 s with 8 frames, the shipped model. Counts the processor time of the daemon and its decoding processes (the
sender's apart) from when all streams are live, and what of the sampled frames was dropped. Needs ffmpeg and what
deploy/camera.py needs.
"""

import argparse
import json
import os
import pathlib
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

HERE = pathlib.Path(__file__).parent
TICKS = os.sysconf("SC_CLK_TCK")


def footage(clips, folder):
    """One file of a minute as a camera sends it."""
    path = folder / "camera.mp4"
    inputs = [word for clip in clips for word in ("-i", clip)]
    scaled = "".join(f"[{i}:v]fps=30,scale=1920:1080,setsar=1,format=yuv420p[v{i}];" for i in range(len(clips)))
    joined = "".join(f"[v{i}]" for i in range(len(clips))) + f"concat=n={len(clips)}[out]"
    rate = ["-b:v", "4M", "-minrate", "3M", "-maxrate", "4M", "-bufsize", "8M", "-g", "60", "-sc_threshold", "0", "-bf", "0"]
    subprocess.run(
        ["ffmpeg", "-v", "error", "-y", *inputs, "-filter_complex", scaled + joined, "-map", "[out]", "-t", "60",
         "-c:v", "libx264", "-preset", "veryfast", *rate, path], check=True,
    )  # fmt: skip
    return path


def below(pid):
    """A process and all below it."""
    found = [pid]
    for parent in found:
        for task in pathlib.Path(f"/proc/{parent}/task").glob("*/children"):
            try:
                found += map(int, task.read_text().split())
            except OSError:
                pass
    return found


def processor(daemon):
    """Seconds of the daemon, of its children that are there, and of those that it has waited for."""
    total = 0
    for pid in below(daemon):
        try:
            fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()
        except OSError:
            continue
        total += sum(map(int, fields[11:15] if pid == daemon else fields[11:13]))
    return total / TICKS


def memory(pids):
    """Proportional set size in MiB."""
    total = 0
    for pid in pids:
        try:
            total += int(re.search(r"^Pss:\s+(\d+)", pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text(), re.M)[1])
        except (OSError, TypeError):
            pass
    return total / 1024


def resident(pid):
    """MiB of a process that are its own, and that are mapped from files (the store's)."""
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return [int(re.search(rf"^{kind}:\s+(\d+)", status, re.M)[1]) / 1024 for kind in ("RssAnon", "RssFile")]


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("clipseek")
    arguments.add_argument("--streams", type=int, default=40)
    arguments.add_argument("--seconds", type=float, default=600)
    arguments.add_argument("--sampling", default="keyframes")
    arguments.add_argument("--clips", nargs="+", default=[str(HERE.parent / "fixtures/footage/tape.mp4")])
    arguments.add_argument("--port", type=int, default=0, help="of the daemon, so that a Prometheus can be told")
    arguments = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measure(arguments, pathlib.Path(folder))


def measure(arguments, folder):
    count = arguments.streams
    clip = footage(arguments.clips, folder)
    camera = [sys.executable, HERE.parent.parent / "deploy/camera.py", "--port", "0", "--cameras", str(count), clip]
    sender = subprocess.Popen(camera, stdout=subprocess.PIPE, text=True)
    uris = [sender.stdout.readline().strip() for _ in range(count)]
    with socket.socket() as free:
        free.bind(("127.0.0.1", arguments.port))
        port = free.getsockname()[1]
    settings = [f'[index]\nsampling = "{arguments.sampling}"\nwindow_secs = 16.0\nstride_secs = 16.0\nframes = 8\n']
    settings += [f'[[source]]\nname = "camera{number}"\nuri = "{uri}"\n' for number, uri in enumerate(uris)]
    (folder / "clipseek.toml").write_text("\n".join(settings))
    daemon = subprocess.Popen(
        [arguments.clipseek, "-q", "--data", folder / "data", "serve", "--config", folder / "clipseek.toml",
         "--listen", f"127.0.0.1:{port}"],
    )  # fmt: skip

    def ask(place):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{place}", timeout=30) as answer:
            return answer.read().decode()

    def sources():
        return json.loads(ask("/v1/sources"))["sources"]

    try:
        patience = time.monotonic() + 180
        while True:
            time.sleep(2)
            try:
                states = [source["state"] for source in sources()]
            except OSError:
                states = []
            if states.count("live") == count:
                break
            if time.monotonic() > patience or daemon.poll() is not None:
                sys.exit(f"only {states.count('live')} of {count} streams are live: {states}")
        # What starting costs is not what a stream costs.
        time.sleep(20)
        before, begun, cpu = sources(), time.monotonic(), processor(daemon.pid)
        sending, grown = processor(sender.pid), resident(daemon.pid)
        time.sleep(arguments.seconds)
        after, cpu, wall = sources(), processor(daemon.pid) - cpu, time.monotonic() - begun
        sending = processor(sender.pid) - sending
        pids = below(daemon.pid)
        own, children = memory(pids[:1]), memory(pids[1:])
        frames = sum(new["frames"] - old["frames"] for new, old in zip(after, before))
        dropped = sum(new["dropped"] - old["dropped"] for new, old in zip(after, before))
        states = [source["state"] for source in after]
        print(f"{count} streams, {arguments.sampling}, {wall:.0f} s, {os.cpu_count()} cores, load {os.getloadavg()[1]:.1f}")
        print(f"live at the end   {states.count('live')}")
        print(f"cores used        {cpu / wall:.3f} (sender {sending / wall:.3f})")
        print(f"streams per core  {count / (cpu / wall):.1f}")
        print(f"frames            {frames} sampled, {dropped} dropped ({100 * dropped / max(1, frames + dropped):.3f} %)")
        grown = [after - before for after, before in zip(resident(daemon.pid), grown)]
        print(f"memory            daemon {own:.0f} MiB, each stream {children / count:.1f} MiB (proportional)")
        print(f"the daemon grew   by {grown[0]:.1f} MiB of its own, {grown[1]:.1f} MiB mapped from files")
        for line in ask("/metrics").splitlines():
            if line.startswith("clipseek_stage_") and "_seconds_sum" in line:
                print(line)
    finally:
        daemon.terminate()
        sender.kill()
        daemon.wait()


main()
