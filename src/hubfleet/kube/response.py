"""Answers as values: what the bytes of an API server mean, decided without a connection."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Generic, TypeVar

import msgspec

from hubfleet.kube import errors

T = TypeVar("T")


class ListMeta(msgspec.Struct, frozen=True, rename="camel"):
    """The metadata of a list; `continue_` is the token of its next page, "" on the last."""

    resource_version: str = ""
    continue_: str = msgspec.field(name="continue", default="")
    remaining_item_count: int | None = None


class Page(msgspec.Struct, Generic[T], frozen=True):
    """One page of a list. Its items carry neither kind nor apiVersion, as Kubernetes sends them."""

    metadata: ListMeta = ListMeta()
    items: tuple[T, ...] = ()


class WatchEvent(msgspec.Struct, frozen=True):
    """One line of a watch: type is ADDED, MODIFIED, DELETED, BOOKMARK or ERROR; the object stays encoded."""

    type: str
    object: msgspec.Raw


_watch_event = msgspec.json.Decoder(WatchEvent)


def interpret(cluster: str, status: int, headers: Mapping[str, str], body: bytes) -> bytes:
    """The body of a success; raises the ApiError of anything else."""
    if 200 <= status < 300:
        return body
    raise errors.from_response(cluster, status, body, retry_after=retry_after(headers))


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds of the Retry-After header, if the server sent a number (API servers send no dates)."""
    value = headers.get("Retry-After", "")
    return float(value) if value.isascii() and value.isdecimal() else None


@lru_cache(maxsize=256)
def _decoder(type: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(type)


def decode(cluster: str, body: bytes, type: type[T]) -> T:
    """`body` as `type`; raises ClusterUnreachable where it is not what a Kubernetes API would answer."""
    if type is msgspec.Raw:
        return msgspec.Raw(body)  # type: ignore[return-value]
    try:
        return _decoder(type).decode(body)  # type: ignore[no-any-return, arg-type]
    except (msgspec.DecodeError, UnicodeDecodeError) as e:
        start = body[:120].decode("utf-8", "replace")
        raise errors.ClusterUnreachable(
            cluster, f"the answer is not what a Kubernetes API sends ({e}): {start!r}", sent=True
        ) from e


def decode_event(cluster: str, line: bytes) -> WatchEvent:
    """One line of a watch; raises the ApiError of an ERROR event (Gone: list again)."""
    try:
        event = _watch_event.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError) as e:
        raise errors.ClusterUnreachable(cluster, f"the watch sent garbage: {line[:120]!r}") from e
    if event.type == "ERROR":
        status = decode(cluster, bytes(event.object), dict[str, Any])
        raise errors.from_status(cluster, status)
    return event


class Lines:
    """Splits a stream into lines, however it was cut into chunks."""

    __slots__ = ("_parts",)

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def feed(self, chunk: bytes) -> list[bytes]:
        """The lines that `chunk` completes, without their newlines; empty ones are dropped."""
        head, newline, rest = chunk.partition(b"\n")
        if not newline:
            self._parts.append(chunk)
            return []
        self._parts.append(head)
        lines = [b"".join(self._parts)]
        *more, last = rest.split(b"\n")
        self._parts = [last] if last else []
        lines += more
        return [line for line in lines if line]
