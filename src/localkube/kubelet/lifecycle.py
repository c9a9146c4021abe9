"""What a pod's containers should do next: the kubelet's computePodActions. Pure."""

from collections.abc import Sequence
from typing import NamedTuple

from localkube.kubelet.state import Container


class Decision(NamedTuple):
    """`start` now, in this order; `held` back by the restart delay for so many seconds; look again at `wake`.

    `finished`: no container that matters runs or will run again.
    """

    start: list[Container]
    held: list[tuple[Container, float]]
    wake: float | None
    finished: bool


def decide(containers: Sequence[Container], restart_policy: str, now: float) -> Decision:
    """Decide for a pod that is to run. `now` is on the monotonic clock."""
    start: list[Container] = []
    held: list[tuple[Container, float]] = []
    wakes: list[float] = []

    def attempt(container: Container) -> None:
        run = container.run
        rest = container.backoff.remaining(run.finished_clock, now) if run is not None else 0.0
        if rest > 0:
            held.append((container, container.backoff.delay))
            wakes.append(now + rest)
        elif container.retry > now:
            wakes.append(container.retry)
        else:
            start.append(container)

    def answer(finished: bool = False) -> Decision:
        return Decision(start, held, min(wakes, default=None), finished)

    mains = [container for container in containers if container.kind == "main"]
    if all(_over(container, restart_policy) for container in mains):
        return answer(finished=True)
    for container in containers:
        if container.kind == "main":
            break
        if container.kind == "init":
            if container.succeeded or any(main.run is not None for main in mains):
                continue
            if container.ended and restart_policy == "Never":
                return answer(finished=True)
            if not container.running:
                attempt(container)
            return answer()
        if not container.running:
            attempt(container)
        if not container.started and not any(main.run is not None for main in mains):
            # what comes after a sidecar starts when the sidecar has started
            return answer()
    for container in mains:
        if not container.running and not _over(container, restart_policy):
            attempt(container)
    return answer()


def restarts(container: Container, restart_policy: str) -> bool:
    """Whether a container that has ended is to start again."""
    if container.kind == "sidecar":
        return True
    if container.kind == "init":
        return restart_policy != "Never" and not container.succeeded
    return not _over(container, restart_policy)


def _over(container: Container, restart_policy: str) -> bool:
    if not container.ended:
        return False
    policy = container.spec.get("restartPolicy") or restart_policy
    return policy == "Never" or (policy == "OnFailure" and container.succeeded)
