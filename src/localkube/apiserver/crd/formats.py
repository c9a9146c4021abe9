"""The string formats that the API checks in custom resources; others mean nothing to it."""

import binascii
import ipaddress
import re
from collections.abc import Callable
from datetime import date, datetime
from urllib.parse import urlsplit

from localkube.apiserver.validation import names

_DURATION = re.compile(
    r"[+-]?(\d+(\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)((\d+(\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h))*|[+-]?0"
    r"|\d+\s*(ns|nano|us|µs|micro|ms|milli|s|sec|m|min|h|hr|hour|d|day|w|wk|week)s?",
    re.IGNORECASE,
)
_HEX = "[0-9a-fA-F]"


def _matches(pattern: str) -> Callable[[str], bool]:
    compiled = re.compile(pattern)
    return lambda text: compiled.fullmatch(text) is not None


def _parses(parse: Callable[[str], object]) -> Callable[[str], bool]:
    def check(text: str) -> bool:
        try:
            parse(text)
        except ValueError:
            return False
        return True

    return check


def _date_time(text: str) -> object:
    if re.fullmatch(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", text) is None:
        raise ValueError(text)
    return datetime.fromisoformat(text.upper().replace(" ", "T"))


def _date(text: str) -> object:
    if re.fullmatch(r"\d{4}-\d\d-\d\d", text) is None:
        raise ValueError(text)
    return date.fromisoformat(text)


def _cidr(text: str) -> object:
    if "/" not in text:
        raise ValueError(text)
    return ipaddress.ip_network(text, strict=False)


def _uri(text: str) -> bool:
    if not text or re.search(r"[\x00-\x20\x7f]", text):
        return False
    parts = urlsplit(text)
    # as Go's ParseRequestURI: absolute, or a path
    return bool(parts.scheme) or text.startswith("/")


def _uuid(version: str) -> Callable[[str], bool]:
    variant = f"[89abAB]{_HEX}{{3}}" if version in "45" else f"{_HEX}{{4}}"
    return _matches(f"{_HEX}{{8}}-?{_HEX}{{4}}-?{version}{_HEX}{{3}}-?{variant}-?{_HEX}{{12}}")


_ISBN10 = _matches(r"(\d[- ]?){9}[\dXx]")
_ISBN13 = _matches(r"(\d[- ]?){13}")

FORMATS: dict[str, Callable[[str], bool]] = {
    "bsonobjectid": _matches(f"{_HEX}{{24}}"),
    "byte": _parses(lambda text: binascii.a2b_base64(text, strict_mode=True)),
    "cidr": _parses(_cidr),
    "creditcard": _matches(r"(\d[- ]?){13,19}"),
    "date": _parses(_date),
    "date-time": _parses(_date_time),
    "datetime": _parses(_date_time),
    "duration": lambda text: _DURATION.fullmatch(text) is not None,
    "email": _matches(r"[^@\s]+@[^@\s]+"),
    "hexcolor": _matches(f"#?({_HEX}{{3}}|{_HEX}{{6}})"),
    "hostname": _matches(
        r"(?=.{1,255}\Z)[A-Za-z0-9]([A-Za-z0-9-]{0,62}[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]{0,62}[A-Za-z0-9])?)*"
    ),
    "ipv4": _parses(ipaddress.IPv4Address),
    "ipv6": _parses(ipaddress.IPv6Address),
    "isbn": lambda text: _ISBN10(text) or _ISBN13(text),
    "isbn10": _ISBN10,
    "isbn13": _ISBN13,
    "k8s-long-name": lambda text: not names.dns_subdomain(text),
    "k8s-short-name": lambda text: not names.dns_label(text),
    "mac": _matches(f"({_HEX}{{2}}[:-]){{5}}{_HEX}{{2}}"),
    "password": lambda text: True,
    "rgbcolor": _matches(r"rgb\(\s*\d{1,3}\s*,\s*\d{1,3}\s*,\s*\d{1,3}\s*\)"),
    "ssn": _matches(r"\d{3}[- ]?\d{2}[- ]?\d{4}"),
    "uri": _uri,
    "uuid": _matches(f"{_HEX}{{8}}-?{_HEX}{{4}}-?{_HEX}{{4}}-?{_HEX}{{4}}-?{_HEX}{{12}}"),
    "uuid3": _uuid("3"),
    "uuid4": _uuid("4"),
    "uuid5": _uuid("5"),
}
