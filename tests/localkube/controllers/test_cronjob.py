"""CronJobs in virtual time: seconds are asserted, none is slept."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from localkube.apiserver.schedule import parse
from localkube.controllers import cronjob, times
from localkube.controllers.cronjob import CronJobController, due, job_for, most_recent, observe, outdated
from localkube.controllers.feed import Feed

Object = dict[str, Any]

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)


def make_cron(schedule: str = "*/5 * * * *", *, created: datetime = NOW, **spec: Any) -> Object:
    template = {"spec": {"template": {"spec": {"restartPolicy": "Never", "containers": []}}}}
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": "c", "namespace": "ns", "uid": "u", "creationTimestamp": times.text(created)},
        "spec": {"schedule": schedule, "jobTemplate": template, **spec},
    }


def make_job(name: str, ended: str = "", *, uid: str = "", at: datetime = NOW) -> Object:
    status: Object = {"startTime": times.text(at)}
    if ended:
        status["conditions"] = [{"type": ended, "status": "True"}]
    if ended == "Complete":
        status["completionTime"] = times.text(at)
    return {"metadata": {"name": name, "uid": uid or name}, "status": status}


def minutes(count: float) -> timedelta:
    return timedelta(minutes=count)


def test_before_the_first_time_nothing_is_due() -> None:
    found = due(make_cron(), {}, NOW + minutes(2))
    assert found.time is None
    assert found.again == pytest.approx(180.1)


def test_a_time_is_due_when_it_has_come() -> None:
    found = due(make_cron(), {}, NOW + minutes(5))
    assert found.time == NOW + minutes(5)
    assert found.again == pytest.approx(300.1)


def test_of_several_missed_times_the_last_is_run() -> None:
    found = due(make_cron(), {}, NOW + minutes(29))
    assert found.time == NOW + minutes(25)
    assert found.notices == ()


def test_a_time_that_was_run_is_not_due_again() -> None:
    status = {"lastScheduleTime": times.text(NOW + minutes(5))}
    assert due(make_cron(), status, NOW + minutes(6)).time is None


def test_a_run_that_is_noted_as_active_is_not_started_again() -> None:
    name = job_for(make_cron(), NOW + minutes(5))["metadata"]["name"]
    assert due(make_cron(), {"active": [{"name": name, "uid": "x"}]}, NOW + minutes(6)).time is None


def test_the_starting_deadline() -> None:
    cron = make_cron("0 * * * *", startingDeadlineSeconds=100)
    assert due(cron, {}, NOW + minutes(61)).time == NOW + minutes(60)
    late = due(cron, {}, NOW + minutes(62))
    assert late.time is None
    assert late.again == pytest.approx(58 * 60 + 0.1)


def test_too_many_missed_times_are_told_but_the_last_is_run() -> None:
    found = due(make_cron("* * * * *"), {}, NOW + minutes(101.5))
    assert found.time == NOW + minutes(101)
    assert [n.reason for n in found.notices] == ["TooManyMissedTimes"]
    assert due(make_cron("* * * * *"), {}, NOW + minutes(100.5)).notices == ()


def test_a_clock_that_was_wrong_by_decades_costs_nothing() -> None:
    time, missed = most_recent(parse("* * * * *"), datetime(1970, 1, 1, tzinfo=UTC), NOW)
    assert time == NOW
    assert missed > 20_000_000


def test_every_counts_from_the_last_run() -> None:
    cron = make_cron("@every 7m", created=NOW + timedelta(seconds=13))
    assert due(cron, {}, NOW + minutes(30)).time == NOW + timedelta(seconds=13) + minutes(28)


def test_suspended() -> None:
    assert due(make_cron(suspend=True), {}, NOW + minutes(20)) == cronjob.Due()


def test_a_schedule_that_never_comes() -> None:
    assert [n.reason for n in due(make_cron("0 0 31 2 *"), {}, NOW).notices] == ["InvalidSchedule"]


def test_an_unknown_time_zone() -> None:
    assert [n.reason for n in due(make_cron(timeZone="Mars/Olympus"), {}, NOW).notices] == ["UnknownTimeZone"]


def test_the_time_zone_is_the_schedules() -> None:
    cron = make_cron("0 9 * * *", timeZone="Asia/Tokyo")
    found = due(cron, {}, NOW + minutes(12 * 60))
    assert found.time == datetime(2026, 3, 2, 0, 0, tzinfo=UTC)


def test_the_job_of_a_run() -> None:
    cron = make_cron(timeZone="Europe/Berlin")
    cron["spec"]["jobTemplate"]["metadata"] = {"labels": {"a": "b"}, "annotations": {"c": "d"}}
    job = job_for(cron, NOW)
    assert job["metadata"] == {
        "name": f"c-{int(NOW.timestamp()) // 60}",
        "namespace": "ns",
        "labels": {"a": "b"},
        "annotations": {
            "c": "d",
            "batch.kubernetes.io/cronjob-scheduled-timestamp": "2026-03-01T13:00:00+01:00",
        },
        "ownerReferences": [
            {
                "apiVersion": "batch/v1",
                "kind": "CronJob",
                "name": "c",
                "uid": "u",
                "controller": True,
                "blockOwnerDeletion": True,
            }
        ],
    }
    assert job_for(make_cron(), NOW)["metadata"]["annotations"] == {
        "batch.kubernetes.io/cronjob-scheduled-timestamp": "2026-03-01T12:00:00Z"
    }


def test_observe_follows_the_jobs() -> None:
    cron = make_cron()
    cron["status"] = {"active": [{"name": n, "uid": n} for n in ("done", "gone", "running")]}
    jobs = [
        make_job("done", "Complete", at=NOW + minutes(3)),
        make_job("earlier", "Complete"),
        make_job("running"),
        make_job("strange"),
    ]
    status, notices = observe(cron, jobs)
    assert [reference["name"] for reference in status["active"]] == ["running"]
    assert status["lastSuccessfulTime"] == times.text(NOW + minutes(3))
    assert [n.reason for n in notices] == ["SawCompletedJob", "UnexpectedJob", "MissingJob"]


def test_history_limits() -> None:
    cron = make_cron(successfulJobsHistoryLimit=2, failedJobsHistoryLimit=0)
    jobs = [make_job(f"s{i}", "Complete", at=NOW + minutes(i)) for i in (3, 1, 2)]
    jobs += [make_job("f", "Failed"), make_job("running")]
    assert [job["metadata"]["name"] for job in outdated(cron, jobs)] == ["s1", "f"]


class TestController:
    """The loop, stepped by hand on a registry."""

    @pytest.fixture(autouse=True)
    def _start(self, world) -> None:
        self.world = world
        self.restart()

    def restart(self) -> None:
        feed = Feed(self.world.registry)
        self.controller = CronJobController(self.world.registry, feed)
        feed.start()

    def create(self, **spec: Any) -> None:
        pod = {"restartPolicy": "Never", "containers": [{"name": "c", "image": "busybox"}]}
        cron = {
            "apiVersion": "batch/v1",
            "kind": "CronJob",
            "metadata": {"name": "c"},
            "spec": {
                "schedule": "* * * * *",
                "jobTemplate": {"spec": {"template": {"spec": pod}}},
                "successfulJobsHistoryLimit": 3,
                "failedJobsHistoryLimit": 1,
                **spec,
            },
        }
        self.world.registry.create("cronjobs.batch", "ns", cron)

    def run_minutes(self, count: int) -> None:
        for _ in range(count):
            self.world.sleep(60)
            self.controller.sync(("ns", "c"))

    def jobs(self) -> list[str]:
        return [job["metadata"]["name"] for job in self.world.registry.list("jobs.batch", "ns")]

    def finish(self, name: str, ended: str = "Complete") -> None:
        job = self.world.get("jobs.batch", name)
        now = times.text(self.world.now)
        condition = {"type": ended, "status": "True", "lastProbeTime": now, "lastTransitionTime": now}
        status = {"conditions": [condition], "startTime": now}
        if ended == "Complete":
            status["completionTime"] = now
        self.world.registry.update("jobs.batch", "ns", {**job, "status": status}, subresource="status")

    def status(self) -> Object:
        return self.world.get("cronjobs.batch", "c")["status"]

    def test_runs_every_minute(self) -> None:
        self.create()
        self.run_minutes(3)
        assert len(self.jobs()) == 3
        assert [reference["name"] for reference in self.status()["active"]] == self.jobs()
        assert self.status()["lastScheduleTime"] == times.text(self.world.now.replace(second=0))
        assert len(self.world.events("SuccessfulCreate")) == 3

    def test_a_restart_runs_nothing_twice(self) -> None:
        self.create()
        self.run_minutes(1)
        # as if the controller had died between the Job and the status
        cron = self.world.get("cronjobs.batch", "c")
        self.world.registry.update("cronjobs.batch", "ns", {**cron, "status": {}}, subresource="status")
        self.restart()
        self.controller.sync(("ns", "c"))
        assert len(self.jobs()) == 1
        assert [reference["name"] for reference in self.status()["active"]] == self.jobs()

    def test_forbid_waits_for_the_run_before(self) -> None:
        self.create(concurrencyPolicy="Forbid")
        self.run_minutes(2)
        (first,) = self.jobs()
        assert len(self.world.events("JobAlreadyActive")) == 1
        self.finish(first)
        self.controller.sync(("ns", "c"))
        assert len(self.jobs()) == 2
        assert self.status()["lastSuccessfulTime"] == times.text(self.world.now)

    def test_replace_deletes_the_run_before(self) -> None:
        self.create(concurrencyPolicy="Replace")
        self.run_minutes(1)
        before = self.jobs()
        self.run_minutes(1)
        assert len(self.jobs()) == 1 and self.jobs() != before
        assert [reference["name"] for reference in self.status()["active"]] == self.jobs()

    def test_the_history_is_kept_short(self) -> None:
        self.create(successfulJobsHistoryLimit=1)
        for ended in ("Complete", "Failed", "Complete", "Failed"):
            self.run_minutes(1)
            self.finish(self.jobs()[-1], ended)
        self.controller.sync(("ns", "c"))
        assert len(self.jobs()) == 2
        assert "active" not in self.status()

    def test_a_suspended_one_catches_up_with_one_run(self) -> None:
        self.create(suspend=True)
        self.run_minutes(5)
        assert self.jobs() == []
        self.world.registry.patch("cronjobs.batch", "ns", "c", {"spec": {"suspend": False}})
        self.controller.sync(("ns", "c"))
        assert len(self.jobs()) == 1
