"""A demo that fails says why, in its last lines, and shows of each log only the end, as it is."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from hubfleet.cli import demo as command
from hubfleet.demo.hub import HubAddresses
from hubfleet.demo.process import Process, ProcessFailed
from hubfleet.demo.stage import Stage
from hubfleet.demo.story import StoryFailed, Terminal

LONG = '{"event": "[bold]' + "x" * 300 + '"}'
PRINTS = f"for n in range(40): print(n, {LONG!r}, flush=True)"


def ended(directory: Path) -> Process:
    """A process with a long log, which does not come up."""
    process = Process("server", [sys.executable, "-c", PRINTS], directory / "server.log")
    with process, pytest.raises(ProcessFailed, match=r"^server ended$"):
        process.wait_until(lambda: False, 60)
    return process


def output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: Any, tell: Any = None) -> str:
    monkeypatch.setattr(command, "raised", stage)
    monkeypatch.setattr(command, "tell", tell)
    (tmp_path / "kbatch").touch()
    options = ["--once", "--kbatch", str(tmp_path / "kbatch"), "--node", str(tmp_path)]
    result = CliRunner().invoke(command.demo, options, env={"COLUMNS": "80", "NO_COLOR": "1"})
    assert result.exit_code == 1
    return result.output


def check(shown: str, reason: str) -> None:
    lines = shown.rstrip().splitlines()
    assert lines[-1] == reason
    assert [line for line in lines if line.endswith(LONG)] == [f"{n} {LONG}" for n in range(25, 40)]


def test_a_server_that_does_not_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def raised(*_: Any, **__: Any) -> Iterator[Stage]:
        with Process("server", [sys.executable, "-c", PRINTS], tmp_path / "server.log") as process:
            process.wait_until(lambda: False, 60)
        yield Stage(tmp_path, tmp_path, HubAddresses(1, 2, 3, 4), "", ())

    check(output(tmp_path, monkeypatch, raised), "demo: failed: server ended")


def test_a_story_that_goes_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    process = ended(tmp_path)

    @contextmanager
    def raised(*_: Any, **__: Any) -> Iterator[Stage]:
        yield Stage(tmp_path, tmp_path, HubAddresses(1, 2, 3, 4), "", (process,))

    def tell(*_: Any) -> None:
        raise StoryFailed("no [job] ran")

    check(output(tmp_path, monkeypatch, raised, tell), "demo: failed: no [job] ran")


def test_a_client_that_fails_is_quoted_without_its_token(tmp_path: Path) -> None:
    client = tmp_path / "kbatch"
    client.write_text("#!/bin/sh\necho said $2; exit 3\n")
    client.chmod(0o755)
    shown: list[str] = []
    with pytest.raises(StoryFailed) as caught:
        Terminal(client, tmp_path, tmp_path, shown.append).run("--token", "s3cret", hide="s3cret")
    assert str(caught.value) == "kbatch --token ... ended with 3:\nsaid ..."
