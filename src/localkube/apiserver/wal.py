"""The store on disk: a write-ahead log of every change, and now and then a snapshot that replaces it.

`<directory>/wal-<revision>` holds the changes after that revision, one line each: a CRC-32 and the JSON array
`[revision, resource, key, object or null]`. `<directory>/snapshot-<revision>` holds all objects at that
revision, in lines of the same form behind a header; it appears by an atomic rename, and what it replaces is
deleted after that. A crash can at worst cut the last lines of the last log short. Those were never
acknowledged (`durable` had not returned), so they are dropped at the next start.

Writes are grouped: while one fsync runs in a thread, the next changes gather and share the one after it.
"""

import asyncio
import contextlib
import fcntl
import os
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import structlog

from localkube.apiserver.store import Objects, Store, Version, Wakeup

log = structlog.get_logger(__name__)

COMPACT_BYTES = 64 * 1024 * 1024
"""Size of a log that makes a snapshot worth its while (a snapshot of 10,000 pods is about as big)."""


class Corrupt(Exception):
    """The files cannot be trusted: something other than a crash damaged them."""


class Wal:
    """The journal of a store. Use: `open` (which fills the store), `run` as a task, `close`."""

    def __init__(self, directory: Path, store: Store, *, compact_bytes: int = COMPACT_BYTES):
        self._directory = directory
        self._store = store
        self._compact_bytes = compact_bytes
        self._buffer: list[bytes] = []
        self._appended = store.revision
        self._synced = store.revision
        self._wakeup = Wakeup()
        self._progress: asyncio.Future[None] | None = None
        self._failure: BaseException | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="localkube-wal")
        self._file: BinaryIO | None = None
        self._size = 0
        self._lock: BinaryIO | None = None
        self._closing = False

    def open(self) -> None:
        """Read what is there into the (empty) store and append to it from now on.

        Raises Corrupt, and BlockingIOError when another process has the directory open.
        """
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = (self._directory / "lock").open("wb")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for leftover in self._directory.glob("*.tmp"):
                leftover.unlink()
            load(self._directory, self._store)
        except BaseException:
            self._lock.close()
            raise
        logs = sorted(self._directory.glob("wal-*"), key=_revision)
        path = logs[-1] if logs else self._directory / f"wal-{self._store.revision}"
        self._file = _append_to(path)
        self._size = path.stat().st_size
        _sync_directory(self._directory)
        self._appended = self._synced = self._store.revision
        self._store.journal = self

    def append(self, resource: str, version: Version, deleted: bool) -> None:
        """Remember one change; the store calls this inside the write."""
        self._buffer.append(_line(resource, version, deleted))
        self._appended = version.revision
        self._wakeup.set()

    async def durable(self, revision: int) -> None:
        """Wait until everything up to `revision` is on disk. Raises what kept it from getting there."""
        while self._synced < revision:
            if self._failure is not None:
                raise self._failure
            if self._progress is None:
                self._progress = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._progress)

    async def run(self) -> None:
        """Write and sync until `close`. Raises OSError when the disk fails, and nothing is durable after."""
        loop = asyncio.get_running_loop()
        snapshot: asyncio.Future[None] | None = None
        try:
            while True:
                if not self._buffer:
                    if self._closing:
                        break
                    await self._wakeup.wait()
                    continue
                # no await between these: the snapshot is exactly what the log holds when it is rotated
                data, revision = b"".join(self._buffer), self._appended
                self._buffer = []
                rotate = self._size + len(data) > self._compact_bytes and (
                    snapshot is None or snapshot.done()
                )
                objects = self._store.snapshot() if rotate else None
                await loop.run_in_executor(self._thread, self._commit, data, revision if rotate else None)
                self._advance(revision)
                if objects is not None:
                    if snapshot is not None:
                        snapshot.result()
                    snapshot = asyncio.ensure_future(asyncio.to_thread(self._compact, objects, revision))
        except BaseException as error:
            self._failure = error
            self._advance(self._synced)
            raise
        finally:
            if snapshot is not None:
                await asyncio.shield(snapshot)

    async def close(self, running: "asyncio.Task[None]") -> None:
        """Write what is left and let go of the directory; `running` is the task of `run`."""
        self._closing = True
        self._wakeup.set()
        with contextlib.suppress(OSError):
            await running
        self._thread.shutdown()
        for file in (self._file, self._lock):
            if file is not None:
                file.close()

    def _advance(self, revision: int) -> None:
        self._synced = revision
        progress, self._progress = self._progress, None
        if progress is not None and not progress.done():
            progress.set_result(None)

    def _commit(self, data: bytes, rotate: int | None) -> None:
        """In the thread: append, sync and, if asked to, start the log after revision `rotate`."""
        assert self._file is not None
        self._file.write(data)
        self._file.flush()
        os.fdatasync(self._file.fileno())
        self._size += len(data)
        if rotate is not None:
            self._file.close()
            self._file = _append_to(self._directory / f"wal-{rotate}")
            self._size = 0
            _sync_directory(self._directory)

    def _compact(self, objects: Objects, revision: int) -> None:
        """In another thread: write the snapshot, then delete what it replaces."""
        path = self._directory / f"snapshot-{revision}"
        temporary = path.with_suffix(".tmp")
        with _create(temporary) as file:
            file.write(_checked(msgspec.json.encode([revision, len(objects)])))
            file.writelines(_line(resource, version, False) for resource, version in objects)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
        _sync_directory(self._directory)
        for old in [*self._directory.glob("snapshot-*"), *self._directory.glob("wal-*")]:
            if _revision(old) < revision:
                old.unlink()


def load(directory: Path, store: Store) -> None:
    """Fill an empty store from the newest snapshot and the logs after it. Raises Corrupt.

    The changes in the logs become the store's history, so watches resume across a restart.
    """
    snapshots = sorted(directory.glob("snapshot-*"), key=_revision)
    start = 0
    if snapshots:
        records = [record for record, _ in _records(snapshots[-1])]
        if not records or len(records) - 1 != records[0][1]:
            raise Corrupt(f"{snapshots[-1]} is incomplete")
        start = records[0][0]
        for revision, resource, key, obj in records[1:]:
            store.load(resource, key, obj, revision)
        store.begin(start)
    logs = sorted((p for p in directory.glob("wal-*") if _revision(p) >= start), key=_revision)
    if logs and not snapshots:
        store.begin(_revision(logs[0]))
    for path in logs:
        end = 0
        for (revision, resource, key, obj), end in _records(path):  # noqa: B007 (the last one is used)
            if revision != store.revision + 1:
                raise Corrupt(f"{path} goes from revision {store.revision} to {revision}")
            store.restore(resource, key, obj, revision)
        if end < path.stat().st_size:
            if path is not logs[-1]:
                raise Corrupt(f"{path} is damaged at byte {end}, and later logs build on it")
            dropped = path.stat().st_size - end
            log.warning("dropped what was not written to its end", file=str(path), bytes=dropped)
            os.truncate(path, end)


def _records(path: Path) -> Iterator[tuple[Any, int]]:
    """The records of a file up to the first that is not whole, each with the offset behind it."""
    end = 0
    with path.open("rb") as file:
        for line in file:
            end += len(line)
            body = line[9:-1]
            if line[-1:] != b"\n" or line[:8] != b"%08x" % zlib.crc32(body):
                return
            yield msgspec.json.decode(body), end


def _checked(body: bytes) -> bytes:
    return b"%08x %s\n" % (zlib.crc32(body), body)


def _line(resource: str, version: Version, deleted: bool) -> bytes:
    return _checked(
        b'[%d,"%s",%s,%s]'
        % (
            version.revision,
            resource.encode(),
            msgspec.json.encode(version.key),
            b"null" if deleted else version.encoded,
        )
    )


def _revision(path: Path) -> int:
    return int(path.name.partition("-")[2])


def _create(path: Path) -> BinaryIO:
    # 0600: there are Secrets in it
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb")


def _append_to(path: Path) -> BinaryIO:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab")


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
