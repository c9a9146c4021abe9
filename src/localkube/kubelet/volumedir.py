"""A pod's volumes on the disk of the host.

Contents are written as the kubelet's AtomicWriter does: into a directory of their own that the symlink
`..data` then points at in one step, so that a reader sees all of the old or all of the new.
"""

import os
import secrets
import shutil
from pathlib import Path, PurePosixPath

from localkube.kubelet.volumes import Payload

_DATA = "..data"


class SubPathFailed(Exception):
    """A subPath does not stay inside its volume; the message is for the pod's author."""


def make_empty(root: Path, owner: tuple[int, int], group: int | None) -> None:
    """An emptyDir: everybody may write; with `group` (fsGroup), what is made in it belongs to that group."""
    root.mkdir(parents=True, exist_ok=True)
    if os.geteuid() == 0:
        os.chown(root, owner[0], owner[1] if group is None else group)
    root.chmod(0o777 if group is None else 0o2777)


def write(root: Path, files: Payload, owner: tuple[int, int]) -> None:
    """Make a volume hold exactly these files, readable by `owner` as their modes say."""
    root.mkdir(parents=True, exist_ok=True)
    version = root / f"..{secrets.token_hex(5)}"
    version.mkdir()
    for directory in (root, version):
        # whatever the umask of localkube is
        directory.chmod(0o755)
    for path, file in files.items():
        target = version / path
        for parent in reversed(PurePosixPath(path).parents[:-1]):
            (version / parent).mkdir(exist_ok=True)
            (version / parent).chmod(0o755)
        target.write_bytes(file.data)
        if os.geteuid() == 0:
            os.chown(target, *owner)
        target.chmod(file.mode)
    link = root / _DATA
    before = link.readlink() if link.is_symlink() else None
    if before is None:
        link.symlink_to(version.name)
    else:
        fresh = root / "..data_tmp"
        fresh.symlink_to(version.name)
        fresh.replace(link)
    tops = {PurePosixPath(path).parts[0] for path in files}
    for entry in list(root.iterdir()):
        if not entry.name.startswith("..") and entry.name not in tops:
            entry.unlink()
    for top in tops:
        if not (root / top).is_symlink():
            (root / top).symlink_to(f"{_DATA}/{top}")
    if before is not None:
        shutil.rmtree(root / before, ignore_errors=True)


def sub_path(root: Path, below: str, owner: tuple[int, int], create: bool) -> Path:
    """The real path of `below` in a volume, made as a directory where it is missing and `create`.

    A container can put symlinks into its volumes, so what the path leads to is checked, not how it reads.
    Raises SubPathFailed when that is outside.
    """
    base = root.resolve()
    target = Path(os.path.realpath(base / below))
    if not target.is_relative_to(base):
        raise SubPathFailed(f'failed to prepare subPath for volumeMount: "{below}" is outside of the volume')
    if not target.exists():
        if not create:
            raise SubPathFailed(f'failed to prepare subPath for volumeMount: "{below}" does not exist')
        target.mkdir(parents=True)
        if os.geteuid() == 0:
            os.chown(target, *owner)
        target.chmod(0o777)
    return target
