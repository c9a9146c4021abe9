"""PriorityClasses: the two that every cluster has, and which one pods get that name none."""

from collections.abc import Iterable
from typing import Any

from localkube.apiserver.status import forbidden

Object = dict[str, Any]

CLASSES = "priorityclasses.scheduling.k8s.io"
SYSTEM_PREFIX = "system-"
HIGHEST = 1_000_000_000
"""The highest priority that users can give."""
SYSTEM: tuple[Object, ...] = tuple(
    {
        "apiVersion": "scheduling.k8s.io/v1",
        "kind": "PriorityClass",
        "metadata": {"name": name},
        "value": value,
        "description": f"Used for system critical pods that must {what}.",
    }
    for name, value, what in (
        ("system-node-critical", 2_000_001_000, "not be moved from their current node"),
        (
            "system-cluster-critical",
            2_000_000_000,
            "run in the cluster, but can be moved to another node if necessary",
        ),
    )
)


def default(classes: Iterable[Object]) -> Object | None:
    """The class of pods that name none; the lowest, should several claim to be that."""
    marked = [found for found in classes if found.get("globalDefault")]
    return min(marked, key=lambda found: int(found.get("value", 0)), default=None)


def check_default(new: Object, classes: Iterable[Object], *, created: bool) -> None:
    """Raise 403 where a class wants to be the default beside another."""
    if not new.get("globalDefault"):
        return
    found = default(classes)
    name = new["metadata"].get("name", "")
    if found is not None and (created or found["metadata"]["name"] != name):
        other = found["metadata"]["name"]
        detail = f"PriorityClass {other} is already marked as default. Only one default can exist"
        raise forbidden(CLASSES, name, detail)
