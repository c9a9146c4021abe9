from typing import Any

import pytest

from localkube.controllers.feed import Feed
from localkube.controllers.scheduler import Scheduler

Object = dict[str, Any]


class TestScheduler:
    """The scheduler, stepped by hand: `step` does what is due now."""

    @pytest.fixture(autouse=True)
    def _start(self, world) -> None:
        self.world = world
        feed = Feed(world.registry)
        self.scheduler = Scheduler(world.registry, feed)
        feed.start()

    def step(self) -> list[str]:
        queue = self.scheduler._queue
        done = []
        while queue._ready:
            key = queue._ready.popleft()
            queue._queued.discard(key)
            self.scheduler.sync(key)
            done.append(key[1])
        return done

    def pod(self, name: str, cpu: str = "100m", **spec: Any) -> None:
        container = {"name": "c", "image": "busybox", "resources": {"requests": {"cpu": cpu}}}
        self.world.pod(name, containers=[container], **spec)

    def scheduled(self, name: str) -> tuple[str, str, str]:
        """Node, and status and reason of the PodScheduled condition."""
        pod = self.world.get("pods", name)
        condition = next(c for c in pod["status"]["conditions"] if c["type"] == "PodScheduled")
        return pod["spec"].get("nodeName", ""), condition["status"], condition.get("reason", "")

    def end(self, name: str) -> None:
        pod = self.world.get("pods", name)
        status = {**pod["status"], "phase": "Succeeded"}
        self.world.registry.update("pods", "ns", {**pod, "status": status}, subresource="status")

    def test_a_pod_gets_a_node(self) -> None:
        self.world.node()
        self.pod("p")
        self.step()
        assert self.scheduled("p") == ("n", "True", "")
        assert self.world.events("Scheduled") == ["Successfully assigned ns/p to n"]

    def test_without_nodes_it_waits_for_one(self) -> None:
        self.pod("p")
        self.step()
        assert self.scheduled("p") == ("", "False", "Unschedulable")
        assert self.world.events("FailedScheduling") == ["no nodes available to schedule pods"]
        self.world.node()
        self.step()
        assert self.scheduled("p") == ("n", "True", "")

    def test_a_pod_that_has_ended_makes_room(self) -> None:
        self.world.node()
        for name in ("a", "b", "c"):
            self.pod(name, "2")
        self.step()
        assert self.scheduled("c") == ("", "False", "Unschedulable")
        self.end("a")
        assert self.step() == ["c"]
        assert self.scheduled("c") == ("n", "True", "")

    def test_a_pod_for_another_node_is_not_looked_at_when_room_is_made(self) -> None:
        self.world.node()
        self.pod("a")
        self.pod("picky", nodeSelector={"never": "true"})
        self.step()
        self.end("a")
        assert self.step() == []

    def test_a_heartbeat_wakes_nobody(self) -> None:
        node = self.world.node()
        self.pod("picky", nodeSelector={"never": "true"})
        self.step()
        condition = {**node["status"]["conditions"][0], "lastHeartbeatTime": "2026-03-01T12:00:00Z"}
        status = {**node["status"], "conditions": [condition]}
        node = self.world.registry.update("nodes", "", {**node, "status": status}, subresource="status")
        assert self.step() == []
        labels = {**node["metadata"]["labels"], "never": "true"}
        self.world.registry.patch("nodes", "", "n", {"metadata": {"labels": labels}})
        assert self.step() == ["picky"]
        assert self.scheduled("picky") == ("n", "True", "")

    def test_a_refusal_is_told_once(self) -> None:
        self.pod("p")
        self.step()
        self.scheduler.sync(("ns", "p"))
        assert len(self.world.events("FailedScheduling")) == 1

    def test_gates_hold_a_pod(self) -> None:
        self.world.node()
        self.pod("p", schedulingGates=[{"name": "example.com/quota"}])
        self.step()
        assert self.scheduled("p") == ("", "False", "SchedulingGated")

    def test_other_schedulers_pods_are_left_alone(self) -> None:
        self.world.node()
        self.pod("p", schedulerName="mine")
        assert self.step() == []

    def test_what_runs_is_known_after_a_restart(self) -> None:
        self.world.node()
        self.pod("a", "3")
        self.step()
        feed = Feed(self.world.registry)
        self.scheduler = Scheduler(self.world.registry, feed)
        feed.start()
        self.pod("b", "2")
        self.step()
        assert self.scheduled("b") == ("", "False", "Unschedulable")
