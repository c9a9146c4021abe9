"""What of a pod and a Job decides how its log is read: narrow views of their JSON, and what follows."""

from typing import Any

import msgspec

DEFAULT_CONTAINER = "kubectl.kubernetes.io/default-container"


class Terminated(msgspec.Struct, frozen=True, rename="camel"):
    exit_code: int = 0
    reason: str = ""
    message: str = ""


class Waiting(msgspec.Struct, frozen=True):
    reason: str = ""
    message: str = ""


class State(msgspec.Struct, frozen=True):
    waiting: Waiting | None = None
    running: dict[str, Any] | None = None
    terminated: Terminated | None = None


class ContainerStatus(msgspec.Struct, frozen=True, rename="camel"):
    name: str
    state: State = State()
    last_state: State = State()
    restart_count: int = 0


class Condition(msgspec.Struct, frozen=True):
    type: str
    status: str
    reason: str = ""
    message: str = ""


class _PodStatus(msgspec.Struct, frozen=True, rename="camel"):
    phase: str = "Pending"
    reason: str = ""
    message: str = ""
    conditions: tuple[Condition, ...] | None = None
    init_container_statuses: tuple[ContainerStatus, ...] | None = None
    container_statuses: tuple[ContainerStatus, ...] | None = None


class _Container(msgspec.Struct, frozen=True):
    name: str


class _PodSpec(msgspec.Struct, frozen=True):
    containers: tuple[_Container, ...]


class _Metadata(msgspec.Struct, frozen=True, rename="camel"):
    name: str
    uid: str = ""
    creation_timestamp: str = ""
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None


_MEANING = {
    "ContainerCreating": "{} (its image is pulled, its volumes are mounted)",
    **dict.fromkeys(("ErrImagePull", "ImagePullBackOff"), "its image cannot be pulled: {}"),
}
"""Reasons of a waiting container that do not say what they mean."""


class Pod(msgspec.Struct, frozen=True):
    metadata: _Metadata
    spec: _PodSpec
    status: _PodStatus = _PodStatus()

    @property
    def name(self) -> str:
        return self.metadata.name

    @property
    def age_order(self) -> tuple[str, str]:
        return self.metadata.creation_timestamp, self.metadata.name

    @property
    def container(self) -> str:
        """The container whose log is the pod's: the one that the pod names for it, else the first."""
        named = (self.metadata.annotations or {}).get(DEFAULT_CONTAINER, "")
        names = [container.name for container in self.spec.containers]
        return named if named in names else names[0]

    @property
    def ended(self) -> bool:
        return self.status.phase in ("Succeeded", "Failed")

    @property
    def main(self) -> ContainerStatus | None:
        container = self.container
        return next((s for s in self.status.container_statuses or () if s.name == container), None)

    @property
    def failed_init(self) -> tuple[str, Terminated] | None:
        """The init container that ended the pod, for example the one that unpacks the code."""
        if self.status.phase != "Failed":
            return None
        for status in self.status.init_container_statuses or ():
            if status.state.terminated is not None and status.state.terminated.exit_code != 0:
                return status.name, status.state.terminated
        return None

    @property
    def started(self) -> bool:
        """Whether its container has run: whether there is a log."""
        status = self.main
        if status is None:
            return False
        return any(
            s.running is not None or s.terminated is not None for s in (status.state, status.last_state)
        )

    @property
    def restarts(self) -> int:
        return self.main.restart_count if self.main is not None else 0

    def why_waiting(self) -> str:
        """What stands between the pod and its start, in Kubernetes' words."""
        init = self.status.init_container_statuses or ()
        for status in (*init, *(self.status.container_statuses or ())):
            waiting = status.state.waiting
            if waiting is not None and waiting.reason not in ("", "PodInitializing"):
                why = f"{waiting.reason}: {waiting.message}" if waiting.message else waiting.reason
                return _MEANING.get(waiting.reason, "{}").format(why)
            if status in init and status.state.running is not None:
                return f"init container {status.name} is running"
        for condition in self.status.conditions or ():
            if condition.type == "PodScheduled" and condition.status == "False":
                return f"not on a node yet: {condition.message or condition.reason}"
        return self.status.message or self.status.reason or self.status.phase


class _JobSpec(msgspec.Struct, frozen=True):
    suspend: bool | None = None
    parallelism: int | None = None
    completions: int | None = None


class _JobStatus(msgspec.Struct, frozen=True):
    conditions: tuple[Condition, ...] | None = None


class Job(msgspec.Struct, frozen=True):
    metadata: _Metadata
    spec: _JobSpec = _JobSpec()
    status: _JobStatus = _JobStatus()

    @property
    def queued(self) -> bool:
        return self.spec.suspend is True

    @property
    def has_several_pods(self) -> bool:
        return (self.spec.parallelism or 1) > 1 or (self.spec.completions or 1) > 1

    @property
    def end(self) -> Condition | None:
        """The condition that says how the Job ended; None while it has not."""
        for condition in self.status.conditions or ():
            if condition.type in ("Complete", "Failed") and condition.status == "True":
                return condition
        return None


class Follow(msgspec.Struct, frozen=True):
    """A run of the container whose log can be read now."""

    run: int
    container: str


class InitFailed(msgspec.Struct, frozen=True):
    """An init container ended the pod: its log is what there is to read."""

    container: str
    end: Terminated


class Over(msgspec.Struct, frozen=True):
    """Nothing more is to come; `message` says why, where nothing came at all."""

    message: str = ""


class Wait(msgspec.Struct, frozen=True):
    """There will be something to read, later."""

    why: str


def next_step(pod: Pod | None, followed: int) -> Follow | InitFailed | Over | Wait:
    """What to do to read a pod's log to its end; the runs up to `followed` have been read (-1: none yet)."""
    if pod is None:
        return Over()
    if pod.failed_init is not None:
        return InitFailed(*pod.failed_init)
    # Between two runs it waits: the log would be that of the one before.
    between_runs = pod.main is not None and pod.main.state.waiting is not None
    if pod.restarts > followed and pod.started and not between_runs:
        return Follow(pod.restarts, pod.container)
    if pod.ended:
        return Over("" if followed >= 0 else f"kbatch: pod {pod.name} ended: {pod.why_waiting()}")
    return Wait(pod.why_waiting())


pod = msgspec.json.Decoder(Pod).decode
job = msgspec.json.Decoder(Job).decode
