"""A network namespace and an address per pod, behind a bridge of this localkube's own.

Everything on the host is named after one number, which is also the subnet and a lock file: `lk3` is the
bridge, `lk3-7` the namespace of the pod with host number 7 and `lk3v7` its cable. Whoever holds the lock of 3
owns all of that; what the lock of a dead process leaves is swept away by the next start, whoever it is.

A namespace with its cable takes some 20 ms to make, so a few are kept ready, and many that are wanted at
once are made at once.
"""

import asyncio
import contextlib
import fcntl
import os
import re
import shutil
import signal
import subprocess
from collections import deque
from collections.abc import Coroutine, Sequence
from ipaddress import IPv4Interface, IPv4Network
from pathlib import Path
from typing import Any

import msgspec
import structlog

from localkube.kubelet import netdevice
from localkube.kubelet.network import Attachment

_RANGE = IPv4Network("10.88.0.0/13")
_PREFIX = 22
"""A subnet's length: 1,021 pods each, 512 localkubes on a host."""

_READY = 4
"""Namespaces kept ready."""
_AT_ONCE = 16
"""Namespaces made by one call of `ip`."""

_LOCKS = Path("/run/localkube")
_NETNS = Path("/run/netns")

log = structlog.get_logger(__name__)


class Unavailable(Exception):
    """This host does not let us make networks; the message says what stood in the way."""


class Bridge:
    """Implements `Network`. Made by `open_bridge`."""

    isolated = True

    def __init__(self, number: int, subnet: IPv4Network, lock: int, ip: str):
        self._number = number
        self._subnet = subnet
        self._lock = lock
        self._ip = ip
        self.host_ip = str(subnet[1])
        self._free: deque[int] = deque(range(2, subnet.num_addresses - 1))
        self._ready: deque[int] = deque()
        self._waiting: deque[asyncio.Future[int]] = deque()
        self._used: dict[str, int] = {}
        self._chores: set[asyncio.Task[None]] = set()
        self._refilling = False
        self._closed = False

    async def attach(self, uid: str) -> Attachment:
        """Raises OSError when the namespace cannot be made."""
        host = self._used.get(uid)
        if host is None:
            host = self._used[uid] = self._ready.popleft() if self._ready else await self._next()
            self.refill()
        return Attachment(str(self._subnet[host]), f"{_NETNS}/{self._name(host)}")

    async def _next(self) -> int:
        """The next that is made."""
        promised: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._waiting.append(promised)
        self.refill()
        try:
            return await promised
        except asyncio.CancelledError:
            if promised.done() and not promised.cancelled() and promised.exception() is None:
                self._ready.append(promised.result())
            raise

    async def detach(self, uid: str) -> None:
        """The namespace is taken away soon: the kernel takes its time, and nobody waits for it."""
        host = self._used.pop(uid, None)
        if host is not None and not self._closed:
            self._chore(self._unmake(host))

    async def close(self) -> None:
        self._closed = True
        if self._chores:
            await asyncio.wait(self._chores)
        await asyncio.to_thread(_sweep, self._number, self._ip)
        os.close(self._lock)

    def refill(self) -> None:
        """Have namespaces made for who waits and ahead of need."""
        if not self._refilling and self._missing() > 0:
            self._refilling = True
            self._chore(self._fill())

    def _missing(self) -> int:
        return _READY + len(self._waiting) - len(self._ready)

    def _chore(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._chores.add(task)
        task.add_done_callback(self._chores.discard)

    async def _fill(self) -> None:
        try:
            while (missing := self._missing()) > 0 and not self._closed:
                for host in await self._make(min(missing, _AT_ONCE)):
                    while self._waiting and self._waiting[0].done():
                        self._waiting.popleft()
                    if self._waiting:
                        self._waiting.popleft().set_result(host)
                    else:
                        self._ready.append(host)
        except OSError as error:
            log.warning("no network namespace could be made", error=str(error))
            while self._waiting:
                promised = self._waiting.popleft()
                if not promised.done():
                    promised.set_exception(OSError(str(error)))
        finally:
            self._refilling = False

    def _name(self, host: int) -> str:
        return f"lk{self._number}-{host}"

    async def _make(self, count: int) -> list[int]:
        hosts = [self._free.popleft() for _ in range(min(count, len(self._free)))]
        if not hosts:
            raise OSError(f"all addresses of {self._subnet} are in use")
        lines = []
        for host in hosts:
            name, cable = self._name(host), f"lk{self._number}v{host}"
            lines += [
                f"netns add {name}",
                f"link add {cable} type veth peer name eth0 netns {name}",
                f"link set {cable} group {_group(self._number)} master lk{self._number} up",
            ]
        try:
            await self._run(lines)
            for host in hosts:
                address = IPv4Interface((self._subnet[host], _PREFIX))
                netdevice.configure(_NETNS / self._name(host), "eth0", address, self.host_ip)
        except BaseException:
            for host in hosts:
                self._chore(self._unmake(host))
            raise
        return hosts

    async def _unmake(self, host: int) -> None:
        with contextlib.suppress(OSError):
            await self._run([f"netns del {self._name(host)}"])
        # to the end of the queue: what still knows the address should find nobody there for long
        self._free.append(host)

    async def _run(self, lines: Sequence[str]) -> None:
        process = await asyncio.create_subprocess_exec(
            self._ip,
            "-batch",
            "-",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        _, error = await process.communicate("\n".join(lines).encode() + b"\n")
        if process.returncode:
            raise OSError(f"ip: {error.decode(errors='replace').strip()}")


async def open_bridge() -> Bridge:
    """Take a free subnet and make its bridge. Raises Unavailable."""
    ip = shutil.which("ip")
    if os.geteuid() != 0:
        raise Unavailable("network namespaces need root")
    if ip is None:
        raise Unavailable("network namespaces need the command ip (iproute2)")
    number, subnet, lock = await asyncio.to_thread(_take, ip)
    bridge = Bridge(number, subnet, lock, ip)
    name = f"lk{number}"
    try:
        await bridge._run(
            [
                f"link add {name} type bridge",
                f"addr add {bridge.host_ip}/{_PREFIX} dev {name}",
                f"link set {name} up",
            ]
        )
        bridge._ready.extend(await bridge._make(1))
    except OSError as error:
        await bridge.close()
        raise Unavailable(str(error)) from None
    bridge.refill()
    return bridge


def _take(ip: str) -> tuple[int, IPv4Network, int]:
    """Lock the first subnet that neither another localkube nor anything else on the host uses.

    All those are swept on the way whose owner is dead.
    """
    try:
        _LOCKS.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise Unavailable(f"cannot keep lock files in {_LOCKS}: {error.strerror}") from None
    taken: tuple[int, IPv4Network, int] | None = None
    known = {int(path.stem) for path in _LOCKS.glob("*.lock") if path.stem.isdigit()}
    for number in sorted(known):
        lock = _locked(number)
        if lock is not None:
            _sweep(number, ip)
            os.close(lock)
    routes = _routes(ip)
    for number, subnet in enumerate(_RANGE.subnets(new_prefix=_PREFIX)):
        if any(subnet.overlaps(route) for route in routes):
            continue
        lock = _locked(number)
        if lock is not None:
            taken = (number, subnet, lock)
            break
    if taken is None:
        raise Unavailable(f"every subnet of {_RANGE} is in use")
    return taken


def _locked(number: int) -> int | None:
    """The descriptor that holds the lock, None when another process has it."""
    fd = os.open(_LOCKS / f"{number}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    return fd


def _routes(ip: str) -> list[IPv4Network]:
    """Where the host's packets go already, but for its default route."""
    found = []
    for route in msgspec.json.decode(_output([ip, "-4", "-j", "route", "show"]) or b"[]"):
        with contextlib.suppress(ValueError):
            found.append(IPv4Network(route["dst"], strict=False))
    return found


def _sweep(number: int, ip: str) -> None:
    """Remove all that bears this number, and kill what still runs there."""
    for path in _NETNS.glob(f"lk{number}-*") if _NETNS.exists() else ():
        if not re.fullmatch(rf"lk{number}-\d+", path.name):
            continue
        for pid in _output([ip, "netns", "pids", path.name]).split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        _output([ip, "netns", "del", path.name])
    if Path(f"/sys/class/net/lk{number}").exists():
        # a deleted namespace takes its cable along later; the names have to be free now
        _output([ip, "link", "del", "group", str(_group(number))])
        _output([ip, "link", "del", f"lk{number}"])


def _group(number: int) -> int:
    """The device group of all cables of a bridge (a number that nobody else should have chosen)."""
    return 0x6C6B0000 + number


def _output(words: Sequence[str]) -> bytes:
    return subprocess.run(words, capture_output=True, check=False).stdout
