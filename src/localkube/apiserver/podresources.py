"""What a pod takes together: the requests and limits of its containers, added up as the API adds them.

Amounts stay quantities in text (`500m`, `1Gi`), since messages and statuses show them in their own format.
"""

from typing import Any

from localkube.apiserver import quantity

Object = dict[str, Any]
Amounts = dict[str, str]


def requests(spec: Object) -> Amounts:
    """What the pod asks for: its containers and sidecars, or its largest init container, and its overhead."""
    total = _total(spec, "requests")
    _add(total, spec.get("overhead") or {})
    return total


def limits(spec: Object) -> Amounts:
    """As `requests`; overhead counts only where there is a limit at all."""
    total = _total(spec, "limits")
    overhead = spec.get("overhead") or {}
    _add(total, {name: text for name, text in overhead.items() if quantity.value_of(total.get(name, "0"))})
    return total


def plus(one: Amounts, other: Amounts) -> Amounts:
    """The sums by name; what is in one only is as it is there."""
    total = dict(one)
    _add(total, other)
    return total


def _total(spec: Object, kind: str) -> Amounts:
    total: Amounts = {}
    for container in spec.get("containers") or ():
        _add(total, _of(container, kind))
    largest: Amounts = {}
    sidecars: Amounts = {}
    for container in spec.get("initContainers") or ():
        wanted = plus(sidecars, _of(container, kind))
        if container.get("restartPolicy") == "Always":
            # a sidecar stays beside all that come after it
            sidecars = wanted
            _add(total, _of(container, kind))
        _raise(largest, wanted)
    _raise(total, largest)
    # what is said of the whole pod counts instead of the sum
    return {**total, **_of(spec, kind)}


def _of(part: Object, kind: str) -> Amounts:
    found: Amounts = (part.get("resources") or {}).get(kind) or {}
    return found


def _add(total: Amounts, other: Amounts) -> None:
    for name, text in other.items():
        total[name] = quantity.plus(total[name], text) if name in total else text


def _raise(total: Amounts, other: Amounts) -> None:
    for name, text in other.items():
        if name not in total or quantity.value_of(text) > quantity.value_of(total[name]):
            total[name] = text
