"""The folder that a demo works in: gone with it, and with the next demo where it was killed.

A folder is in use as long as somebody holds the lock in it: the demo, and each of its servers, which end a
moment after a demo that was killed. The kernel lets go of the lock with the last of them, however that ends.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

PREFIX = "hubfleet-demo-"
_LOCK = "in-use"


class Folder(msgspec.Struct, frozen=True):
    """`lock` is the open file that says that it is in use; pass it on to whoever works in the folder."""

    path: Path
    lock: int


@contextmanager
def folder() -> Iterator[Folder]:
    """A new folder, removed at the end; those of demos that are dead are removed first."""
    for left in leftovers():
        shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=PREFIX) as path:
        lock = _claim(Path(path))
        try:
            yield Folder(Path(path), lock)
        finally:
            os.close(lock)


def leftovers() -> list[Path]:
    """The folders of demos of ours that nobody works in any more."""
    return [path for path in Path(tempfile.gettempdir()).glob(f"{PREFIX}*") if _is_left(path)]


def _claim(path: Path) -> int:
    # It gets its name once it is locked: another demo that starts now never finds it free.
    lock = os.open(path / f"{_LOCK}.new", os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    (path / f"{_LOCK}.new").rename(path / _LOCK)
    return lock


def _is_left(path: Path) -> bool:
    with suppress(OSError):
        if path.is_symlink() or path.lstat().st_uid != os.geteuid():
            return False  # anybody may make such a name in /tmp
        lock = os.open(path / _LOCK, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        finally:
            os.close(lock)
        return True
    return False
