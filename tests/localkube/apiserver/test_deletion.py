"""What a DELETE does: at once, with grace, held by finalizers, or by the propagation policy."""

from datetime import UTC, datetime
from typing import Any

import pytest

from localkube.apiserver.deletion import Options, Plan, check_preconditions, finished, parse_options, plan
from localkube.apiserver.status import StatusError

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)


def obj(**metadata: Any) -> dict[str, Any]:
    return {"kind": "X", "metadata": {"name": "x", "uid": "u", "resourceVersion": "5", **metadata}}


def pod(*, node: str = "n", phase: str = "Running", **metadata: Any) -> dict[str, Any]:
    spec = {"nodeName": node, "terminationGracePeriodSeconds": 30}
    return {**obj(**metadata), "spec": spec, "status": {"phase": phase}}


def marks(made: Plan) -> tuple[Any, ...]:
    assert made.update is not None
    metadata = made.update["metadata"]
    return (
        metadata["deletionTimestamp"],
        metadata["deletionGracePeriodSeconds"],
        metadata.get("finalizers"),
        made.remove,
    )


def test_what_nothing_holds_goes_at_once() -> None:
    assert plan("configmaps", obj(), Options(), NOW) == (None, True)


def test_finalizers_hold() -> None:
    held = plan("configmaps", obj(finalizers=["a/b"], generation=2), Options(), NOW)
    assert marks(held) == ("2026-03-01T12:00:00Z", 0, ["a/b"], False)
    assert held.update is not None
    assert held.update["metadata"]["generation"] == 3
    assert plan("configmaps", held.update, Options(), NOW) == (None, False)


@pytest.mark.parametrize(
    ("key", "before", "propagation", "after"),
    [
        ("configmaps", [], "Foreground", ["foregroundDeletion"]),
        ("configmaps", [], "Orphan", ["orphan"]),
        ("configmaps", ["orphan"], "Foreground", ["foregroundDeletion"]),
        ("configmaps", ["foregroundDeletion", "a/b"], "Orphan", ["a/b", "orphan"]),
        ("configmaps", ["orphan"], None, ["orphan"]),
        ("jobs.batch", [], None, ["orphan"]),
    ],
)
def test_the_policy_leaves_a_finalizer(
    key: str, before: list[str], propagation: Any, after: list[str]
) -> None:
    made = plan(key, obj(finalizers=before), Options(propagation), NOW)
    assert marks(made)[2:] == (after, False)


@pytest.mark.parametrize(
    ("key", "before", "propagation"),
    [
        ("configmaps", ["orphan", "foregroundDeletion"], "Background"),
        ("jobs.batch", [], "Background"),
        ("events", [], "Orphan"),
    ],
)
def test_the_policy_takes_the_finalizers_of_others_away(
    key: str, before: list[str], propagation: Any
) -> None:
    assert plan(key, obj(finalizers=before), Options(propagation), NOW) == (None, True)


def test_a_pod_on_a_node_is_given_time() -> None:
    assert marks(plan("pods", pod(), Options(), NOW)) == ("2026-03-01T12:00:30Z", 30, None, False)
    assert marks(plan("pods", pod(), Options(grace=5), NOW)) == ("2026-03-01T12:00:05Z", 5, None, False)
    assert marks(plan("pods", pod(), Options(grace=-1), NOW))[1] == 1


@pytest.mark.parametrize("made", [pod(node=""), pod(phase="Succeeded"), pod(phase="Failed")])
def test_a_pod_that_does_not_run_goes_at_once(made: dict[str, Any]) -> None:
    assert marks(plan("pods", made, Options(), NOW)) == ("2026-03-01T12:00:00Z", 0, None, True)


def test_a_running_deletion_can_only_be_shortened() -> None:
    deleted = plan("pods", pod(), Options(), NOW).update
    assert deleted is not None
    assert plan("pods", deleted, Options(), NOW) == (None, False)
    assert plan("pods", deleted, Options(grace=60), NOW) == (None, False)
    assert marks(plan("pods", deleted, Options(grace=10), NOW)) == ("2026-03-01T12:00:10Z", 10, None, False)
    assert marks(plan("pods", deleted, Options(grace=0), NOW)) == ("2026-03-01T12:00:00Z", 0, None, True)


def test_a_pod_with_finalizers_stays_after_its_time() -> None:
    made = plan("pods", pod(finalizers=["a/b"]), Options(grace=0), NOW)
    assert marks(made) == ("2026-03-01T12:00:00Z", 0, ["a/b"], False)


def test_a_namespace_waits_for_its_content() -> None:
    namespace = {**obj(), "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}}
    made = plan("namespaces", namespace, Options(), NOW)
    assert made.update is not None
    assert made.update["status"] == {"phase": "Terminating"}
    assert not made.remove
    assert not finished("namespaces", made.update)
    assert finished("namespaces", {**made.update, "spec": {}})
    assert namespace["status"] == {"phase": "Active"}


@pytest.mark.parametrize(
    ("metadata", "wanted"),
    [
        ({}, False),
        ({"deletionTimestamp": "t"}, True),
        ({"deletionTimestamp": "t", "finalizers": ["a"]}, False),
        ({"deletionTimestamp": "t", "deletionGracePeriodSeconds": 0, "finalizers": []}, True),
        ({"deletionTimestamp": "t", "deletionGracePeriodSeconds": 30}, False),
    ],
)
def test_when_an_update_ends_a_deletion(metadata: dict[str, Any], wanted: bool) -> None:
    assert finished("pods", obj(**metadata)) is wanted


@pytest.mark.parametrize("options", [Options(uid="other"), Options(resource_version="4")])
def test_preconditions_protect_another_object(options: Options) -> None:
    with pytest.raises(StatusError, match=r'Operation cannot be fulfilled on Job\.batch "x"'):
        check_preconditions("Job", "batch", obj(), options)
    check_preconditions("Job", "batch", obj(), Options(uid="u", resource_version="5"))


def test_options_are_read() -> None:
    body = {
        "kind": "DeleteOptions",
        "gracePeriodSeconds": 3,
        "propagationPolicy": "Foreground",
        "dryRun": ["All"],
        "preconditions": {"uid": "u", "resourceVersion": "7"},
        "unknown": 1,
    }
    assert parse_options(body) == Options("Foreground", 3, "u", "7", True)
    assert parse_options({"orphanDependents": True}).propagation == "Orphan"
    assert parse_options({"orphanDependents": False}).propagation == "Background"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"gracePeriodSeconds": "x"}, 400),
        ({"preconditions": 1.5}, 400),
        ({"dryRun": True}, 400),
        ({"dryRun": ["None"]}, 422),
        ({"kind": "Pod"}, 400),
        ({"propagationPolicy": "None"}, 422),
        ({"propagationPolicy": "Orphan", "orphanDependents": True}, 422),
    ],
)
def test_bad_options_are_refused(body: dict[str, Any], code: int) -> None:
    with pytest.raises(StatusError) as caught:
        parse_options(body)
    assert caught.value.code == code
