"""Custom resources over HTTP: served at once, in discovery, with their subresources, until they go."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.localkube.apiserver.access import Cluster, rule, user
from tests.localkube.conftest import Localkube

Object = dict[str, Any]

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
TABLE = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}
AGGREGATED = {"Accept": "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"}


def definition(group: str, **more: Any) -> Object:
    spec: Object = {
        "type": "object",
        "properties": {
            "replicas": {"type": "integer"},
            "color": {"type": "string", "default": "red"},
        },
    }
    status = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    schema = {"type": "object", "properties": {"spec": spec, "status": status}}
    version: Object = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": schema},
        "subresources": {
            "status": {},
            "scale": {
                "specReplicasPath": ".spec.replicas",
                "statusReplicasPath": ".status.replicas",
                "labelSelectorPath": ".status.selector",
            },
        },
        "selectableFields": [{"jsonPath": ".spec.color"}],
        "additionalPrinterColumns": [
            {"name": "Color", "type": "string", "jsonPath": ".spec.color", "description": "Its color"},
            {"name": "Ready", "type": "string", "jsonPath": '.status.conditions[?(@.type=="Ready")].status'},
            {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
        ],
    }
    old = {**version, "name": "v1beta1", "storage": False, "deprecated": True}
    names = {"plural": "things", "kind": "Thing", "shortNames": ["th"], "categories": ["all"]}
    return {
        "metadata": {"name": f"things.{group}"},
        "spec": {"group": group, "scope": "Namespaced", "names": names, "versions": [version, old], **more},
    }


class Things:
    """A definition of the test's own, and its objects in the test's namespace."""

    def __init__(self, api: Localkube, namespace: str) -> None:
        self.api = api
        self.group = f"{namespace}.test.dev"
        self.name = f"things.{self.group}"
        self.base = f"/apis/{self.group}/v1"
        self.path = f"{self.base}/namespaces/{namespace}/things"
        made = api.call("POST", CRDS, definition(self.group))
        assert made.code == 201, made.content

    def add(self, name: str = "t", **spec: Any) -> Object:
        made = self.api.call("POST", self.path, self.thing(name, **spec))
        assert made.code == 201, made.content
        return dict(made.body)

    def thing(self, name: str = "t", **spec: Any) -> Object:
        return {
            "apiVersion": f"{self.group}/v1",
            "kind": "Thing",
            "metadata": {"name": name},
            "spec": {"replicas": 1, **spec},
        }

    def gone(self) -> bool:
        return self.api.call("GET", f"{CRDS}/{self.name}").code == 404


@pytest.fixture
def things(localkube_process: Localkube, namespace: str) -> Iterator[Things]:
    found = Things(localkube_process, namespace)
    yield found
    localkube_process.call("DELETE", f"{CRDS}/{found.name}")


def until(condition: Callable[[], Any], seconds: float = 10) -> Any:
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, "waited for too long"
        time.sleep(0.02)
    return value


def test_it_is_served_with_the_next_request_and_told_in_discovery(things: Things) -> None:
    assert things.api.call("GET", things.path).body["kind"] == "ThingList"
    listed = things.api.call("GET", things.base).body["resources"]
    verbs = ["get", "patch", "update"]
    thing = {"singularName": "", "namespaced": True, "kind": "Thing"}
    scale = {"group": "autoscaling", "version": "v1", "kind": "Scale"}
    assert [{k: v for k, v in r.items() if k != "storageVersionHash"} for r in listed] == [
        {
            "name": "things",
            "singularName": "thing",
            "namespaced": True,
            "kind": "Thing",
            "verbs": ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"],
            "shortNames": ["th"],
            "categories": ["all"],
        },
        {"name": "things/scale", **thing, **scale, "verbs": verbs},
        {"name": "things/status", **thing, "verbs": verbs},
    ]
    groups = things.api.call("GET", "/apis", headers=AGGREGATED).body["items"]
    [group] = [g for g in groups if g["metadata"]["name"] == things.group]
    assert [v["version"] for v in group["versions"]] == ["v1", "v1beta1"]
    assert group["versions"][0]["resources"][0]["resource"] == "things"


def test_openapi_has_its_schema(things: Things) -> None:
    path = f"apis/{things.group}/v1"
    assert path in things.api.call("GET", "/openapi/v3").body["paths"]
    document = things.api.call("GET", f"/openapi/v3/{path}").body
    name = ".".join([*reversed(things.group.split(".")), "v1", "Thing"])
    schema = document["components"]["schemas"][name]
    assert schema["properties"]["spec"]["properties"]["color"] == {"type": "string", "default": "red"}
    assert schema["x-kubernetes-group-version-kind"] == [
        {"group": things.group, "version": "v1", "kind": "Thing"}
    ]
    parameters = document["paths"][f"/{path}/namespaces/{{namespace}}/things"]["post"]["parameters"]
    assert {"fieldValidation", "dryRun"} <= {p["name"] for p in parameters}


def test_items_of_lists_say_what_they_are(things: Things) -> None:
    things.add()
    [item] = things.api.call("GET", things.path).body["items"]
    assert (item["apiVersion"], item["kind"]) == (f"{things.group}/v1", "Thing")


def test_unknown_fields_are_warned_of_and_dropped(things: Things) -> None:
    body = things.thing(unknown=1)
    made = things.api.call("POST", things.path, body)
    assert made.body["spec"] == {"replicas": 1, "color": "red"}
    assert 'unknown field \\"spec.unknown\\"' in made.headers["Warning"]


def test_another_version_is_another_view(things: Things) -> None:
    things.add()
    old = things.path.replace("/v1/", "/v1beta1/")
    shown = things.api.call("GET", f"{old}/t")
    assert shown.body["apiVersion"] == f"{things.group}/v1beta1"
    assert f"{things.group}/v1beta1 Thing is deprecated" in shown.headers["Warning"]
    assert [i["apiVersion"] for i in things.api.call("GET", old).body["items"]] == [f"{things.group}/v1beta1"]
    patch = {"spec": {"color": "blue"}}
    changed = things.api.call("PATCH", f"{old}/t", patch, content_type="application/merge-patch+json")
    assert changed.body["apiVersion"] == f"{things.group}/v1beta1"
    event = json.loads(next(things.api.stream(f"{old}?watch=1&timeoutSeconds=1")))
    assert (event["type"], event["object"]["apiVersion"]) == ("ADDED", f"{things.group}/v1beta1")
    now = things.api.call("GET", f"{things.path}/t").body
    assert (now["apiVersion"], now["spec"]["color"]) == (f"{things.group}/v1", "blue")
    wrong = things.api.call("PUT", f"{old}/t", now)
    assert (wrong.code, "does not match the expected API version" in wrong.body["message"]) == (400, True)


def test_status_is_a_door_of_its_own(things: Things) -> None:
    made = things.add()
    put = things.api.call("PUT", f"{things.path}/t/status", {**made, "spec": {}, "status": {"n": 1}})
    assert (put.body["spec"], put.body["status"]) == (made["spec"], {"n": 1})
    put = things.api.call("PUT", f"{things.path}/t", {**put.body, "status": {"n": 2}})
    assert put.body["status"] == {"n": 1}


def test_scale(things: Things) -> None:
    made = things.add()
    path = f"{things.path}/t/scale"
    merge = "application/merge-patch+json"
    status = {"status": {"replicas": 1, "selector": "a=b"}}
    things.api.call("PATCH", f"{things.path}/t/status", status, content_type=merge)
    scale = things.api.call("GET", path).body
    assert (scale["kind"], scale["apiVersion"], scale["metadata"]["uid"]) == (
        "Scale",
        "autoscaling/v1",
        made["metadata"]["uid"],
    )
    assert (scale["spec"], scale["status"]) == ({"replicas": 1}, {"replicas": 1, "selector": "a=b"})
    assert things.api.call("PUT", path, {**scale, "spec": {"replicas": 3}}).body["spec"] == {"replicas": 3}
    # the scale that was read is no longer the newest
    assert things.api.call("PUT", path, {**scale, "spec": {"replicas": 4}}).code == 409
    patched = things.api.call("PATCH", path, {"spec": {"replicas": 5}}, content_type=merge)
    assert patched.body["spec"] == {"replicas": 5}
    assert things.api.call("GET", f"{things.path}/t").body["spec"]["replicas"] == 5
    bad = things.api.call("PATCH", path, {"spec": {"replicas": -1}}, content_type=merge)
    assert (bad.code, "must be greater than or equal to 0" in bad.body["message"]) == (422, True)


def test_selectable_fields(things: Things) -> None:
    things.add("a")
    things.add("b", color="blue")

    def selected(text: str) -> Any:
        answer = things.api.call("GET", f"{things.path}?fieldSelector={text}").body
        return [i["metadata"]["name"] for i in answer["items"]] if "items" in answer else answer["message"]

    assert selected("spec.color=blue") == ["b"]
    assert selected("metadata.name=a") == ["a"]
    assert selected("spec.replicas=1") == "field label not supported: spec.replicas"


def test_the_table_of_its_columns(things: Things) -> None:
    things.add()
    status = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
    merge = "application/merge-patch+json"
    things.api.call("PATCH", f"{things.path}/t/status", status, content_type=merge)
    table = things.api.call("GET", things.path, headers=TABLE).body
    assert [(c["name"], c["type"]) for c in table["columnDefinitions"]] == [
        ("Name", "string"),
        ("Color", "string"),
        ("Ready", "string"),
        ("Age", "date"),
    ]
    assert table["columnDefinitions"][1]["description"] == "Its color"
    [row] = table["rows"]
    assert row["cells"][:3] == ["t", "red", "True"]
    assert row["cells"][3].endswith("s")


def test_rights_to_it_are_those_of_rbac(things: Things, cluster: Cluster) -> None:
    things.add()
    ada = {"Impersonate-User": "ada"}
    assert things.api.call("GET", f"{things.path}/t", headers=ada).code == 403
    cluster.grant("reader", rule("get", "things", things.group), to=user("ada"))
    assert things.api.call("GET", f"{things.path}/t", headers=ada).code == 200
    assert things.api.call("GET", things.path, headers=ada).code == 403
    assert things.api.call("PUT", f"{things.path}/t/status", things.thing(), headers=ada).code == 403


def test_a_quota_counts_it(things: Things, namespace: str) -> None:
    quotas = f"/api/v1/namespaces/{namespace}/resourcequotas"
    hard = {f"count/{things.name}": "1"}
    made = things.api.call("POST", quotas, {"metadata": {"name": "q"}, "spec": {"hard": hard}})
    assert made.code == 201
    things.add("a")
    refused = things.api.call("POST", things.path, things.thing("b"))
    assert refused.code == 403
    assert f"exceeded quota: q, requested: count/{things.name}=1" in refused.body["message"]
    things.api.call("DELETE", f"{things.path}/a")
    until(lambda: things.api.call("POST", things.path, things.thing("b")).code == 201)


def test_owners_and_dependents_can_be_custom(things: Things, namespace: str) -> None:
    owner = things.add("owner")
    reference = {
        "apiVersion": f"{things.group}/v1beta1",
        "kind": "Thing",
        "name": "owner",
        "uid": owner["metadata"]["uid"],
    }
    maps = f"/api/v1/namespaces/{namespace}/configmaps"
    things.api.call("POST", maps, {"metadata": {"name": "m", "ownerReferences": [reference]}})
    dependent = things.thing("dependent")
    dependent["metadata"]["ownerReferences"] = [reference]
    assert things.api.call("POST", things.path, dependent).code == 201
    things.api.call("DELETE", f"{things.path}/owner")
    until(lambda: things.api.call("GET", f"{maps}/m").code == 404)
    until(lambda: things.api.call("GET", f"{things.path}/dependent").code == 404)


def test_a_namespace_takes_its_objects_with_it(things: Things, localkube_process: Localkube) -> None:
    api = localkube_process
    other = f"{things.group.partition('.')[0]}-b"
    api.call("POST", "/api/v1/namespaces", {"metadata": {"name": other}})
    path = f"{things.base}/namespaces/{other}/things"
    assert api.call("POST", path, things.thing()).code == 201
    api.call("DELETE", f"/api/v1/namespaces/{other}")
    until(lambda: api.call("GET", f"/api/v1/namespaces/{other}").code == 404)
    assert api.call("GET", f"{path}/t").code == 404


def test_a_definition_goes_after_its_objects(things: Things) -> None:
    held = things.thing("held")
    held["metadata"]["finalizers"] = ["test.dev/hold"]
    assert things.api.call("POST", things.path, held).code == 201
    things.add("free")
    answer = things.api.call("DELETE", f"{CRDS}/{things.name}")
    assert answer.body["metadata"]["finalizers"] == ["customresourcecleanup.apiextensions.k8s.io"]
    until(lambda: things.api.call("GET", f"{things.path}/free").code == 404)
    refused = things.api.call("POST", things.path, things.thing("late"))
    assert (refused.code, refused.body["message"]) == (
        405,
        "create not allowed while custom resource definition is terminating",
    )
    conditions = things.api.call("GET", f"{CRDS}/{things.name}").body["status"]["conditions"]
    assert conditions[-1]["type"] == "Terminating"
    assert conditions[-1]["reason"] == "InstanceDeletionInProgress"
    let_go = {"metadata": {"finalizers": None}}
    merge = "application/merge-patch+json"
    things.api.call("PATCH", f"{things.path}/held", let_go, content_type=merge)
    until(things.gone)
    assert things.api.call("GET", things.path).code == 404
    assert things.api.call("GET", things.base).code == 404


def test_made_again_it_is_followed_again(things: Things, namespace: str) -> None:
    """The controllers hear of the objects of a definition that was there before."""
    things.api.call("DELETE", f"{CRDS}/{things.name}")
    until(things.gone)
    again = Things(things.api, namespace)
    owner = again.add("owner")
    maps = f"/api/v1/namespaces/{namespace}/configmaps"
    reference = {"apiVersion": f"{again.group}/v1", "kind": "Thing", "name": "owner"}
    meta = {"name": "m", "ownerReferences": [{**reference, "uid": owner["metadata"]["uid"]}]}
    again.api.call("POST", maps, {"metadata": meta})
    again.api.call("DELETE", f"{again.path}/owner")
    until(lambda: again.api.call("GET", f"{maps}/m").code == 404)


def test_definitions_and_objects_outlive_a_restart(
    localkube_starter: Callable[..., Localkube], tmp_path: Path
) -> None:
    data = f"--data-dir={tmp_path / 'data'}"
    first = localkube_starter("--no-kubelet", data)
    things = Things(first, "default")
    made = things.add()
    first.process.kill()
    first.process.wait()
    second = localkube_starter("--no-kubelet", data)
    shown = second.call("GET", f"{things.path}/t").body
    assert shown == made
    patch = {"spec": {"color": "blue"}}
    merge = "application/merge-patch+json"
    assert second.call("PATCH", f"{things.path}/t", patch, content_type=merge).code == 200
    second.call("DELETE", f"{CRDS}/{things.name}")
    until(lambda: second.call("GET", f"{CRDS}/{things.name}").code == 404)
