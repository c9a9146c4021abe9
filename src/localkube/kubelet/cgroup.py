"""Memory limits of containers: a cgroup for each container that has one, of version 1 or 2.

Where localkube may not make any (without root; version 2 where the memory controller is not handed down),
limits are not enforced. A container's processes are in it from the start; what only enters it later, for a
probe, is not.
"""

import contextlib
import hashlib
import os
import time
from pathlib import Path

import msgspec

_ENTER = 'echo 0 > "$0" && exec "$@"'
"""For a shell: join the cgroup whose cgroup.procs is $0, then become the rest of the words."""


_JUST_MADE = 60.0
"""Seconds in which a cgroup surely gets its first process."""


class Group(msgspec.Struct, frozen=True):
    """The cgroup of one container."""

    path: Path

    def enter(self) -> list[str]:
        """The words before a command that is to run in it."""
        return ["/bin/sh", "-c", _ENTER, str(self.path / "cgroup.procs")]

    def has_killed(self) -> bool:
        """Whether the kernel has ended a process for want of memory."""
        for name in ("memory.events", "memory.oom_control"):
            with contextlib.suppress(OSError, ValueError):
                lines = (line.split() for line in (self.path / name).read_text().splitlines())
                if any(line[0] == "oom_kill" and int(line[1]) for line in lines if len(line) == 2):
                    return True
        return False

    def remove(self) -> None:
        with contextlib.suppress(OSError):  # who has not quite ended yet keeps it until the next start
            self.path.rmdir()


class Cgroups:
    """Makes them below `base`, a directory of this localkube's own. Made by `find`."""

    def __init__(self, base: Path, version: int):
        self._base = base
        self._version = version

    def open(self) -> None:
        """Make the directory, if it is not there. Raises OSError."""
        self._base.mkdir(exist_ok=True)
        if self._version == 2:
            _hand_down(self._base)

    def limited(self, name: str, limit: int) -> Group:
        """A cgroup that gets `limit` bytes. Raises OSError."""
        self.open()  # another localkube that starts removes what is empty and not new
        path = self._base / name
        path.mkdir()
        group = Group(path)
        try:
            if self._version == 1:
                (path / "memory.limit_in_bytes").write_text(str(limit))
            else:
                (path / "memory.max").write_text(str(limit))
                (path / "memory.oom.group").write_text("1")
            # where there is swap, the limit would only be where it begins
            for swap, value in (("memory.memsw.limit_in_bytes", str(limit)), ("memory.swap.max", "0")):
                if (path / swap).exists():
                    (path / swap).write_text(value)
        except OSError:
            group.remove()
            raise
        return group

    def close(self) -> None:
        """Remove what is empty, as all of it is once the containers are gone."""
        for path in [*self._base.glob("*/"), self._base]:
            with contextlib.suppress(OSError):
                path.rmdir()


def find(data_dir: Path, *, process: Path = Path("/proc/self")) -> Cgroups | None:
    """Where this process may limit memory; None where it may not. What a crash left there is removed."""
    name = f"localkube-{hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:12]}"
    for version, parent in _parents(process):
        with contextlib.suppress(OSError):
            if version == 2:
                _hand_down(parent)
            _sweep(parent)
            found = Cgroups(parent / name, version)
            found.open()
            return found
    return None


def _hand_down(path: Path) -> None:
    (path / "cgroup.subtree_control").write_text("+memory")


def _sweep(parent: Path) -> None:
    """Remove what localkubes left that were killed: what has no process in it, and is not just being made."""
    found = [*parent.glob("localkube-*/*/"), *parent.glob("localkube-*/")]
    # looked at before anything is removed, which is a change of its parent
    for path in [path for path in found if _age(path) > _JUST_MADE]:
        with contextlib.suppress(OSError):
            path.rmdir()


def _age(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except OSError:
        return 0.0


def _parents(process: Path) -> list[tuple[int, Path]]:
    """The version and directory of each cgroup that may hold ours: the process's own, then the topmost."""
    mounts: dict[int, Path] = {}
    for line in (process / "mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(" ", 2)
        if kind == "cgroup2" or (kind == "cgroup" and "memory" in options.split(",")):
            mounts[2 if kind == "cgroup2" else 1] = Path(before.split()[4])
    found = []
    for line in (process / "cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        version = 2 if not controllers else 1
        if version in mounts and (version == 2 or "memory" in controllers.split(",")):
            top = mounts[version]
            found += [(version, own) for own in (top / path.strip("/"), top) if own.is_dir()]
    return sorted(found, key=lambda each: each[0])
