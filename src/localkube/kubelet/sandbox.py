"""The bubblewrap command line of a container. Pure.

The root of a container is a tmpfs of its own. The host's directories are bound into it one by one and
read-only, /tmp, /home, /root, /run and /var are made empty, and volumes are mounted wherever the spec says,
also where the host has no such directory.
"""

import os
import posixpath
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from localkube.kubelet.hostroot import HostRoot

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
HOME = "/home/pod"

_EMPTY = (
    ("0755", "/boot"),
    ("0777", HOME),
    ("0755", "/media"),
    ("0755", "/mnt"),
    ("0777", "/root"),
    ("0755", "/run"),
    ("1777", "/run/lock"),
    ("0755", "/srv"),
    ("1777", "/tmp"),  # noqa: S108 (the container's own)
    ("0755", "/var/cache"),
    ("0755", "/var/lib"),
    ("0755", "/var/log"),
    ("0755", "/var/spool"),
    ("1777", "/var/tmp"),  # noqa: S108
)


class MountRefused(Exception):
    """A mountPath that would take the sandbox apart; the message is for the pod's author."""


class Mount(msgspec.Struct, frozen=True):
    """A file or directory of the host at a path in the container."""

    source: str
    path: str
    read_only: bool = False


class Sandbox(msgspec.Struct, frozen=True):
    """What one container needs; ids are the launcher's business."""

    hostname: str
    directory: str
    """Working directory, made where it is missing."""
    mounts: tuple[Mount, ...]
    """Volumes, and the files of the pod such as /etc/hosts."""
    read_only_root: bool
    user: tuple[int, int] | None
    """uid and gid of the user namespace that an unprivileged localkube needs; None where it is root."""


def _target(path: str) -> str | None:
    return str(Path(path).readlink()) if Path(path).is_symlink() else None


class Host(msgspec.Struct, frozen=True):
    """What is asked of the host while arguments are made, so that tests need none."""

    exists: Callable[[str], bool] = os.path.lexists
    list: Callable[[str], Sequence[str]] = os.listdir
    readlink: Callable[[str], str | None] = _target
    realpath: Callable[[str], str] = os.path.realpath


def arguments(sandbox: Sandbox, root: HostRoot, host: Host) -> list[str]:
    """bubblewrap's options, without its own name and without the command. Raises MountRefused."""
    mounts = sorted(sandbox.mounts, key=lambda mount: mount.path.count("/"))
    for mount in mounts:
        check(mount.path, root, host)
    targets = [mount.path for mount in mounts]
    missing = [path for path in [*targets, sandbox.directory] if _to_be_made(path, root, host)]
    resolved = [_resolved(path, root) for path in targets]
    args = [*_namespaces(sandbox)]
    for directory in root.directories:
        args += _above([directory])
        args += _bound(directory, _opened(directory, missing, host), host)
    for path, target in root.symlinks:
        args += ["--symlink", target, path]
    for path in root.masked_directories:
        args += ["--perms", "0000", "--tmpfs", path]
    for path in root.masked_files:
        args += ["--ro-bind", "/dev/null", path]
    args += ["--proc", "/proc", "--dev", "/dev", "--perms", "1777", "--tmpfs", "/dev/shm"]  # noqa: S108
    for mode, path in _EMPTY:
        args += ["--perms", mode, "--dir", path]
    args += ["--symlink", "/run", "/var/run", "--symlink", "/run/lock", "/var/lock"]
    for mount, path in zip(mounts, resolved, strict=True):
        args += _above([path])
        args += ["--ro-bind" if mount.read_only else "--bind", mount.source, path]
    if _nested(targets):
        # A container may have put a symlink into the outer volume; where it leads, a mount may now cover what
        # the launcher runs from. What is mounted last is what counts.
        for path in root.protected:
            if host.exists(path) and path not in ("/proc", "/dev/pts"):
                args += ["--ro-bind", path, path]
    there = any(_within(sandbox.directory, path) for path in (*targets, *root.directories))
    if sandbox.directory != "/" and (not there or sandbox.directory in missing):
        args += ["--perms", "0777", "--dir", sandbox.directory]
    if sandbox.read_only_root:
        args += ["--remount-ro", "/"]
    else:
        args += ["--chmod", "0777", "/"]
    return args


def check(path: str, root: HostRoot, host: Host) -> None:
    """Raises MountRefused for a path that must stay the host's."""
    real = host.realpath(path)
    if real == "/":
        raise MountRefused(f'localkube cannot mount a volume at "{path}"')
    for protected in root.protected:
        if _within(real, protected) or _within(protected, real):
            raise MountRefused(
                f'localkube cannot mount a volume at "{path}": the container is started from {protected}'
            )


def _namespaces(sandbox: Sandbox) -> list[str]:
    args = ["--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"]
    if sandbox.user is None:
        # The launcher needs these three to become the container's user, and drops them with all others.
        args += ["--cap-drop", "ALL"]
        for capability in ("CAP_SETUID", "CAP_SETGID", "CAP_SETPCAP"):
            args += ["--cap-add", capability]
    else:
        uid, gid = sandbox.user
        args += ["--unshare-user", "--uid", str(uid), "--gid", str(gid)]
    # A container's process is PID 1, to which a signal without a handler does nothing, as on a real node.
    return [*args, "--as-pid-1", "--die-with-parent", "--hostname", sandbox.hostname, "--clearenv"]


def _to_be_made(path: str, root: HostRoot, host: Host) -> bool:
    return any(_within(path, directory) for directory in root.directories) and not host.exists(path)


def _opened(directory: str, missing: Sequence[str], host: Host) -> set[str]:
    """The host directories in which something has to be made, and all above them up to `directory`."""
    opened: set[str] = set()
    for path in missing:
        if not _within(path, directory):
            continue
        parent = posixpath.dirname(path)
        while not host.exists(parent):
            parent = posixpath.dirname(parent)
        while _within(parent, directory):
            opened.add(parent)
            parent = posixpath.dirname(parent)
    return opened


def _bound(path: str, opened: set[str], host: Host) -> list[str]:
    """Bind a host directory; one that is `opened` becomes a directory of ours with the entries bound."""
    if path not in opened:
        return ["--ro-bind", path, path]
    args = ["--perms", "0755", "--dir", path]
    for name in sorted(host.list(path)):
        child = f"{path}/{name}"
        target = host.readlink(child)
        args += ["--symlink", target, child] if target is not None else _bound(child, opened, host)
    return args


def _above(paths: Sequence[str]) -> list[str]:
    """Make the directories that lead to paths: bubblewrap itself would make them for its own user only."""
    made: dict[str, None] = {}
    for path in paths:
        parts = path.split("/")[1:-1]
        made.update(dict.fromkeys("/" + "/".join(parts[: n + 1]) for n in range(len(parts))))
    return [word for path in made for word in ("--perms", "0755", "--dir", path)]


def _resolved(path: str, root: HostRoot) -> str:
    """The path with a symlink at its top level (/var/run, /bin) followed: bubblewrap would not."""
    for link, target in (*root.symlinks, ("/var/run", "/run"), ("/var/lock", "/run/lock")):
        if _within(path, link):
            return posixpath.normpath(posixpath.join("/", target) + path[len(link) :])
    return path


def _nested(paths: Sequence[str]) -> bool:
    return any(a != b and _within(a, b) for a in paths for b in paths)


def _within(path: str, directory: str) -> bool:
    return path == directory or path.startswith(directory.rstrip("/") + "/")
