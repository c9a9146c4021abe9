"""Sets up the devices inside a network namespace: a few system calls instead of a process of `ip`."""

import contextlib
import ctypes
import fcntl
import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

_CLONE_NEWNET = 0x40000000

# linux/sockios.h, linux/if.h, linux/route.h
_SIOCADDRT = 0x890B
_SIOCSIFFLAGS = 0x8914
_SIOCSIFADDR = 0x8916
_SIOCSIFNETMASK = 0x891C
_IFF_UP = 0x1
_RTF_UP, _RTF_GATEWAY, _RTF_HOST = 0x1, 0x2, 0x4
_ALONE = "255.255.255.255"
_EVERYWHERE = "0.0.0.0"  # noqa: S104 (a destination)

_IFREQ = "16s16s8x"
_RTENTRY = "L16s16s16sHhLPhPLLH"


def configure(netns: Path, device: str, address: str, gateway: str) -> None:
    """Bring up the loopback and a device, whose only neighbour is the gateway. Raises OSError."""
    with socket_in(netns) as control:
        _up(control, "lo")
        for request, value in ((_SIOCSIFADDR, address), (_SIOCSIFNETMASK, _ALONE)):
            fcntl.ioctl(control, request, struct.pack(_IFREQ, device.encode(), _address(value)))
        connect(control, device, gateway)
        _route(control, _EVERYWHERE, _EVERYWHERE, gateway=gateway)


def connect(control: socket.socket, device: str, neighbour: str) -> None:
    """Bring up a device at whose other end is one address; `control` is a socket of its namespace."""
    _up(control, device)
    _route(control, neighbour, _ALONE, device=device)


def _route(control: socket.socket, to: str, mask: str, *, gateway: str = "", device: str = "") -> None:
    flags = _RTF_UP | (_RTF_GATEWAY if gateway else 0) | (_RTF_HOST if mask == _ALONE else 0)
    name = ctypes.create_string_buffer(device.encode())
    where = ctypes.addressof(name) if device else 0
    addresses = _address(to), _address(gateway or _EVERYWHERE), _address(mask)
    fcntl.ioctl(control, _SIOCADDRT, struct.pack(_RTENTRY, 0, *addresses, flags, 0, 0, 0, 0, where, 0, 0, 0))


def _up(control: socket.socket, device: str) -> None:
    fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack(_IFREQ, device.encode(), struct.pack("H", _IFF_UP)))


def _address(text: str) -> bytes:
    return struct.pack("HH4s8x", socket.AF_INET, 0, socket.inet_aton(text))


def socket_in(netns: Path) -> socket.socket:
    """A socket stays in the namespace that its thread was in when it was made. Raises OSError."""
    with inside(netns):
        return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)


@contextlib.contextmanager
def inside(netns: Path) -> Iterator[None]:
    """This thread is in another network namespace meanwhile, and must not await. Raises OSError."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        away = os.open(netns, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _enter(away)
        finally:
            os.close(away)
        try:
            yield
        finally:
            _enter(home)
    finally:
        os.close(home)


def _enter(fd: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(fd, _CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
