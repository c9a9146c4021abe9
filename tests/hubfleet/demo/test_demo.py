"""The README's promise: one command to a finished job, and a tour that works word for word."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hubfleet.demo import hub
from hubfleet.demo.folder import folder, leftovers

ROOT = Path(__file__).parents[3]
KBATCH = ROOT / ".venvs/kbatch-0.5/bin/kbatch"
NODE = ROOT / ".venvs/node/node_modules/.bin"

pytestmark = [pytest.mark.kubelet, pytest.mark.localkube, pytest.mark.timeout(300)]


def demo(*options: str) -> subprocess.Popen[str]:
    command = [str(Path(sys.executable).parent / "hubfleet"), "demo", "--kbatch", str(KBATCH)]
    return subprocess.Popen(
        [*command, "--node", str(NODE), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "NO_COLOR": "1", "COLUMNS": "200"},
    )


def test_once_runs_the_story_to_its_end() -> None:
    with demo("--once") as child:
        output, _ = child.communicate()
    assert child.returncode == 0, output
    assert output.rstrip().splitlines()[-1] == "demo: ok"
    assert "done: 500,000 points" in output
    assert "volumes[0].host_path: Pod Security baseline" in output
    assert "error 404" in output, "the other user's look at a job"
    assert "the cron job fired" in output


class Serving:
    """A demo that went on serving: what it printed, and where the Hub is."""

    def __init__(self, child: subprocess.Popen[str]):
        self.child = child
        self.lines: list[str] = []
        assert child.stdout is not None
        for line in child.stdout:
            self.lines.append(line.rstrip())
            if line.strip().startswith("logs"):
                break
        self.output = "\n".join(self.lines)

    def printed(self, pattern: str) -> str:
        found = re.search(pattern, self.output)
        assert found, self.output
        return found[1]


@pytest.fixture(scope="module")
def serving() -> Iterator[Serving]:
    with demo("--port", "0") as child:
        try:
            yield Serving(child)
        finally:
            child.send_signal(signal.SIGTERM)
            child.communicate(timeout=60)


def tour(step: int) -> str:
    """The commands of a step of the README's tour."""
    text = (ROOT / "README.md").read_text()
    found = re.search(rf"^\*\*{step}\. .*?^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert found, f"the README has no commands in step {step}"
    return found[1]


def test_the_tour_works_word_for_word(serving: Serving, tmp_path: Path) -> None:
    address = serving.printed(r"JupyterHub +(http://\S+)")
    token = serving.printed(r"--token ([0-9a-f]{32})")
    commands = "\n".join(["set -euo pipefail", tour(3), tour(4), tour(5)])
    commands = commands.replace("http://127.0.0.1:8000", address).replace("YOUR-TOKEN", token)
    run = subprocess.run(
        ["bash", "-c", commands],
        cwd=ROOT,
        env={**os.environ, "XDG_CONFIG_HOME": str(tmp_path), "COLUMNS": "200", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "round 5 of 5" in run.stdout
    assert "hello-" in run.stdout


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_behind(number: signal.Signals) -> None:
    """By a demo that is ended; of one that is killed, the folder is for the next one to remove."""
    with demo("--port", "0") as child:
        assert child.stdout is not None
        directory = None
        for line in child.stdout:
            if line.strip().startswith("hubfleet "):
                break
        else:
            pytest.fail("the demo did not start hubfleet")
        children = Path(f"/proc/{child.pid}/task/{child.pid}/children").read_text().split()
        assert children
        directory = Path(f"/proc/{children[0]}/cwd").resolve()
        assert directory.name.startswith("hubfleet-demo-")
        child.send_signal(number)
        child.communicate(timeout=60)
    until(lambda: not any(is_running(pid) for pid in children))
    if number == signal.SIGKILL:
        until(lambda: directory in leftovers())
        with folder():
            pass
    assert not directory.exists()


def is_running(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_the_hub_that_is_not_there_is_status_0() -> None:
    assert hub.call("GET", "http://127.0.0.1:1/") == (0, None)
