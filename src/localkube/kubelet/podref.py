"""How the kubelet names pods and containers in messages and events."""

from typing import Any


def full_name(pod: dict[str, Any]) -> str:
    """`name_namespace(uid)`, as kubelet messages name a pod (pkg/kubelet/util/format)."""
    metadata = pod["metadata"]
    return f"{metadata['name']}_{metadata['namespace']}({metadata['uid']})"


def containers(pod: dict[str, Any]) -> list[dict[str, Any]]:
    """The containers of the spec, init containers first."""
    spec = pod["spec"]
    return [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]


def is_sidecar(container: dict[str, Any]) -> bool:
    """Whether an init container is one that keeps running (KEP-753)."""
    return container.get("restartPolicy") == "Always"


def field_path(pod: dict[str, Any], name: str) -> str:
    """`spec.containers{c}`: where an event about a container points."""
    init = any(c["name"] == name for c in pod["spec"].get("initContainers") or ())
    return f"spec.{'initContainers' if init else 'containers'}{{{name}}}"
