"""Who a container runs as: the security contexts of pod and container, resolved.

The images that localkube stands in for run as root unless they say otherwise, which is why `runAsNonRoot`
without a user is refused as for any such image; what runs without a stated user runs as `DEFAULT_ID` anyway.
"""

from typing import Any, NamedTuple

from localkube.kubelet.podref import full_name

DEFAULT_ID = 1000


class ConfigFailed(Exception):
    """A container cannot be set up from its spec: CreateContainerConfigError, with this message."""


class Identity(NamedTuple):
    """`groups` are supplementary. uid 0 is root in the container only, never on the host."""

    uid: int
    gid: int
    groups: tuple[int, ...]


def identity(pod: dict[str, Any], container: dict[str, Any]) -> Identity:
    """The user and groups of a container. Raises ConfigFailed where `runAsNonRoot` forbids it."""
    outer = pod["spec"].get("securityContext") or {}
    inner = container.get("securityContext") or {}
    uid = _first(inner.get("runAsUser"), outer.get("runAsUser"))
    gid = _first(inner.get("runAsGroup"), outer.get("runAsGroup"))
    if _first(inner.get("runAsNonRoot"), outer.get("runAsNonRoot")) and not uid:
        whose = f'(pod: "{full_name(pod)}", container: {container["name"]})'
        if uid is None:
            raise ConfigFailed(f"container has runAsNonRoot and image will run as root {whose}")
        raise ConfigFailed(f"container's runAsUser breaks non-root policy {whose}")
    groups = list(outer.get("supplementalGroups") or ())
    if outer.get("fsGroup") is not None:
        groups.append(outer["fsGroup"])
    return Identity(
        DEFAULT_ID if uid is None else int(uid),
        DEFAULT_ID if gid is None else int(gid),
        tuple(dict.fromkeys(int(g) for g in groups)),
    )


def owner(pod: dict[str, Any]) -> tuple[int, int]:
    """uid and gid of the files in the pod's volumes (fsGroup is the group where it is set)."""
    context = pod["spec"].get("securityContext") or {}
    uid = _first(context.get("runAsUser"), DEFAULT_ID)
    gid = _first(context.get("fsGroup"), context.get("runAsGroup"), DEFAULT_ID)
    return host_id(int(uid or 0)), host_id(int(gid or 0))


def host_id(number: int) -> int:
    """The id on the host that a container's id is: its root is nobody special there."""
    return number or DEFAULT_ID


def read_only_root(container: dict[str, Any]) -> bool:
    return bool((container.get("securityContext") or {}).get("readOnlyRootFilesystem"))


def refusal(pod: dict[str, Any], container: dict[str, Any]) -> str | None:
    """What a spec asks for that localkube never gives, in words for its author."""
    context = container.get("securityContext") or {}
    if context.get("privileged"):
        return "localkube does not run privileged containers"
    for field in ("hostPID", "hostIPC"):
        if pod["spec"].get(field):
            return f"localkube does not give pods the host's namespaces ({field})"
    return None


def _first(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)
