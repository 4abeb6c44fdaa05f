"""What being watched costs: `index` by a daemon over the same files, without anything, with a client that asks for /metrics, and
with traces that go to a collector (where grpcio and opentelemetry-proto are installed: `pip install` both).

    python3 tests/peers/scraped.py CLIPSEEK FOLDER [ROUNDS [SECONDS_BETWEEN_SCRAPES]]

Prints processor time (daemon and decoding processes) and wall time of each run, and the ratios of the medians. The runs of
all kinds take turns, so that what else the machine does meets all of them.
"""

import collections
import concurrent.futures
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

try:
    import grpc
    from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as traces
    from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as service
except ImportError:
    grpc = None


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


def collector(spans):
    """A collector that counts, and its address."""

    class Collector(service.TraceServiceServicer):
        def Export(self, request, context):
            for resource in request.resource_spans:
                for scope in resource.scope_spans:
                    spans.update(span.name for span in scope.spans)
            return traces.ExportTraceServiceResponse()

    server = grpc.server(concurrent.futures.ThreadPoolExecutor(1))
    service.add_TraceServiceServicer_to_server(Collector(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    return server, f"http://127.0.0.1:{port}"


def run(program, folder, every=None, traced=None):
    environment = os.environ | ({"CLIPSEEK__TELEMETRY__OTLP_URL": traced} if traced else {})
    with tempfile.TemporaryDirectory() as data:
        place = os.path.join(data, "clipseek.sock")
        daemon = subprocess.Popen([program, "-q", "--data", data, "serve", "--listen", "127.0.0.1:0"], env=environment)
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
    spans = collections.Counter()
    kinds = {"without": {}, "scraped": {"every": every}}
    if grpc:
        # The server lives as long as somebody holds it.
        server, url = collector(spans)
        kinds["traced"] = {"traced": url}
    runs = {kind: [] for kind in kinds}
    for _ in range(rounds):
        for kind, how in kinds.items():
            wall, cpu, scrapes = run(program, folder, **how)
            runs[kind].append((wall, cpu, scrapes))
            print(f"{kind}: {wall:.1f} s wall, {cpu:.1f} s processor, {len(scrapes)} scrapes", flush=True)
    median = {kind: [statistics.median(one[n] for one in ran) for n in (0, 1)] for kind, ran in runs.items()}
    for kind in list(kinds)[1:]:
        wall, cpu = (one / other for one, other in zip(median[kind], median["without"]))
        print(f"{kind}: wall {wall:.3f} x, processor {cpu:.3f} x")
    print(f"a scrape: {statistics.median(one for ran in runs['scraped'] for one in ran[2]) * 1000:.1f} ms; spans: {dict(spans)}")


main()
