"""Every block of commands in README runs as it stands there, but for what CHANGES names; or NOT_RUN says why it does not.

Blocks run in their order in one home: its ~/Videos is the sample footage, and the daemon has a port of its own. What readers
fill in themselves ($next, $media, $token, picture.jpg) is filled in.
"""

import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent.parent
PROGRAM = pathlib.Path(os.environ.get("CLIPSEEK", ROOT / "target/release/clipseek"))
PATIENCE_S = 120
# Why a block with this text in it is not run.
NOT_RUN = {
    "make demo ": "both commands are what CI runs",
    "pip install -e": "needs PyTorch and a checkpoint; the tests of models/ export one",
    "eval --set msrvtt": "needs the data set",
    "deploy/systemd": "needs systemd as the first process; a test has systemd check the unit",
    "apt-get install ./target": "needs a package and systemd",
    "token new --name": "its token has to be put into the settings first; the tests of access do that",
    "serve ~/Videos rtsp://user": "needs a camera; the next block brings one",
}
START = "& daemon=$!; until curl -sf $base/readyz >/dev/null; do kill -0 $daemon; sleep 0.2; done"
CHANGES = [
    # No model hub here: the shipped model is there.
    (r"^clipseek model pull .*\n", ""),
    (r" --model clip-b32", ""),
    # The tests have installed these.
    (r"^(sudo apt|pip) install .*\n", ""),
    # In the background, until it answers.
    (r"^clipseek serve (.*?)(?: &)?( *#.*)?$", rf"clipseek serve \1 {START}"),
    (r"^base=.*\n", ""),
    # News never end.
    (r"^curl -N (.*)$", r"timeout 2 curl -sN \1 || [ $? = 124 ]"),
    (r"^curl ", "curl -sf "),
]  # fmt: skip

BESIDE_A_DAEMON = f"""
clipseek serve ~/Videos {START}
until [ "$(curl -sf $base/v1/sources | jq .sources[0].pending)" = 0 ]; do sleep 0.2; done
found=$(curl -sf "$base/v1/search?text=a+circle&limit=1")
next=$(jq -r .next <<< "$found")
media=$(curl -sf $base/v1/media | jq -r .media[0].media_id)
curl -sfo picture.jpg "$base/v1/moments/$(jq -r .moments[0].id <<< "$found")/thumbnail"
"""


def blocks():
    text = (ROOT / "README.md").read_text()
    found = re.findall(r"^```(sh|python)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert len(found) > 10
    return found


def free_port():
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return bound.getsockname()[1]


class Home:
    """Where the blocks are run."""

    def __init__(self, folder):
        self.folder = folder
        shutil.copytree(ROOT / "tests/fixtures/footage", folder / "Videos")
        self.port = free_port()
        self.environment = {
            **os.environ,
            "HOME": str(folder),
            "PATH": f"{PROGRAM.parent}:{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}",
            "CLIPSEEK__DATA_DIR": str(folder / "data"),
            "CLIPSEEK__SERVE__LISTEN": f"127.0.0.1:{self.port}",
            "base": f"http://127.0.0.1:{self.port}",
            "token": "none",
        }
        # Paths in README are those of the project.
        self.work = folder / "work"
        self.work.mkdir()
        for name in ["deploy", "tests", "models"]:
            (self.work / name).symlink_to(ROOT / name)

    def run(self, command):
        """Ends whatever the block leaves running."""
        process = subprocess.Popen(
            command, cwd=self.work, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        )  # fmt: skip
        try:
            return process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            return "no end"
        finally:
            try:
                os.killpg(process.pid, signal.SIGTERM)
            except ProcessLookupError:
                pass
            self.said = process.communicate(timeout=60)[0]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return Home(tmp_path_factory.mktemp("home"))


def named(block):
    kind, text = block
    return f"{kind}: {text.splitlines()[0][:60]}"


@pytest.mark.parametrize("block", blocks(), ids=named)
def test_a_block_of_the_readme_runs(home, block):
    kind, text = block
    for part, reason in NOT_RUN.items():
        if part in text:
            pytest.skip(reason)
    for pattern, instead in CHANGES:
        text = re.sub(pattern, instead, text, flags=re.MULTILINE)
    if kind == "python":
        text = text.replace("http://127.0.0.1:7700", home.environment["base"])
    if kind == "python" or "$base" in text and "clipseek serve" not in text:
        before = BESIDE_A_DAEMON
    else:
        before = ""
    if kind == "python":
        text = f"{sys.executable} - <<'PYTHON'\n{text}PYTHON\n"
    ran = home.run(["bash", "-euxo", "pipefail", "-c", before + text])
    assert ran == 0, home.said
