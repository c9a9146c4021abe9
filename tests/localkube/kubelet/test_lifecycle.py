"""What starts next: order, restart policies, sidecars and the delay between restarts."""

from datetime import UTC, datetime
from typing import Any

import pytest

from localkube.kubelet import lifecycle, state
from localkube.kubelet.state import Backoff, Container, Run

THEN = datetime(2026, 1, 1, tzinfo=UTC)


def pod(inits: list[str], mains: list[str], **spec: Any) -> list[Container]:
    """Containers by name; an init container whose name starts with `side` is a sidecar."""
    made = [
        {"name": name, **({"restartPolicy": "Always"} if name.startswith("side") else {})} for name in inits
    ]
    return state.of_pod(
        {"spec": {"initContainers": made, "containers": [{"name": name} for name in mains], **spec}}, 10, 300
    )


def runs(container: Container) -> None:
    container.run = Run("id", THEN)
    container.started = True


def ended(container: Container, code: int, clock: float = 0.0) -> None:
    container.run = Run("id", THEN, THEN, code, "Error" if code else "Completed", finished_clock=clock)
    container.started = False


def starts(containers: list[Container], policy: str = "Never", now: float = 0.0) -> list[str]:
    return [c.name for c in lifecycle.decide(containers, policy, now).start]


def test_init_containers_run_one_after_the_other_and_then_all_main_ones() -> None:
    containers = pod(["i1", "i2"], ["a", "b"])
    assert starts(containers) == ["i1"]
    runs(containers[0])
    assert starts(containers) == []
    ended(containers[0], 0)
    assert starts(containers) == ["i2"]
    ended(containers[1], 0)
    assert starts(containers) == ["a", "b"]
    for container in containers[2:]:
        ended(container, 0)
    assert lifecycle.decide(containers, "Never", 0).finished


def test_a_failed_init_container_fails_the_pod_only_when_it_is_never_restarted() -> None:
    containers = pod(["i1"], ["a"])
    ended(containers[0], 7)
    assert lifecycle.decide(containers, "Never", 0).finished
    assert starts(containers, "OnFailure") == ["i1"]
    assert starts(containers, "Always") == ["i1"]


@pytest.mark.parametrize(
    ("policy", "code", "again"),
    [
        ("Never", 0, False),
        ("Never", 1, False),
        ("OnFailure", 0, False),
        ("OnFailure", 1, True),
        ("Always", 0, True),
        ("Always", 1, True),
    ],
)
def test_restart_policy(policy: str, code: int, again: bool) -> None:
    containers = pod([], ["a"])
    ended(containers[0], code)
    decision = lifecycle.decide(containers, policy, 0)
    assert bool(decision.start) is again
    assert decision.finished is not again


def test_what_follows_a_sidecar_waits_until_it_has_started() -> None:
    containers = pod(["side", "i"], ["a"])
    assert starts(containers) == ["side"]
    containers[0].run = Run("id", THEN)
    assert starts(containers) == []
    runs(containers[0])
    assert starts(containers) == ["i"]
    ended(containers[1], 0)
    assert starts(containers) == ["a"]


def test_a_sidecar_restarts_while_the_pod_runs_and_does_not_keep_it_alive() -> None:
    containers = pod(["side"], ["a"])
    ended(containers[0], 0)
    runs(containers[1])
    assert starts(containers) == ["side"]
    runs(containers[0])
    ended(containers[1], 0)
    assert lifecycle.decide(containers, "Never", 0).finished


def test_restarts_are_delayed_twice_as_long_each_time() -> None:
    containers = pod([], ["a"])
    container, now, delays = containers[0], 0.0, []
    for _ in range(8):
        ended(container, 1, now)
        decision = lifecycle.decide(containers, "Always", now)
        if decision.held:
            assert not decision.start
            assert decision.wake is not None
            assert decision.held == [(container, decision.wake - now)]
            delays.append(decision.wake - now)
            now = decision.wake
            assert starts(containers, "Always", now) == ["a"]
        container.backoff.advance(now)
    assert delays == [10, 20, 40, 80, 160, 300, 300]


def test_the_delay_is_forgotten_after_ten_quiet_minutes() -> None:
    backoff = Backoff(10, 300)
    for now in (0, 10, 30):
        backoff.advance(now)
    assert backoff.remaining(100, 100) == 40
    assert backoff.remaining(631, 631) == 0
    backoff.advance(631)
    assert backoff.remaining(640, 640) == 10


def test_a_container_that_cannot_be_created_is_tried_again_later() -> None:
    containers = pod([], ["a"])
    containers[0].retry = 5.0
    decision = lifecycle.decide(containers, "Never", 1.0)
    assert (decision.start, decision.wake, decision.finished) == ([], 5.0, False)
    assert starts(containers, "Never", 5.0) == ["a"]
