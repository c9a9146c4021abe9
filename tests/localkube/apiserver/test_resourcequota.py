"""ResourceQuotas: what is counted, for whom, and who is refused; over HTTP and in parts."""

import contextlib
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.localkube.conftest import Answer, Localkube

from localkube.apiserver import quantity
from localkube.apiserver.quota import usage
from localkube.apiserver.quota.scopes import in_scope
from localkube.apiserver.registry import Registry
from localkube.apiserver.status import StatusError

Object = dict[str, Any]
NOW = datetime(2026, 3, 1, tzinfo=UTC)


def container(name: str = "c", **resources: Object) -> Object:
    return {"name": name, "image": "busybox", "resources": resources}


def pod(name: str = "p", *containers: Object, **spec: Any) -> Object:
    found = list(containers) or [container()]
    return {"kind": "Pod", "metadata": {"name": name}, "spec": {"containers": found, **spec}}


# what an object takes


def test_what_a_pod_takes() -> None:
    made = pod(
        "p",
        container("a", requests={"cpu": "500m", "memory": "512Mi"}, limits={"cpu": "1", "memory": "1Gi"}),
        container("b", requests={"cpu": "600m", "memory": "512Mi", "ephemeral-storage": "1G"}),
        initContainers=[
            container("i", requests={"cpu": "2", "memory": "1"}),
            {**container("s", requests={"cpu": "100m"}), "restartPolicy": "Always"},
        ],
        overhead={"cpu": "50m", "memory": "1Mi"},
    )
    assert usage.of_pod(made, NOW) == {
        "count/pods": "1",
        "pods": "1",
        "cpu": "2050m",
        "requests.cpu": "2050m",
        "limits.cpu": "1050m",
        "memory": "1025Mi",
        "requests.memory": "1025Mi",
        "limits.memory": "1025Mi",
        "ephemeral-storage": "1G",
        "requests.ephemeral-storage": "1G",
    }


def test_extended_resources_and_huge_pages_are_counted_by_request() -> None:
    amounts = {"example.com/gpu": "2", "hugepages-2Mi": "4Mi"}
    found = usage.of_pod(pod("p", container(requests=amounts, limits=amounts)), NOW)
    assert found == {
        "count/pods": "1",
        "pods": "1",
        "requests.example.com/gpu": "2",
        "hugepages-2Mi": "4Mi",
        "requests.hugepages-2Mi": "4Mi",
    }
    counts = usage.evaluator("pods").counts
    assert all(counts(name) for name in found)
    assert not any(counts(n) for n in ("example.com/gpu", "requests.storage", "requests.kubernetes.io/x"))


def test_a_pod_that_has_ended_takes_only_its_place_in_the_list() -> None:
    made = pod()
    assert usage.of_pod(made, NOW) == {"count/pods": "1", "pods": "1"}
    for phase in ("Succeeded", "Failed"):
        assert usage.of_pod({**made, "status": {"phase": phase}}, NOW) == {"count/pods": "1"}
    made["metadata"] |= {"deletionTimestamp": "2026-03-01T00:00:00Z", "deletionGracePeriodSeconds": 30}
    assert "pods" in usage.of_pod(made, NOW + timedelta(seconds=30))
    assert "pods" not in usage.of_pod(made, NOW + timedelta(seconds=31))


@pytest.mark.parametrize(
    ("spec", "node_ports", "balancers"),
    [
        ({"type": "ClusterIP", "ports": [{"port": 1}]}, "0", "0"),
        ({"type": "NodePort", "ports": [{"port": 1}, {"port": 2}]}, "2", "0"),
        ({"type": "LoadBalancer", "ports": [{"port": 1}]}, "1", "1"),
        (
            {
                "type": "LoadBalancer",
                "allocateLoadBalancerNodePorts": False,
                "ports": [{"port": 1, "nodePort": 30000}, {"port": 2}],
            },
            "1",
            "1",
        ),
    ],
)
def test_what_a_service_takes(spec: Object, node_ports: str, balancers: str) -> None:
    counted = usage.evaluator("services")
    assert counted.usage({"metadata": {}, "spec": spec}, NOW) == {
        "services": "1",
        "count/services": "1",
        "services.nodeports": node_ports,
        "services.loadbalancers": balancers,
    }
    assert counted.on_update


def test_what_a_claim_takes() -> None:
    counted = usage.evaluator("persistentvolumeclaims")
    spec = {"storageClassName": "gold", "resources": {"requests": {"storage": "1Gi"}}}
    claim = {"metadata": {}, "spec": spec, "status": {"allocatedResources": {"storage": "2Gi"}}}
    found = counted.usage(claim, NOW)
    assert found == {
        "persistentvolumeclaims": "1",
        "count/persistentvolumeclaims": "1",
        "requests.storage": "2Gi",
        "gold.storageclass.storage.k8s.io/persistentvolumeclaims": "1",
        "gold.storageclass.storage.k8s.io/requests.storage": "2Gi",
    }
    assert all(counted.counts(name) for name in found)


def test_other_kinds_are_counted_by_number() -> None:
    assert usage.evaluator("jobs.batch").usage({}, NOW) == {"count/jobs.batch": "1"}
    assert usage.evaluator("secrets").usage({}, NOW) == {"count/secrets": "1", "secrets": "1"}


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["requests.cpu"], "must specify requests.cpu for: b"),
        (["limits.memory", "limits.cpu"], "must specify limits.cpu for: a,b; limits.memory for: a,b,i"),
        (["pods", "requests.ephemeral-storage"], ""),
    ],
)
def test_what_containers_have_to_say(names: list[str], said: str) -> None:
    made = pod(
        "p",
        container("a", requests={"cpu": "1"}),
        container("b"),
        initContainers=[container("i", requests={"cpu": "1"}, limits={"cpu": "1"})],
    )
    assert usage.missing(made, names) == said


def test_what_is_said_of_the_whole_pod_is_enough() -> None:
    made = pod("p", container("a"), resources={"requests": {"cpu": "1"}, "limits": {"cpu": "2"}})
    assert usage.missing(made, ["requests.cpu", "limits.cpu"]) == ""
    assert usage.of_pod(made, NOW)["limits.cpu"] == "2"


AMOUNTS = st.builds(
    lambda number, unit: quantity.parse(f"{number}{unit}").text,
    st.integers(0, 10**6),
    st.sampled_from(["", "m", "k", "M", "Ki", "Mi", "Gi", "e3"]),
)


@given(AMOUNTS, AMOUNTS)
def test_sums_are_exact_and_canonical(one: str, other: str) -> None:
    total = quantity.plus(one, other)
    assert quantity.value_of(total) == quantity.value_of(one) + quantity.value_of(other)
    assert quantity.parse(total).text == total
    assert quantity.value_of(quantity.minus(total, other)) == quantity.value_of(one)


@pytest.mark.parametrize(
    ("one", "other", "total"),
    [("0", "1Gi", "1Gi"), ("512Mi", "512Mi", "1Gi"), ("600m", "400m", "1"), ("1Gi", "1", "1073741825")],
)
def test_sums_keep_their_style(one: str, other: str, total: str) -> None:
    assert quantity.plus(one, other) == total


# scopes


def scoped(*scopes: str, selector: list[Object] | None = None) -> Object:
    spec: Object = {"scopes": list(scopes)}
    if selector is not None:
        spec["scopeSelector"] = {"matchExpressions": selector}
    return {"metadata": {"name": "q", "namespace": "ns"}, "spec": spec}


ABROAD = {"topologyKey": "k", "namespaces": ["other"]}
GUARANTEED = container(requests={"cpu": "1", "memory": "1"}, limits={"cpu": "1", "memory": "1"})


@pytest.mark.parametrize(
    ("scope", "inside", "outside"),
    [
        ("Terminating", pod(activeDeadlineSeconds=5), pod()),
        ("NotTerminating", pod(), pod(activeDeadlineSeconds=5)),
        ("BestEffort", pod(), pod("p", GUARANTEED)),
        ("NotBestEffort", pod("p", container(requests={"cpu": "1"})), pod()),
        ("PriorityClass", pod(priorityClassName="high"), pod()),
        (
            "CrossNamespacePodAffinity",
            pod(affinity={"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [ABROAD]}}),
            pod(
                affinity={
                    "podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "k"}]}
                }
            ),
        ),
    ],
)
def test_scopes(scope: str, inside: Object, outside: Object) -> None:
    assert in_scope(scoped(scope), "pods", inside)
    assert not in_scope(scoped(scope), "pods", outside)
    assert not in_scope(scoped(scope), "secrets", {"metadata": {}})
    assert in_scope(scoped(), "secrets", {"metadata": {}})


@pytest.mark.parametrize(
    ("operator", "values", "matches"),
    [
        ("Exists", [], {"": False, "high": True, "low": True}),
        ("DoesNotExist", [], {"": True, "high": False, "low": False}),
        ("In", ["high"], {"": False, "high": True, "low": False}),
        ("NotIn", ["high"], {"": True, "high": False, "low": True}),
    ],
)
def test_a_selector_of_priority_classes(operator: str, values: list[str], matches: dict[str, bool]) -> None:
    term = {"scopeName": "PriorityClass", "operator": operator, "values": values}
    for name, matched in matches.items():
        assert in_scope(scoped(selector=[term]), "pods", pod(priorityClassName=name)) is matched


def test_all_scopes_have_to_match() -> None:
    both = scoped("Terminating", selector=[{"scopeName": "BestEffort", "operator": "Exists"}])
    assert in_scope(both, "pods", pod(activeDeadlineSeconds=5))
    assert not in_scope(both, "pods", pod("p", GUARANTEED, activeDeadlineSeconds=5))


# admission, without controllers


def empty() -> Registry:
    found = Registry()
    found.create("namespaces", "", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "ns"}})
    found.create("serviceaccounts", "ns", {"metadata": {"name": "default"}})
    return found


@pytest.fixture
def registry() -> Registry:
    return empty()


def quota(registry: Registry, hard: Object, name: str = "q", **spec: Any) -> Object:
    obj = {"metadata": {"name": name}, "spec": {"hard": hard, **spec}}
    return registry.create("resourcequotas", "ns", obj)


def used(registry: Registry, name: str = "q") -> Object:
    found: Object = registry.get("resourcequotas", "ns", name)["status"].get("used", {})
    return found


def refusal(registry: Registry, key: str, obj: Object, **options: Any) -> str:
    with pytest.raises(StatusError) as caught:
        registry.create(key, "ns", obj, **options)
    assert (caught.value.code, caught.value.reason) == (403, "Forbidden")
    return caught.value.message


def test_a_quota_counts_what_is_there_before_it(registry: Registry) -> None:
    registry.create("pods", "ns", pod("a"))
    quota(registry, {"pods": "2", "requests.example.com/gpu": "1"})
    registry.create("pods", "ns", pod("b"))
    assert used(registry) == {"pods": "2", "requests.example.com/gpu": "0"}
    assert refusal(registry, "pods", pod("c")) == (
        'pods "c" is forbidden: exceeded quota: q, requested: pods=1, used: pods=2, limited: pods=2'
    )


def test_only_what_is_exceeded_is_told(registry: Registry) -> None:
    quota(registry, {"pods": "9", "requests.cpu": "1", "limits.memory": "1Gi"})
    big = pod("a", container(requests={"cpu": "2"}, limits={"cpu": "2", "memory": "2Gi"}))
    assert refusal(registry, "pods", big) == (
        'pods "a" is forbidden: exceeded quota: q, requested: limits.memory=2Gi,requests.cpu=2, '
        "used: limits.memory=0,requests.cpu=0, limited: limits.memory=1Gi,requests.cpu=1"
    )
    assert refusal(registry, "pods", pod("a")) == (
        'pods "a" is forbidden: failed quota: q: must specify limits.memory for: c; requests.cpu for: c'
    )


def test_nothing_is_charged_for_what_is_not_stored(registry: Registry) -> None:
    quota(registry, {"pods": "2", "count/pods": "2"})
    registry.create("pods", "ns", pod("a"))
    registry.create("pods", "ns", pod("b"), dry_run=True)
    with pytest.raises(StatusError) as caught:
        registry.create("pods", "ns", pod("a"))
    assert caught.value.reason == "AlreadyExists"
    assert used(registry) == {"pods": "1", "count/pods": "1"}
    registry.create("pods", "ns", pod("b"))
    assert "exceeded quota" in refusal(registry, "pods", pod("c"), dry_run=True)


def test_every_quota_has_to_have_room(registry: Registry) -> None:
    quota(registry, {"pods": "5"}, "a")
    quota(registry, {"pods": "1"}, "b", scopes=["BestEffort"])
    registry.create("pods", "ns", pod("p1"))
    assert "exceeded quota: b," in refusal(registry, "pods", pod("p2"))
    assert (used(registry, "a"), used(registry, "b")) == ({"pods": "1"}, {"pods": "1"})
    registry.create("pods", "ns", pod("p3", container(requests={"cpu": "1"})))
    assert (used(registry, "a"), used(registry, "b")) == ({"pods": "2"}, {"pods": "1"})


def test_no_pods_with_a_priority_class(registry: Registry) -> None:
    term = {"scopeName": "PriorityClass", "operator": "Exists"}
    quota(registry, {"pods": "0"}, scopeSelector={"matchExpressions": [term]})
    meta = {"name": "high"}
    registry.create("priorityclasses.scheduling.k8s.io", "", {"metadata": meta, "value": 5})
    registry.create("pods", "ns", pod("a"))
    assert refusal(registry, "pods", pod("b", priorityClassName="high")) == (
        'pods "b" is forbidden: exceeded quota: q, requested: pods=1, used: pods=0, limited: pods=0'
    )


@pytest.mark.parametrize(
    ("key", "name"),
    [("secrets", "secrets"), ("configmaps", "count/configmaps"), ("jobs.batch", "count/jobs.batch")],
)
def test_kinds_by_number(registry: Registry, key: str, name: str) -> None:
    quota(registry, {name: "1"})
    template = {"spec": {"restartPolicy": "Never", "containers": [container()]}}
    spec = {"spec": {"template": template}} if key == "jobs.batch" else {}
    registry.create(key, "ns", {"metadata": {"name": "a"}, **spec})
    assert refusal(registry, key, {"metadata": {"name": "b"}, **spec}) == (
        f'{key} "b" is forbidden: exceeded quota: q, requested: {name}=1, used: {name}=1, limited: {name}=1'
    )


def test_events_are_not_counted(registry: Registry) -> None:
    quota(registry, {"count/events": "0"})
    involved = {"kind": "Namespace", "namespace": "ns", "name": "ns"}
    registry.create("events", "ns", {"metadata": {"name": "e"}, "involvedObject": involved})


def test_a_quota_that_grows_has_room_at_once(registry: Registry) -> None:
    quota(registry, {"pods": "1"})
    registry.create("pods", "ns", pod("a"))
    registry.patch("resourcequotas", "ns", "q", {"spec": {"hard": {"pods": "2"}}})
    registry.create("pods", "ns", pod("b"))
    assert registry.get("resourcequotas", "ns", "q")["status"] == {
        "hard": {"pods": "2"},
        "used": {"pods": "2"},
    }


SMALL = st.dictionaries(
    st.sampled_from(["cpu", "memory"]), st.sampled_from(["1", "200m", "1500m", "64Mi", "1Gi"]), max_size=2
)
PODS = st.lists(st.tuples(SMALL, SMALL, st.sampled_from([None, 60]), st.booleans()), min_size=1, max_size=12)


@given(PODS, st.integers(0, 6))
@settings(max_examples=40, deadline=None)
def test_the_books_are_right_and_never_above_the_limit(pods: list[Any], most: int) -> None:
    """Whatever comes, in whatever order: what is written down is what a count finds, and fits."""
    registry = empty()
    quota(registry, {"pods": str(most), "count/pods": "9"}, "all")
    quota(
        registry, {"pods": "2", "requests.cpu": "3", "limits.memory": "2Gi"}, "some", scopes=["Terminating"]
    )
    for number, (requests, limits, deadline, dry_run) in enumerate(pods):
        made = pod(f"p{number}", container(requests=requests, limits=limits))
        if deadline:
            made["spec"]["activeDeadlineSeconds"] = deadline
        with contextlib.suppress(StatusError):
            registry.create("pods", "ns", made, dry_run=dry_run)
    for found in registry.list("resourcequotas", "ns"):
        status = found["status"]
        if not status:
            # nothing that it counts was let in
            continue
        assert status["used"] == registry.ledger.usage(found, registry.clock())
        for name, text in status["used"].items():
            assert quantity.value_of(text) <= quantity.value_of(found["spec"]["hard"][name])


# validation

SCOPE_PATH = "spec.scopeSelector.matchExpressions"
ANY = {"scopeName": "PriorityClass", "operator": "Exists"}


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (
            {"hard": {"nope": "1"}},
            [
                'spec.hard[nope]: Invalid value: "nope": must be a standard resource type or fully qualified',
                'spec.hard[nope]: Invalid value: "nope": must be a standard resource for quota',
            ],
        ),
        (
            {"hard": {"storage": "1"}},
            ['spec.hard[storage]: Invalid value: "storage": must be a standard resource for quota'],
        ),
        (
            {"hard": {"pods": "-1"}},
            ['spec.hard[pods]: Invalid value: "-1": must be greater than or equal to 0'],
        ),
        ({"hard": {"pods": "1500m"}}, ['spec.hard[pods]: Invalid value: "1500m": must be an integer']),
        (
            {"hard": {"pods": "1"}, "scopes": ["BestEffort", "NotBestEffort"]},
            ['spec.scopes: Invalid value: ["BestEffort","NotBestEffort"]: conflicting scopes'],
        ),
        ({"scopes": ["Nope"]}, ['spec.scopes: Invalid value: ["Nope"]: unsupported scope']),
        (
            {"hard": {"secrets": "1", "pods": "1"}, "scopes": ["Terminating"]},
            ['spec.scopes: Invalid value: ["Terminating"]: unsupported scope applied to resource'],
        ),
        (
            {"scopeSelector": {"matchExpressions": [{"scopeName": "PriorityClass", "operator": "In"}]}},
            [
                f"{SCOPE_PATH}.values: Required value: must be at least one value when `operator` is 'In' or "
                "'NotIn' for scope selector"
            ],
        ),
        (
            {"scopeSelector": {"matchExpressions": [{"scopeName": "PriorityClass", "operator": "Is"}]}},
            [f'{SCOPE_PATH}.operator: Invalid value: "Is": not a valid selector operator'],
        ),
        (
            {"scopeSelector": {"matchExpressions": [ANY | {"values": ["a"]}]}},
            [
                f'{SCOPE_PATH}.values: Invalid value: ["a"]: must be no value when `operator` is '
                "'Exist' or 'DoesNotExist' for scope selector"
            ],
        ),
    ],
)  # fmt: skip
def test_bad_quotas(registry: Registry, spec: Object, said: list[str]) -> None:
    with pytest.raises(StatusError) as caught:
        registry.create("resourcequotas", "ns", {"metadata": {"name": "q"}, "spec": spec})
    causes = caught.value.status["details"]["causes"]
    assert [f"{cause['field']}: {cause['message']}" for cause in causes] == said


def test_scopes_do_not_change(registry: Registry) -> None:
    quota(registry, {"pods": "1"}, scopes=["BestEffort"])
    with pytest.raises(StatusError) as caught:
        registry.patch("resourcequotas", "ns", "q", {"spec": {"scopes": ["Terminating"]}})
    assert caught.value.message.endswith('spec.scopes: Invalid value: ["Terminating"]: field is immutable')


# over HTTP


def hard(server: Localkube, namespace: str, **amounts: str) -> str:
    path = f"/api/v1/namespaces/{namespace}/resourcequotas"
    body = {"metadata": {"name": "q"}, "spec": {"hard": {k.replace("_", "."): v for k, v in amounts.items()}}}
    made = server.call("POST", path, body)
    assert (made.code, made.body["status"]) == (201, {})
    return f"{path}/q"


def until(condition: Any) -> Any:
    end = time.monotonic() + 10
    while not (value := condition()):
        assert time.monotonic() < end, "waited for too long"
        time.sleep(0.02)
    return value


def test_the_status_of_a_quota(localkube_process: Localkube, namespace: str) -> None:
    path = hard(localkube_process, namespace, pods="2", requests_cpu="1", limits_cpu="2")
    empty = {"pods": "0", "requests.cpu": "0", "limits.cpu": "0"}
    until(lambda: localkube_process.call("GET", path).body["status"].get("used") == empty)
    body = pod("a", container(limits={"cpu": "500m"}))
    assert localkube_process.call("POST", f"/api/v1/namespaces/{namespace}/pods", body).code == 201
    status = localkube_process.call("GET", f"{path}/status").body["status"]
    assert status["used"] == {"pods": "1", "requests.cpu": "500m", "limits.cpu": "500m"}
    accept = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}
    table = localkube_process.call("GET", path, headers=accept).body
    assert [c["name"] for c in table["columnDefinitions"]] == ["Name", "Request", "Limit", "Age"]
    assert table["rows"][0]["cells"][:3] == ["q", "pods: 1/2, requests.cpu: 500m/1", "limits.cpu: 500m/2"]
    assert localkube_process.call("DELETE", f"/api/v1/namespaces/{namespace}/pods/a").code == 200
    until(lambda: localkube_process.call("GET", path).body["status"]["used"] == empty)


def test_concurrent_creates_do_not_share_the_last_room(localkube_process: Localkube, namespace: str) -> None:
    path = hard(localkube_process, namespace, pods="3")
    answers: list[Answer] = []

    def create(name: str) -> None:
        answers.append(localkube_process.call("POST", f"/api/v1/namespaces/{namespace}/pods", pod(name)))

    threads = [threading.Thread(target=create, args=(f"p{i}",)) for i in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answer.code for answer in answers) == [201] * 3 + [403] * 9
    assert localkube_process.call("GET", path).body["status"]["used"] == {"pods": "3"}
