import copy
from typing import Any

import pytest

from localkube.apiserver import defaults
from localkube.apiserver.resources import Resources

RESOURCES = Resources()


def applied(key: str, obj: dict[str, Any]) -> dict[str, Any]:
    obj = {"metadata": {"name": "a"}, **copy.deepcopy(obj)}
    defaults.apply(RESOURCES[key], obj)
    once = copy.deepcopy(obj)
    defaults.apply(RESOURCES[key], obj)
    assert obj == once
    return obj


@pytest.mark.parametrize(
    ("image", "policy"),
    [
        ("busybox", "Always"),
        ("busybox:latest", "Always"),
        ("busybox:1", "IfNotPresent"),
        ("localhost:5000/a/b", "Always"),
        ("localhost:5000/a/b:2", "IfNotPresent"),
        ("a@sha256:" + "0" * 64, "IfNotPresent"),
        ("a:latest@sha256:" + "0" * 64, "Always"),
        ("", "IfNotPresent"),
        ("Not An Image", "IfNotPresent"),
    ],
)
def test_only_the_latest_image_is_pulled_each_time(image: str, policy: str) -> None:
    assert defaults.pull_policy(image) == policy


def test_a_pod_s_limits_are_its_requests_but_a_template_s_are_not() -> None:
    spec = {
        "containers": [{"name": "c", "resources": {"limits": {"cpu": "1"}, "requests": {"memory": "1Gi"}}}]
    }
    made = applied("pods", {"spec": spec})["spec"]
    assert made["containers"][0]["resources"]["requests"] == {"cpu": "1", "memory": "1Gi"}
    assert made["enableServiceLinks"] is True
    template = applied("jobs.batch", {"spec": {"template": {"spec": spec}}})["spec"]["template"]["spec"]
    assert template["containers"][0]["resources"]["requests"] == {"memory": "1Gi"}
    assert "enableServiceLinks" not in template


def test_volumes_probes_and_references() -> None:
    spec = applied(
        "pods",
        {
            "spec": {
                "volumes": [
                    {"name": "nothing"},
                    {"name": "s", "secret": {"secretName": "s", "defaultMode": 0}},
                    {"name": "c", "configMap": {"name": "c"}},
                    {"name": "h", "hostPath": {"path": "/"}},
                    {"name": "p", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}},
                ],
                "containers": [
                    {
                        "name": "c",
                        "ports": [{"containerPort": 1}],
                        "env": [
                            {"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                            {"name": "B", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
                        ],
                        "livenessProbe": {"httpGet": {"port": 1}, "periodSeconds": 3},
                    }
                ],
            }
        },
    )["spec"]
    nothing, secret, config, host, projected = spec["volumes"]
    assert nothing["emptyDir"] == {}
    assert (secret["secret"]["defaultMode"], config["configMap"]["defaultMode"]) == (0, 0o644)
    assert host["hostPath"]["type"] == ""
    assert projected["projected"]["sources"][0]["serviceAccountToken"]["expirationSeconds"] == 3600
    container = spec["containers"][0]
    assert container["ports"][0]["protocol"] == "TCP"
    assert container["env"][0]["valueFrom"]["fieldRef"]["apiVersion"] == "v1"
    assert container["env"][1]["valueFrom"]["resourceFieldRef"]["divisor"] == "0"
    assert container["livenessProbe"] == {
        "httpGet": {"port": 1, "path": "/", "scheme": "HTTP"},
        "periodSeconds": 3,
        "timeoutSeconds": 1,
        "successThreshold": 1,
        "failureThreshold": 3,
    }


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, {"parallelism": 1, "completions": 1, "backoffLimit": 6}),
        ({"parallelism": 0}, {"parallelism": 0, "completions": None}),
        ({"completions": 3}, {"parallelism": 1, "completions": 3}),
        ({"backoffLimitPerIndex": 1}, {"backoffLimit": 2147483647}),
        ({"podFailurePolicy": {"rules": []}}, {"podReplacementPolicy": "Failed"}),
    ],
)
def test_a_job_s_numbers(spec: dict[str, Any], expected: dict[str, Any]) -> None:
    made = applied("jobs.batch", {"spec": {**spec, "template": {"spec": {}}}})["spec"]
    assert {name: made.get(name) for name in expected} == expected


def test_a_job_takes_its_template_s_labels_only_if_it_has_none() -> None:
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {}}
    assert applied("jobs.batch", {"spec": {"template": template}})["metadata"]["labels"] == {"a": "b"}
    own = {"metadata": {"name": "j", "labels": {"own": "yes"}}, "spec": {"template": template}}
    assert applied("jobs.batch", own)["metadata"]["labels"] == {"own": "yes"}


def test_the_deprecated_service_account_is_the_current_one() -> None:
    spec = applied("pods", {"spec": {"serviceAccount": "old"}})["spec"]
    assert spec["serviceAccountName"] == "old"
    spec = applied("pods", {"spec": {"serviceAccount": "old", "serviceAccountName": "new"}})["spec"]
    assert (spec["serviceAccount"], spec["serviceAccountName"]) == ("new", "new")
