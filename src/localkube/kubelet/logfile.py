"""A container's log on disk, and its readers, any number of whom may follow it.

There is one writer, which is also what wakes the followers, so nobody polls. Followers that stand at the same
place (in practice all) share the rendered bytes of what comes next: 500 of them cost one parse.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Literal, NamedTuple

from localkube.kubelet.logline import Lines, render, stamp

_CHUNK = 64 * 1024
_TAIL_BLOCK = 64 * 1024
_RENDERED = 16
"""Renderings kept for followers at the same place."""


class Selection(NamedTuple):
    """What a reader wants: `tail` lines (None: all), from the stamp `since` on, at most `limit` bytes."""

    tail: int | None = None
    since: bytes = b""
    timestamps: bool = False
    limit: int | None = None


class LogFile:
    """One run of one container. `closed` says that nothing will be added."""

    def __init__(self, path: Path, *, closed: bool = False):
        self.path = path
        self.closed = closed
        flags = os.O_RDONLY if closed else os.O_RDWR | os.O_CREAT | os.O_APPEND
        self._fd = os.open(path, flags | os.O_CLOEXEC, 0o600)
        self.size = os.fstat(self._fd).st_size
        self._lines = {"stdout": Lines("stdout"), "stderr": Lines("stderr")}
        self._changed: asyncio.Future[None] | None = None
        self._rendered: dict[tuple[int, bytes, bool], tuple[bytes, int]] = {}

    def __del__(self) -> None:
        os.close(self._fd)

    def write(self, stream: Literal["stdout", "stderr"], data: bytes) -> None:
        """Add what a container wrote; an empty piece ends the stream."""
        lines = self._lines[stream].feed(data, stamp(time.time_ns()))
        if lines:
            os.write(self._fd, lines)
            self.size += len(lines)
            self._rendered.clear()
            self._wake()

    def close(self) -> None:
        """Tell followers that this was all."""
        self.closed = True
        self._wake()

    def _wake(self) -> None:
        if self._changed is not None:
            self._changed.set_result(None)
            self._changed = None

    async def _change(self) -> None:
        if self._changed is None:
            self._changed = asyncio.get_running_loop().create_future()
        # shielded: one follower that leaves must not take the future from the others
        await asyncio.shield(self._changed)

    def last(self, limit: int, lines: int) -> bytes:
        """At most the last `lines` lines and `limit` bytes, as a client reads them."""
        start = self._tail(lines)
        return render(os.pread(self._fd, self.size - start, start), b"", False)[-limit:]

    async def read(self, selection: Selection, follow: bool) -> AsyncIterator[bytes]:
        """The selected lines; with `follow` until the container has ended."""
        left = selection.limit
        offset = 0 if selection.tail is None else self._tail(selection.tail)
        since = selection.since
        while left is None or left > 0:
            if offset >= self.size:
                if not follow or self.closed:
                    return
                await self._change()
                continue
            data, offset = self._next(offset, since, selection.timestamps)
            if data:
                # lines are in order: what follows the first selected one needs no comparison
                since = b""
                if left is not None:
                    data = data[:left]
                    left -= len(data)
                yield data
            await asyncio.sleep(0)

    def _next(self, offset: int, since: bytes, timestamps: bool) -> tuple[bytes, int]:
        """The rendering of the lines from `offset` on, a chunk at most, and where they end."""
        key = (offset, since, timestamps)
        found = self._rendered.get(key)
        if found is None:
            length = _CHUNK
            while True:
                raw = os.pread(self._fd, min(length, self.size - offset), offset)
                end = raw.rfind(b"\n") + 1
                if end or len(raw) < length:
                    break
                length *= 2
            raw = raw[:end] if end else raw
            found = (render(raw, since, timestamps), offset + len(raw))
            if len(self._rendered) >= _RENDERED:
                self._rendered.clear()
            self._rendered[key] = found
        return found

    def _tail(self, lines: int) -> int:
        """Where the last `lines` lines begin."""
        if lines <= 0:
            return self.size
        position = self.size
        seen = 0
        while position > 0:
            begin = max(0, position - _TAIL_BLOCK)
            block = os.pread(self._fd, position - begin, begin)
            at = len(block)
            while (at := block.rfind(b"\n", 0, at)) >= 0:
                if begin + at + 1 != self.size:
                    seen += 1
                    if seen == lines:
                        return begin + at + 1
            position = begin
        return 0
