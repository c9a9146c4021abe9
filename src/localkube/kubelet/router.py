"""A network namespace and an address per pod, and a router of this localkube's own between them.

The router is a network namespace too. Every pod hangs on it by a cable, and the host by another, so every
packet of a pod is routed there, where its rules (`firewall`) see it and nothing of the host's does: not its
rules, not its settings. A bridge on the host would have been simpler, but which filters see bridged packets,
and whether they know connections, depends on how the kernel was built and on settings of the whole host.

Everything on the host is named after one number, which is also the subnet and a lock file: `lk3` is the
host's end of its cable, `lk3-router` the router, `lk3-7` the namespace of the pod with host number 7 and,
inside the router, `lk3v7` that pod's cable. Whoever holds the lock of 3 owns all of that; what the lock of a
dead process leaves is swept away by the next start, whoever it is.

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
import socket
import subprocess
from collections import deque
from collections.abc import Coroutine, Sequence
from ipaddress import IPv4Network
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

UPLINK = "uplink"
"""The router's end of the cable to the host."""
_SETTINGS = (
    ("net/ipv4/ip_forward", "1"),
    # a pod sends from its own address only
    ("net/ipv4/conf/all/rp_filter", "1"),
)

_LOCKS = Path("/run/localkube")
_NETNS = Path("/run/netns")
_SYSCTL = Path("/proc/sys")

log = structlog.get_logger(__name__)


class Unavailable(Exception):
    """This host does not let us make networks; the message says what stood in the way."""


class Router:
    """Implements `Network`. Made by `open_router`."""

    isolated = True

    def __init__(self, number: int, subnet: IPv4Network, lock: int, ip: str):
        self._number = number
        self._subnet = subnet
        self._lock = lock
        self._ip = ip
        self.host_ip = str(subnet[1])
        self._gateway = str(subnet[2])
        self.namespace = f"{_NETNS}/lk{number}-router"
        self._control: socket.socket | None = None
        self._free: deque[int] = deque(range(3, subnet.num_addresses - 1))
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
        return Attachment(str(self._subnet[host]), f"{_NETNS}/{self._name(host)}", self._cable(host))

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
        if self._control is not None:
            self._control.close()
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

    def _cable(self, host: int) -> str:
        return f"lk{self._number}v{host}"

    async def _open(self) -> None:
        """Make the router and its cable to the host."""
        name, router = f"lk{self._number}", f"lk{self._number}-router"
        await self._run(
            [
                f"netns add {router}",
                f"link add {name} type veth peer name {UPLINK} netns {router}",
                f"addr add {self.host_ip}/32 dev {name}",
                f"link set {name} up",
                f"route add {self._gateway} dev {name}",
                f"route add {self._subnet} via {self._gateway} dev {name}",
            ]
        )
        with netdevice.inside(Path(self.namespace)):
            for setting, value in _SETTINGS:
                (_SYSCTL / setting).write_text(value)
        await self._run(
            [
                "link set dev lo up",
                f"addr add {self._gateway}/32 dev lo",
                f"link set dev {UPLINK} up",
                f"route add {self.host_ip} dev {UPLINK}",
                f"route add default via {self.host_ip} dev {UPLINK}",
                # what goes to an address that no pod has must not come back to the host
                f"route add unreachable {self._subnet}",
            ],
            "-n",
            router,
        )
        self._control = netdevice.socket_in(Path(self.namespace))

    async def _make(self, count: int) -> list[int]:
        hosts = [self._free.popleft() for _ in range(min(count, len(self._free)))]
        if not hosts:
            raise OSError(f"all addresses of {self._subnet} are in use")
        lines = []
        for host in hosts:
            name, cable = self._name(host), self._cable(host)
            lines += [
                f"netns add {name}",
                f"link add {cable} netns lk{self._number}-router type veth peer name eth0 netns {name}",
            ]
        assert self._control is not None
        try:
            await self._run(lines)
            for host in hosts:
                address = str(self._subnet[host])
                netdevice.configure(_NETNS / self._name(host), "eth0", address, self._gateway)
                netdevice.connect(self._control, self._cable(host), address)
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

    async def _run(self, lines: Sequence[str], *options: str) -> None:
        process = await asyncio.create_subprocess_exec(
            self._ip,
            *options,
            "-batch",
            "-",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        _, error = await process.communicate("\n".join(lines).encode() + b"\n")
        if process.returncode:
            raise OSError(f"ip: {error.decode(errors='replace').strip()}")


async def open_router() -> Router:
    """Take a free subnet and make its router. Raises Unavailable."""
    ip = shutil.which("ip")
    if os.geteuid() != 0:
        raise Unavailable("network namespaces need root")
    if ip is None:
        raise Unavailable("network namespaces need the command ip (iproute2)")
    number, subnet, lock = await asyncio.to_thread(_take, ip)
    router = Router(number, subnet, lock, ip)
    try:
        await router._open()
        router._ready.extend(await router._make(1))
    except OSError as error:
        await router.close()
        raise Unavailable(str(error)) from None
    router.refill()
    return router


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
    found = sorted(_NETNS.glob(f"lk{number}-*")) if _NETNS.exists() else []
    found = [path for path in found if re.fullmatch(rf"lk{number}-(\d+|router)", path.name)]
    for path in found:
        for pid in _output([ip, "netns", "pids", path.name]).split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
    for path in found:
        _output([ip, "netns", "del", path.name])
    if Path(f"/sys/class/net/lk{number}").exists():
        # the router takes its cable along later; the name has to be free now
        _output([ip, "link", "del", f"lk{number}"])


def _output(words: Sequence[str]) -> bytes:
    return subprocess.run(words, capture_output=True, check=False).stdout
