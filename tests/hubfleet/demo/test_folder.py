"""A demo's folder goes with it, or with the next demo; never with a demo that is still there."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from hubfleet.demo.folder import PREFIX, folder, leftovers

DEMO = """
import subprocess, sys, time
from hubfleet.demo.folder import folder
with folder() as place:
    server = "import time; time.sleep(1000)"
    child = subprocess.Popen([sys.executable, "-c", server], pass_fds=[place.lock], stdout=subprocess.DEVNULL)
    print(place.path, child.pid, flush=True)
    time.sleep(1000)
"""


@pytest.fixture(autouse=True)
def tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A /tmp of our own: others' demos may run."""
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


@contextmanager
def demo() -> Iterator[tuple[subprocess.Popen[str], Path, int]]:
    """A process that uses a folder, the folder, and the pid of a server that works there, too."""
    with subprocess.Popen([sys.executable, "-c", DEMO], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        path, pid = process.stdout.readline().split()
        try:
            yield process, Path(path), int(pid)
        finally:
            process.kill()
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)


def until_free(path: Path) -> None:
    deadline = time.monotonic() + 10
    while path not in leftovers():
        assert time.monotonic() < deadline, f"{path} is still in use"
        time.sleep(0.01)


def test_it_is_gone_at_the_end() -> None:
    with folder() as place:
        (place.path / "file").write_text("text")
        assert place.path.stat().st_mode & 0o777 == 0o700
    assert not place.path.exists()


def test_what_a_killed_demo_left_is_removed_by_the_next_one(tmp: Path) -> None:
    with demo() as (process, path, pid), demo() as (_, living, _):
        process.kill()
        process.wait()
        assert leftovers() == [], "a server still works in it"
        os.kill(pid, signal.SIGKILL)
        until_free(path)
        with folder() as place:
            assert sorted(tmp.iterdir()) == sorted([place.path, living])


def test_what_is_not_a_demos_stays(tmp: Path) -> None:
    elsewhere = tmp / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "in-use").touch()
    (tmp / f"{PREFIX}link").symlink_to(elsewhere)
    (tmp / f"{PREFIX}starting").mkdir()  # it has no lock yet
    (tmp / f"{PREFIX}file").touch()
    before = sorted(tmp.iterdir())
    with folder() as place:
        assert sorted(tmp.iterdir()) == sorted([*before, place.path])
    assert sorted(tmp.iterdir()) == before
    assert (elsewhere / "in-use").exists()
