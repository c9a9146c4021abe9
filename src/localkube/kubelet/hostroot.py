"""What of the host's root file system pods may see: read once at start, then a value.

Pods get a root of their own into which only these directories are bound, so that what an operator keeps in
any other place (/root, /home, /srv, a checkout in /work) is not masked but simply not there.
"""

import os
import stat
import sys
from collections.abc import Iterable
from pathlib import Path

import msgspec

EXPOSED = ("bin", "sbin", "lib", "lib32", "lib64", "libx32", "usr", "opt", "etc", "nix", "gnu")
"""Top-level names that make up an image. /var is made anew, but for `_SHARED`."""

_SHARED = ("/var/lib/ca-certificates",)
"""Host directories outside of those, because /etc/ssl/certs of some distributions (openSUSE) leads there."""

_SYSTEM_PYTHON = ("/usr/bin/python3", "/usr/local/bin/python3")
_CPUS = "/sys/devices/system/cpu"
"""All of /sys that pods see: how many processors there are."""


class HostRoot(msgspec.Struct, frozen=True):
    """`masked_files` and `masked_directories` lie below `directories` and are replaced by nothing."""

    directories: tuple[str, ...]
    symlinks: tuple[tuple[str, str], ...]
    """(path, target) of top-level symlinks such as /bin."""
    masked_files: tuple[str, ...]
    masked_directories: tuple[str, ...]
    python: str
    """The interpreter that launches containers; it lies below `directories`."""
    passwd: str
    group: str

    @property
    def protected(self) -> tuple[str, ...]:
        """Where no volume may be mounted: what runs from there still has privileges (see `launcher`)."""
        loader = ("/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/libx32", "/usr/bin", "/etc/ld.so.preload")
        home = Path(self.python).resolve().parent.parent
        own = () if home == Path("/usr") else (str(home / "bin"), str(home / "lib"))
        return (*loader, *own, "/proc", "/dev/pts", "/etc/ld.so.cache")


def scan(masked: Iterable[Path], root: Path = Path("/")) -> HostRoot:
    """Look at the host. `masked` are files and directories to hide wherever they lie."""
    directories: list[str] = []
    symlinks: list[tuple[str, str]] = []
    for name in EXPOSED:
        entry = root / name
        if entry.is_symlink():
            symlinks.append((f"/{name}", str(entry.readlink())))
        elif entry.is_dir():
            directories.append(f"/{name}")
    directories += [path for path in (*_SHARED, _CPUS) if (root / path[1:]).is_dir()]
    python, prefix = _python(root)
    if prefix is not None:
        directories.append(prefix)
    files, hidden = _private(root / "etc")
    for path in masked:
        real = path.resolve()
        if any(real.is_relative_to(d) for d in directories):
            (hidden if real.is_dir() else files).append(str(real))
    return HostRoot(
        tuple(directories),
        tuple(symlinks),
        tuple(files),
        tuple(hidden),
        python,
        _system_lines(root / "etc/passwd"),
        _system_lines(root / "etc/group"),
    )


def _python(root: Path) -> tuple[str, str | None]:
    """The interpreter for launching, and the directory to expose for it where the system has none."""
    for path in _SYSTEM_PYTHON:
        if os.access(root / path[1:], os.X_OK):
            return path, None
    return f"{sys.base_prefix}/bin/python3", sys.base_prefix


def _private(directory: Path) -> tuple[list[str], list[str]]:
    """What not everybody may read: a pod may name any group, and so shadow's, as its own."""
    files: list[str] = []
    hidden: list[str] = []
    for path in directory.iterdir():
        mode = path.lstat().st_mode
        if stat.S_ISLNK(mode):
            continue
        if stat.S_ISDIR(mode):
            if mode & 0o005 != 0o005:
                hidden.append(str(path))
            else:
                more_files, more_hidden = _private(path)
                files += more_files
                hidden += more_hidden
        elif not mode & 0o004:
            files.append(str(path))
    return files, hidden


def _system_lines(path: Path) -> str:
    """The system's own accounts: people (from 1000 on, but for nobody) are no business of a pod."""
    if not path.exists():
        return ""
    kept = []
    for line in path.read_text(errors="replace").splitlines():
        fields = line.split(":")
        if len(fields) > 3 and fields[2].isdigit() and (int(fields[2]) < 1000 or int(fields[2]) == 65534):
            kept.append(line)
    return "".join(f"{line}\n" for line in kept)
