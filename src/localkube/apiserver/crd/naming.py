"""Which names a CustomResourceDefinition gets, and what its status says of them."""

from collections.abc import Iterable
from typing import Any

Object = dict[str, Any]

_FIELDS = ("plural", "singular", "shortNames", "kind", "listKind")
_RESOURCES = ("plural", "singular", "shortNames")
CLEANUP = "customresourcecleanup.apiextensions.k8s.io"
"""Holds a definition until its objects are gone."""


def condition(definition: Object, type_: str) -> Object | None:
    found = (definition.get("status") or {}).get("conditions") or ()
    return next((c for c in found if c["type"] == type_), None)


def holds(definition: Object, type_: str) -> bool:
    found = condition(definition, type_)
    return found is not None and found["status"] == "True"


def with_condition(status: Object, now: str, type_: str, value: str, reason: str, message: str) -> Object:
    """A status with a condition, which keeps its time where its value does not change."""
    conditions = status.get("conditions") or []
    before = next((c for c in conditions if c["type"] == type_), None)
    since = before["lastTransitionTime"] if before is not None and before["status"] == value else now
    new = {
        "type": type_,
        "status": value,
        "lastTransitionTime": since,
        "reason": reason,
        "message": message,
    }
    if before is None:
        return {**status, "conditions": [*conditions, new]}
    return {**status, "conditions": [new if c is before else c for c in conditions]}


def status_of(definition: Object, others: Iterable[Object], now: str) -> Object:
    """The status of a definition beside all others: names that another has already are not accepted.

    What was established once stays so, also when it asks for names that it does not get.
    """
    accepted = dict((definition.get("status") or {}).get("acceptedNames") or {})
    wanted = definition["spec"]["names"]
    resources, kinds = _used(definition, others)
    problem: tuple[str, str] | None = None
    for name in _FIELDS:
        used = resources if name in _RESOURCES else kinds
        asked, held = wanted.get(name), accepted.get(name)
        taken = [n for n in _list(asked) if n not in _list(held) and n in used]
        if taken:
            words = [f'"{n}" is already in use' for n in taken]
            message = words[0] if len(words) == 1 else f"[{', '.join(words)}]"
            problem = (f"{name[0].upper()}{name[1:]}Conflict", message)
        else:
            _assign(accepted, name, asked)
    _assign(accepted, "categories", wanted.get("categories"))
    status = {**(definition.get("status") or {}), "acceptedNames": accepted}
    if problem is not None:
        status = with_condition(status, now, "NamesAccepted", "False", *problem)
    else:
        status = with_condition(status, now, "NamesAccepted", "True", "NoConflicts", "no conflicts found")
    if holds(definition, "Established"):
        return status
    if problem is not None:
        return with_condition(
            status, now, "Established", "False", "NotAccepted", "not all names are accepted"
        )
    message = "the initial names have been accepted"
    return with_condition(status, now, "Established", "True", "InitialNamesAccepted", message)


def with_stored_version(definition: Object) -> list[str]:
    """The stored versions of a definition, with the one that objects are stored in now."""
    stored: list[str] = (definition.get("status") or {}).get("storedVersions") or []
    now = next((v["name"] for v in definition["spec"].get("versions") or () if v.get("storage")), None)
    return stored if now is None or now in stored else [*stored, now]


def _used(definition: Object, others: Iterable[Object]) -> tuple[set[str], set[str]]:
    """The names of resources and of kinds that other definitions of the group have."""
    resources: set[str] = set()
    kinds: set[str] = set()
    for other in others:
        if other["metadata"]["name"] == definition["metadata"]["name"]:
            continue
        if other["spec"]["group"] != definition["spec"]["group"]:
            continue
        names = (other.get("status") or {}).get("acceptedNames") or {}
        for name in _FIELDS:
            (resources if name in _RESOURCES else kinds).update(_list(names.get(name)))
    return resources, kinds


def _list(names: Any) -> list[str]:
    return [names] if isinstance(names, str) and names else list(names or ())


def _assign(accepted: Object, name: str, value: Any) -> None:
    if value:
        accepted[name] = value
    else:
        accepted.pop(name, None)
