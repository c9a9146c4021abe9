"""A PID namespace around all containers, which the kernel ends with localkube, however that ends.

bubblewrap's `--die-with-parent` alone does not reach a container that has changed its uid: the signal comes
from a process that has no right to send it. So everything runs in namespaces below one whose first process
asks to be killed together with localkube: when that goes, the kernel kills all that is inside.
"""

import asyncio
import contextlib
import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

_START_SECONDS = 10.0
_CLONE_NEWPID = 0x20000000


class Anchor:
    """`first` is the first process of the namespace. Made by `drop_anchor`."""

    def __init__(self, process: "subprocess.Popen[bytes]", first: int):
        self._process = process
        self.first = first

    async def close(self) -> None:
        """Kill all that is still inside."""
        self._process.kill()
        await asyncio.to_thread(self._process.wait)


@contextlib.contextmanager
def born_beside(pid: int | None) -> Iterator[None]:
    """Children started meanwhile are born in the PID namespace of process `pid` (None: in our own).

    Only this thread is concerned, and it must not start threads before it is back. Raises OSError.
    """
    if pid is None:
        yield
        return
    home = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    try:
        away = os.open(f"/proc/{pid}/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
        try:
            _set_namespace(away)
        finally:
            os.close(away)
        try:
            yield
        finally:
            _set_namespace(home)
    finally:
        os.close(home)


def _set_namespace(fd: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(fd, _CLONE_NEWPID) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


async def drop_anchor() -> Anchor | None:
    """Make the namespace; None where it is neither possible nor needed: without root, uids do not change.

    It comes with a mount namespace in which /proc is that of the PID namespace: bubblewrap has to be started
    in both, for it looks its child up in /proc.
    """
    if os.geteuid() != 0:
        return None
    setpriv, unshare, sleep = (shutil.which(name) or name for name in ("setpriv", "unshare", "sleep"))
    spaces = ["--pid", "--fork", "--kill-child", "--mount", "--propagation", "slave", "--mount-proc"]
    process = subprocess.Popen(  # noqa: ASYNC220 (returns after exec)
        [setpriv, "--pdeathsig", "KILL", unshare, *spaces, sleep, "infinity"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        env={},
        cwd="/",
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(_START_SECONDS):
            # it sleeps when all is mounted
            while (first := child_of(process.pid)) is None or _name(first) != "sleep":
                if process.poll() is not None:
                    raise OSError("cannot make a PID namespace for pods: unshare failed")
                await asyncio.sleep(0.001)
        return Anchor(process, first)
    except BaseException:
        process.kill()
        process.wait()
        raise


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def child_of(pid: int) -> int | None:
    """The first child of a process, by the host's count."""
    try:
        words = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return None
    return int(words[0]) if words else None
