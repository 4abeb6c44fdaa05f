"""The API as others use it: a client that a standard generator makes of its description, and a fuzzer that reads it.

A daemon with the project's sample footage runs for all of them; `CLIPSEEK` names the program.
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import time

import httpx
import pytest

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parent.parent
PROGRAM = os.environ.get("CLIPSEEK", ROOT / "target/release/clipseek")
TOOLS = pathlib.Path(sys.executable).parent
PATIENCE_S = 120
# How often the fuzzer asks at each address.
EXAMPLES = os.environ.get("CLIPSEEK_FUZZ_EXAMPLES", "15")
# The same every time, so that a failure is that of a change; others look further.
SEED = os.environ.get("CLIPSEEK_FUZZ_SEED", "1")


@pytest.fixture(scope="module")
def daemon(tmp_path_factory):
    """The address of a daemon whose footage is indexed."""
    folder = tmp_path_factory.mktemp("daemon")
    footage = shutil.copytree(ROOT / "tests/fixtures/footage", folder / "footage")
    config = folder / "clipseek.toml"
    config.write_text(f'[serve]\nrate_per_sec = 0\nadd_folders = ["{folder}"]\n')
    flags = ["--data", folder / "data", "--config", config, "serve", "--listen", "127.0.0.1:0", footage]
    log = folder / "log"
    with open(log, "wb") as said:
        process = subprocess.Popen([PROGRAM, *flags], stdout=subprocess.DEVNULL, stderr=said)
    try:
        until = time.monotonic() + PATIENCE_S
        while not (found := re.search(r"http://[\d.]+:\d+", log.read_text())):
            assert process.poll() is None and time.monotonic() < until, log.read_text()
            time.sleep(0.1)
        address = found.group()
        videos = sum(path.suffix != ".json" for path in footage.iterdir())
        while True:
            media = httpx.get(f"{address}/v1/media").json()["media"]
            if len(media) >= videos and all(row["state"] != "pending" for row in media):
                break
            assert time.monotonic() < until, media
            time.sleep(0.2)
        yield address
        assert process.poll() is None, log.read_text()
    finally:
        process.terminate()
        assert process.wait(30) == 0, log.read_text()


def test_a_generated_client_finds_shows_and_saves(daemon, tmp_path, monkeypatch):
    command = [TOOLS / "openapi-python-client", "generate", "--url", f"{daemon}/openapi.json"]
    command += ["--meta", "none", "--output-path", tmp_path / "clipseek_client", "--config", HERE / "generator.yaml"]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    # Of bodies with several types the generator takes one: pictures to search by are left out, and nothing else.
    said = made.stdout + made.stderr
    assert made.returncode == 0 and re.findall("(?:WARNING|Unable|Unsupported).*", said) == [
        "WARNING parsing POST /v1/search within search.", "Unsupported content type image/*"
    ], said  # fmt: skip
    monkeypatch.syspath_prepend(tmp_path)

    from clipseek_client import Client
    from clipseek_client.api.jobs import ask_for_job, show_job
    from clipseek_client.api.media import export_media, list_media
    from clipseek_client.api.moments import clip, thumbnail
    from clipseek_client.api.search import search, search_by
    from clipseek_client.models import Problem, SearchRequest, VerifyJob, VerifyJobKind

    client = Client(daemon)
    answer = search.sync(client=client, text="a red circle moves to the right", limit=3)
    best = answer.moments[0]
    assert len(answer.moments) == 3 and best.score >= answer.moments[1].score and best.end_s > best.start_s

    request = SearchRequest(texts=["a red circle moves to the right"], not_=["a blue square"], limit=1)
    assert search_by.sync(client=client, body=request).moments[0].path == best.path

    assert thumbnail.sync(best.id, client=client).payload.read(2) == b"\xff\xd8"
    saved = clip.sync(best.id, client=client, start_s=best.start_s, end_s=best.end_s)
    assert saved.payload.read(8)[4:] == b"ftyp"

    media = list_media.sync(client=client).media
    assert best.path in [row.path for row in media]
    assert len(export_media.sync(client=client).splitlines()) == sum(row.windows for row in media)

    job = ask_for_job.sync(client=client, body=VerifyJob(kind=VerifyJobKind.VERIFY))
    until = time.monotonic() + PATIENCE_S
    while job.state in ("queued", "running"):
        assert time.monotonic() < until, job
        time.sleep(0.2)
        job = show_job.sync(job.id, client=client)
    assert job.state == "done" and job.result.verify.differences == []

    refused = search.sync(client=client, text="a dog", limit=5000)
    assert isinstance(refused, Problem) and refused.status == 400 and "limit" in refused.detail


def test_a_fuzzer_finds_no_fault(daemon, tmp_path):
    """Nothing that it may send breaks the daemon, and what it answers is what the description says."""
    checks = ["not_a_server_error", "status_code_conformance", "content_type_conformance",
              "response_headers_conformance", "response_schema_conformance"]  # fmt: skip
    command = [TOOLS / "schemathesis", "run", f"{daemon}/openapi.json", "--checks", ",".join(checks)]
    # News never end, and a job that was asked for may look through all folders of this machine.
    command += ["--exclude-path", "/v1/events", "--exclude-operation-id", "ask_for_job"]
    command += ["--max-examples", EXAMPLES, "--seed", SEED, "--continue-on-failure", "--no-color", "--warnings", "off"]
    # It keeps what it found where it runs.
    ran = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    print(ran.stdout)
    assert ran.returncode == 0, ran.stdout + ran.stderr
