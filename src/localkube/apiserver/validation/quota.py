"""ResourceQuota and LimitRange."""

from typing import Any

from localkube.apiserver.quantity import value_of
from localkube.apiserver.status import FieldError
from localkube.apiserver.validation import containers, metadata, names
from localkube.apiserver.validation.causes import (
    IMMUTABLE,
    NOT_NEGATIVE,
    duplicate,
    forbidden,
    index,
    invalid,
    key,
    required,
)

Object = dict[str, Any]

_INTEGER_RESOURCES = frozenset(
    {"pods", "resourcequotas", "services", "replicationcontrollers", "secrets", "configmaps",
     "persistentvolumeclaims", "services.nodeports", "services.loadbalancers"}
)  # fmt: skip
_QUOTA_RESOURCES = containers.STANDARD_RESOURCES - {"storage"}
_POD_COMPUTE = frozenset({"cpu", "memory", "limits.cpu", "limits.memory", "requests.cpu", "requests.memory"})
_OF_PODS = _POD_COMPUTE | {"pods"}
_SCOPES = {
    "Terminating": _OF_PODS,
    "NotTerminating": _OF_PODS,
    "BestEffort": frozenset({"pods"}),
    "NotBestEffort": _OF_PODS,
    "PriorityClass": _OF_PODS,
    "CrossNamespacePodAffinity": _OF_PODS,
    "VolumeAttributesClass": frozenset({"persistentvolumeclaims", "requests.storage"}),
}
"""The scopes, and which of the standard resources each can be about."""
_SIMPLE_SCOPES = frozenset(
    {"Terminating", "NotTerminating", "BestEffort", "NotBestEffort", "CrossNamespacePodAffinity"}
)
_OPPOSITES = ({"BestEffort", "NotBestEffort"}, {"Terminating", "NotTerminating"})
_ONLY_EXISTS = (
    "must be 'Exist' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, "
    "ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or "
    "ResourceQuotaScopeCrossNamespacePodAffinity"
)
_LIMIT_TYPES = ("Pod", "Container", "PersistentVolumeClaim")
_AMOUNTS = ("max", "min", "default", "defaultRequest", "maxLimitRequestRatio")


def resource_quota(obj: Object) -> list[FieldError]:
    return metadata.validate(obj["metadata"], True) + _spec(obj["spec"])


def resource_quota_update(new: Object, old: Object) -> list[FieldError]:
    errors = metadata.validate_update(new["metadata"], old["metadata"]) + _spec(new["spec"])
    scopes = new["spec"].get("scopes") or []
    if set(scopes) != set(old["spec"].get("scopes") or ()):
        errors.append(invalid("spec.scopes", scopes, IMMUTABLE))
    return errors


def resource_quota_status(new: Object, old: Object) -> list[FieldError]:
    errors = metadata.validate_update(new["metadata"], old["metadata"])
    status = new.get("status") or {}
    return errors + _amounts(status.get("hard"), "status.hard") + _amounts(status.get("used"), "status.used")


def _spec(spec: Object) -> list[FieldError]:
    return _amounts(spec.get("hard"), "spec.hard") + _scopes(spec) + _scope_selector(spec)


def _amounts(amounts: dict[str, str] | None, path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    for name, text in sorted((amounts or {}).items()):
        where = key(path, name)
        errors += _resource_name(name, where)
        if "/" not in name and not _is_counted(name):
            errors.append(invalid(where, name, "must be a standard resource for quota"))
        amount = value_of(text)
        if amount < 0:
            errors.append(invalid(where, text, NOT_NEGATIVE))
        whole = name in _INTEGER_RESOURCES or containers.is_extended(name)
        if whole and amount != amount.to_integral_value():
            errors.append(invalid(where, text, "must be an integer"))
    return errors


def _resource_name(name: str, path: str) -> list[FieldError]:
    errors = [invalid(path, name, m) for m in names.label_key(name)]
    if not errors and "/" not in name and not (name in containers.STANDARD_RESOURCES or _is_huge(name)):
        errors.append(invalid(path, name, "must be a standard resource type or fully qualified"))
    return errors


def _is_huge(name: str) -> bool:
    return name.startswith(("hugepages-", "requests.hugepages-"))


def _is_counted(name: str) -> bool:
    return name in _QUOTA_RESOURCES or _is_huge(name)


def _scopes(spec: Object) -> list[FieldError]:
    path, scopes = "spec.scopes", spec.get("scopes") or []
    errors: list[FieldError] = []
    for scope in scopes:
        if scope not in _SCOPES:
            errors.append(invalid(path, scopes, "unsupported scope"))
        errors += _misapplied(scope, spec, path, scopes)
    return errors + _conflicts(scopes, path, scopes)


def _misapplied(scope: str, spec: Object, path: str, shown: Any) -> list[FieldError]:
    allowed = _SCOPES.get(scope)
    wrong = [
        name
        for name in sorted(spec.get("hard") or ())
        if allowed is not None and _is_counted(name) and name not in allowed
    ]
    return [invalid(path, shown, "unsupported scope applied to resource") for _ in wrong]


def _conflicts(scopes: list[str], path: str, shown: Any) -> list[FieldError]:
    return [invalid(path, shown, "conflicting scopes") for pair in _OPPOSITES if pair <= set(scopes)]


def _scope_selector(spec: Object) -> list[FieldError]:
    selector = spec.get("scopeSelector")
    if selector is None:
        return []
    path = "spec.scopeSelector.matchExpressions"
    errors: list[FieldError] = []
    terms = selector.get("matchExpressions") or []
    for term in terms:
        scope, operator, values = term["scopeName"], term["operator"], term.get("values") or []
        if scope not in _SCOPES:
            errors.append(invalid(f"{path}.scopeName", scope, "unsupported scope"))
        errors += _misapplied(scope, spec, path, selector)
        if scope in _SIMPLE_SCOPES and operator != "Exists":
            errors.append(invalid(f"{path}.operator", operator, _ONLY_EXISTS))
        if operator in ("In", "NotIn"):
            if not values:
                detail = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector"
                errors.append(required(f"{path}.values", detail))
        elif operator in ("Exists", "DoesNotExist"):
            if values:
                detail = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector"
                errors.append(invalid(f"{path}.values", values, detail))
        else:
            errors.append(invalid(f"{path}.operator", operator, "not a valid selector operator"))
    return errors + _conflicts([term["scopeName"] for term in terms], path, spec.get("scopes") or [])


def limit_range(obj: Object) -> list[FieldError]:
    errors = metadata.validate(obj["metadata"], True)
    seen: set[str] = set()
    for position, item in enumerate(obj["spec"].get("limits") or ()):
        path = index("spec.limits", position)
        errors += _limit_type(item["type"], f"{path}.type")
        if item["type"] in seen:
            errors.append(duplicate(f"{path}.type", item["type"]))
        seen.add(item["type"])
        errors += _limit_names(item, path)
        for name in sorted({name for field in _AMOUNTS for name in item.get(field) or ()}):
            errors += _limit_order(item, name, path)
    return errors


def limit_range_update(new: Object, old: Object) -> list[FieldError]:
    return limit_range(new)


def _limit_type(value: str, path: str) -> list[FieldError]:
    errors = [invalid(path, value, m) for m in names.label_key(value)]
    if not errors and "/" not in value and value not in _LIMIT_TYPES:
        errors.append(invalid(path, value, "must be a standard limit type or fully qualified"))
    return errors


def _limit_names(item: Object, path: str) -> list[FieldError]:
    """The names of what is limited, and which fields a type of limit has."""
    kind = item["type"]
    check = containers.resource_name if kind in ("Pod", "Container") else _resource_name

    def named(field: str) -> list[FieldError]:
        return [
            e for name in sorted(item.get(field) or ()) for e in check(name, key(f"{path}.{field}", name))
        ]

    errors = named("max") + named("min")
    for field in ("default", "defaultRequest"):
        if kind != "Pod":
            errors += named(field)
        elif item.get(field):
            errors.append(forbidden(f"{path}.{field}", "may not be specified when `type` is 'Pod'"))
    bounds = (item.get("min") or {}).keys() | (item.get("max") or {}).keys()
    if kind == "PersistentVolumeClaim" and "storage" not in bounds:
        detail = "either minimum or maximum storage value is required, but neither was provided"
        errors.append(required(f"{path}.limits", detail))
    return errors + named("maxLimitRequestRatio")


def _limit_order(item: Object, name: str, path: str) -> list[FieldError]:
    """min <= default request <= default limit <= max, as far as they are given."""
    is_pod = item["type"] == "Pod"
    low, high = (item.get("min") or {}).get(name), (item.get("max") or {}).get(name)
    limit = None if is_pod else (item.get("default") or {}).get(name)
    request = None if is_pod else (item.get("defaultRequest") or {}).get(name)
    ratio = (item.get("maxLimitRequestRatio") or {}).get(name)
    errors: list[FieldError] = []
    for field, shown, first, less, second, more in (
        ("min", low, low, "min value", high, "max value"),
        ("defaultRequest", request, low, "min value", request, "default request value"),
        ("defaultRequest", request, request, "default request value", high, "max value"),
        ("defaultRequest", request, request, "default request value", limit, "default limit value"),
        ("default", low, low, "min value", limit, "default value"),
        ("default", high, limit, "default value", high, "max value"),
    ):
        if first is not None and second is not None and value_of(first) > value_of(second):
            detail = f"{less} {first} is greater than {more} {second}"
            errors.append(invalid(key(f"{path}.{field}", name), shown, detail))
    where = key(f"{path}.maxLimitRequestRatio", name)
    if ratio is not None and value_of(ratio) < 1:
        errors.append(invalid(where, ratio, f"ratio {ratio} is less than 1"))
    if ratio is not None and low is not None and high is not None and value_of(low):
        most = value_of(high) / value_of(low)
        if value_of(ratio) > most:
            detail = f"ratio {ratio} is greater than max/min = {float(most):f}"
            errors.append(invalid(where, ratio, detail))
    fixed = containers.is_extended(name) or _is_huge(name)
    if fixed and limit is not None and request is not None and value_of(limit) != value_of(request):
        detail = f"default value {limit} must equal to defaultRequest value {request} in {name}"
        errors.append(invalid(key(f"{path}.defaultRequest", name), request, detail))
    return errors
