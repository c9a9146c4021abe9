"""Indexed Jobs with a limit of failures for each index."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.localkube.controllers.conftest import World
from tests.localkube.controllers.test_job import end, status, unfinished
from tests.localkube.controllers.test_jobplan import NOW, conditions, failure_policy, make_job, make_pod, uids

from localkube.controllers import jobpods, jobstatus
from localkube.controllers.feed import Feed
from localkube.controllers.job import JobController
from localkube.controllers.jobplan import plan
from localkube.controllers.perindex import FAILURES, IGNORED

Object = dict[str, Any]


def per_index(limit: int = 1, *, status: Object | None = None, **spec: Any) -> Object:
    shape = {"completionMode": "Indexed", "completions": 3, "parallelism": 3, "backoffLimit": 2**31 - 1}
    return make_job(status, backoffLimitPerIndex=limit, **{**shape, **spec})


def with_count(pod: Object, failures: int, ignored: int = 0) -> Object:
    pod["metadata"]["annotations"] |= {FAILURES: str(failures), IGNORED: str(ignored)}
    return pod


def counts(pod: Object) -> tuple[str, str | None]:
    annotations = pod["metadata"]["annotations"]
    return annotations[FAILURES], annotations.get(IGNORED)


def test_a_new_pod_begins_to_count() -> None:
    result = plan(per_index(), [], NOW)
    assert [counts(pod) for pod in result.create] == [("0", None)] * 3
    assert result.status["failedIndexes"] == ""


def test_each_index_has_a_backoff_of_its_own() -> None:
    pods = [
        with_count(make_pod("a", "Failed", index=0, ended=9), 0),
        with_count(make_pod("b", "Failed", index=1, ended=11), 0),
        with_count(make_pod("c", index=2), 0),
    ]
    job = per_index(2)
    waiting, done = plan(job, pods, NOW, first=10.0), plan(job, pods, NOW + timedelta(seconds=1), first=10.0)
    assert [jobpods.completion_index(pod) for pod in waiting.create] == [1]
    assert waiting.again == 1.0
    assert [jobpods.completion_index(pod) for pod in done.create] == [0, 1]
    assert counts(waiting.create[0]) == ("1", None)
    third = with_count(make_pod("a", "Failed", index=0, ended=19), 1)
    assert plan(job, [third, *pods[1:]], NOW, first=10.0).again == 1.0, "twice as long after two failures"


def test_the_last_failed_pod_of_an_index_is_kept_until_its_replacement_is_there() -> None:
    failed = with_count(make_pod("a", "Failed", index=0, ended=1), 0)
    others = [with_count(make_pod(uid, index=i), 0) for uid, i in (("b", 1), ("c", 2))]
    assert plan(per_index(), [failed, *others], NOW).release == []
    replaced = with_count(make_pod("d", index=0), 1)
    result = plan(per_index(), [failed, replaced, *others], NOW)
    assert uids(result.release) == ["a"]
    assert result.status["uncountedTerminatedPods"] == {"failed": ["a"]}


def test_an_index_fails_alone_and_the_job_at_its_end() -> None:
    pods = [
        with_count(make_pod("a", "Failed", index=0), 1),
        with_count(make_pod("b", index=1), 0),
        with_count(make_pod("c", index=2), 0),
    ]
    result = plan(per_index(), pods, NOW)
    assert result.create == [] and conditions(result.status) == []
    assert result.status["failedIndexes"] == "0"
    assert uids(result.release) == ["a"], "nothing goes on from it"
    over = per_index(status={**result.final, "failedIndexes": "0"})
    ends = [make_pod("b", "Succeeded", index=1), make_pod("c", "Succeeded", index=2)]
    final = plan(over, ends, NOW).final
    assert conditions(final) == [
        ("FailureTarget", "True", "FailedIndexes"),
        ("Failed", "True", "FailedIndexes"),
    ]
    assert final["conditions"][1]["message"] == "Job has failed indexes"
    assert (final["completedIndexes"], final["failedIndexes"], final["succeeded"]) == ("1,2", "0", 2)


def test_too_many_failed_indexes_end_the_job() -> None:
    pods = [with_count(make_pod(str(i), "Failed", index=i), 1) for i in (0, 1)]
    pods.append(with_count(make_pod("c", index=2), 0))
    assert conditions(plan(per_index(maxFailedIndexes=2), pods, NOW).status) == []
    result = plan(per_index(maxFailedIndexes=1), pods, NOW)
    assert conditions(result.status) == [("FailureTarget", "True", "MaxFailedIndexesExceeded")]
    assert uids(result.delete) == ["c"]


@pytest.mark.parametrize(
    ("action", "failed", "count"),
    [("FailIndex", "0", None), ("Ignore", "", ("0", "1")), ("Count", "", ("1", None))],
)
def test_the_failure_policy_and_the_index(action: str, failed: str, count: Any) -> None:
    policy = failure_policy(action, onExitCodes={"operator": "In", "values": [42]})
    job = per_index(1, completions=2, podFailurePolicy=policy)
    pods = [
        with_count(make_pod("a", "Failed", index=0, code=42, ended=1000), 0),
        with_count(make_pod("b", index=1), 0),
    ]
    result = plan(job, pods, NOW)
    assert result.status["failedIndexes"] == failed
    assert [counts(pod) for pod in result.create] == ([] if count is None else [count])


@settings(deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=4), st.integers(0, 2), st.integers(1, 4))
def test_each_index_is_tried_until_it_succeeds_or_its_limit_is_reached(
    failures: list[int], limit: int, parallelism: int
) -> None:
    """`failures` is how often the pods of each index fail before one succeeds."""
    world = World()
    world.job(
        completionMode="Indexed",
        completions=len(failures),
        parallelism=parallelism,
        backoffLimit=2**31 - 1,
        backoffLimitPerIndex=limit,
    )
    feed = Feed(world.registry)
    controller = JobController(world.registry, feed)
    feed.start()
    ended = [0] * len(failures)
    for _ in range(60):
        world.sleep(1000)
        controller.sync(("ns", "j"))
        # the count of failures is on the pods: a controller that was restarted knows it, too
        feed.stop()
        feed = Feed(world.registry)
        controller = JobController(world.registry, feed)
        feed.start()
        for pod in unfinished(world):
            index = jobpods.completion_index(pod)
            assert index is not None
            end(world, pod, "Failed" if ended[index] < failures[index] else "Succeeded")
            ended[index] += 1
    job = world.get("jobs.batch", "j")
    assert job is not None
    fine = all(count <= limit for count in failures)
    assert jobstatus.finished(job) == ("Complete" if fine else "Failed")
    assert ended == [min(count, limit) + 1 for count in failures]
    assert status(world).get("failed", 0) == sum(min(count, limit + 1) for count in failures)
    assert status(world).get("succeeded", 0) == sum(count <= limit for count in failures)
