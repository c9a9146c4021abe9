"""Sets up the devices inside a network namespace: a few system calls instead of a process of `ip`."""

import contextlib
import ctypes
import fcntl
import os
import socket
import struct
from collections.abc import Iterator
from ipaddress import IPv4Interface
from pathlib import Path

_CLONE_NEWNET = 0x40000000

# linux/sockios.h, linux/if.h, linux/route.h
_SIOCADDRT = 0x890B
_SIOCSIFFLAGS = 0x8914
_SIOCSIFADDR = 0x8916
_SIOCSIFNETMASK = 0x891C
_IFF_UP = 0x1
_RTF_UP, _RTF_GATEWAY = 0x1, 0x2

_IFREQ = "16s16s8x"
_RTENTRY = "L16s16s16sHhLPhPLLH"


def configure(netns: Path, device: str, address: IPv4Interface, gateway: str) -> None:
    """Bring up the loopback and a device with its address and the default route. Raises OSError."""
    with _socket_in(netns) as control:
        _up(control, "lo")
        for request, value in ((_SIOCSIFADDR, str(address.ip)), (_SIOCSIFNETMASK, str(address.netmask))):
            fcntl.ioctl(control, request, struct.pack(_IFREQ, device.encode(), _address(value)))
        _up(control, device)
        everywhere = _address("0.0.0.0")  # noqa: S104 (a destination)
        route = (0, everywhere, _address(gateway), everywhere, _RTF_UP | _RTF_GATEWAY, 0, 0, 0, 0, 0, 0, 0, 0)
        fcntl.ioctl(control, _SIOCADDRT, struct.pack(_RTENTRY, *route))


def _up(control: socket.socket, device: str) -> None:
    fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack(_IFREQ, device.encode(), struct.pack("H", _IFF_UP)))


def _address(text: str) -> bytes:
    return struct.pack("HH4s8x", socket.AF_INET, 0, socket.inet_aton(text))


@contextlib.contextmanager
def _socket_in(netns: Path) -> Iterator[socket.socket]:
    """A socket stays in the namespace that its thread was in when it was made."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        away = os.open(netns, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _enter(away)
        finally:
            os.close(away)
        try:
            control = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        finally:
            _enter(home)
    finally:
        os.close(home)
    with control:
        yield control


def _enter(fd: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(fd, _CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
