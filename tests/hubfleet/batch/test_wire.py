"""The wire format against the official client itself, which made it."""

import json
import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from kubernetes.client import ApiClient, models

from hubfleet.batch import wire

names = st.from_regex(r"[a-z][a-z0-9-]{0,10}", fullmatch=True)


def values(kind: str, depth: int) -> st.SearchStrategy[Any]:
    """JSON as an API server could send it for a type of the official client's tables."""
    if kind == "datetime":
        return st.just("2026-01-02T03:04:05Z")
    if kind == "object":
        return st.just({"x": {"Y_z": 1}})  # left as it is; some models want it to be an object
    if kind in ("str", "bytes"):
        return names
    if kind == "int":
        return st.integers(-(2**31), 2**31)
    if kind == "bool":
        return st.booleans()
    if kind.startswith("Dict["):
        return st.dictionaries(names, names, max_size=2)
    if match := re.fullmatch(r"List\[(\w+)\]", kind):
        return st.lists(values(match[1], depth), max_size=2)
    return objects(kind, depth - 1)


def objects(model: str, depth: int = 5) -> st.SearchStrategy[dict[str, Any]]:
    cls = getattr(models, model)
    required = {name for name, field in cls.model_fields.items() if field.is_required()}
    always = required | ({"spec", "metadata"} & cls.openapi_types.keys())

    @st.composite
    def build(draw: st.DrawFn) -> dict[str, Any]:
        more = st.sets(st.sampled_from(sorted(cls.openapi_types)), max_size=4)
        keys = always | draw(more) if depth > 0 else required
        keys = keys - {"managed_fields"}  # whose fieldsV1 is an object of a form of its own
        return {cls.attribute_map[k]: draw(value(k)) for k in sorted(keys)}

    def value(key: str) -> st.SearchStrategy[Any]:
        if cls.openapi_types[key] == "object" and "int" in str(cls.model_fields[key].annotation):
            return st.integers(1, 2**16) | names  # a port, by number or by name
        return values(cls.openapi_types[key], depth)

    return build()


def official(obj: dict[str, Any], model: str) -> Any:
    """What kbatch-proxy answers: the official client's `to_dict()`, through a JSON encoder."""
    client = ApiClient()
    found = client._ApiClient__deserialize(json.loads(json.dumps(obj)), model)
    return json.loads(json.dumps(found.to_dict(), default=datetime.isoformat))


@pytest.mark.parametrize("model", ["V1Job", "V1CronJob", "V1Pod", "V1Status"])
def test_the_form_is_that_of_the_official_client(model: str) -> None:
    @settings(
        max_examples=30, phases=[Phase.generate], deadline=None, suppress_health_check=list(HealthCheck)
    )
    @given(objects(model))
    def check(obj: dict[str, Any]) -> None:
        assert wire._out(model)(obj) == official(obj, model)

    check()


def test_every_key_is_there_in_the_order_of_the_official_client() -> None:
    assert wire._out("V1Job")({}) == models.V1Job().to_dict()
    assert list(wire._out("V1JobStatus")({})) == list(models.V1JobStatus().to_dict())


@pytest.mark.parametrize("model", ["V1Job", "V1CronJob", "V1ConfigMap"])
def test_what_goes_out_can_come_in_again(model: str) -> None:
    @settings(
        max_examples=30, phases=[Phase.generate], deadline=None, suppress_health_check=list(HealthCheck)
    )
    @given(objects(model))
    def check(obj: dict[str, Any]) -> None:
        problems = wire.Problems()
        snake = wire._out(model)(obj)
        again = wire.parse(model, snake, (), problems)
        assert not problems
        assert again == json.loads(json.dumps(obj).replace("05Z", "05+00:00"))
        # camelCase, as kubectl users write it, is read as well
        assert wire.parse(model, obj, (), problems) == obj
        assert not problems

    check()


JOB: dict[str, Any] = {
    "metadata": {
        "name": "a",
        "creationTimestamp": "2026-01-01T00:00:00Z",
        "managedFields": [{"manager": "x"}],
    },
    "spec": {"template": {"spec": {"containers": []}}},
    "status": {},
}


def status(**changes: Any) -> dict[str, Any]:
    found: dict[str, Any] = wire.job({**JOB, "status": changes})["status"]
    return found


def test_a_queued_job_is_active_since_it_was_created() -> None:
    for found in (status(), wire.job({"metadata": JOB["metadata"]})["status"]):
        assert found["active"] == 1
        assert found["start_time"] == "2026-01-01T00:00:00+00:00"
        assert found["conditions"] == []
        assert found["ready"] is None


def test_a_running_job_is_left_alone() -> None:
    found = status(active=2, ready=1, startTime="2026-01-01T00:00:09Z")
    assert (found["active"], found["ready"], found["start_time"]) == (2, 1, "2026-01-01T00:00:09+00:00")


def test_a_success_counts_when_the_job_is_complete() -> None:
    partly = status(active=1, succeeded=1, startTime="2026-01-01T00:00:09Z")
    assert partly["succeeded"] is None
    done = status(succeeded=1, completionTime="2026-01-01T00:00:12Z")
    assert done["succeeded"] == 1
    assert done["active"] is None


def test_a_job_that_ended_without_pods_has_a_count() -> None:
    condition = {"type": "Failed", "status": "True", "lastTransitionTime": "2026-01-01T00:00:12Z"}
    failed = status(conditions=[condition])
    assert (failed["failed"], failed["active"]) == (1, None)
    assert failed["conditions"][0]["last_transition_time"] == "2026-01-01T00:00:12+00:00"
    empty = status(conditions=[{"type": "Complete", "status": "True"}], completionTime="2026-01-01T00:00:12Z")
    assert (empty["succeeded"], empty["active"]) == (1, None)


def test_who_manages_which_field_is_left_out() -> None:
    assert wire.job(JOB)["metadata"]["managed_fields"] is None


def test_a_delete_is_answered_with_a_status_whatever_the_server_says() -> None:
    gone = wire.status({"kind": "Status", "apiVersion": "v1", "status": "Success", "details": {"name": "a"}})
    later = wire.status({"kind": "Job", "metadata": {"name": "a", "uid": "u"}})
    assert gone.keys() == later.keys() == models.V1Status().to_dict().keys()
    assert gone["status"] == later["status"] == "Success"
    assert gone["details"]["name"] == later["details"]["name"] == "a"


def test_a_list_frame_holds_items() -> None:
    head, tail = wire.list_frame("Job")
    found = json.loads(head + b'{"a":1},{"a":2}' + tail)
    assert found["kind"] == "JobList"
    assert found["items"] == [{"a": 1}, {"a": 2}]
    assert found["metadata"]["_continue"] is None


@pytest.mark.parametrize(
    ("body", "loc", "message"),
    [
        ([], [], "must be an object, not a list"),
        ({"spec": 3}, ["spec"], "must be an object, not a number"),
        ({"spec": {"suspend": "yes"}}, ["spec", "suspend"], "must be a boolean, not a string"),
        ({"spec": {"parallelism": True}}, ["spec", "parallelism"], "must be an integer, not a boolean"),
        ({"spec": {"parallelism": 1.5}}, ["spec", "parallelism"], "must be an integer, not a number"),
        ({"spec": {"parallelism": 2**63}}, ["spec", "parallelism"], "does not fit into 64 bits"),
        ({"metadata": {"labels": {"a": 1}}}, ["metadata", "labels", "a"], "write it in quotes"),
        ({"metadata": {"finalizers": [None]}}, ["metadata", "finalizers", 0], "must be a string, not null"),
        ({"metadata": {"finalizers": "x"}}, ["metadata", "finalizers"], "must be an array, not a string"),
        ({"spec": {"unheard": 1}}, ["spec", "unheard"], "unknown field 'unheard'"),
        (
            {"spec": {"backoffLimit": 1, "backoff_limit": 2}},
            ["spec", "backoff_limit"],
            "backoffLimit is given twice",
        ),
    ],
)
def test_what_is_wrong_is_said_with_its_path(body: Any, loc: list[Any], message: str) -> None:
    problems = wire.Problems()
    wire.parse("V1Job", body, (), problems)
    assert [p["loc"] for p in problems] == [loc]
    assert message in problems[0]["msg"]


def test_numbers_are_taken_for_quantities() -> None:
    problems = wire.Problems()
    found = wire.parse("V1ResourceRequirements", {"limits": {"cpu": 1, "memory": "1Gi"}}, (), problems)
    assert not problems
    assert found == {"limits": {"cpu": "1", "memory": "1Gi"}}


class Counted(list[Any]):
    """A list that counts how many of its items were looked at."""

    seen = 0

    def __iter__(self) -> Iterator[Any]:
        for item in super().__iter__():
            self.seen += 1
            yield item


@pytest.mark.parametrize(
    ("item", "at"),
    [
        (1, "containers"),
        ({"x" * 1000: 1}, "containers"),
        ({"name": "a", "ports": [{"container_port": 2**70}]}, "init_containers"),
        ("a", "tolerations"),
        ({"httpGet": {"port": {"p" * 1000: 2**70}}}, "volumes"),
    ],
)
def test_nobody_looks_further_once_enough_is_wrong(item: Any, at: str) -> None:
    items = Counted([item] * 10_000)
    problems = wire.Problems()
    wire.parse("V1PodSpec", {at: items}, ("body",), problems)
    assert items.seen <= wire.MAX_PROBLEMS + 2
    assert problems.full
    assert "there is more" in problems[-1]["msg"]
    assert len(wire.encode(problems)) < 64 * 1024


@pytest.mark.parametrize("letter", ["x", "\0", "🐱", '"'])
def test_long_keys_and_paths_are_cut(letter: str) -> None:
    deep: Any = 2**70
    for _ in range(60):
        deep = {letter * 1000: deep}
    probe = {"livenessProbe": {"httpGet": {"port": deep}}}
    problems = wire.Problems()
    wire.parse("V1PodSpec", {"containers": [probe] * 1000}, ("body",), problems)
    wire.parse("V1PodSpec", {f"{i}" + letter * 1000: 1 for i in range(1000)}, ("body",), problems)
    assert len(problems) > 1
    assert len(wire.encode(problems)) < 64 * 1024


def test_what_is_nested_beyond_reason_is_refused() -> None:
    deep: Any = 1
    for _ in range(wire.MAX_DEPTH + 1):
        deep = [deep]
    problems = wire.Problems()
    wire.parse("V1HTTPGetAction", {"port": deep}, (), problems)
    assert [p["msg"] for p in problems] == ["is nested too deeply"]


def test_a_hundred_problems_are_all_that_there_are() -> None:
    problems = wire.Problems()
    wire.parse("V1PodSpec", {"containers": [1] * wire.MAX_PROBLEMS}, (), problems)
    assert len(problems) == wire.MAX_PROBLEMS
    assert not problems.full


@pytest.mark.parametrize(
    ("kind", "path", "expected"),
    [
        ("V1Job", ("spec", "template", "spec", "hostIPC"), ("spec", "template", "spec", "host_ipc")),
        (
            "V1CronJob",
            ("spec", "jobTemplate", "spec", "template", "spec", "initContainers", 3, "securityContext"),
            ("spec", "job_template", "spec", "template", "spec", "init_containers", 3, "security_context"),
        ),
        ("V1Job", ("metadata", "labels", "jobTemplate"), ("metadata", "labels", "jobTemplate")),
        ("V1Job", ("spec", "newField", "hostIPC"), ("spec", "newField", "hostIPC")),
        ("V1Job", ("spec", 3, "hostIPC"), ("spec", 3, "hostIPC")),
        ("V1Job", (), ()),
    ],
)
def test_paths_are_told_as_the_clients_spell_them(
    kind: str, path: tuple[str | int, ...], expected: tuple[str | int, ...]
) -> None:
    assert wire.spelled(kind, path) == expected
