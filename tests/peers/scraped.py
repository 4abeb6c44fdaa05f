"""What being scraped costs: `index` by a daemon over the same files, with and without a client that asks for /metrics.

    python3 tests/peers/scraped.py CLIPSEEK FOLDER [ROUNDS [SECONDS_BETWEEN_SCRAPES]]

Prints processor time (daemon and decoding processes) and wall time of each run, and the ratios of the medians. The runs of
both kinds take turns, so that what else the machine does meets both.
"""

import http.client
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time


class Socket(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost")
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self.path)


def ask(path, method, target, body=None):
    connection = Socket(path)
    connection.request(method, target, body and json.dumps(body), {"Content-Type": "application/json"})
    answer = connection.getresponse().read()
    connection.close()
    return answer


def processor(pid):
    """Seconds of the process and of the children that it has waited for."""
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rsplit(") ", 1)[1].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def run(program, folder, every):
    with tempfile.TemporaryDirectory() as data:
        place = os.path.join(data, "clipseek.sock")
        daemon = subprocess.Popen([program, "-q", "--data", data, "serve", "--listen", "127.0.0.1:0"])
        while not os.path.exists(place):
            time.sleep(0.02)
        stop, scrapes = threading.Event(), []

        def scrape():
            while not stop.wait(every):
                begun = time.monotonic()
                ask(place, "GET", "/metrics")
                scrapes.append(time.monotonic() - begun)

        scraper = threading.Thread(target=scrape)
        if every:
            scraper.start()
        begun, before = time.monotonic(), processor(daemon.pid)
        job = json.loads(ask(place, "POST", "/v1/jobs", {"kind": "index", "paths": [os.path.abspath(folder)]}))["id"]
        while json.loads(ask(place, "GET", f"/v1/jobs/{job}"))["state"] in ("queued", "running"):
            time.sleep(0.1)
        wall, cpu = time.monotonic() - begun, processor(daemon.pid) - before
        stop.set()
        if every:
            scraper.join()
        daemon.terminate()
        daemon.wait()
        return wall, cpu, scrapes


def main():
    program, folder = sys.argv[1:3]
    rounds = int(sys.argv[3]) if len(sys.argv) > 3 else 5
    every = float(sys.argv[4]) if len(sys.argv) > 4 else 1.0
    without, scraped, all_scrapes = [], [], []
    for _ in range(rounds):
        without.append(run(program, folder, None))
        scraped.append(run(program, folder, every))
        all_scrapes += scraped[-1][2]
        for what, (wall, cpu, scrapes) in [("without", without[-1]), ("scraped", scraped[-1])]:
            print(f"{what}: {wall:.1f} s wall, {cpu:.1f} s processor, {len(scrapes)} scrapes", flush=True)
    medians = [[statistics.median(one[n] for one in runs) for n in (0, 1)] for runs in (scraped, without)]
    wall, cpu = (one / other for one, other in zip(*medians))
    print(f"wall {wall:.3f} x, processor {cpu:.3f} x, a scrape {statistics.median(all_scrapes) * 1000:.1f} ms")


main()
