"""PriorityClass."""

from typing import Any

from localkube.apiserver.priority import HIGHEST, SYSTEM, SYSTEM_PREFIX
from localkube.apiserver.status import FieldError
from localkube.apiserver.validation import metadata
from localkube.apiserver.validation.causes import forbidden, immutable, not_supported

Object = dict[str, Any]

_POLICIES = ("Never", "PreemptLowerPriority")


def priority_class(obj: Object) -> list[FieldError]:
    errors = metadata.validate(obj["metadata"], False)
    name, value = obj["metadata"].get("name", ""), obj.get("value", 0)
    if name.startswith(SYSTEM_PREFIX):
        if problem := _differs_from_system(obj):
            detail = f"priority class names with '{SYSTEM_PREFIX}' prefix are reserved for system use only."
            errors.append(forbidden("metadata.name", f"{detail} error: {problem}"))
    elif value > HIGHEST:
        detail = f"maximum allowed value of a user defined priority is {HIGHEST}"
        errors.append(forbidden("value", detail))
    policy = obj.get("preemptionPolicy")
    if policy is not None and policy not in _POLICIES:
        errors.append(not_supported("preemptionPolicy", policy, _POLICIES))
    return errors


def _differs_from_system(obj: Object) -> str:
    name = obj["metadata"]["name"]
    for known in SYSTEM:
        if known["metadata"]["name"] == name:
            if obj.get("value", 0) != known["value"]:
                return f"value of {name} PriorityClass must be {known['value']}"
            if obj.get("globalDefault"):
                return f"globalDefault of {name} PriorityClass must be false"
            return ""
    return f"{name} is not a known system priority class"


def priority_class_update(new: Object, old: Object) -> list[FieldError]:
    errors = metadata.validate_update(new["metadata"], old["metadata"])
    if new.get("value", 0) != old.get("value", 0):
        errors.append(forbidden("value", "may not be changed in an update."))
    return errors + immutable("preemptionPolicy", new.get("preemptionPolicy"), old.get("preemptionPolicy"))
