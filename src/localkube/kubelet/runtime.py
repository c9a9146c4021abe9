"""From a container of a pod to a process: puts environment, volumes, identity and sandbox together."""

import os
import posixpath
import shutil
from pathlib import Path
from typing import Any

import msgspec

from localkube.apiserver import quantity
from localkube.kubelet import environment, launcher, poddir, sandbox, securitycontext, volumedir
from localkube.kubelet.cgroup import Cgroups, Group
from localkube.kubelet.environment import Environment
from localkube.kubelet.hostroot import HostRoot
from localkube.kubelet.network import Attachment
from localkube.kubelet.poddir import PodDir, SharedEtc
from localkube.kubelet.process import Command, Process
from localkube.kubelet.sandbox import Mount, MountRefused, Sandbox
from localkube.kubelet.securitycontext import ConfigFailed, Identity
from localkube.kubelet.volumedir import SubPathFailed

_LINKED = ("/etc/resolv.conf", "/etc/hosts")


class CreateFailed(Exception):
    """A container cannot be created: CreateContainerError, with this message."""


class NotInstalled(Exception):
    """The host lacks a program that pods need; the message names the package."""


class Prepared(msgspec.Struct, frozen=True):
    """A container that is ready to start; `launch` is what an exec into it needs as well."""

    command: Command
    who: Identity
    variables: dict[str, str]
    directory: str
    group: Group | None = None


class Runtime:
    """What the host offers for running containers."""

    def __init__(
        self,
        root: HostRoot,
        shared: SharedEtc,
        anchor: int | None = None,
        cgroups: Cgroups | None = None,
    ):
        bwrap = shutil.which("bwrap")
        if bwrap is None:
            raise NotInstalled("pods need bubblewrap, and there is no bwrap on PATH: install bubblewrap")
        self.bwrap = bwrap
        self.nsenter = shutil.which("nsenter") or "nsenter"
        self.privileged = os.geteuid() == 0
        self.root = root
        self._shared = shared
        self._anchor = anchor
        self._cgroups = cgroups
        self._host = sandbox.Host()

    def base_environment(self, pod: dict[str, Any], who: Identity) -> dict[str, str]:
        home = poddir.passwd(self.root.passwd, who)[1]
        path = sandbox.PATH
        directory = posixpath.dirname(self.root.python)
        if directory not in path.split(":"):
            path = f"{path}:{directory}"
        return {"PATH": path, "HOSTNAME": poddir.hostname(pod), "HOME": home}

    def prepare(
        self,
        pod: dict[str, Any],
        container: dict[str, Any],
        container_id: str,
        composed: Environment,
        who: Identity,
        files: PodDir,
        place: Attachment,
    ) -> Prepared:
        """Make the container's own files and its command line. Raises ConfigFailed and CreateFailed."""
        if (reason := securitycontext.refusal(pod, container)) is not None:
            raise CreateFailed(reason)
        variables = composed.variables
        directory = posixpath.normpath(posixpath.join("/", container.get("workingDir") or "/"))
        mounts = self._volumes(pod, container, files, variables)
        mounts += self._own_files(
            pod, container, container_id, who, files, place.ip, {m.path for m in mounts}
        )
        box = Sandbox(
            hostname=poddir.hostname(pod),
            directory=directory,
            mounts=tuple(mounts),
            read_only_root=securitycontext.read_only_root(container),
            user=None if self.privileged else (who.uid, who.gid),
        )
        try:
            arguments = sandbox.arguments(box, self.root, self._host)
        except MountRefused as error:
            raise CreateFailed(str(error)) from None
        words = environment.command(container, variables)
        group = self._group(container, container_id)
        command = Command(
            wrapper=[*(group.enter() if group is not None else ()), *self._enter(place), self.bwrap],
            python=self.root.python,
            launch=self._launch(who, directory, words, variables),
            marker=str(files.root.parent),
            beside=self._anchor,
            arguments=arguments,
        )
        return Prepared(command, who, variables, directory, group)

    def _group(self, container: dict[str, Any], container_id: str) -> Group | None:
        """The cgroup that holds a container to its memory limit."""
        limit = ((container.get("resources") or {}).get("limits") or {}).get("memory")
        if limit is None or self._cgroups is None:
            return None
        try:
            return self._cgroups.limited(container_id.rpartition("/")[2], int(quantity.value_of(limit)))
        except OSError as error:
            raise CreateFailed(f"failed to limit memory to {limit}: {error.strerror}") from None

    def execute(self, prepared: Prepared, process: Process, words: list[str]) -> Command:
        """A command in a container that runs, with its environment (exec probes and hooks)."""
        wrapper = [self.nsenter, "--target", str(process.pid), "--mount", "--uts", "--ipc", "--net"]
        if not self.privileged:
            wrapper += ["--user", "--preserve-credentials", "--pid"]
        return Command(
            wrapper=[*wrapper, "--"],
            python=self.root.python,
            launch=self._launch(prepared.who, prepared.directory, words, prepared.variables),
            beside=process.pid if self.privileged else None,
            forks=not self.privileged,
        )

    def _enter(self, place: Attachment) -> list[str]:
        words = [f"--net={place.netns}"] if place.netns else []
        if self._anchor is not None:
            words.append(f"--mount=/proc/{self._anchor}/ns/mnt")
        return [self.nsenter, *words, "--"] if words else []

    def _launch(self, who: Identity, directory: str, words: list[str], variables: dict[str, str]) -> bytes:
        host = (-1, -1)
        if self.privileged:
            host = (securitycontext.host_id(who.uid), securitycontext.host_id(who.gid))
        groups = tuple(securitycontext.host_id(group) for group in who.groups)
        return launcher.encode((who.uid, who.gid, *host), groups, directory, words, variables)

    def _volumes(
        self, pod: dict[str, Any], container: dict[str, Any], files: PodDir, variables: dict[str, str]
    ) -> list[Mount]:
        kinds = {volume["name"]: volume for volume in pod["spec"].get("volumes") or ()}
        owner = securitycontext.owner(pod)
        mounts = []
        for mount in container.get("volumeMounts") or ():
            volume = kinds[mount["name"]]
            empty = volume.get("emptyDir") is not None
            source = files.volume(mount["name"])
            below = mount.get("subPath") or ""
            if mount.get("subPathExpr"):
                below = environment.expand(mount["subPathExpr"], variables)
            if below:
                try:
                    source = volumedir.sub_path(source, below, owner, create=empty)
                except SubPathFailed as error:
                    raise ConfigFailed(str(error)) from None
            path = posixpath.normpath(posixpath.join("/", mount["mountPath"]))
            mounts.append(Mount(str(source), path, not empty or bool(mount.get("readOnly"))))
        return mounts

    def _own_files(
        self,
        pod: dict[str, Any],
        container: dict[str, Any],
        container_id: str,
        who: Identity,
        files: PodDir,
        ip: str,
        taken: set[str],
    ) -> list[Mount]:
        """The parts of /etc that are the pod's own, and the file for the container's last words."""
        made = {
            "/etc/hostname": files.etc("hostname", poddir.hostname(pod) + "\n"),
            "/etc/passwd": self._shared.file(poddir.passwd(self.root.passwd, who)[0]),
            "/etc/group": self._shared.file(poddir.group(self.root.group, (who.gid, *who.groups))),
            "/etc/resolv.conf": self._shared.file(poddir.resolv_conf()),
        }
        if not pod["spec"].get("hostNetwork"):
            # a pod that localkube restarts under has another address then
            made["/etc/hosts"] = files.etc(f"hosts-{ip}", poddir.hosts(pod, ip))
        mounts = []
        for path, source in made.items():
            # bubblewrap does not follow a symlink that leads out of /etc, as systemd-resolved's does
            real = str(Path(path).resolve()) if path in _LINKED and Path(path).is_symlink() else path
            if path not in taken and "/etc" not in taken:
                mounts.append(Mount(str(source), real, read_only=True))
        message = files.message(container_id)
        message.touch()
        message.chmod(0o666)
        target = container.get("terminationMessagePath") or "/dev/termination-log"
        return [*mounts, Mount(str(message), posixpath.normpath(posixpath.join("/", target)))]
