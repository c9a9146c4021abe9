"""What can be set about the kubelet: numbers and lists, with the reason for each default."""

from collections.abc import Mapping
from pathlib import Path

import msgspec


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Times are in seconds."""

    masked: tuple[Path, ...] = ()
    """Files and directories of the host that no pod may see, besides the data directory."""

    missing_images: tuple[str, ...] = ("absent",)
    """Names (last part of the repository) that count as not on the node; all others are the host itself."""

    service_environment: Mapping[str, str] = {}
    """Variables such as KUBERNETES_SERVICE_HOST that every container gets."""

    max_pods: int = 1000
    """A real kubelet's is 110, because of its address range and runtime; a pod is a few processes here."""

    restart_first: float = 10.0
    restart_longest: float = 300.0
    """CrashLoopBackOff: the first delay and the longest (kubelet's defaults)."""

    retry_first: float = 1.0
    retry_longest: float = 10.0
    """Between attempts at what a pod refers to and is missing; a real kubelet takes 10 to 120 seconds."""

    heartbeat: float = 10.0
    """Between renewals of the node's Lease (a quarter of its 40 seconds, as the kubelet's)."""

    isolate_network: bool = True
    """Whether pods get network namespaces of their own where the host allows it."""
