"""The job controller's decisions, one at a time."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from localkube.controllers import times
from localkube.controllers.jobplan import CREATE_MOST, Plan, plan
from localkube.controllers.jobpods import COMPLETION_INDEX, TRACKING_FINALIZER
from localkube.controllers.jobpolicy import Backoff

Object = dict[str, Any]

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)


def make_job(status: Object | None = None, *, pod: Object | None = None, **spec: Any) -> Object:
    template = {"metadata": {"labels": {"job-name": "j"}}, "spec": {"restartPolicy": "Never", **(pod or {})}}
    template["spec"].setdefault("containers", [{"name": "c", "image": "busybox"}])
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "j", "namespace": "ns", "uid": "job-uid"},
        "spec": {"parallelism": 1, "completions": 1, "backoffLimit": 6, "template": template, **spec},
        "status": status or {},
    }


def make_pod(
    uid: str,
    phase: str = "Running",
    *,
    tracked: bool = True,
    index: int | None = None,
    ready: bool = False,
    deleted: bool = False,
    node: str = "n",
    ended: float = 0,
    code: int = 1,
    restarts: int = 0,
) -> Object:
    meta: Object = {
        "name": f"j-{uid}",
        "namespace": "ns",
        "uid": uid,
        "creationTimestamp": times.text(NOW - timedelta(minutes=5)),
    }
    if tracked:
        meta["finalizers"] = [TRACKING_FINALIZER]
    if index is not None:
        meta["annotations"] = {COMPLETION_INDEX: str(index)}
    if deleted:
        meta["deletionTimestamp"] = times.text(NOW)
    status: Object = {
        "phase": phase,
        "containerStatuses": [{"name": "c", "restartCount": restarts, "state": {}}],
    }
    if phase in ("Succeeded", "Failed"):
        terminated = {"exitCode": 0 if phase == "Succeeded" else code}
        terminated["finishedAt"] = times.text(NOW - timedelta(seconds=ended))
        status["containerStatuses"][0]["state"] = {"terminated": terminated}
    if ready:
        status["conditions"] = [{"type": "Ready", "status": "True"}]
    return {"metadata": meta, "spec": {"nodeName": node}, "status": status}


def conditions(status: Object) -> list[tuple[str, str, str]]:
    return [(c["type"], c["status"], c["reason"]) for c in status.get("conditions", [])]


def uids(pods: list[Object]) -> list[str]:
    return [pod["metadata"]["uid"] for pod in pods]


def test_a_new_job_gets_its_pods() -> None:
    result = plan(make_job(parallelism=2, completions=5), [], NOW)
    assert len(result.create) == 2
    assert result.status == result.final
    assert result.status == {
        "startTime": "2026-03-01T12:00:00Z",
        "active": 2,
        "ready": 0,
        "terminating": 0,
        "uncountedTerminatedPods": {},
    }


def test_a_pod_of_a_job() -> None:
    (pod,) = plan(make_job(), [], NOW).create
    assert pod["metadata"] == {
        "generateName": "j-",
        "namespace": "ns",
        "labels": {"job-name": "j"},
        "finalizers": ["batch.kubernetes.io/job-tracking"],
        "ownerReferences": [
            {
                "apiVersion": "batch/v1",
                "kind": "Job",
                "name": "j",
                "uid": "job-uid",
                "controller": True,
                "blockOwnerDeletion": True,
            }
        ],
    }
    assert pod["spec"]["restartPolicy"] == "Never"


def test_a_pod_of_an_indexed_job() -> None:
    result = plan(
        make_job(completionMode="Indexed", parallelism=2, completions=3), [make_pod("a", index=0)], NOW
    )
    (pod,) = result.create
    assert pod["metadata"]["generateName"] == "j-1-"
    assert pod["metadata"]["labels"][COMPLETION_INDEX] == "1"
    assert pod["metadata"]["annotations"] == {COMPLETION_INDEX: "1"}
    assert pod["spec"]["hostname"] == "j-1"
    assert pod["spec"]["containers"][0]["env"] == [
        {
            "name": "JOB_COMPLETION_INDEX",
            "valueFrom": {
                "fieldRef": {
                    "apiVersion": "v1",
                    "fieldPath": "metadata.labels['batch.kubernetes.io/job-completion-index']",
                }
            },
        }
    ]


def test_no_more_pods_than_completions_are_missing() -> None:
    pods = [make_pod("a", "Succeeded"), make_pod("b")]
    assert plan(make_job(parallelism=3, completions=3), pods, NOW).create[1:] == []
    assert len(plan(make_job(parallelism=3, completions=3), pods, NOW).create) == 1


def test_many_pods_are_created_in_several_goes() -> None:
    result = plan(make_job(parallelism=500, completions=500), [], NOW)
    assert len(result.create) == CREATE_MOST
    assert result.again == 0


def test_success_is_written_before_the_finalizer_goes_and_counted_after() -> None:
    result = plan(make_job({"startTime": times.text(NOW), "active": 1}), [make_pod("a", "Succeeded")], NOW)
    assert result.status["uncountedTerminatedPods"] == {"succeeded": ["a"]}
    assert "succeeded" not in result.status and "active" not in result.status
    assert conditions(result.status) == [("SuccessCriteriaMet", "True", "CompletionsReached")]
    assert uids(result.release) == ["a"]
    assert result.final["succeeded"] == 1
    assert result.final["uncountedTerminatedPods"] == {}
    assert conditions(result.final)[1:] == [("Complete", "True", "CompletionsReached")]
    assert result.final["conditions"][1]["message"] == "Reached expected number of succeeded pods"
    assert result.final["completionTime"] == times.text(NOW)
    assert [(n.type, n.reason) for n in result.notices] == [("Normal", "Completed")]


@pytest.mark.parametrize("tracked", [True, False])
def test_a_pod_that_is_noted_is_counted_once(tracked: bool) -> None:
    # a controller died after writing the uid; with or without having removed the finalizer
    job = make_job({"uncountedTerminatedPods": {"succeeded": ["a"]}, "succeeded": 1}, completions=3)
    result = plan(job, [make_pod("a", "Succeeded", tracked=tracked), make_pod("b")], NOW)
    assert result.final["succeeded"] == 2
    assert result.final["uncountedTerminatedPods"] == {}
    assert uids(result.release) == (["a"] if tracked else [])


def test_a_counted_pod_is_not_counted_again() -> None:
    job = make_job({"succeeded": 1}, completions=3)
    assert plan(job, [make_pod("a", "Succeeded", tracked=False)], NOW).final["succeeded"] == 1


def test_a_failed_pod_is_replaced_after_the_backoff() -> None:
    job, pods = make_job(), [make_pod("a", "Failed", ended=3)]
    first = plan(job, pods, NOW)
    assert first.create == [] and first.again == 7
    assert first.final["failed"] == 1
    job["status"], pods[0]["metadata"]["finalizers"] = first.final, []
    assert plan(job, pods, NOW + timedelta(seconds=6), first.backoff).again == 1
    assert len(plan(job, pods, NOW + timedelta(seconds=7), first.backoff).create) == 1
    # another controller process knows the same
    assert plan(job, pods, NOW + timedelta(seconds=6)).again == 1


@pytest.mark.parametrize(("failures", "seconds"), [(1, 10), (2, 20), (4, 80), (7, 600), (5000, 600)])
def test_the_backoff_doubles_up_to_a_limit(failures: int, seconds: float) -> None:
    assert Backoff(failures, NOW).remaining(NOW, 10, 600) == seconds


def test_a_success_forgives_the_failures_before_it() -> None:
    backoff = Backoff(3, NOW - timedelta(minutes=9))
    ended = backoff.after(
        [make_pod("s", "Succeeded", ended=60)],
        [make_pod("x", "Failed", ended=90), make_pod("y", "Failed", ended=30)],
    )
    assert ended == Backoff(1, NOW - timedelta(seconds=30))


def test_too_many_failures_fail_the_job() -> None:
    job = make_job({"failed": 1, "active": 2}, backoffLimit=1, parallelism=2, completions=2)
    result = plan(job, [make_pod("a", "Failed"), make_pod("b")], NOW)
    assert uids(result.delete) == ["b"]
    assert conditions(result.status) == [("FailureTarget", "True", "BackoffLimitExceeded")]
    assert result.status["uncountedTerminatedPods"] == {"failed": ["a", "b"]}
    assert sorted(uids(result.release)) == ["a", "b"]
    # b still runs: the Job has failed, but is not over
    assert conditions(result.final) == conditions(result.status)
    assert result.final["failed"] == 3 and result.final["terminating"] == 1

    job["status"] = result.final
    end = plan(job, [make_pod("a", "Failed", tracked=False)], NOW)
    assert conditions(end.final)[1:] == [("Failed", "True", "BackoffLimitExceeded")]
    assert end.final["conditions"][1]["message"] == "Job has reached the specified backoff limit"
    assert [(n.type, n.reason) for n in end.notices] == [("Warning", "BackoffLimitExceeded")]
    assert end.final["failed"] == 3


@pytest.mark.parametrize(
    ("limit", "restarts", "fails"), [(0, 0, False), (0, 1, True), (2, 1, False), (2, 2, True)]
)
def test_restarts_count_when_the_pod_restarts_its_containers(limit: int, restarts: int, fails: bool) -> None:
    job = make_job(pod={"restartPolicy": "OnFailure"}, backoffLimit=limit)
    result = plan(job, [make_pod("a", restarts=restarts)], NOW)
    assert bool(conditions(result.status)) is fails


def test_the_deadline() -> None:
    job = make_job({"startTime": times.text(NOW), "active": 1}, activeDeadlineSeconds=5)
    assert plan(job, [make_pod("a")], NOW + timedelta(seconds=3)).again == 2
    result = plan(job, [make_pod("a")], NOW + timedelta(seconds=5))
    assert conditions(result.status) == [("FailureTarget", "True", "DeadlineExceeded")]
    assert result.status["conditions"][0]["message"] == "Job was active longer than specified deadline"


def test_suspend_drops_the_pods_without_counting_them_and_resume_starts_the_clock() -> None:
    start = times.text(NOW - timedelta(hours=1))
    job = make_job({"startTime": start, "active": 1}, suspend=True, activeDeadlineSeconds=5000)
    result = plan(job, [make_pod("a", ready=True)], NOW)
    assert uids(result.drop) == ["a"] and result.release == []
    assert conditions(result.final) == [("Suspended", "True", "JobSuspended")]
    assert "active" not in result.final and "failed" not in result.final
    assert result.final["ready"] == 0 and result.final["terminating"] == 1
    assert [n.reason for n in result.notices] == ["Suspended"]

    job["status"] = result.final
    job["spec"]["suspend"] = False
    later = NOW + timedelta(hours=2)
    resumed = plan(job, [], later)
    assert len(resumed.create) == 1
    assert conditions(resumed.final) == [("Suspended", "False", "JobResumed")]
    assert resumed.final["startTime"] == times.text(later)


def test_a_job_created_suspended_has_not_started() -> None:
    result = plan(make_job(suspend=True), [], NOW)
    assert result.create == []
    assert "startTime" not in result.final
    assert conditions(result.final) == [("Suspended", "True", "JobSuspended")]


def test_a_work_queue_is_done_when_one_pod_succeeded_and_the_others_have_ended() -> None:
    job = make_job(parallelism=2)
    del job["spec"]["completions"]
    assert len(plan(job, [], NOW).create) == 2
    waiting = plan(job, [make_pod("a", "Succeeded"), make_pod("b")], NOW)
    assert waiting.create == [] and conditions(waiting.final) == []
    assert waiting.final["active"] == 1
    job["status"] = waiting.final
    done = plan(job, [make_pod("a", "Succeeded", tracked=False), make_pod("b", "Succeeded")], NOW)
    assert conditions(done.final)[-1][0] == "Complete"
    assert done.final["succeeded"] == 2


def test_nothing_to_do_is_done_at_once() -> None:
    assert conditions(plan(make_job(completions=0), [], NOW).final)[-1][0] == "Complete"


def test_too_much_parallelism_is_taken_back_from_the_least_advanced() -> None:
    pods = [
        make_pod("old", ready=True),
        make_pod("waiting", "Pending", node=""),
        make_pod("bound", "Pending"),
    ]
    result = plan(make_job(parallelism=1, completions=3), pods, NOW)
    assert uids(result.drop) == ["waiting", "bound"]
    assert result.final["active"] == 1


def test_indexes_are_counted_once_and_written_short() -> None:
    job = make_job({"completedIndexes": "0,2-4", "succeeded": 4}, completionMode="Indexed", completions=10)
    pods = [make_pod("a", "Succeeded", index=1), make_pod("b", "Succeeded", index=3), make_pod("c", index=77)]
    result = plan(job, pods, NOW)
    assert result.final["completedIndexes"] == "0-4"
    assert result.final["succeeded"] == 5
    assert uids(result.drop) == ["c"]


def test_one_pod_for_each_index() -> None:
    job = make_job(completionMode="Indexed", completions=3, parallelism=3)
    pods = [make_pod("a", index=0), make_pod("b", "Pending", index=0, node=""), make_pod("c", index=2)]
    assert uids(plan(job, pods, NOW).drop) == ["b"]


def failure_policy(action: str, **match: Any) -> Object:
    return {"rules": [{"action": action, **match}]}


def test_pod_failure_policy_fails_the_job() -> None:
    rule = failure_policy("FailJob", onExitCodes={"operator": "In", "values": [42]})
    result = plan(make_job(podFailurePolicy=rule), [make_pod("a", "Failed", code=42)], NOW)
    assert conditions(result.final) == [
        ("FailureTarget", "True", "PodFailurePolicy"),
        ("Failed", "True", "PodFailurePolicy"),
    ]
    message = "Container c for pod ns/j-a failed with exit code 42 matching FailJob rule at index 0"
    assert result.final["conditions"][1]["message"] == message
    assert result.final["failed"] == 1


def test_pod_failure_policy_ignores() -> None:
    rule = failure_policy("Ignore", onPodConditions=[{"type": "DisruptionTarget", "status": "True"}])
    pod = make_pod("a", "Failed")
    pod["status"]["conditions"] = [{"type": "DisruptionTarget", "status": "True"}]
    result = plan(make_job(podFailurePolicy=rule, backoffLimit=0), [pod], NOW)
    assert conditions(result.final) == [] and "failed" not in result.final
    assert uids(result.release) == ["a"]


def test_with_a_failure_policy_a_terminating_pod_is_not_replaced() -> None:
    rule = failure_policy("Count", onExitCodes={"operator": "NotIn", "values": [0]})
    result = plan(make_job(podFailurePolicy=rule), [make_pod("a", deleted=True)], NOW)
    assert result.create == [] and result.release == []
    assert result.final["terminating"] == 1


def test_a_deleted_pod_has_failed() -> None:
    result = plan(make_job(), [make_pod("a", deleted=True)], NOW, first=0)
    assert len(result.create) == 1
    assert result.final["failed"] == 1 and result.final["terminating"] == 1


def test_success_policy() -> None:
    policy = {"rules": [{"succeededIndexes": "0-2", "succeededCount": 2}]}
    job = make_job(completionMode="Indexed", completions=5, parallelism=5, successPolicy=policy)
    pods = [make_pod(str(i), "Succeeded", index=i) for i in (0, 2)] + [make_pod("4", index=4)]
    result = plan(job, pods, NOW)
    assert conditions(result.final) == [("SuccessCriteriaMet", "True", "SuccessPolicy")]
    assert result.final["conditions"][0]["message"] == "Matched rules at index 0"
    assert uids(result.delete) == ["4"]
    assert result.final["succeeded"] == 2 and "failed" not in result.final
    job["status"] = result.final
    done = plan(job, [], NOW)
    assert conditions(done.final)[1:] == [("Complete", "True", "SuccessPolicy")]


def test_a_job_being_deleted_makes_no_pods_and_holds_none() -> None:
    job = make_job(completions=3, parallelism=3)
    job["metadata"]["deletionTimestamp"] = times.text(NOW)
    result = plan(job, [make_pod("a")], NOW)
    assert result.create == [] and result.delete == [] and result.drop == []
    assert uids(result.release) == ["a"]


def test_a_finished_job_only_lets_go() -> None:
    status = {"conditions": [{"type": "Complete", "status": "True"}], "succeeded": 1}
    result = plan(make_job(status), [make_pod("a", "Succeeded")], NOW)
    assert result == Plan(status=status, final=status, release=result.release)
    assert uids(result.release) == ["a"]
