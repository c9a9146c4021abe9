"""Which pods a ResourceQuota is about: its scopes and its scope selector."""

from typing import Any

from localkube.apiserver.qos import qos_class

Object = dict[str, Any]


def in_scope(quota: Object, key: str, obj: Object) -> bool:
    """Whether an object of the resource `key` is one that the quota counts.

    A quota with scopes is about pods, or (VolumeAttributesClass) about claims, and counts nothing else.
    """
    return all(_matches(term, key, obj) for term in _terms(quota["spec"]))


def _terms(spec: Object) -> list[Object]:
    terms = [{"scopeName": scope, "operator": "Exists"} for scope in spec.get("scopes") or ()]
    return terms + list((spec.get("scopeSelector") or {}).get("matchExpressions") or ())


def _matches(term: Object, key: str, obj: Object) -> bool:
    scope = term["scopeName"]
    if key == "persistentvolumeclaims":
        return scope == "VolumeAttributesClass" and any(
            _selects(term, name) for name in _attribute_classes(obj) or [""]
        )
    if key != "pods":
        return False
    spec = obj["spec"]
    match scope:
        case "Terminating":
            return spec.get("activeDeadlineSeconds") is not None
        case "NotTerminating":
            return spec.get("activeDeadlineSeconds") is None
        case "BestEffort":
            return qos_class(spec) == "BestEffort"
        case "NotBestEffort":
            return qos_class(spec) != "BestEffort"
        case "PriorityClass":
            return _selects(term, spec.get("priorityClassName", ""))
        case "CrossNamespacePodAffinity":
            return _looks_abroad(spec)
    return False


def _selects(term: Object, name: str) -> bool:
    """Whether a class (`name`, "" for none) is one of those meant; none is in no list, and so not in any."""
    values = term.get("values") or ()
    match term["operator"]:
        case "Exists":
            return bool(name)
        case "DoesNotExist":
            return not name
        case "In":
            return bool(name) and name in values
        case "NotIn":
            return not name or name not in values
    return False


def _attribute_classes(claim: Object) -> list[str]:
    status = claim.get("status") or {}
    found = {
        (claim.get("spec") or {}).get("volumeAttributesClassName"),
        status.get("currentVolumeAttributesClassName"),
        (status.get("modifyVolumeStatus") or {}).get("targetVolumeAttributesClassName"),
    }
    return sorted(name for name in found if name)


def _looks_abroad(spec: Object) -> bool:
    """Whether a pod wants to be near (or far from) pods of other namespaces."""
    affinity = spec.get("affinity") or {}
    for kind in ("podAffinity", "podAntiAffinity"):
        found = affinity.get(kind) or {}
        terms = list(found.get("requiredDuringSchedulingIgnoredDuringExecution") or ())
        preferred = found.get("preferredDuringSchedulingIgnoredDuringExecution") or ()
        terms += [term.get("podAffinityTerm") or {} for term in preferred]
        if any(term.get("namespaces") or term.get("namespaceSelector") is not None for term in terms):
            return True
    return False
