"""Values that are no structs: how Go decodes them, and its words when it cannot.

Times, quantities and bytes decode themselves in Go, so their messages stand alone; the others' messages
name the field, whose path is collected while the error unwinds (`Mismatch.inside`).
"""

import binascii
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from localkube.apiserver import quantity

_LIMITS = {"int32": 2**31, "int64": 2**63}


class Mismatch(Exception):
    """A value that Go could not have decoded.

    With `go_type` it is a wrong JSON type, which Go reports with the field's path; without, `found` is
    the whole message of a type that decodes itself (a quantity, a time).
    """

    def __init__(self, found: str, go_type: str = "") -> None:
        super().__init__(found)
        self.found = found
        self.go_type = go_type
        self.struct = ""
        self.path: list[str] = []

    def inside(self, struct: str, name: str) -> None:
        """Note, on the way out, that this happened in the field `name` of `struct`."""
        self.struct = self.struct or struct
        self.path.append(name)

    def __str__(self) -> str:
        if not self.go_type:
            return self.found
        if not self.path:
            return f"json: cannot unmarshal {self.found} into Go value of type {self.go_type}"
        where = ".".join([self.struct, *reversed(self.path)])
        return f"json: cannot unmarshal {self.found} into Go struct field {where} of type {self.go_type}"


def json_type(value: Any) -> str:
    """What Go calls a JSON value of the wrong type."""
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, str):
        return "string"
    return "array" if isinstance(value, list) else "object"


# A decoder returns the canonical value; `seen` gets an entry for each unknown field (a flag, not a path).
Decoder = Callable[[Any, list[str]], Any]


def string(go_type: str) -> Decoder:
    def decode(value: Any, seen: list[str]) -> Any:
        if value.__class__ is str:
            return value
        raise Mismatch(json_type(value), go_type)

    return decode


def integer(go_type: str) -> Decoder:
    limit = _LIMITS[go_type]

    def decode(value: Any, seen: list[str]) -> Any:
        if value.__class__ is int and -limit <= value < limit:
            return value
        if value.__class__ in (int, float):
            raise Mismatch(f"number {value}", go_type)
        raise Mismatch(json_type(value), go_type)

    return decode


_INT32 = integer("int32")


def _boolean(value: Any, seen: list[str]) -> Any:
    if value.__class__ is bool:
        return value
    raise Mismatch(json_type(value), "bool")


def _number(value: Any, seen: list[str]) -> Any:
    if value.__class__ in (int, float):
        return value
    raise Mismatch(json_type(value), "float64")


def _any(value: Any, seen: list[str]) -> Any:
    return value


def _int_or_string(value: Any, seen: list[str]) -> Any:
    if value.__class__ is str:
        return value
    return _INT32(value, seen)


def _quantity(value: Any, seen: list[str]) -> Any:
    try:
        return quantity.parse(value if value.__class__ is str else json.dumps(value)).text
    except ValueError as e:
        raise Mismatch(str(e)) from None


def _bytes(value: Any, seen: list[str]) -> Any:
    if value.__class__ is not str:
        raise Mismatch(json_type(value), "[]uint8")
    try:
        raw = binascii.a2b_base64(value, strict_mode=True)
    except ValueError:
        raw = _lenient_base64(value)
    return binascii.b2a_base64(raw, newline=False).decode()


_ALPHABET = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")


def _lenient_base64(text: str) -> bytes:
    """Go's `base64.StdEncoding`: line breaks may stand anywhere; an error names the byte it stopped at."""
    quantum = 0
    padding = 0
    at = 0
    for at, char in enumerate(text.encode()):
        letter = chr(char)
        if letter in "\r\n":
            continue
        if padding and (letter != "=" or padding == 4 - quantum):
            raise Mismatch(f"illegal base64 data at input byte {at}")
        if letter == "=":
            if quantum < 2:
                raise Mismatch(f"illegal base64 data at input byte {at}")
            padding += 1
        elif letter in _ALPHABET:
            quantum = (quantum + 1) % 4
        else:
            raise Mismatch(f"illegal base64 data at input byte {at}")
    if quantum and padding != 4 - quantum:
        raise Mismatch(
            f"illegal base64 data at input byte {len(text.encode()) - (0 if padding else quantum)}"
        )
    return binascii.a2b_base64(text)


_LAYOUT = (
    ("2006", r"\d{4}"), ("-", "-"), ("01", r"\d\d"), ("-", "-"), ("02", r"\d\d"), ("T", "T"),
    ("15", r"\d\d"), (":", ":"), ("04", r"\d\d"), (":", ":"), ("05", r"\d\d"),
)  # fmt: skip
_ZONE = ("Z07:00", r"Z|[+-]\d\d:\d\d")
_RFC3339 = "2006-01-02T15:04:05Z07:00"
_RFC3339_MICRO = "2006-01-02T15:04:05.000000Z07:00"
_CANONICAL_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


def _parse_time(text: str, micro: bool) -> datetime:
    """Go's `time.Parse` with RFC 3339 layouts, its messages included."""
    layout = _RFC3339_MICRO if micro else _RFC3339
    fraction = (".000000", r"\.\d{6}") if micro else ("", r"([.,]\d+)?")
    rest = text
    parts: list[str] = []
    for element, pattern in (*_LAYOUT, fraction, _ZONE):
        match = re.match(pattern, rest, re.ASCII)
        if match is None:
            shown, wanted = go_quote(rest), go_quote(element)
            raise Mismatch(
                f"parsing time {go_quote(text)} as {go_quote(layout)}: cannot parse {shown} as {wanted}"
            )
        parts.append(match[0])
        rest = rest[match.end() :]
    if rest:
        raise Mismatch(f"parsing time {go_quote(text)}: extra text: {go_quote(rest)}")
    limits = ((2, 1, 12, "month"), (6, 0, 23, "hour"), (8, 0, 59, "minute"), (10, 0, 59, "second"))
    for index, low, high, word in limits:
        if not low <= int(parts[index]) <= high:
            raise Mismatch(f"parsing time {go_quote(text)}: {word} out of range")
    digits = parts[11][1:7].ljust(6, "0") if parts[11] else "000000"
    try:
        stamp = "".join(parts[:11]) + "." + digits + parts[12].replace("Z", "+00:00")
        return datetime.fromisoformat(stamp).astimezone(UTC)
    except (ValueError, OverflowError):
        raise Mismatch(f"parsing time {go_quote(text)}: day out of range") from None


_ESCAPES = {
    '"': '\\"', "\\": "\\\\", "\a": "\\a", "\b": "\\b", "\f": "\\f",
    "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v",
}  # fmt: skip


def go_quote(text: str) -> str:
    """Go's `%q`."""
    if text.isprintable() and '"' not in text and "\\" not in text:
        return f'"{text}"'
    return '"' + "".join(_ESCAPES.get(c) or (c if c.isprintable() else _escape(c)) for c in text) + '"'


def _escape(char: str) -> str:
    code = ord(char)
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _time(value: Any, seen: list[str]) -> Any:
    if value.__class__ is not str:
        raise Mismatch(f"json: cannot unmarshal {json_type(value)} into Go value of type string")
    return _canonical_time(value)


@lru_cache(maxsize=1024)
def _canonical_time(value: str) -> str:
    # Kept, for most times come from the server itself, and every write of an object brings them again.
    parsed = _parse_time(value, micro=False)
    return value if _CANONICAL_TIME.fullmatch(value) else parsed.strftime("%Y-%m-%dT%H:%M:%SZ")


def _microtime(value: Any, seen: list[str]) -> Any:
    if value.__class__ is not str:
        raise Mismatch(f"json: cannot unmarshal {json_type(value)} into Go value of type string")
    return _parse_time(value, micro=True).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


SCALARS: dict[str, Decoder] = {
    "boolean": _boolean,
    "number": _number,
    "any": _any,
    "int-or-string": _int_or_string,
    "quantity": _quantity,
    "bytes": _bytes,
    "time": _time,
    "microtime": _microtime,
}
