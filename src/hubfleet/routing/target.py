"""Where a route leads: the URL that the Hub names, and what it is in a cluster's own terms."""

import ipaddress
import re
from typing import Literal
from urllib.parse import urlsplit

import msgspec

Kind = Literal["service", "address", "name"]

_LABEL = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
_NAME = re.compile(rf"(?=.{{1,253}}$){_LABEL}(\.{_LABEL})*")
_SERVICE = re.compile(_LABEL)
_PORTS = {"http": 80, "https": 443}


class Target(msgspec.Struct, frozen=True):
    """`host` is a Service's name ("service": of `namespace`), an IP address, or another DNS name."""

    scheme: Literal["http", "https"]
    host: str
    port: int
    kind: Kind
    namespace: str = ""

    @property
    def https(self) -> bool:
        return self.scheme == "https"

    @property
    def is_ipv6(self) -> bool:
        return self.kind == "address" and ":" in self.host

    def in_cluster(self, domain: str) -> str:
        """A Service's full name below the cluster's `domain`."""
        return f"{self.host}.{self.namespace}.svc.{domain}"


def parse(url: str, *, namespace: str, domain: str = "cluster.local") -> Target:
    """The target of a URL; ValueError with words for people.

    A name without dots is a Service of `namespace`, as it would be for a pod there; `name.namespace.svc`,
    with or without the cluster's `domain`, one of that namespace. Any other name is of the world outside.
    """
    if not isinstance(url, str) or any(character <= " " or character == "\x7f" for character in url):
        raise ValueError(f"{shortened(url)} is not a URL")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as e:
        raise ValueError(f"{shortened(url)} is not a URL: {e}") from None
    scheme = parts.scheme.lower()
    if scheme not in ("http", "https"):
        raise ValueError(f"{shortened(url)} does not begin with http:// or https://")
    if parts.username is not None or parts.password is not None:
        raise ValueError("the URL has a user's name in it, which no gateway sends on")
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ValueError(f"{shortened(url)} has more than a host and a port; requests keep their own path")
    host = (parts.hostname or "").rstrip(".")
    port = _PORTS[scheme] if port is None else port
    if not 0 < port < 65536:
        raise ValueError(f"{shortened(url)} has no port that a server can listen on")
    kind, name, space = _kind(host, namespace, domain, url)
    return Target("https" if scheme == "https" else "http", name, port, kind, space)


def _kind(host: str, namespace: str, domain: str, url: str) -> tuple[Kind, str, str]:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        pass
    else:
        return "address", _reachable(address), ""
    if not _NAME.fullmatch(host) or host.rpartition(".")[2].isdigit():
        raise ValueError(f"{shortened(url)} names no host")
    if host == "localhost":
        raise ValueError("localhost is another machine for the gateway than for the Hub")
    labels = host.removesuffix(f".{domain}").split(".")
    if labels == [host]:
        return "service", _service(host), namespace
    if len(labels) == 3 and labels[2] == "svc":
        return "service", _service(labels[0]), labels[1]
    return "name", host, ""


def _service(name: str) -> str:
    if not _SERVICE.fullmatch(name):
        raise ValueError(f"{name!r} is not the name of a Service")
    return name


def _reachable(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    # The API server refuses these as endpoints, too: they are the gateway's own machine, or nobody's.
    mapped = getattr(address, "ipv4_mapped", None) or address
    if mapped.is_loopback or mapped.is_link_local or mapped.is_multicast or mapped.is_unspecified:
        raise ValueError(f"{address} is not an address that a gateway could reach")
    if getattr(address, "scope_id", None):
        raise ValueError(f"{address} is an address of one machine's network")
    return str(address)


def shortened(value: object) -> str:
    """A value as messages quote it."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:76]}...'"
