"""The Node object and its Lease. Pure, but for `measure`."""

import os
import platform
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from localkube.apiserver.deletion import timestamp

VERSION = "v1.36.2"
LEASE_SECONDS = 40
NETWORK_ANNOTATION = "localkube/network"
"""`isolated`, or `host` where pods share the host's addresses."""

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}
_CONDITIONS = (
    ("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
    ("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
    ("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
    ("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
)


class Machine(NamedTuple):
    """What the host has and is."""

    capacity: Mapping[str, str]
    architecture: str
    kernel: str
    os_image: str
    machine_id: str
    boot_id: str


def measure(data_dir: Path, max_pods: int) -> Machine:
    disk = os.statvfs(data_dir)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 1024
    release = {}
    if Path("/etc/os-release").exists():
        release = platform.freedesktop_os_release()
    machine = platform.machine()
    return Machine(
        {
            "cpu": str(len(os.sched_getaffinity(0))),
            "ephemeral-storage": f"{disk.f_frsize * disk.f_blocks // 1024}Ki",
            "memory": f"{memory}Ki",
            "pods": str(max_pods),
        },
        _ARCHITECTURES.get(machine, machine),
        platform.release(),
        release.get("PRETTY_NAME", "Linux"),
        _line("/etc/machine-id"),
        _line("/proc/sys/kernel/random/boot_id"),
    )


def _line(path: str) -> str:
    return Path(path).read_text().strip() if Path(path).exists() else ""


def build(name: str, machine: Machine, ip: str, isolated: bool) -> dict[str, Any]:
    """The Node without its status."""
    labels = {
        "kubernetes.io/arch": machine.architecture,
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": "linux",
        "beta.kubernetes.io/arch": machine.architecture,
        "beta.kubernetes.io/os": "linux",
    }
    network = "isolated" if isolated else "host"
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels, "annotations": {NETWORK_ANNOTATION: network}},
        "spec": {},
    }


def status(name: str, machine: Machine, ip: str, now: datetime, before: dict[str, Any]) -> dict[str, Any]:
    """The status of a node that is ready; `before` is what it was, whose transition times are kept."""
    old = {c["type"]: c for c in before.get("conditions") or ()}
    conditions = []
    for kind, value, reason, message in _CONDITIONS:
        same = kind in old and old[kind]["status"] == value
        conditions.append(
            {
                "type": kind,
                "status": value,
                "lastHeartbeatTime": timestamp(now),
                "lastTransitionTime": old[kind]["lastTransitionTime"] if same else timestamp(now),
                "reason": reason,
                "message": message,
            }
        )
    return {
        "capacity": dict(machine.capacity),
        "allocatable": dict(machine.capacity),
        "conditions": conditions,
        "addresses": [{"type": "InternalIP", "address": ip}, {"type": "Hostname", "address": name}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": 0}},
        "nodeInfo": {
            "machineID": machine.machine_id,
            "systemUUID": machine.machine_id,
            "bootID": machine.boot_id,
            "kernelVersion": machine.kernel,
            "osImage": machine.os_image,
            "containerRuntimeVersion": "bubblewrap://0",
            "kubeletVersion": VERSION,
            "kubeProxyVersion": "",
            "operatingSystem": "linux",
            "architecture": machine.architecture,
        },
    }


def lease(name: str, uid: str, now: datetime) -> dict[str, Any]:
    moment = f"{now:%Y-%m-%dT%H:%M:%S}.{now.microsecond:06d}Z"
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {
            "name": name,
            "namespace": "kube-node-lease",
            "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": name, "uid": uid}],
        },
        "spec": {"holderIdentity": name, "leaseDurationSeconds": LEASE_SECONDS, "renewTime": moment},
    }
