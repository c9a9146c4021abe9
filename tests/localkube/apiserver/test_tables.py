"""What `kubectl get` prints."""

from datetime import UTC, datetime
from typing import Any

import pytest

from localkube.apiserver.durations import human_duration
from localkube.apiserver.resources import Resources
from localkube.apiserver.tables import pod_status, table

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
RESOURCES = Resources()


def row(key: str, obj: dict[str, Any]) -> dict[str, Any]:
    metadata = {"name": "x", "creationTimestamp": "2026-03-01T11:55:30Z", **obj.pop("metadata", {})}
    made = table(RESOURCES[key], [{"metadata": metadata, **obj}], {"resourceVersion": "1"}, now=NOW)
    (only,) = made["rows"]
    return dict(zip((c["name"] for c in made["columnDefinitions"]), only["cells"], strict=True))


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (-5, "<invalid>"), (0, "0s"), (119, "119s"), (120, "2m"), (125, "2m5s"), (600, "10m"),
        (10_799, "179m"),
        (10_800, "3h"), (11_000, "3h3m"), (28_800, "8h"), (172_800, "2d"), (180_000, "2d2h"), (691_200, "8d"),
        (63_072_000, "2y"), (63_158_400, "2y1d"), (315_360_000, "10y"),
    ],
)  # fmt: skip
def test_durations_as_kubectl_writes_them(seconds: int, shown: str) -> None:
    assert human_duration(seconds) == shown


def container(**state: Any) -> dict[str, Any]:
    return {"state": state, "ready": "running" in state, "restartCount": 0}


@pytest.mark.parametrize(
    ("status", "metadata", "shown"),
    [
        ({"phase": "Pending"}, {}, "Pending"),
        ({"phase": "Failed", "reason": "Evicted"}, {}, "Evicted"),
        ({"phase": "Running", "containerStatuses": [container(running={})]}, {}, "Running"),
        ({"phase": "Running"}, {"deletionTimestamp": "t"}, "Terminating"),
        ({"phase": "Succeeded"}, {"deletionTimestamp": "t"}, "Succeeded"),
        (
            {"phase": "Running", "containerStatuses": [container(waiting={"reason": "CrashLoopBackOff"})]},
            {},
            "CrashLoopBackOff",
        ),
        ({"phase": "Failed", "containerStatuses": [container(terminated={"exitCode": 3})]}, {}, "ExitCode:3"),
        (
            {"phase": "Failed", "containerStatuses": [container(terminated={"exitCode": 137, "signal": 9})]},
            {},
            "Signal:9",
        ),
        ({"phase": "Pending", "initContainerStatuses": [container(running={})]}, {}, "Init:0/2"),
        (
            {
                "phase": "Pending",
                "initContainerStatuses": [container(terminated={"exitCode": 0}), container(running={})],
            },
            {},
            "Init:1/2",
        ),
        (
            {
                "phase": "Pending",
                "initContainerStatuses": [container(terminated={"exitCode": 1, "reason": "Error"})],
            },
            {},
            "Init:Error",
        ),
        (
            {
                "phase": "Running",
                "conditions": [{"type": "Ready", "status": "False"}],
                "containerStatuses": [
                    container(terminated={"exitCode": 0, "reason": "Completed"}),
                    container(running={}),
                ],
            },
            {},
            "NotReady",
        ),
    ],
)  # fmt: skip
def test_the_state_of_a_pod_in_one_word(status: Any, metadata: Any, shown: str) -> None:
    spec = {"containers": [{}, {}], "initContainers": [{}, {}]}
    assert pod_status({"metadata": metadata, "spec": spec, "status": status}) == shown


def test_a_row_of_a_pod() -> None:
    ended = {"terminated": {"finishedAt": "2026-03-01T11:59:30Z"}}
    status = {
        "phase": "Running",
        "podIP": "10.0.0.7",
        "containerStatuses": [{**container(running={}), "restartCount": 2, "lastState": ended}],
    }
    shown = row("pods", {"spec": {"containers": [{}], "nodeName": "n"}, "status": status})
    assert shown["Ready"] == "1/1"
    assert shown["Restarts"] == "2 (30s ago)"
    assert (shown["Age"], shown["IP"], shown["Node"]) == ("4m30s", "10.0.0.7", "n")


@pytest.mark.parametrize(
    ("conditions", "shown"),
    [
        ([], "Running"),
        (["Complete"], "Complete"),
        (["Suspended"], "Suspended"),
        (["FailureTarget", "Failed"], "Failed"),
    ],
)
def test_the_state_of_a_job(conditions: list[str], shown: str) -> None:
    spec = {"completions": 3, "template": {"spec": {"containers": [{"name": "c", "image": "i"}]}}}
    status = {
        "succeeded": 1,
        "startTime": "2026-03-01T11:59:00Z",
        "conditions": [{"type": c, "status": "True"} for c in conditions],
    }
    cells = row("jobs.batch", {"spec": spec, "status": status})
    assert (cells["Status"], cells["Completions"], cells["Duration"]) == (shown, "1/3", "60s")
    assert (cells["Containers"], cells["Images"]) == ("c", "i")


@pytest.mark.parametrize(
    ("key", "obj", "cells"),
    [
        (
            "cronjobs.batch",
            {"spec": {"schedule": "* * * * *", "suspend": True}, "status": {"active": [{}]}},
            {"Schedule": "* * * * *", "Suspend": "True", "Active": 1, "Last Schedule": "<none>"},
        ),
        ("secrets", {"type": "Opaque", "data": {"a": "", "b": ""}}, {"Type": "Opaque", "Data": 2}),
        ("configmaps", {"data": {"a": ""}, "binaryData": {"b": ""}}, {"Data": 2}),
        ("namespaces", {"status": {"phase": "Active"}}, {"Status": "Active"}),
        (
            "nodes",
            {
                "metadata": {"labels": {"node-role.kubernetes.io/worker": ""}},
                "spec": {"unschedulable": True},
                "status": {"conditions": [{"type": "Ready", "status": "True"}]},
            },
            {"Status": "Ready,SchedulingDisabled", "Roles": "worker", "Internal-IP": "<none>"},
        ),
        (
            "events",
            {
                "involvedObject": {"kind": "Pod", "name": "p"},
                "lastTimestamp": "2026-03-01T11:59:50Z",
                "message": "m\n",
                "count": 3,
            },
            {"Object": "pod/p", "Last Seen": "10s", "Message": "m", "Count": 3},
        ),
        ("leases.coordination.k8s.io", {"spec": {"holderIdentity": "me"}}, {"Holder": "me"}),
    ],
)  # fmt: skip
def test_rows_of_other_kinds(key: str, obj: dict[str, Any], cells: dict[str, Any]) -> None:
    shown = row(key, obj)
    assert {name: shown[name] for name in cells} == cells


@pytest.mark.parametrize("key", [r.key for r in RESOURCES])
def test_every_kind_has_a_row_even_when_it_is_empty(key: str) -> None:
    assert "x" in row(key, {}).values()
