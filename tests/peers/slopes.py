"""Whether a daemon grows: sources come and go for half an hour, and its memory and open files are looked at all the while.

    /usr/bin/python3 tests/peers/slopes.py CLIPSEEK [--seconds 1800]

Every twenty seconds another set of a folder and three cameras is watched (SIGHUP), a file is added to the folder or taken away,
and a camera is killed or brought back. Prints the slopes from a third of the time on (before, caches fill). Needs what
deploy/camera.py needs.
"""

import argparse
import os
import pathlib
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).parent
FOOTAGE = HERE.parent / "fixtures/footage"
EVERY_S = 20


class Camera:
    def __init__(self):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.process = None
        self.back()

    def back(self):
        command = [sys.executable, HERE.parent.parent / "deploy/camera.py", "--port", str(self.port), FOOTAGE / "h264.mp4"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def toggle(self):
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None
        else:
            self.back()


def seen(pid):
    """Resident memory (anonymous pages and all) in MiB, open files, threads."""
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    number = lambda key: int(re.search(rf"^{key}:\s+(\d+)", status, re.M)[1])
    return number("RssAnon") / 1024, number("VmRSS") / 1024, len(os.listdir(f"/proc/{pid}/fd")), number("Threads")


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("clipseek")
    arguments.add_argument("--seconds", type=float, default=1800)
    arguments = arguments.parse_args()
    cameras = [Camera() for _ in range(3)]
    with tempfile.TemporaryDirectory() as folder:
        try:
            watch(arguments, cameras, pathlib.Path(folder))
        finally:
            for camera in cameras:
                if camera.process:
                    camera.process.kill()


def watch(arguments, cameras, folder):
    videos, config = folder / "videos", folder / "clipseek.toml"
    videos.mkdir()
    sources = [f'[[source]]\nname = "videos"\npath = "{videos}"\n']
    sources += [
        f'[[source]]\nname = "camera{number}"\nuri = "rtsp://127.0.0.1:{camera.port}/camera"\nrecord = {str(number == 0).lower()}\n'
        for number, camera in enumerate(cameras)
    ]
    head = "[live]\nmax_backoff_secs = 5.0\n[recording]\nsegment_secs = 10.0\nmin_free_gib = 0.0\n"
    config.write_text(head + "".join(sources))
    daemon = subprocess.Popen(
        [arguments.clipseek, "-q", "--data", folder / "data", "serve", "--config", config, "--listen", "127.0.0.1:0"]
    )
    clips = ["h264.mp4", "vp8.webm", "vp9.webm", "turned.mp4"]
    samples, begun, turn = [], time.monotonic(), 0
    while (passed := time.monotonic() - begun) < arguments.seconds:
        if daemon.poll() is not None:
            sys.exit(f"the daemon ended: {daemon.returncode}")
        samples.append((passed, *seen(daemon.pid)))
        if passed > (turn + 1) * EVERY_S:
            turn += 1
            # Each camera is away from the settings a third of the time, the folder a seventh.
            away = {1 + turn % 3} | ({0} if turn % 7 == 0 else set())
            now = [source for number, source in enumerate(sources) if number not in away]
            config.write_text(head + "".join(now))
            daemon.send_signal(signal.SIGHUP)
            clip = videos / f"{turn % 5}-{clips[turn % 4]}"
            if clip.exists():
                clip.unlink()
            else:
                shutil.copy(FOOTAGE / clips[turn % 4], clip)
            cameras[turn % 3].toggle()
        time.sleep(1)
    later = [sample for sample in samples if sample[0] > arguments.seconds / 3]
    times = [sample[0] / 3600 for sample in later]
    print(f"{passed:.0f} s, {turn} changes")
    for column, name in enumerate(["anonymous memory, MiB", "resident memory, MiB", "open files", "threads"], 1):
        values = [sample[column] for sample in later]
        slope = statistics.linear_regression(times, values).slope
        print(f"{name}: {values[0]:.1f} to {values[-1]:.1f}, least {min(values):.1f}, most {max(values):.1f}, slope {slope:+.1f} an hour")
    daemon.terminate()
    daemon.wait()
    print("verify:", subprocess.run([arguments.clipseek, "--data", folder / "data", "verify"], capture_output=True, text=True).stdout.strip()[-300:])


main()
