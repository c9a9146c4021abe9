"""A container's process: bubblewrap around the launcher around the command, watched by the event loop.

Every wait is on a file descriptor (pidfd, pipes), so thousands of containers cost no thread and no polling.
Death needs no bookkeeping: a container is killed when localkube dies, however it dies (see `anchor`).
"""

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from localkube.kubelet import launcher
from localkube.kubelet.anchor import born_beside, child_of
from localkube.kubelet.sandbox import PATH

Output = Callable[[Literal["stdout", "stderr"], bytes], None]
"""Takes what a process wrote; an empty piece ends the stream."""

MARKER = "LOCALKUBE_PODS"

START_ERROR = 128
"""Exit code of a container whose command could not be executed (containerd's)."""

_CHUNK = 64 * 1024
_PREFIX = (
    "failed to create containerd task: failed to create shim task: OCI runtime create failed: "
    "runc create failed: unable to start container process: "
)
_SOURCE = Path(launcher.__file__).read_text()
_LAST_WORDS = 4096


class StartFailed(Exception):
    """The command could not be started; the message is worded as containerd's."""


class Command(msgspec.Struct, frozen=True):
    """What to start: `wrapper` is the argument list up to (not including) the launcher's interpreter."""

    wrapper: Sequence[str]
    python: str
    launch: bytes
    """What `launcher.encode` made."""
    marker: str = ""
    """Set as `MARKER` in bubblewrap's own environment, to find what a crash may have left."""
    beside: int | None = None
    """A process in whose PID namespace to start; None is our own."""
    forks: bool = False
    """Whether `wrapper` forks, so that its first process keeps our descriptors open."""
    arguments: Sequence[str] = ()
    """NUL-separated for bubblewrap's `--args`: so that neither paths nor values show in the host's `ps`."""


class Process:
    """A running (or finished) process. Made by `start`."""

    def __init__(self, popen: subprocess.Popen[bytes]):
        self._popen = popen
        self._pidfd = os.pidfd_open(popen.pid)
        self._target: int | None = None
        self.pid = 0
        """Of the container's first process, as the host counts."""
        self._loop = asyncio.get_running_loop()
        self._exited: asyncio.Future[int] = self._loop.create_future()
        self._streams: dict[int, asyncio.Future[None]] = {}
        self._loop.add_reader(self._pidfd, self._reap)

    def _reap(self) -> None:
        code = self._popen.poll()
        if code is None:
            return
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        if self._target is not None:
            os.close(self._target)
            self._target = None
        if not self._exited.done():
            self._exited.set_result(128 - code if code < 0 else code)

    def _pipe(self, fd: int, name: Literal["stdout", "stderr"], output: Output) -> None:
        os.set_blocking(fd, False)
        done = self._loop.create_future()

        def readable() -> None:
            try:
                data = os.read(fd, _CHUNK)
            except BlockingIOError:
                return
            if not data:
                self._shut(fd)
            output(name, data)

        self._streams[fd] = done
        self._loop.add_reader(fd, readable)

    def _shut(self, fd: int) -> None:
        self._loop.remove_reader(fd)
        os.close(fd)
        self._streams.pop(fd).set_result(None)

    def target(self, pid: int | None) -> None:
        """Learn who gets the signals."""
        if pid is None or self._exited.done():
            return
        with contextlib.suppress(ProcessLookupError):
            self._target = os.pidfd_open(pid)
            self.pid = pid

    def kill(self, number: int) -> None:
        """Send a signal to the container's first process; nothing happens when it has gone."""
        if self._exited.done():
            return
        with contextlib.suppress(ProcessLookupError):
            if self._target is not None:
                signal.pidfd_send_signal(self._target, number)
            elif number == signal.SIGKILL:
                # takes the first process with it: it asked to be killed with its parent
                signal.pidfd_send_signal(self._pidfd, number)

    @property
    def alive(self) -> bool:
        return not self._exited.done()

    async def wait(self) -> int:
        """The exit code, 128+n for signal n, once all that the process wrote has been read."""
        code = await asyncio.shield(self._exited)
        await asyncio.gather(*(asyncio.shield(done) for done in self._streams.values()))
        return code

    async def abandon(self) -> None:
        """End the process and read no more, even where something it started still could write."""
        self.kill(signal.SIGKILL)
        for fd in list(self._streams):
            self._shut(fd)
        await asyncio.shield(self._exited)


async def start(command: Command, output: Output) -> Process:
    """Start a command; returns when it has been executed. Raises StartFailed."""
    fds: list[int] = []
    report, report_end = os.pipe()
    info, info_end = os.pipe()
    launch = _memory(command.launch)
    fds += [report_end, launch, info_end]
    words = list(command.wrapper)
    if command.arguments:
        arguments = _memory(b"".join(word.encode() + b"\0" for word in command.arguments))
        fds.append(arguments)
        words += ["--info-fd", str(info_end), "--args", str(arguments), "--"]
    words += [command.python, "-I", "-S", "-c", _SOURCE, str(launch), str(report_end)]
    last_words = bytearray()
    started = False

    def tee(stream: Literal["stdout", "stderr"], data: bytes) -> None:
        if started:
            output(stream, data)
        elif len(last_words) < _LAST_WORDS:
            last_words.extend(data)

    try:
        with born_beside(command.beside):
            popen = subprocess.Popen(  # noqa: ASYNC220 (vfork and exec take a millisecond; waiting is below)
                words,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={"PATH": PATH, MARKER: command.marker},
                cwd="/",
                pass_fds=fds,
                start_new_session=True,
            )
    except OSError as error:
        for fd in (report, info):
            os.close(fd)
        raise StartFailed(f"{_PREFIX}{error}") from error
    finally:
        for fd in fds:
            os.close(fd)
    assert popen.stdout is not None
    assert popen.stderr is not None
    process = Process(popen)
    try:
        said = await _drain(report, b"+" if command.forks else b"")
        if command.arguments:
            process.target(_first(popen.pid, command.beside, await _drain(info)))
        else:
            os.close(info)
            process.target(popen.pid)
    except BaseException:
        popen.stdout.close()
        popen.stderr.close()
        await process.abandon()
        raise
    started = said == b"+"
    process._pipe(os.dup(popen.stdout.fileno()), "stdout", tee)
    process._pipe(os.dup(popen.stderr.fileno()), "stderr", tee)
    popen.stdout.close()
    popen.stderr.close()
    if started:
        return process
    await process.wait()
    message = said.removeprefix(b"+") or bytes(last_words).strip() or b"the sandbox could not be set up"
    raise StartFailed(f"{_PREFIX}error during container init: {message.decode(errors='replace')}")


def _memory(data: bytes) -> int:
    """A descriptor to read `data` from, however long it is."""
    fd = os.memfd_create("localkube", os.MFD_CLOEXEC)
    with open(fd, "wb", closefd=False) as file:
        file.write(data)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def _first(bwrap: int, beside: int | None, info: bytes) -> int | None:
    """The container's first process, as the host counts; None when it has ended already."""
    if beside is not None:
        # what bubblewrap says is how they count in there
        return child_of(bwrap)
    document: dict[str, Any] = msgspec.json.decode(info) if info else {}
    return document.get("child-pid")


async def _drain(fd: int, end: bytes = b"") -> bytes:
    """All that is written to a pipe until its last writer has closed it, or `end` came; closes it."""
    loop = asyncio.get_running_loop()
    os.set_blocking(fd, False)
    done: asyncio.Future[bytes] = loop.create_future()
    data = bytearray()

    def readable() -> None:
        try:
            piece = os.read(fd, _CHUNK)
        except BlockingIOError:
            return
        data.extend(piece)
        if (not piece or (end and piece.endswith(end))) and not done.done():
            loop.remove_reader(fd)
            done.set_result(bytes(data))

    loop.add_reader(fd, readable)
    try:
        return await done
    finally:
        loop.remove_reader(fd)
        os.close(fd)
