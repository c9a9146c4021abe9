"""References to a pod's own fields and resources, in environments and in volumes."""

import re
from typing import Any

from localkube.apiserver.status import FieldError
from localkube.apiserver.validation import names
from localkube.apiserver.validation.causes import invalid, not_supported, required

Object = dict[str, Any]

ENV_FIELDS = (
    "metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName",
    "status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs",
)  # fmt: skip
VOLUME_FIELDS = (
    "metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid",
)  # fmt: skip
_KNOWN_FIELDS = frozenset(
    {*ENV_FIELDS, *VOLUME_FIELDS, "spec.restartPolicy", "spec.schedulerName", "status.phase"}
)
_RESOURCES = (
    "limits.cpu", "limits.ephemeral-storage", "limits.memory",
    "requests.cpu", "requests.ephemeral-storage", "requests.memory",
)  # fmt: skip
_HUGE_PAGES = ("limits.hugepages-", "requests.hugepages-")
_SUBSCRIPT = re.compile(r"(.+)\['(.*)'\]")
_BYTE_DIVISORS = ("1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei")


def field_ref(reference: Object, fields: tuple[str, ...], path: str) -> list[FieldError]:
    """Validate a `fieldRef` that may name `fields`, or a label or annotation by subscript."""
    if not reference.get("apiVersion"):
        return [required(f"{path}.apiVersion")]
    name = reference.get("fieldPath", "")
    if not name:
        return [required(f"{path}.fieldPath")]
    if reference["apiVersion"] != "v1":
        return [_unconvertible(path, name, f"unsupported pod version: {reference['apiVersion']}")]
    if subscripted := _SUBSCRIPT.fullmatch(name):
        base, key = subscripted[1], subscripted[2]
        if base == "metadata.annotations":
            return [invalid(path, key.lower(), m) for m in names.label_key(key.lower())]
        if base == "metadata.labels":
            return [invalid(path, key, m) for m in names.label_key(key)]
        return [_unconvertible(path, name, f"field label does not support subscript: {name}")]
    if name == "spec.host":
        name = "spec.nodeName"
    if name not in _KNOWN_FIELDS:
        return [_unconvertible(path, name, f"field label not supported: {name}")]
    return [] if name in fields else [not_supported(f"{path}.fieldPath", name, fields)]


def _unconvertible(path: str, name: str, reason: str) -> FieldError:
    return invalid(f"{path}.fieldPath", name, f"error converting fieldPath: {reason}")


def resource_ref(reference: Object, path: str, *, volume: bool) -> list[FieldError]:
    """Validate a `resourceFieldRef`; in a volume it must say whose resource."""
    resource = reference.get("resource", "")
    errors: list[FieldError] = []
    if volume and not reference.get("containerName"):
        errors.append(required(f"{path}.containerName"))
    elif not resource:
        errors.append(required(f"{path}.resource"))
    elif resource not in _RESOURCES and not resource.startswith(_HUGE_PAGES):
        errors.append(not_supported(f"{path}.resource", resource, _RESOURCES))
    return errors + _divisor(resource, reference.get("divisor", "0"), path)


def _divisor(resource: str, divisor: str, path: str) -> list[FieldError]:
    if divisor == "0":
        return []
    kind = resource.partition(".")[2]
    if kind == "cpu":
        if divisor in ("1m", "1"):
            return []
        detail = "only divisor's values 1m and 1 are supported with the cpu resource"
        return [invalid(f"{path}.divisor", resource, detail)]
    if divisor in _BYTE_DIVISORS or not resource:
        return []
    said = {"ephemeral-storage": "local ephemeral storage", "memory": "memory"}.get(kind, "hugepages")
    detail = f"only divisor's values {', '.join(_BYTE_DIVISORS)} are supported with the {said} resource"
    return [invalid(f"{path}.divisor", resource, detail)]
