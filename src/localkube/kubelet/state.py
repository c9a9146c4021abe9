"""What the kubelet knows about a pod's containers: data, changed by the worker, read by pure functions."""

from datetime import datetime
from typing import Any, Literal

import msgspec

from localkube.kubelet import podref

Kind = Literal["init", "sidecar", "main"]


class Run(msgspec.Struct):
    """One start of a container. It runs until `exit_code` is set."""

    container_id: str
    started: datetime | None
    """None when the command could not be executed."""
    finished: datetime | None = None
    exit_code: int | None = None
    reason: str = ""
    message: str = ""
    finished_clock: float = 0.0
    """When it ended, on the monotonic clock (seconds)."""

    @property
    def running(self) -> bool:
        return self.exit_code is None


class Backoff(msgspec.Struct):
    """Delay between restarts (client-go's flowcontrol.Backoff): doubled each time, forgotten after peace."""

    initial: float = 10.0
    longest: float = 300.0
    delay: float = 0.0
    updated: float = 0.0

    def remaining(self, finished: float, now: float) -> float:
        """Seconds until a container that ended at `finished` may start again."""
        if not self.delay or self._forgotten(now):
            return 0.0
        return max(0.0, finished + self.delay - now)

    def advance(self, now: float) -> None:
        """Count a restart."""
        forgotten = not self.delay or self._forgotten(now)
        self.delay = self.initial if forgotten else min(self.delay * 2, self.longest)
        self.updated = now

    def _forgotten(self, now: float) -> bool:
        return now - self.updated > 2 * self.longest


class Container(msgspec.Struct):
    """A container of a pod and what became of it."""

    spec: dict[str, Any]
    kind: Kind
    run: Run | None = None
    """The newest run."""
    last: Run | None = None
    """The run before."""
    restarts: int = 0
    waiting: tuple[str, str] | None = None
    """Reason and message of what keeps it from (re)starting."""
    started: bool = False
    """Whether it runs and its startup probe, if any, has succeeded."""
    ready: bool = False
    retry: float = 0.0
    """No attempt to start before this time on the monotonic clock."""
    backoff: Backoff = msgspec.field(default_factory=Backoff)

    @property
    def name(self) -> str:
        return str(self.spec["name"])

    @property
    def running(self) -> bool:
        return self.run is not None and self.run.running

    @property
    def ended(self) -> bool:
        return self.run is not None and not self.run.running

    @property
    def succeeded(self) -> bool:
        return self.run is not None and self.run.exit_code == 0


def of_pod(pod: dict[str, Any], initial: float, longest: float) -> list[Container]:
    """The containers of a new pod, in the order they start; the times are those of the restart delay."""
    found: list[Container] = []
    spec = pod["spec"]
    for container in spec.get("initContainers") or ():
        kind: Kind = "sidecar" if podref.is_sidecar(container) else "init"
        found.append(Container(container, kind, backoff=Backoff(initial, longest)))
    for container in spec.get("containers") or ():
        found.append(Container(container, "main", backoff=Backoff(initial, longest)))
    return found
