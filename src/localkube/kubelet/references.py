"""What pods may refer to: fields of themselves, resources of their containers, and other objects.

Environment variables and volumes resolve the same references, with the same words when one is missing.
"""

import base64
import re
from collections.abc import Mapping
from decimal import ROUND_CEILING, Decimal
from typing import Any, NamedTuple, Protocol

import msgspec

from localkube.apiserver import quantity

_SUBSCRIPT = re.compile(r"metadata\.(labels|annotations)\['(.*)'\]", re.DOTALL)


class ReferenceFailed(Exception):
    """Something that a pod refers to is not there; the message is the kubelet's own."""


class Lookup(Protocol):
    """Reads a ConfigMap or Secret (`kind` is its resource key) of the pod's namespace; None when missing."""

    def __call__(self, kind: str, name: str) -> dict[str, Any] | None: ...


class Facts(NamedTuple):
    """What is known only on the node: the answers to `status.*` fields and the node's own resources."""

    node_name: str = ""
    pod_ips: tuple[str, ...] = ()
    host_ips: tuple[str, ...] = ()
    allocatable: Mapping[str, str] = {}


def configmap_content(obj: dict[str, Any]) -> dict[str, bytes]:
    """All keys of a ConfigMap, text and binary."""
    content = {key: value.encode() for key, value in (obj.get("data") or {}).items()}
    for key, value in (obj.get("binaryData") or {}).items():
        content[key] = base64.b64decode(value)
    return content


def secret_content(obj: dict[str, Any]) -> dict[str, bytes]:
    return {key: base64.b64decode(value) for key, value in (obj.get("data") or {}).items()}


def content(lookup: Lookup, kind: str, name: str, optional: bool) -> dict[str, bytes]:
    """The keys of a ConfigMap or Secret; empty when it is missing and may be. Raises ReferenceFailed."""
    obj = lookup(kind, name)
    if obj is None:
        if optional:
            return {}
        raise ReferenceFailed(f'{kind.removesuffix("s")} "{name}" not found')
    return configmap_content(obj) if kind == "configmaps" else secret_content(obj)


def field(pod: dict[str, Any], path: str, facts: Facts) -> str:
    """The value of a `fieldRef`. Raises ReferenceFailed for a path that there is not."""
    metadata = pod["metadata"]
    if match := _SUBSCRIPT.fullmatch(path):
        return str((metadata.get(match[1]) or {}).get(match[2], ""))
    if path in ("metadata.labels", "metadata.annotations"):
        values = metadata.get(path.removeprefix("metadata.")) or {}
        return "\n".join(f"{key}={quoted(values[key])}" for key in sorted(values))
    known = {
        "metadata.name": metadata["name"],
        "metadata.namespace": metadata["namespace"],
        "metadata.uid": metadata["uid"],
        "spec.nodeName": facts.node_name,
        "spec.serviceAccountName": pod["spec"].get("serviceAccountName", ""),
        "status.podIP": facts.pod_ips[0] if facts.pod_ips else "",
        "status.podIPs": ",".join(facts.pod_ips),
        "status.hostIP": facts.host_ips[0] if facts.host_ips else "",
        "status.hostIPs": ",".join(facts.host_ips),
    }
    if path not in known:
        raise ReferenceFailed(f"unsupported fieldPath: {path}")
    return str(known[path])


def quoted(text: str) -> str:
    """A string as Go's `%q` writes it, as labels and annotations stand in downward API files."""
    return msgspec.json.encode(text).decode()


def resource(container: dict[str, Any], ref: dict[str, Any], facts: Facts) -> str:
    """The value of a `resourceFieldRef`, in units of its divisor, rounded up.

    A limit that is not set is what the node has to give; a request that is not set is 0.
    """
    kind, _, name = ref["resource"].partition(".")
    resources = container.get("resources") or {}
    amount = (resources.get(kind) or {}).get(name)
    if amount is None and kind == "limits":
        amount = facts.allocatable.get(name)
    divisor = quantity.value_of(str(ref.get("divisor") or "1")) or Decimal(1)
    value = quantity.value_of(str(amount if amount is not None else "0"))
    return str(int((value / divisor).to_integral_value(ROUND_CEILING)))
