"""The two PriorityClasses that every cluster has."""

from localkube.apiserver.priority import CLASSES, SYSTEM
from localkube.apiserver.registry import Registry


def bootstrap(registry: Registry) -> None:
    """Create them, where they are missing."""
    for priority_class in SYSTEM:
        if registry.store.get(CLASSES, "", priority_class["metadata"]["name"]) is None:
            registry.create(CLASSES, "", priority_class, manager="kube-apiserver")
