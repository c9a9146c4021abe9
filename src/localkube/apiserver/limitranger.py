"""Admission plugin LimitRanger: fills in what LimitRanges default, and holds to what they allow.

Pods get the defaults of type Container and are held to the types Container and Pod; claims are held to
PersistentVolumeClaim. Where there are several LimitRanges, each must be satisfied.
"""

from collections.abc import Callable
from typing import Any

from localkube.apiserver import podresources
from localkube.apiserver.quantity import value_of
from localkube.apiserver.status import StatusError, forbidden

Object = dict[str, Any]
Amounts = dict[str, str]

ANNOTATION = "kubernetes.io/limit-ranger"
_Constraint = Callable[[str, str, str, Amounts, Amounts], str]
"""(limit type, resource, what is allowed, requests, limits): what breaks it, "" for nothing."""


def fill(pod: Object, limit_range: Object) -> None:
    """Give the containers of a new pod the requests and limits that they leave out, and say so on the pod."""
    default_requests: Amounts = {}
    default_limits: Amounts = {}
    for item in _items(limit_range, "Container"):
        default_requests |= item.get("defaultRequest") or {}
        default_limits |= item.get("default") or {}
    done: list[str] = []
    for kind, called in (("containers", "container"), ("initContainers", "init container")):
        for container in pod["spec"].get(kind) or ():
            for name, defaults in (("request", default_requests), ("limit", default_limits)):
                filled = _fill(container, f"{name}s", defaults)
                if filled:
                    done.append(f"{', '.join(filled)} {name} for {called} {container.get('name', '')}")
    if done:
        annotations = pod["metadata"].get("annotations") or {}
        text = "LimitRanger plugin set: " + "; ".join(done)
        pod["metadata"]["annotations"] = {**annotations, ANNOTATION: text}


def _fill(container: Object, kind: str, defaults: Amounts) -> list[str]:
    resources = container.get("resources") or {}
    given = resources.get(kind) or {}
    missing = sorted(defaults.keys() - given.keys())
    if missing:
        filled = {**given, **{name: defaults[name] for name in missing}}
        container["resources"] = {**resources, kind: filled}
    return missing


def check_pod(pod: Object, limit_range: Object) -> None:
    """Raise 403 with all that a new pod has too little or too much of."""
    spec = pod["spec"]
    broken: list[str] = []
    for item in limit_range["spec"].get("limits") or ():
        if item["type"] == "Container":
            for kind in ("containers", "initContainers"):
                for container in spec.get(kind) or ():
                    resources = container.get("resources") or {}
                    broken += _check(
                        item, resources.get("requests") or {}, resources.get("limits") or {}, _max
                    )
        elif item["type"] == "Pod":
            broken += _check(item, podresources.requests(spec), podresources.limits(spec), _max)
    if broken:
        raise _refusal("pods", pod, broken)


def check_claim(claim: Object, limit_range: Object) -> None:
    """Raise 403 for a claim to too little or too much storage; claims have no limits, only requests."""
    wanted = (claim["spec"].get("resources") or {}).get("requests") or {}
    broken: list[str] = []
    for item in _items(limit_range, "PersistentVolumeClaim"):
        broken += _check({**item, "maxLimitRequestRatio": {}}, wanted, {}, _max_request)
    if broken:
        raise _refusal("persistentvolumeclaims", claim, broken)


def _items(limit_range: Object, kind: str) -> list[Object]:
    return [item for item in limit_range["spec"].get("limits") or () if item["type"] == kind]


def _refusal(key: str, obj: Object, broken: list[str]) -> StatusError:
    said = list(dict.fromkeys(broken))
    detail = said[0] if len(said) == 1 else f"[{', '.join(said)}]"
    return forbidden(key, obj["metadata"].get("name", ""), detail)


def _check(item: Object, requests: Amounts, limits: Amounts, most: _Constraint) -> list[str]:
    found: list[str] = []
    for field, constraint in (("min", _min), ("max", most), ("maxLimitRequestRatio", _ratio)):
        for name, allowed in sorted((item.get(field) or {}).items()):
            if problem := constraint(item["type"], name, allowed, requests, limits):
                found.append(problem)
    return found


def _min(kind: str, name: str, allowed: str, requests: Amounts, limits: Amounts) -> str:
    asked = f"minimum {name} usage per {kind} is {allowed}"
    request, limit = requests.get(name), limits.get(name)
    if request is None:
        return f"{asked}.  No request is specified"
    if value_of(request) < value_of(allowed):
        return f"{asked}, but request is {request}"
    if limit is not None and value_of(limit) < value_of(allowed):
        return f"{asked}, but limit is {limit}"
    return ""


def _max(kind: str, name: str, allowed: str, requests: Amounts, limits: Amounts) -> str:
    asked = f"maximum {name} usage per {kind} is {allowed}"
    request, limit = requests.get(name), limits.get(name)
    if limit is None:
        return f"{asked}.  No limit is specified"
    if value_of(limit) > value_of(allowed):
        return f"{asked}, but limit is {limit}"
    if request is not None and value_of(request) > value_of(allowed):
        return f"{asked}, but request is {request}"
    return ""


def _max_request(kind: str, name: str, allowed: str, requests: Amounts, _: Amounts) -> str:
    asked = f"maximum {name} usage per {kind} is {allowed}"
    request = requests.get(name)
    if request is None:
        return f"{asked}.  No request is specified"
    return f"{asked}, but request is {request}" if value_of(request) > value_of(allowed) else ""


def _ratio(kind: str, name: str, allowed: str, requests: Amounts, limits: Amounts) -> str:
    asked = f"{name} max limit to request ratio per {kind} is {allowed}"
    request, limit = value_of(requests.get(name, "0")), value_of(limits.get(name, "0"))
    if not request:
        return f"{asked}, but no request is specified or request is 0"
    if not limit:
        return f"{asked}, but no limit is specified or limit is 0"
    ratio = limit / request
    return f"{asked}, but provided ratio is {float(ratio):f}" if ratio > value_of(allowed) else ""
