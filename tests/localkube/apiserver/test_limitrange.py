"""LimitRanges: what they fill in, and what they do not allow."""

from typing import Any

import pytest
from tests.localkube.conftest import Localkube

from localkube.apiserver import limitranger
from localkube.apiserver.registry import Registry
from localkube.apiserver.status import StatusError

Object = dict[str, Any]


@pytest.fixture
def registry() -> Registry:
    found = Registry()
    found.create("namespaces", "", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "ns"}})
    found.create("serviceaccounts", "ns", {"metadata": {"name": "default"}})
    return found


def limit(registry: Registry, *items: Object, name: str = "l") -> Object:
    return registry.create("limitranges", "ns", {"metadata": {"name": name}, "spec": {"limits": list(items)}})


def container(name: str = "c", **resources: Object) -> Object:
    return {"name": name, "image": "busybox", "resources": resources}


def create(registry: Registry, *containers: Object, **spec: Any) -> Object:
    found = list(containers) or [container()]
    return registry.create("pods", "ns", {"metadata": {"name": "p"}, "spec": {"containers": found, **spec}})


def refused(registry: Registry, *containers: Object, **spec: Any) -> str:
    with pytest.raises(StatusError) as caught:
        create(registry, *containers, **spec)
    assert caught.value.code == 403
    return caught.value.message.removeprefix('pods "p" is forbidden: ')


@pytest.mark.parametrize(
    ("item", "limits", "requests"),
    [
        ({"max": {"cpu": "2"}}, {"cpu": "2"}, {"cpu": "2"}),
        ({"min": {"cpu": "1"}}, None, {"cpu": "1"}),
        ({"min": {"cpu": "1"}, "max": {"cpu": "2"}}, {"cpu": "2"}, {"cpu": "2"}),
        ({"default": {"cpu": "2"}, "min": {"cpu": "1"}}, {"cpu": "2"}, {"cpu": "2"}),
        (
            {
                "default": {"cpu": "2"},
                "defaultRequest": {"cpu": "500m"},
                "max": {"cpu": "4", "memory": "1Gi"},
            },
            {"cpu": "2", "memory": "1Gi"},
            {"cpu": "500m", "memory": "1Gi"},
        ),
    ],
)
def test_the_defaults_of_a_limit_range(
    registry: Registry, item: Object, limits: Object | None, requests: Object
) -> None:
    made = limit(registry, {"type": "Container", **item})
    (found,) = made["spec"]["limits"]
    assert (found.get("default"), found["defaultRequest"]) == (limits, requests)


def test_only_containers_have_defaults(registry: Registry) -> None:
    made = limit(registry, {"type": "Pod", "max": {"cpu": "2"}})
    assert made["spec"]["limits"] == [{"type": "Pod", "max": {"cpu": "2"}}]


def test_what_is_left_out_is_filled_in_and_told(registry: Registry) -> None:
    default = {"cpu": "1", "memory": "1Gi"}
    limit(
        registry,
        {"type": "Container", "default": default, "defaultRequest": {"cpu": "100m", "memory": "1Gi"}},
    )
    made = create(
        registry,
        container("a", requests={"cpu": "200m"}),
        container("b", requests={"cpu": "1", "memory": "1Mi"}, limits=default),
        initContainers=[container("i")],
    )
    a, b = made["spec"]["containers"]
    assert a["resources"] == {"requests": {"cpu": "200m", "memory": "1Gi"}, "limits": default}
    assert b["resources"] == {"requests": {"cpu": "1", "memory": "1Mi"}, "limits": default}
    assert made["spec"]["initContainers"][0]["resources"]["requests"] == {"cpu": "100m", "memory": "1Gi"}
    assert made["metadata"]["annotations"][limitranger.ANNOTATION] == (
        "LimitRanger plugin set: memory request for container a; cpu, memory limit for container a; "
        "cpu, memory request for init container i; cpu, memory limit for init container i"
    )
    assert made["status"]["qosClass"] == "Burstable"


def test_a_limit_given_is_its_request_before_the_default_is(registry: Registry) -> None:
    limit(registry, {"type": "Container", "defaultRequest": {"cpu": "100m"}})
    made = create(registry, container(limits={"cpu": "300m"}))
    assert made["spec"]["containers"][0]["resources"]["requests"] == {"cpu": "300m"}
    assert "annotations" not in made["metadata"]


@pytest.mark.parametrize(
    ("item", "resources", "said"),
    [
        (
            {"min": {"cpu": "200m"}},
            {"requests": {"cpu": "100m"}},
            "minimum cpu usage per Container is 200m, but request is 100m",
        ),
        (
            {"max": {"cpu": "1"}},
            {"limits": {"cpu": "2"}},
            "maximum cpu usage per Container is 1, but limit is 2",
        ),
        (
            {"maxLimitRequestRatio": {"memory": "2"}},
            {"requests": {"memory": "1Gi"}, "limits": {"memory": "3Gi"}},
            "memory max limit to request ratio per Container is 2, but provided ratio is 3.000000",
        ),
        (
            {"maxLimitRequestRatio": {"memory": "2"}},
            {},
            "memory max limit to request ratio per Container is 2, but no request is specified or request "
            "is 0",
        ),
        (
            {"maxLimitRequestRatio": {"memory": "2"}},
            {"requests": {"memory": "1"}},
            "memory max limit to request ratio per Container is 2, but no limit is specified or limit is 0",
        ),
        (
            {"max": {"cpu": "1", "memory": "1Gi"}},
            {"limits": {"cpu": "2", "memory": "2Gi"}},
            "[maximum cpu usage per Container is 1, but limit is 2, "
            "maximum memory usage per Container is 1Gi, but limit is 2Gi]",
        ),
    ],
)
def test_a_container_out_of_bounds(registry: Registry, item: Object, resources: Object, said: str) -> None:
    limit(registry, {"type": "Container", **item})
    assert refused(registry, container(**resources)) == said
    create(registry, container(requests={"cpu": "1", "memory": "1Gi"}, limits={"cpu": "1", "memory": "1Gi"}))


def test_init_containers_are_held_to_it_too(registry: Registry) -> None:
    limit(registry, {"type": "Container", "max": {"cpu": "1"}})
    assert refused(registry, initContainers=[container("i", limits={"cpu": "2"})]) == (
        "maximum cpu usage per Container is 1, but limit is 2"
    )


@pytest.mark.parametrize(
    ("item", "said"),
    [
        ({"max": {"cpu": "1"}}, "maximum cpu usage per Pod is 1, but limit is 1200m"),
        ({"max": {"memory": "1Gi"}}, "maximum memory usage per Pod is 1Gi.  No limit is specified"),
        ({"min": {"memory": "1Gi"}}, "minimum memory usage per Pod is 1Gi.  No request is specified"),
        ({"min": {"cpu": "2"}}, "minimum cpu usage per Pod is 2, but request is 1200m"),
    ],
)
def test_a_pod_out_of_bounds(registry: Registry, item: Object, said: str) -> None:
    limit(registry, {"type": "Pod", **item})
    half = {"limits": {"cpu": "600m"}}
    assert refused(registry, container("a", **half), container("b", **half)) == said


def test_each_limit_range_has_to_be_satisfied(registry: Registry) -> None:
    limit(registry, {"type": "Container", "max": {"cpu": "2"}}, name="a")
    limit(registry, {"type": "Pod", "max": {"cpu": "1"}}, name="b")
    assert refused(registry) == "maximum cpu usage per Pod is 1, but limit is 2"


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({"storage": "3Gi"}, "maximum storage usage per PersistentVolumeClaim is 2Gi, but request is 3Gi"),
        ({"storage": "1"}, "minimum storage usage per PersistentVolumeClaim is 1Mi, but request is 1"),
        (
            {},
            "[minimum storage usage per PersistentVolumeClaim is 1Mi.  No request is specified, "
            "maximum storage usage per PersistentVolumeClaim is 2Gi.  No request is specified]",
        ),
    ],
)
def test_a_claim_out_of_bounds(wanted: Object, said: str) -> None:
    item = {"type": "PersistentVolumeClaim", "min": {"storage": "1Mi"}, "max": {"storage": "2Gi"}}
    claim = {"metadata": {"name": "c"}, "spec": {"resources": {"requests": wanted}}}
    with pytest.raises(StatusError) as caught:
        limitranger.check_claim(claim, {"spec": {"limits": [item]}})
    assert caught.value.message == f'persistentvolumeclaims "c" is forbidden: {said}'


def test_a_claim_within_bounds() -> None:
    item = {"type": "PersistentVolumeClaim", "min": {"storage": "1Mi"}, "max": {"storage": "2Gi"}}
    claim = {"metadata": {"name": "c"}, "spec": {"resources": {"requests": {"storage": "1Gi"}}}}
    limitranger.check_claim(claim, {"spec": {"limits": [item]}})


@pytest.mark.parametrize(
    ("items", "said"),
    [
        (
            [{"type": "Node"}],
            ['type: Invalid value: "Node": must be a standard limit type or fully qualified'],
        ),
        (
            [{"type": "Pod", "default": {"cpu": "1"}}],
            ["default: Forbidden: may not be specified when `type` is 'Pod'"],
        ),
        (
            [{"type": "PersistentVolumeClaim"}],
            [
                "limits: Required value: either minimum or maximum storage value is required, but neither "
                "was provided"
            ],
        ),
        (
            [{"type": "Pod", "max": {"cpu": "1"}, "min": {"cpu": "2"}}],
            ['min[cpu]: Invalid value: "2": min value 2 is greater than max value 1'],
        ),
        (
            [{"type": "Container", "max": {"cpu": "1"}, "defaultRequest": {"cpu": "2"}}],
            [
                'defaultRequest[cpu]: Invalid value: "2": default request value 2 is greater than max value '
                "1",
                'defaultRequest[cpu]: Invalid value: "2": default request value 2 is greater than default '
                "limit value 1",
            ],
        ),
        (
            [{"type": "Container", "maxLimitRequestRatio": {"cpu": "500m"}}],
            ['maxLimitRequestRatio[cpu]: Invalid value: "500m": ratio 500m is less than 1'],
        ),
        (
            [{"type": "Pod", "min": {"cpu": "1"}, "max": {"cpu": "2"}, "maxLimitRequestRatio": {"cpu": "3"}}],
            ['maxLimitRequestRatio[cpu]: Invalid value: "3": ratio 3 is greater than max/min = 2.000000'],
        ),
        (
            [{"type": "Pod", "max": {"storage": "1"}}],
            ['max[storage]: Invalid value: "storage": must be a standard resource for containers'],
        ),
    ],
)
def test_bad_limit_ranges(registry: Registry, items: list[Object], said: list[str]) -> None:
    with pytest.raises(StatusError) as caught:
        limit(registry, *items)
    causes = caught.value.status["details"]["causes"]
    assert [f"{c['field']}: {c['message']}" for c in causes] == [f"spec.limits[0].{text}" for text in said]


def test_a_type_comes_once(registry: Registry) -> None:
    with pytest.raises(StatusError, match=r'spec.limits\[1\].type: Duplicate value: "Pod"'):
        limit(registry, {"type": "Pod"}, {"type": "Pod"})


def test_over_http(localkube_process: Localkube, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}"
    spec = {"limits": [{"type": "Container", "max": {"cpu": "1"}, "default": {"cpu": "500m"}}]}
    made = localkube_process.call("POST", f"{path}/limitranges", {"metadata": {"name": "l"}, "spec": spec})
    assert made.code == 201
    assert "status" not in made.body
    body = {"metadata": {"generateName": "p-"}, "spec": {"containers": [container(limits={"cpu": "2"})]}}
    refusal = localkube_process.call("POST", f"{path}/pods", body)
    assert (refusal.code, refusal.body["reason"]) == (403, "Forbidden")
    assert refusal.body["message"].endswith("maximum cpu usage per Container is 1, but limit is 2")
    body["spec"] = {"containers": [container()]}
    pod = localkube_process.call("POST", f"{path}/pods", body)
    assert pod.body["spec"]["containers"][0]["resources"] == {
        "limits": {"cpu": "500m"},
        "requests": {"cpu": "500m"},
    }
    # held to it only when they are made: what runs is left alone
    localkube_process.call("DELETE", f"{path}/limitranges/l")
    spec["limits"] = [{"type": "Container", "max": {"cpu": "100m"}}]
    localkube_process.call("POST", f"{path}/limitranges", {"metadata": {"name": "l"}, "spec": spec})
    patch = {"metadata": {"labels": {"a": "b"}}}
    patched = localkube_process.call(
        "PATCH",
        f"{path}/pods/{pod.body['metadata']['name']}",
        patch,
        content_type="application/merge-patch+json",
    )
    assert patched.code == 200
