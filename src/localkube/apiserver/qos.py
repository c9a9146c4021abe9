"""A pod's quality-of-service class, from what its containers request and are limited to."""

from typing import Any

from localkube.apiserver.quantity import value_of

_COMPUTE = ("cpu", "memory")


def qos_class(spec: dict[str, Any]) -> str:
    """`Guaranteed`, `Burstable` or `BestEffort`, for a defaulted pod spec (requests follow limits)."""
    if resources := spec.get("resources"):
        parts = [resources]
    else:
        containers = [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]
        parts = [container.get("resources") or {} for container in containers]
    requests = [_amounts(part.get("requests")) for part in parts]
    limits = [_amounts(part.get("limits")) for part in parts]
    if not any(requests) and not any(limits):
        return "BestEffort"
    guaranteed = all(
        len(limit) == len(_COMPUTE) and limit == request
        for limit, request in zip(limits, requests, strict=True)
    )
    return "Guaranteed" if guaranteed else "Burstable"


def _amounts(resources: dict[str, str] | None) -> dict[str, Any]:
    amounts = {name: value_of(text) for name, text in (resources or {}).items() if name in _COMPUTE}
    return {name: amount for name, amount in amounts.items() if amount > 0}
