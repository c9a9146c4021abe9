"""The law of the job controller, tried at random: each pod is counted once, whoever dies in between."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from localkube.apiserver.registry import Registry
from localkube.controllers import jobpods, jobstatus, namespace
from localkube.controllers.feed import Feed
from localkube.controllers.job import JobController
from localkube.controllers.serviceaccount import ServiceAccountController

Object = dict[str, Any]


class Death(Exception):
    """The controller's process ends here."""


class Mortal(Registry):
    """A registry whose caller dies before one of its writes. `life` is the number of writes left."""

    life: float = float("inf")
    working: bool = False
    """Whether the controller is at work; what others write costs it nothing."""

    def _spend(self) -> None:
        if self.working:
            if self.life <= 0:
                raise Death
            self.life -= 1

    def create(self, *args: Any, **kwargs: Any) -> Object:
        self._spend()
        return super().create(*args, **kwargs)

    def update(self, *args: Any, **kwargs: Any) -> Object:
        self._spend()
        return super().update(*args, **kwargs)

    def patch(self, *args: Any, **kwargs: Any) -> Object:
        self._spend()
        return super().patch(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> Object:
        self._spend()
        return super().delete(*args, **kwargs)


class JobMachine(RuleBasedStateMachine):
    """Pods run, end and are deleted; the controller is called now and then, and dies now and then."""

    @initialize(
        completions=st.integers(1, 4),
        parallelism=st.integers(1, 3),
        limit=st.integers(0, 3),
        indexed=st.booleans(),
        on_nodes=st.booleans(),
    )
    def start(self, completions: int, parallelism: int, limit: int, indexed: bool, on_nodes: bool) -> None:
        self.now = datetime(2026, 3, 1, tzinfo=UTC)
        self.registry = Mortal(clock=self.clock)
        namespace.bootstrap(self.registry)
        ServiceAccountController(self.registry, Feed(self.registry), "PEM").sync("default")
        self.feed: Feed | None = None
        self.succeeded: set[str] = set()
        """Uids of the pods that have ended well."""
        self.lost: set[str] = set()
        """Uids of those that have failed, or were deleted by someone before they ended."""
        self.stopped: set[str] = set()
        """Uids of those that the controller deleted itself, or let go of to delete them."""
        self.completions, self.parallelism, self.limit = completions, parallelism, limit
        self.indexed, self.on_nodes = indexed, on_nodes
        pod = {"restartPolicy": "Never", "containers": [{"name": "c", "image": "busybox"}]}
        spec = {"parallelism": parallelism, "completions": completions, "backoffLimit": limit}
        job = {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": "j"},
            "spec": {**spec, "suspend": False, "template": {"spec": pod}},
        }
        if indexed:
            job["spec"]["completionMode"] = "Indexed"
        self.registry.create("jobs.batch", "default", job)
        self.restart()

    def clock(self) -> datetime:
        # no two moments are the same: the names of Events are made from them
        self.now += timedelta(microseconds=1)
        return self.now

    def restart(self) -> None:
        if self.feed is not None:
            self.feed.stop()
        self.registry.life = float("inf")
        self.feed = Feed(self.registry)
        self.controller = JobController(self.registry, self.feed, backoff_first=0.0)
        self.feed.start()

    @property
    def job(self) -> Object:
        return self.registry.get("jobs.batch", "default", "j")

    @property
    def status(self) -> Object:
        return self.job.get("status") or {}

    def pods(self, wanted: Callable[[Object], bool]) -> list[Object]:
        return [pod for pod in self.registry.list("pods", "default") if wanted(pod)]

    def work(self) -> None:
        before = {pod["metadata"]["uid"] for pod in self.pods(jobpods.is_active)}
        self.registry.working = True
        try:
            self.controller.sync(("default", "j"))
        except Death:
            self.restart()
        finally:
            self.registry.working = False
            kept = self.pods(lambda pod: jobpods.is_active(pod) and jobpods.is_tracked(pod))
            self.stopped |= before - {pod["metadata"]["uid"] for pod in kept}

    @rule()
    def sync(self) -> None:
        self.work()

    @rule(data=st.data(), good=st.booleans(), writes=st.integers(0, 8))
    def end_pod_and_die(self, data: st.DataObject, good: bool, writes: int) -> None:
        self.end_pod(data, good)
        self.sync_and_die(writes)

    @rule(writes=st.integers(0, 8))
    def sync_and_die(self, writes: int) -> None:
        self.registry.life = writes
        self.work()
        self.registry.life = float("inf")

    @rule()
    def replace_controller(self) -> None:
        self.restart()

    @rule(data=st.data(), good=st.booleans())
    def end_pod(self, data: st.DataObject, good: bool) -> None:
        running = self.pods(lambda p: jobpods.phase(p) not in ("Succeeded", "Failed"))
        if not running:
            return
        pod = self.draw(data, running)
        # a pod that was deleted may still end well before the controller has seen that it was
        (self.succeeded if good else self.lost).add(pod["metadata"]["uid"])
        self._end(pod, "Succeeded" if good else "Failed")

    def draw(self, data: st.DataObject, pods: list[Object]) -> Object:
        return pods[data.draw(st.integers(0, len(pods) - 1))]

    def _end(self, pod: Object, phase: str) -> None:
        changed = {**pod, "status": {**(pod.get("status") or {}), "phase": phase}}
        self.registry.update("pods", "default", changed, subresource="status")
        if jobpods.deleting(pod):
            # the kubelet's last word on a pod that was told to stop
            self.registry.delete("pods", "default", pod["metadata"]["name"], grace=0)

    @rule(data=st.data())
    def delete_pod(self, data: st.DataObject) -> None:
        active = self.pods(jobpods.is_active)
        if active:
            pod = self.draw(data, active)
            self.lost.add(pod["metadata"]["uid"])
            self.registry.delete("pods", "default", pod["metadata"]["name"])

    @rule()
    def bind_pods(self) -> None:
        if self.on_nodes:
            for pod in self.pods(lambda p: not p["spec"].get("nodeName") and jobpods.is_active(p)):
                bound = {**pod, "spec": {**pod["spec"], "nodeName": "n"}}
                self.registry.update("pods", "default", bound, subresource="binding")

    @rule(seconds=st.integers(1, 1000))
    def sleep(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)

    @precondition(lambda self: not jobstatus.finished(self.job))
    @rule(suspend=st.booleans())
    def suspend(self, suspend: bool) -> None:
        self.registry.patch("jobs.batch", "default", "j", {"spec": {"suspend": suspend}})

    @invariant()
    def no_pod_is_counted_twice(self) -> None:
        uncounted = self.status.get("uncountedTerminatedPods") or {}
        succeeded = self.status.get("succeeded", 0) + len(uncounted.get("succeeded") or ())
        failed = self.status.get("failed", 0) + len(uncounted.get("failed") or ())
        assert succeeded <= min(len(self.succeeded), self.completions)
        assert failed <= len(self.lost | self.stopped)

    @invariant()
    def no_more_pods_run_than_asked_for(self) -> None:
        assert len(self.pods(jobpods.is_active)) <= self.parallelism

    @invariant()
    def a_finished_job_leaves_nothing_behind(self) -> None:
        ended = jobstatus.finished(self.job)
        if not ended:
            return
        assert self.pods(lambda p: jobpods.is_tracked(p) or jobpods.is_active(p)) == []
        if ended == "Complete":
            assert self.status["succeeded"] == self.completions
            assert "completionTime" in self.status
        else:
            assert self.status["failed"] > self.limit

    def teardown(self) -> None:
        """Whatever has happened: left alone, the Job comes to its end, and all that ended is counted."""
        if not hasattr(self, "registry"):
            return
        self.registry.patch("jobs.batch", "default", "j", {"spec": {"suspend": False}})
        for _ in range(60):
            self.now += timedelta(hours=1)
            self.work()
            if jobstatus.finished(self.job):
                break
            for pod in self.pods(lambda p: jobpods.phase(p) not in ("Succeeded", "Failed")):
                if jobpods.is_active(pod):
                    self.succeeded.add(pod["metadata"]["uid"])
                self._end(pod, "Succeeded")
        self.work()
        assert jobstatus.finished(self.job)
        self.a_finished_job_leaves_nothing_behind()
        unclear = self.succeeded & (self.lost | self.stopped)
        if jobstatus.finished(self.job) == "Complete" and not unclear and not self.stopped:
            assert self.status["succeeded"] == len(self.succeeded)
            assert self.status.get("failed", 0) == len(self.lost)


JobMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestJobCounting = JobMachine.TestCase


@pytest.mark.parametrize("indexed", [False, True])
@pytest.mark.parametrize("end", ["Complete", "Failed"])
def test_a_death_before_any_write_changes_no_count(indexed: bool, end: str) -> None:
    """The same life of a Job again and again, with the controller dying one write later each time."""
    ends = ["Succeeded", "Failed", "Succeeded"] if end == "Complete" else ["Failed", "Succeeded", "Failed"]
    lived = False
    writes = 0
    while not lived:
        machine = JobMachine()
        machine.start(completions=2, parallelism=1, limit=1, indexed=indexed, on_nodes=True)
        machine.registry.life = writes
        before = machine.controller
        for phase in ends:
            for _ in range(3):
                machine.work()
            machine.bind_pods()
            (pod,) = machine.pods(lambda p: jobpods.phase(p) not in ("Succeeded", "Failed"))
            machine._end(pod, phase)
        for _ in range(3):
            machine.work()
        assert jobstatus.finished(machine.job) == end
        assert machine.status.get("succeeded", 0) == ends.count("Succeeded")
        assert machine.status["failed"] == ends.count("Failed")
        assert machine.status["uncountedTerminatedPods"] == {}
        assert len(machine.pods(lambda p: True)) == 3
        assert machine.pods(jobpods.is_tracked) == []
        lived = machine.controller is before
        writes += 1
    assert writes > 15
