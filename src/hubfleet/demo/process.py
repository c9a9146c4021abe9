"""A child process of the demo: started, waited for, and ended by its pid whatever happens to us."""

import ctypes
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


def free_port(wanted: int = 0) -> int:
    """`wanted` if nothing listens on it on loopback, else a port that the system chooses."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise OSError("no free port on 127.0.0.1")


class ProcessFailed(Exception):
    """The process `name` ended, or did not come up in time; `log` are its last lines."""

    def __init__(self, message: str, name: str, log: str):
        super().__init__(message)
        self.name = name
        self.log = log


def _die_with_parent() -> None:
    # A demo that is killed hard must leave no server behind. Linux only; elsewhere Ctrl-C is what ends them.
    try:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    except (AttributeError, OSError):
        return


class Process:
    """One server of the demo, with its output in a file. `holds` are open files that it keeps open, too."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        log: Path,
        *,
        env: Mapping[str, str] | None = None,
        holds: Sequence[int] = (),
    ):
        self.name = name
        self._holds = tuple(holds)
        self.log = log
        self._command = list(command)
        self._env = dict(env) if env is not None else None
        self._child: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        with self.log.open("wb") as output:
            self._child = subprocess.Popen(
                self._command,
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env=self._env,
                cwd=self.log.parent,
                preexec_fn=_die_with_parent,
                pass_fds=self._holds,
                start_new_session=True,  # Ctrl-C reaches us alone; we end the others in order
            )
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        child = self._child
        if child is None or child.poll() is not None:
            return
        child.terminate()
        try:
            child.wait(15)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()

    @property
    def pid(self) -> int:
        assert self._child is not None, "the process has not been started"
        return self._child.pid

    @property
    def alive(self) -> bool:
        return self._child is not None and self._child.poll() is None

    def wait_until(self, ready: Callable[[], bool], seconds: float) -> None:
        """Return once `ready` says so; `ProcessFailed` when the process ends or the seconds are over."""
        deadline = time.monotonic() + seconds
        while not ready():
            if not self.alive:
                raise ProcessFailed(f"{self.name} ended", self.name, self.tail())
            if time.monotonic() > deadline:
                message = f"{self.name} was not ready after {seconds:.0f} s"
                raise ProcessFailed(message, self.name, self.tail())
            time.sleep(0.05)

    def tail(self, lines: int = 15) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])
