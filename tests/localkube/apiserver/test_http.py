"""The wire: what clients send and get, against a running localkube."""

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.localkube.conftest import Answer, Localkube

CONFIGMAPS = "/api/v1/namespaces/{}/configmaps"


@pytest.fixture
def api(localkube_process: Localkube) -> Localkube:
    return localkube_process


def make(api: Localkube, namespace: str, name: str, **content: Any) -> Any:
    labels = content.pop("labels", None)
    metadata = {"name": name, **({"labels": labels} if labels else {})}
    made = api.call("POST", CONFIGMAPS.format(namespace), {"metadata": metadata, **content})
    assert made.code == 201, made.content
    return made.body


def refused(answer: Answer, code: int, reason: str) -> str:
    assert (answer.code, answer.body["kind"], answer.body.get("reason", "")) == (code, "Status", reason)
    return str(answer.body["message"])


def until(condition: Any, seconds: float = 10.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "the condition was not met in time"
        time.sleep(0.02)
    return found


# who may come in


def test_a_wrong_token_is_401(api: Localkube) -> None:
    answer = api.call("GET", "/api/v1/namespaces", token="wrong")
    assert refused(answer, 401, "Unauthorized") == "Unauthorized"


@pytest.mark.parametrize("path", ["/healthz", "/livez", "/readyz"])
def test_health_needs_no_token(api: Localkube, path: str) -> None:
    answer = api.call("GET", path, token="")
    assert (answer.code, answer.content) == (200, b"ok")


# where things are


@pytest.mark.parametrize(
    "path", ["/nothing", "/api/v2", "/api/v1/unicorns", "/apis/none.example.com/v1/things", "/apis/batch/v2"]
)
def test_unknown_paths_are_404(api: Localkube, path: str) -> None:
    message = refused(api.call("GET", path), 404, "NotFound")
    assert message == "the server could not find the requested resource"


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/persistentvolumes",
        "/apis/apps/v1/deployments",
        "/apis/networking.k8s.io/v1/ipaddresses",
        "/api/v1/namespaces/default/pods/p/exec",
        "/openapi/v2",
    ],
)
def test_what_is_not_supported_is_501_and_says_so(api: Localkube, path: str) -> None:
    assert "localkube does not" in refused(api.call("GET", path), 501, "NotImplemented")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PATCH", "/api/v1/namespaces/default/configmaps"),
        ("POST", "/api/v1/namespaces/default/configmaps/a"),
        ("DELETE", "/api/v1/namespaces"),
        ("POST", "/api/v1/configmaps"),
        ("PUT", "/api/v1/namespaces/default/pods/p/log"),
    ],
)
def test_methods_that_a_path_does_not_have_are_405(api: Localkube, method: str, path: str) -> None:
    refused(api.call(method, path, {}), 405, "MethodNotAllowed")


def test_discovery_names_every_resource(api: Localkube) -> None:
    listed = api.call("GET", "/api/v1").body
    assert {"pods", "pods/log", "pods/status", "configmaps"} <= {r["name"] for r in listed["resources"]}
    hashes = {r["name"]: r.get("storageVersionHash") for r in listed["resources"]}
    assert hashes["configmaps"] == "qFsyl6wFWjQ="
    groups = {g["name"] for g in api.call("GET", "/apis").body["groups"]}
    assert {"batch", "coordination.k8s.io"} <= groups
    assert api.call("GET", "/apis/batch").body["preferredVersion"]["groupVersion"] == "batch/v1"
    assert {r["name"] for r in api.call("GET", "/apis/batch/v1").body["resources"]} >= {"jobs", "cronjobs"}
    assert api.call("GET", "/version").body["minor"] == "36"


def test_aggregated_discovery_is_given_to_those_who_ask(api: Localkube) -> None:
    accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"
    answer = api.call("GET", "/apis", headers={"Accept": accept})
    assert answer.headers["Content-Type"].startswith("application/json;g=apidiscovery.k8s.io;v=v2")
    found = {i["metadata"]["name"]: i["versions"][0]["resources"] for i in answer.body["items"]}
    assert {r["resource"] for r in found["batch"]} == {"jobs", "cronjobs"}


def test_kubectl_learns_that_fields_are_validated_here(api: Localkube) -> None:
    index = api.call("GET", "/openapi/v3").body["paths"]
    document = api.call("GET", index["apis/batch/v1"]["serverRelativeURL"]).body
    patch = document["paths"]["/apis/batch/v1/namespaces/{namespace}/jobs/{name}"]["patch"]
    assert patch["x-kubernetes-group-version-kind"] == {"group": "batch", "version": "v1", "kind": "Job"}
    assert "fieldValidation" in [p["name"] for p in patch["parameters"]]
    assert "io.k8s.api.core.v1.PodSpec" in document["components"]["schemas"]


# bodies


def test_yaml_comes_in_and_goes_out(api: Localkube, namespace: str) -> None:
    body = b"metadata:\n  name: a\ndata:\n  when: 2001-01-01\n  x: 'y'\n"
    made = api.call("POST", CONFIGMAPS.format(namespace), body, content_type="application/yaml")
    assert made.body["data"] == {"when": "2001-01-01", "x": "y"}
    path = f"{CONFIGMAPS.format(namespace)}/a"
    answer = api.call("GET", path, headers={"Accept": "application/yaml"})
    assert answer.headers["Content-Type"] == "application/yaml"
    assert yaml.safe_load(answer.content)["data"]["x"] == "y"


def test_a_body_over_three_mebibytes_is_413(api: Localkube, namespace: str) -> None:
    body = {"metadata": {"name": "a"}, "data": {"k": "x" * (3 * 1024 * 1024)}}
    refused(api.call("POST", CONFIGMAPS.format(namespace), body), 413, "RequestEntityTooLarge")


@pytest.mark.parametrize(
    ("body", "content_type", "code"),
    [
        (b"{", "application/json", 400),
        (b"\xff\xfe", "application/json", 400),
        (b"null", "application/json", 422),
        (b'{"metadata": [] }', "application/json", 400),
        (b'{"kind": "Secret", "apiVersion": "v1"}', "application/json", 400),
        (b'{"kind": 7}', "application/json", 400),
        (b"[" * 100_000, "application/json", 400),
        (b'{"a":' * 600 + b"1" + b"}" * 600, "application/json", 400),
        (b"a: &x [1]\nb: *x\n", "application/yaml", 400),
        (b"{a: b", "application/yaml", 400),
        (b"? [a]\n: b\n", "application/yaml", 400),
        (b"{}", "application/vnd.kubernetes.protobuf", 415),
        (b"{}", "image/png", 415),
    ],
)
def test_bad_bodies_are_refused(
    api: Localkube, namespace: str, body: bytes, content_type: str, code: int
) -> None:
    answer = api.call("POST", CONFIGMAPS.format(namespace), body, content_type=content_type)
    assert (answer.code, answer.body["kind"]) == (code, "Status"), answer.content


def test_warnings_tell_of_unknown_fields(api: Localkube, namespace: str) -> None:
    body = {"metadata": {"name": "a"}, 'odd"\n': 1}
    made = api.call("POST", CONFIGMAPS.format(namespace), body)
    assert (
        made.headers["Warning"] == '299 - "unknown field \\"odd\\"?\\""' or "odd" in made.headers["Warning"]
    )
    quiet = api.call(
        "POST", f"{CONFIGMAPS.format(namespace)}?fieldValidation=Ignore", {**body, "metadata": {"name": "b"}}
    )
    assert quiet.headers["Warning"] is None


# reading


def test_chunks_are_one_snapshot(api: Localkube, namespace: str) -> None:
    path = CONFIGMAPS.format(namespace)
    for i in range(7):
        make(api, namespace, f"c{i}", labels={"test": "chunks"})
    first = api.call("GET", f"{path}?limit=3&labelSelector=test").body
    api.call("DELETE", f"{path}/c5")
    make(api, namespace, "c9", labels={"test": "chunks"})
    names = [i["metadata"]["name"] for i in first["items"]]
    page = first
    while token := page["metadata"].get("continue"):
        page = api.call("GET", f"{path}?limit=3&labelSelector=test&continue={token}").body
        assert page["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
        names += [i["metadata"]["name"] for i in page["items"]]
    assert names == [f"c{i}" for i in range(7)]


def test_how_much_remains_is_told_without_a_selector(api: Localkube, namespace: str) -> None:
    for i in range(4):
        make(api, namespace, f"c{i}")
    total = len(api.call("GET", CONFIGMAPS.format(namespace)).body["items"])
    page = api.call("GET", f"{CONFIGMAPS.format(namespace)}?limit=1").body
    assert page["metadata"]["remainingItemCount"] == total - 1
    selected = api.call("GET", f"{CONFIGMAPS.format(namespace)}?limit=1&fieldSelector=metadata.name!=x").body
    assert "remainingItemCount" not in selected["metadata"]


def test_a_list_at_an_exact_revision(api: Localkube, namespace: str) -> None:
    revision = make(api, namespace, "a", data={"k": "1"})["metadata"]["resourceVersion"]
    api.call("DELETE", f"{CONFIGMAPS.format(namespace)}/a")
    query = f"resourceVersion={revision}&resourceVersionMatch=Exact&fieldSelector=metadata.name=a"
    listed = api.call("GET", f"{CONFIGMAPS.format(namespace)}?{query}").body
    assert [i["data"] for i in listed["items"]] == [{"k": "1"}]
    assert listed["metadata"]["resourceVersion"] == revision


@pytest.mark.parametrize(
    ("query", "code", "reason"),
    [
        ("resourceVersion=1&resourceVersionMatch=Exact", 410, "Expired"),
        ("continue=zzz", 400, "BadRequest"),
        ("continue=!!!", 400, "BadRequest"),
        ("limit=many", 400, "BadRequest"),
        ("limit=99999999999999999999", 400, "BadRequest"),
        ("resourceVersionMatch=Exact", 422, "Invalid"),
        ("resourceVersion=1&resourceVersionMatch=Nearly", 422, "Invalid"),
        ("sendInitialEvents=true", 422, "Invalid"),
        ("watch=1&sendInitialEvents=true", 422, "Invalid"),
        ("watch=1&resourceVersionMatch=NotOlderThan&resourceVersion=1", 422, "Invalid"),
        ("resourceVersion=-1", 500, ""),
        ("labelSelector=%zz(", 400, "BadRequest"),
        ("fieldSelector=a", 400, "BadRequest"),
        ("timeoutSeconds=soon", 400, "BadRequest"),
    ],
)
def test_bad_options_are_refused(api: Localkube, namespace: str, query: str, code: int, reason: str) -> None:
    refused(api.call("GET", f"{CONFIGMAPS.format(namespace)}?{query}"), code, reason)


def test_an_expired_chunk_says_how_to_go_on(localkube_starter: Any) -> None:
    server = localkube_starter("--no-kubelet")
    token = "eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6NSwic3RhcnQiOiJhXHUwMDAwIn0"
    answer = server.call("GET", f"/api/v1/namespaces?limit=1&continue={token}")
    assert "too old to display a consistent list" in refused(answer, 410, "Expired")
    rest = answer.body["metadata"]["continue"]
    listed = server.call("GET", f"/api/v1/namespaces?continue={rest}").body
    assert "default" in [i["metadata"]["name"] for i in listed["items"]]


# tables and metadata


def test_kubectl_gets_tables(api: Localkube, namespace: str) -> None:
    make(api, namespace, "a", data={"x": "1", "y": "2"})
    accept = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
    query = "fieldSelector=metadata.name=a"
    table = api.call("GET", f"{CONFIGMAPS.format(namespace)}?{query}", headers={"Accept": accept}).body
    assert [c["name"] for c in table["columnDefinitions"]] == ["Name", "Data", "Age"]
    (row,) = table["rows"]
    assert row["cells"][:2] == ["a", 2]
    assert row["object"]["kind"] == "PartialObjectMetadata"
    one = api.call(
        "GET", f"{CONFIGMAPS.format(namespace)}/a?includeObject=Object", headers={"Accept": accept}
    ).body
    assert one["rows"][0]["object"]["data"] == {"x": "1", "y": "2"}


def test_metadata_alone_can_be_listed_and_watched(api: Localkube, namespace: str) -> None:
    make(api, namespace, "a", data={"x": "1"})
    accept = {"Accept": "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"}
    path = f"{CONFIGMAPS.format(namespace)}?fieldSelector=metadata.name=a"
    listed = api.call("GET", path, headers=accept).body
    assert listed["kind"] == "PartialObjectMetadataList"
    assert [set(i) for i in listed["items"]] == [{"kind", "apiVersion", "metadata"}]
    accept = {"Accept": "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"}
    (event,) = [json.loads(e) for e in api.stream(f"{path}&watch=1&timeoutSeconds=1", headers=accept)]
    assert (event["type"], event["object"]["kind"]) == ("ADDED", "PartialObjectMetadata")


def test_nothing_else_is_acceptable(api: Localkube) -> None:
    answer = api.call("GET", "/api/v1/namespaces", headers={"Accept": "image/png"})
    refused(answer, 406, "NotAcceptable")


# watching


class Watcher:
    """Reads a watch in a thread."""

    def __init__(self, api: Localkube, path: str):
        self.events: list[Any] = []
        self.ended = threading.Event()
        self._stream = api.stream(path)
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        for line in self._stream:
            self.events.append(json.loads(line))
        self.ended.set()

    def types(self) -> list[str]:
        return [e["type"] for e in self.events]

    def join(self) -> None:
        assert self.ended.wait(10)
        self._thread.join()


@pytest.fixture
def watchers() -> Iterator[list[Watcher]]:
    found: list[Watcher] = []
    yield found
    for watcher in found:
        watcher.join()


def test_a_watch_tells_as_it_happens(api: Localkube, namespace: str, watchers: list[Watcher]) -> None:
    path = f"{CONFIGMAPS.format(namespace)}?watch=1&timeoutSeconds=2&labelSelector=w"
    watchers += [Watcher(api, path) for _ in range(3)]
    make(api, namespace, "a", labels={"w": "1"})
    for watcher in watchers:
        until(lambda w=watcher: w.types() == ["ADDED"])  # type: ignore[misc]
    api.call("DELETE", f"{CONFIGMAPS.format(namespace)}/a")
    for watcher in watchers:
        until(lambda w=watcher: w.types() == ["ADDED", "DELETED"])  # type: ignore[misc]
    deleted = watchers[0].events[1]["object"]["metadata"]["resourceVersion"]
    assert int(deleted) > int(watchers[0].events[0]["object"]["metadata"]["resourceVersion"])


def test_streaming_lists_end_with_a_bookmark(api: Localkube, namespace: str) -> None:
    make(api, namespace, "a", labels={"s": "1"})
    query = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
    path = f"{CONFIGMAPS.format(namespace)}?{query}&timeoutSeconds=1&labelSelector=s"
    events = [json.loads(line) for line in api.stream(path)]
    assert [e["type"] for e in events[:2]] == ["ADDED", "BOOKMARK"]
    mark = events[1]["object"]["metadata"]
    assert mark["annotations"] == {"k8s.io/initial-events-end": "true"}
    resumed = (
        f"{CONFIGMAPS.format(namespace)}?watch=1&timeoutSeconds=1&resourceVersion={mark['resourceVersion']}"
    )
    assert list(api.stream(resumed)) == []


def test_bookmarks_end_a_watch_that_asked_for_them(api: Localkube, namespace: str) -> None:
    path = f"{CONFIGMAPS.format(namespace)}?watch=1&allowWatchBookmarks=1&timeoutSeconds=1&labelSelector=none"
    (event,) = [json.loads(line) for line in api.stream(path)]
    assert (event["type"], event["object"]["kind"]) == ("BOOKMARK", "ConfigMap")
    assert int(event["object"]["metadata"]["resourceVersion"]) > 0


@pytest.mark.parametrize(
    ("revision", "code", "reason"), [("5", 410, "Expired"), ("999999999999999", 504, "Timeout")]
)
def test_a_watch_of_revisions_that_are_not_there_is_told_so(
    api: Localkube, namespace: str, revision: str, code: int, reason: str
) -> None:
    path = f"{CONFIGMAPS.format(namespace)}?watch=1&resourceVersion={revision}"
    (event,) = [json.loads(line) for line in api.stream(path)]
    assert event["type"] == "ERROR"
    assert (event["object"]["code"], event["object"]["reason"]) == (code, reason)


def test_one_object_can_be_watched_by_its_path(api: Localkube, namespace: str) -> None:
    make(api, namespace, "a")
    make(api, namespace, "b")
    path = f"{CONFIGMAPS.format(namespace)}/a?watch=1&timeoutSeconds=1"
    (event,) = [json.loads(line) for line in api.stream(path)]
    assert event["object"]["metadata"]["name"] == "a"


# deleting


def test_delete_options_in_the_query_and_in_the_body(api: Localkube, namespace: str) -> None:
    path = f"{CONFIGMAPS.format(namespace)}/a"
    make(api, namespace, "a")
    refused(api.call("DELETE", f"{path}?propagationPolicy=Sometimes"), 422, "Invalid")
    refused(api.call("DELETE", f"{path}?gracePeriodSeconds=x"), 400, "BadRequest")
    both = {"propagationPolicy": "Orphan", "orphanDependents": True}
    refused(api.call("DELETE", path, both), 422, "Invalid")
    refused(api.call("DELETE", path, {"kind": "ConfigMap"}), 400, "BadRequest")
    refused(api.call("DELETE", path, {"preconditions": {"uid": "other"}}), 409, "Conflict")
    assert api.call("DELETE", path, {"gracePeriodSeconds": 0}).body["status"] == "Success"


def test_the_system_namespaces_stay(api: Localkube) -> None:
    message = refused(api.call("DELETE", "/api/v1/namespaces/default"), 403, "Forbidden")
    assert message == 'namespaces "default" is forbidden: this namespace may not be deleted'


def test_a_job_deleted_without_a_policy_warns(api: Localkube, namespace: str) -> None:
    jobs = f"/apis/batch/v1/namespaces/{namespace}/jobs"
    template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}
    job = {"metadata": {"name": "j"}, "spec": {"suspend": True, "template": template}}
    assert api.call("POST", jobs, job).code == 201
    answer = api.call("DELETE", f"{jobs}/j")
    assert "child pods are preserved by default" in answer.headers["Warning"]
    assert "orphan" in answer.body["metadata"]["finalizers"]
    until(lambda: api.call("GET", f"{jobs}/j").code == 404)


# pods


def pod(name: str) -> dict[str, Any]:
    containers = [{"name": "c", "image": "i"}]
    return {"metadata": {"name": name}, "spec": {"nodeSelector": {"no": "where"}, "containers": containers}}


def test_a_pod_can_follow_its_namespace_at_once(api: Localkube, namespace: str) -> None:
    made = api.call("POST", f"/api/v1/namespaces/{namespace}/pods", pod("p"))
    assert made.code == 201, made.content
    assert made.body["spec"]["serviceAccountName"] == "default"


def test_binding_and_graceful_deletion(api: Localkube, namespace: str) -> None:
    pods = f"/api/v1/namespaces/{namespace}/pods"
    api.call("POST", pods, pod("p"))
    binding = {"target": {"kind": "Node", "name": "elsewhere"}}
    bound = api.call("POST", f"{pods}/p/binding", binding)
    assert (bound.code, bound.body["status"]) == (201, "Success")
    refused(api.call("POST", f"{pods}/p/binding", binding), 409, "Conflict")
    refused(api.call("POST", f"{pods}/p/binding", {}), 422, "Invalid")
    assert api.call("GET", f"{pods}/p").body["spec"]["nodeName"] == "elsewhere"


@pytest.mark.parametrize("query", ["tailLines=-1", "limitBytes=0", "sinceSeconds=0"])
def test_bad_log_options(api: Localkube, namespace: str, query: str) -> None:
    api.call("POST", f"/api/v1/namespaces/{namespace}/pods", pod("p"))
    answer = api.call("GET", f"/api/v1/namespaces/{namespace}/pods/p/log?{query}")
    refused(answer, 422, "Invalid")


# anything at all

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
fields = st.sampled_from(
    ["metadata", "data", "spec", "kind", "apiVersion", "status", "type", "name", "labels"]
)
bodies = st.dictionaries(fields, json_values | st.dictionaries(fields, json_values, max_size=3), max_size=4)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    body=bodies | json_values,
    method=st.sampled_from(["POST", "PUT", "PATCH", "DELETE"]),
    plural=st.sampled_from(["configmaps", "pods", "secrets", "events"]),
    content_type=st.sampled_from(
        [
            "application/json",
            "application/yaml",
            "application/merge-patch+json",
            "application/json-patch+json",
            "application/strategic-merge-patch+json",
            "application/apply-patch+yaml",
        ]
    ),
)
def test_no_body_is_a_server_error(
    api: Localkube, method: str, plural: str, content_type: str, body: Any
) -> None:
    path = (
        f"/api/v1/namespaces/default/{plural}{'' if method == 'POST' else '/fuzz'}?fieldManager=f&dryRun=All"
    )
    answer = api.call(method, path, body, content_type=content_type)
    assert answer.code < 500 or "resourceVersion" in answer.body["message"], answer.content


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    query=st.dictionaries(
        st.sampled_from(
            ["labelSelector", "fieldSelector", "limit", "continue", "timeoutSeconds", "dryRun", "pretty"]
        ),
        st.text(max_size=12),
        max_size=3,
    )
)
def test_no_query_is_a_server_error(api: Localkube, query: dict[str, str]) -> None:
    from urllib.parse import urlencode

    answer = api.call("GET", f"/api/v1/namespaces/default/configmaps?{urlencode(query)}")
    assert answer.code < 500, answer.content
