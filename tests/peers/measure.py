"""Runs a command and tells what it cost: wall time, processor time, and peak memory of it and of all below it."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path

PAGE = os.sysconf("SC_PAGE_SIZE")
GLANCE_S = 0.02


@dataclass(frozen=True)
class Cost:
    wall_s: float
    cpu_s: float
    peak_bytes: int
    """Of the command's own process."""
    children_peak_bytes: int
    """Of all processes below it together."""
    output: str


class Failed(Exception):
    """A command that ended with an exit code not asked for."""


def run(command: list[object], env: dict[str, str] | None = None, accept: tuple[int, ...] = (0,)) -> Cost:
    """Processor time is that of all descendants that were waited for; memory is what was seen of resident sets, often."""
    words = [str(word) for word in command]
    started = time.monotonic()
    process = subprocess.Popen(words, env={**os.environ, **(env or {})}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    said: list[str] = []
    readers = [threading.Thread(target=lambda: said.insert(0, process.stderr.read()))]
    output: list[str] = []
    readers.append(threading.Thread(target=lambda: output.append(process.stdout.read())))
    for reader in readers:
        reader.start()
    peak, children_peak, ended = 0, 0, 0
    while not ended:
        _, *children = tree(process.pid)
        peak = max(peak, resident(process.pid))
        children_peak = max(children_peak, sum(resident(pid) for pid in children))
        time.sleep(GLANCE_S)
        ended, status, usage = os.wait4(process.pid, os.WNOHANG)
    wall = time.monotonic() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    for reader in readers:
        reader.join()
    if process.returncode not in accept:
        raise Failed(f"{' '.join(words)}\nended with {process.returncode}:\n{said[0][-2000:]}")
    return Cost(wall, usage.ru_utime + usage.ru_stime, peak, children_peak, output[0])


def tree(pid: int) -> list[int]:
    """A process and all below it."""
    found = [pid]
    for parent in found:
        try:
            for task in Path(f"/proc/{parent}/task").iterdir():
                found.extend(int(child) for child in (task / "children").read_text().split())
        except OSError:
            pass  # it has just ended
    return found


def resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE
    except OSError:
        return 0
