"""The scale subresource of custom resources: how many replicas, told in one form for all kinds."""

import copy
from typing import Any

from localkube.apiserver import status
from localkube.apiserver.crd import jsonpath
from localkube.apiserver.crd.kind import CustomKind
from localkube.apiserver.status import FieldError
from localkube.apiserver.validation.causes import nonnegative

Object = dict[str, Any]

_METADATA = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")


def scale_of(custom: CustomKind, obj: Object) -> Object:
    """The Scale of a custom object. Raises 500 where it says nothing of replicas."""
    paths: Object = custom.scale or {}
    replicas = _number(paths["specReplicasPath"], obj)
    if replicas is None:
        problem = f'the spec replicas field "{paths["specReplicasPath"]}" does not exist'
        raise status.internal(problem)
    shown: Object = {"replicas": _number(paths["statusReplicasPath"], obj) or 0}
    selector = jsonpath.find(paths["labelSelectorPath"], obj) if paths.get("labelSelectorPath") else []
    if selector and isinstance(selector[0], str) and selector[0]:
        shown["selector"] = selector[0]
    metadata = {name: obj["metadata"][name] for name in _METADATA if name in obj["metadata"]}
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": metadata,
        "spec": {"replicas": replicas} if replicas else {},
        "status": shown,
    }


def scaled(custom: CustomKind, obj: Object, scale: Object) -> Object:
    """The object with the replicas that a Scale asks for. Raises 400, 409 and 422."""
    meta = scale.get("metadata") or {}
    name = obj["metadata"]["name"]
    if meta.get("name", name) != name:
        raise status.bad_request(
            f"the name of the object ({meta['name']}) does not match the name on the URL ({name})"
        )
    replicas = (scale.get("spec") or {}).get("replicas", 0)
    if not isinstance(replicas, int) or isinstance(replicas, bool):
        raise status.bad_request(
            'Scale in version "v1" cannot be handled as a Scale: spec.replicas is no int32'
        )
    errors: list[FieldError] = nonnegative("spec.replicas", replicas)
    if errors:
        raise status.invalid("Scale", "autoscaling", name, errors)
    changed = copy.deepcopy(obj)
    steps = (custom.scale or {})["specReplicasPath"].strip(".").split(".")
    inner = changed
    for step in steps[:-1]:
        inner = inner.setdefault(step, {})
    inner[steps[-1]] = replicas
    changed["metadata"]["resourceVersion"] = meta.get("resourceVersion") or obj["metadata"]["resourceVersion"]
    return changed


def _number(path: str, obj: Object) -> int | None:
    found = jsonpath.find(path, obj)
    number = found[0] if found else None
    return number if isinstance(number, int) and not isinstance(number, bool) else None
