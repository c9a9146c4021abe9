"""The files of one pod below localkube's data directory, and what of them the pod sees as its own /etc."""

import hashlib
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from localkube.kubelet.sandbox import HOME
from localkube.kubelet.securitycontext import Identity

_HOSTS = """\
# Kubernetes-managed hosts file.
127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::0\tip6-localnet
fe00::0\tip6-mcastprefix
fe00::1\tip6-allnodes
fe00::2\tip6-allrouters
"""


class PodDir:
    """`<pods>/<uid>`: volumes outlive containers, everything goes with the pod."""

    def __init__(self, pods: Path, uid: str):
        self.root = pods / uid

    def make(self) -> None:
        if not self.root.exists():
            self.root.mkdir()
            for name in ("volumes", "etc", "logs", "messages"):
                (self.root / name).mkdir()

    def remove(self) -> None:
        shutil.rmtree(self.root, ignore_errors=True)

    def volume(self, name: str) -> Path:
        return self.root / "volumes" / name

    def log(self, container_id: str) -> Path:
        return self.root / "logs" / f"{container_id.rpartition('/')[2]}.log"

    def message(self, container_id: str) -> Path:
        """The file that a container sees at its terminationMessagePath."""
        return self.root / "messages" / container_id.rpartition("/")[2]

    def forget_run(self, container_id: str) -> None:
        self.log(container_id).unlink(missing_ok=True)
        self.message(container_id).unlink(missing_ok=True)

    def etc(self, name: str, text: str) -> Path:
        """A file of the pod's /etc, made where it is missing: pods do not change their names."""
        return _readable(self.root / "etc" / name, text)


class SharedEtc:
    """Files of /etc that are the same for many pods, by what is in them."""

    def __init__(self, directory: Path):
        self._directory = directory
        self._known: dict[str, Path] = {}
        directory.mkdir(parents=True, exist_ok=True)

    def file(self, text: str) -> Path:
        path = self._known.get(text)
        if path is None:
            name = hashlib.sha256(text.encode(errors="replace")).hexdigest()[:16]
            path = self._known[text] = _readable(self._directory / name, text)
        return path


def _readable(path: Path, text: str) -> Path:
    if not path.exists():
        path.write_text(text)
        path.chmod(0o644)
    return path


def hostname(pod: dict[str, Any]) -> str:
    return str(pod["spec"].get("hostname") or pod["metadata"]["name"])[:63].rstrip("-.")


def hosts(pod: dict[str, Any], ip: str) -> str:
    """/etc/hosts as the kubelet writes it."""
    text = f"{_HOSTS}{ip}\t{hostname(pod)}\n"
    aliases = pod["spec"].get("hostAliases") or ()
    if aliases:
        text += "\n# Entries added by HostAliases.\n"
        text += "".join("\t".join([alias["ip"], *(alias.get("hostnames") or ())]) + "\n" for alias in aliases)
    return text


def passwd(system: str, who: Identity) -> tuple[str, str]:
    """/etc/passwd with an entry for the container's user, and that user's home directory."""
    for line in system.splitlines():
        fields = line.split(":")
        if fields[2] == str(who.uid):
            return system, fields[5]
    return f"{system}pod:x:{who.uid}:{who.gid}::{HOME}:/bin/sh\n", HOME


def group(system: str, gids: Iterable[int]) -> str:
    """/etc/group with entries for groups that have none."""
    known = {line.split(":")[2] for line in system.splitlines()}
    missing = [gid for gid in dict.fromkeys(gids) if str(gid) not in known]
    names = ["pod", *(f"pod{gid}" for gid in missing[1:])]
    return system + "".join(f"{name}:x:{gid}:\n" for name, gid in zip(names, missing, strict=False))


def resolv_conf() -> str:
    """The host's own resolver: there is no cluster DNS."""
    path = Path("/etc/resolv.conf")
    return path.read_text(errors="replace") if os.access(path, os.R_OK) else ""
