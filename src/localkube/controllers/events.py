"""Telling about what was done: Events are a courtesy, and never stop the work they tell about."""

import contextlib
from typing import Any

from localkube.apiserver.registry import Registry
from localkube.apiserver.status import StatusError


class Recorder:
    """Records Events of one component (`job-controller`)."""

    def __init__(self, registry: Registry, component: str) -> None:
        self._registry = registry
        self._component = component

    def normal(self, obj: dict[str, Any], reason: str, message: str) -> None:
        self.record(obj, "Normal", reason, message)

    def warning(self, obj: dict[str, Any], reason: str, message: str) -> None:
        self.record(obj, "Warning", reason, message)

    def record(self, obj: dict[str, Any], type_: str, reason: str, message: str) -> None:
        """Nothing happens where no Event can be, as in a namespace that is being deleted."""
        with contextlib.suppress(StatusError):
            self._registry.record_event(obj, reason, message, type_, self._component)
