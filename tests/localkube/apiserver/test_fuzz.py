"""Whatever a client sends, an object's way ends with an object or with a 4xx, never with a crash."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from localkube.apiserver import defaults, limitranger, schema, status, strategy
from localkube.apiserver.podsecurity.policy import LATEST, Standard
from localkube.apiserver.podsecurity.standards import violations
from localkube.apiserver.quota import usage
from localkube.apiserver.quota.scopes import in_scope
from localkube.apiserver.resources import Resource, Resources
from localkube.apiserver.validation import objects as validation

RESOURCES = Resources()
POD_SPEC: dict[str, Any] = {
    "restartPolicy": "Never",
    "serviceAccountName": "default",
    "hostAliases": [{"ip": "10.0.0.1", "hostnames": ["a.example"]}],
    "tolerations": [{"key": "a", "operator": "Equal", "value": "b", "effect": "NoSchedule"}],
    "securityContext": {"runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}},
    "affinity": {
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [{"matchExpressions": [{"key": "a", "operator": "In", "values": ["b"]}]}]
            }
        },
        "podAntiAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": [
                {
                    "weight": 1,
                    "podAffinityTerm": {"topologyKey": "zone", "labelSelector": {"matchLabels": {"a": "b"}}},
                }
            ]
        },
    },
    "topologySpreadConstraints": [
        {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}
    ],
    "dnsConfig": {"nameservers": ["10.0.0.1"], "searches": ["a.example"], "options": [{"name": "n"}]},
    "volumes": [
        {"name": "e", "emptyDir": {"sizeLimit": "1Gi"}},
        {"name": "c", "configMap": {"name": "c", "items": [{"key": "k", "path": "p", "mode": 256}]}},
        {"name": "s", "secret": {"secretName": "s"}},
        {
            "name": "d",
            "downwardAPI": {"items": [{"path": "p", "fieldRef": {"fieldPath": "metadata.labels"}}]},
        },
        {
            "name": "p",
            "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}, {"secret": {"name": "s"}}]},
        },
    ],
    "initContainers": [{"name": "i", "image": "busybox", "restartPolicy": "Always"}],
    "containers": [
        {
            "name": "c",
            "image": "busybox:1",
            "command": ["sh"],
            "ports": [{"containerPort": 80, "hostPort": 80, "name": "http"}],
            "env": [
                {"name": "A", "value": "a"},
                {"name": "B", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                {"name": "C", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "1m"}}},
                {"name": "D", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
            ],
            "envFrom": [{"prefix": "P_", "configMapRef": {"name": "c"}}],
            "volumeMounts": [{"name": "e", "mountPath": "/e", "subPath": "x"}],
            "resources": {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "100m"}},
            "readinessProbe": {"httpGet": {"port": "http", "httpHeaders": [{"name": "X-A", "value": "b"}]}},
            "lifecycle": {"preStop": {"exec": {"command": ["true"]}}, "postStart": {"sleep": {"seconds": 1}}},
            "securityContext": {"capabilities": {"drop": ["ALL"]}, "allowPrivilegeEscalation": False},
        }
    ],
}
METADATA: dict[str, Any] = {
    "name": "a",
    "labels": {"l": "v"},
    "annotations": {"x/y": "z"},
    "finalizers": ["a.b/c"],
    "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "1", "controller": True}],
}
JOB_SPEC: dict[str, Any] = {
    "parallelism": 2,
    "completions": 2,
    "completionMode": "Indexed",
    "backoffLimitPerIndex": 1,
    "maxFailedIndexes": 1,
    "podFailurePolicy": {
        "rules": [
            {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [1, 2]}},
            {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]},
        ]
    },
    "successPolicy": {"rules": [{"succeededCount": 1}]},
    "template": {"metadata": {"labels": {"a": "b"}}, "spec": POD_SPEC},
}
OBJECTS: dict[str, dict[str, Any]] = {
    "pods": {"metadata": METADATA, "spec": POD_SPEC},
    "jobs.batch": {"metadata": METADATA, "spec": JOB_SPEC},
    "cronjobs.batch": {
        "metadata": METADATA,
        "spec": {"schedule": "*/5 * * * *", "timeZone": "Europe/Berlin", "jobTemplate": {"spec": JOB_SPEC}},
    },
    "configmaps": {"metadata": METADATA, "data": {"k": "v"}, "binaryData": {"b": "aGk="}},
    "secrets": {"metadata": METADATA, "type": "Opaque", "data": {"k": "aGk="}, "stringData": {"s": "t"}},
    "namespaces": {"metadata": METADATA, "spec": {"finalizers": ["kubernetes"]}},
    "nodes": {
        "metadata": METADATA,
        "spec": {"taints": [{"key": "k", "effect": "NoSchedule"}]},
        "status": {"capacity": {"cpu": "1"}},
    },
    "events": {
        "metadata": METADATA,
        "involvedObject": {"namespace": "ns"},
        "eventTime": "2026-01-01T00:00:00.000000Z",
        "reportingComponent": "a.b/c",
        "reportingInstance": "i",
        "action": "Run",
        "reason": "R",
    },
    "leases.coordination.k8s.io": {
        "metadata": METADATA,
        "spec": {"leaseDurationSeconds": 1, "renewTime": "2026-01-01T00:00:00.000000Z"},
    },
    "serviceaccounts": {"metadata": METADATA, "imagePullSecrets": [{"name": "x"}]},
    "resourcequotas": {
        "metadata": METADATA,
        "spec": {
            "hard": {"pods": "1", "limits.memory": "1Gi"},
            "scopes": ["NotTerminating"],
            "scopeSelector": {
                "matchExpressions": [{"scopeName": "PriorityClass", "operator": "In", "values": ["x"]}]
            },
        },
    },
    "limitranges": {
        "metadata": METADATA,
        "spec": {
            "limits": [
                {
                    "type": "Container",
                    "min": {"cpu": "1m"},
                    "max": {"cpu": "2", "memory": "1Gi"},
                    "default": {"cpu": "1"},
                    "defaultRequest": {"cpu": "100m"},
                    "maxLimitRequestRatio": {"cpu": "20"},
                },
                {"type": "PersistentVolumeClaim", "max": {"storage": "1Gi"}},
            ]
        },
    },
    "priorityclasses.scheduling.k8s.io": {
        "metadata": {**METADATA, "name": "a"},
        "value": 5,
        "globalDefault": True,
        "preemptionPolicy": "Never",
        "description": "x",
    },
}

JUNK = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=6),
        st.sampled_from(["", "-1", "1e3", "0x", "../..", "a/b/c", "Always", "ä" * 70]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["name", "key", "spec", "x"]), inner, max_size=3),
    ),
    max_leaves=5,
)  # fmt: skip


def paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    children = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    for name, child in children:
        found += paths(child, (*path, name))
    return found


def put(obj: Any, path: tuple[Any, ...], value: Any) -> None:
    for part in path[:-1]:
        if not isinstance(obj, dict | list) or (isinstance(obj, list) != isinstance(part, int)):
            return
        if (isinstance(obj, dict) and part not in obj) or (isinstance(obj, list) and part >= len(obj)):
            return
        obj = obj[part]
    if isinstance(obj, dict) or (isinstance(obj, list) and isinstance(path[-1], int) and path[-1] < len(obj)):
        obj[path[-1]] = value


def lookup(key: str, namespace: str, name: str) -> dict[str, Any] | None:
    return {"metadata": {"name": name}} if key == "serviceaccounts" else None


def create(resource: Resource, obj: Any) -> dict[str, Any]:
    decoded, _ = schema.decode(resource, obj)
    defaults.apply(resource, decoded)
    metadata = decoded["metadata"]
    metadata["uid"] = "u"
    metadata.setdefault("name", "")
    if resource.namespaced:
        metadata["namespace"] = "ns"
    strategy.prepare_create(resource, decoded, lookup)
    if errors := validation.validate(resource, decoded):
        raise status.invalid(resource.kind, resource.group, metadata["name"], errors)
    return decoded


def update(resource: Resource, old: dict[str, Any], obj: Any, subresource: str) -> dict[str, Any]:
    decoded, _ = schema.decode(resource, obj)
    defaults.apply(resource, decoded)
    strategy.prepare_update(resource, decoded, old, subresource)
    if errors := validation.validate_update(resource, decoded, old, subresource):
        raise status.invalid(resource.kind, resource.group, decoded["metadata"]["name"], errors)
    return decoded


@contextmanager
def refusals() -> Iterator[None]:
    """A refusal is an answer, as long as it is the client's fault."""
    try:
        yield
    except status.StatusError as refusal:
        if not 400 <= refusal.code < 500:
            raise


@pytest.mark.parametrize("key", OBJECTS)
def test_the_unmangled_object_is_good(key: str) -> None:
    resource = RESOURCES[key]
    made = create(resource, OBJECTS[key])
    assert made["metadata"]["uid"] == "u"
    # Writing back what was read is no change, and allowed.
    assert update(resource, made, copy.deepcopy(made), "") == made


@pytest.mark.parametrize("key", OBJECTS)
@settings(max_examples=120, deadline=None)
@given(data=st.data())
def test_a_mangled_object_is_taken_or_refused(key: str, data: st.DataObject) -> None:
    resource = RESOURCES[key]
    mangled = copy.deepcopy(OBJECTS[key])
    for path in data.draw(st.lists(st.sampled_from(paths(OBJECTS[key])), min_size=1, max_size=3)):
        put(mangled, path, data.draw(JUNK))
    with refusals():
        made = create(resource, mangled)
        again, unknown = schema.decode(resource, made)
        defaults.apply(resource, again)
        assert (again, unknown) == (made, [])


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_the_plugins_take_whatever_is_good(data: st.DataObject) -> None:
    resource = RESOURCES["pods"]
    mangled = copy.deepcopy(OBJECTS["pods"])
    for path in data.draw(st.lists(st.sampled_from(paths(OBJECTS["pods"])), min_size=1, max_size=3)):
        put(mangled, path, data.draw(JUNK))
    limit_range = create(RESOURCES["limitranges"], copy.deepcopy(OBJECTS["limitranges"]))
    with refusals():
        pod = create(resource, mangled)
        for level in ("baseline", "restricted"):
            for minor in (0, 24, LATEST):
                violations(Standard(level, minor), pod["metadata"], pod["spec"])
        usage.of_pod(pod, datetime.now(UTC))
        usage.missing(pod, ["limits.cpu", "requests.memory"])
        for scope in ("BestEffort", "CrossNamespacePodAffinity", "PriorityClass", "Terminating"):
            in_scope({"spec": {"scopes": [scope]}}, "pods", pod)
        limitranger.fill(pod, limit_range)
        limitranger.check_pod(pod, limit_range)


@pytest.mark.parametrize("key", OBJECTS)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_mangled_update_is_taken_or_refused(key: str, data: st.DataObject) -> None:
    resource = RESOURCES[key]
    old = create(resource, OBJECTS[key])
    mangled = copy.deepcopy(old)
    put(mangled, data.draw(st.sampled_from(paths(old))), data.draw(JUNK))
    subresource = data.draw(
        st.sampled_from(["", *[s for s in resource.subresources if s in ("status", "finalize")]])
    )
    with refusals():
        made = update(resource, old, mangled, subresource)
        assert made["metadata"]["uid"] == old["metadata"]["uid"]
