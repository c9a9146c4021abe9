"""The allow-list knows every field of Kubernetes' models: what it does not know is closed, and found here."""

import re
from typing import Any

import pytest
from kubernetes.client import models

from hubfleet.tenancy.policy.fields import FIELDS
from hubfleet.tenancy.policy.metadata import ANNOTATIONS, LABELS, Keys
from hubfleet.tenancy.policy.rules import Checked, Closed, Free, Part

TYPE = re.compile(r"(?:List\[)?(\w+)\]?")
CHECKED_WHOLE = {"nodeAffinity", "tolerations", "csi", "serviceAccountToken", "namespaceSelector"}
"""Fields of models that are looked at as a whole, by a function of their own."""


def model_of(kind: str) -> Any:
    """The official client's model of a type, or None."""
    match = TYPE.fullmatch(kind)
    return getattr(models, match[1], None) if match else None


def walk(model: str, cls: Any, seen: set[str]) -> None:
    if model in seen:
        return
    seen.add(model)
    assert set(FIELDS[model]) == set(cls.attribute_map.values()), model
    for snake, kind in cls.openapi_types.items():
        camel = cls.attribute_map[snake]
        rule, inner = FIELDS[model][camel], model_of(kind)
        if isinstance(rule, Part):
            assert inner is not None, (model, camel)
            assert rule.many == kind.startswith("List["), (model, camel)
            walk(rule.model, inner, seen)
        elif inner is not None and isinstance(rule, Free):
            # Nobody looks into it, so what a new Kubernetes adds to it would be open.
            assert rule.reviewed, (model, camel)
        elif inner is not None and isinstance(rule, Checked):
            known = camel in CHECKED_WHOLE or model == "Volume" or camel in ("securityContext", "spec")
            assert known, (model, camel)


@pytest.mark.parametrize("kind", ["Job", "CronJob"])
def test_every_field_is_classified(kind: str) -> None:
    seen: set[str] = set()
    walk(kind, getattr(models, f"V1{kind}"), seen)
    walk("PodSpec", models.V1PodSpec, seen)
    walk("SecurityContext", models.V1SecurityContext, seen)
    walk("PodSecurityContext", models.V1PodSecurityContext, seen)
    assert seen >= {"PodSpec", "Container", "SecurityContext", "PodSecurityContext", "Volume", "Probe"}
    assert seen <= FIELDS.keys()


def test_nothing_in_the_list_is_unreachable() -> None:
    seen: set[str] = set()
    for model in ("Job", "CronJob", "PodSpec", "SecurityContext", "PodSecurityContext"):
        walk(model, getattr(models, f"V1{model}"), seen)
    assert seen == FIELDS.keys()


def test_ephemeral_containers_are_closed_as_a_whole() -> None:
    assert isinstance(FIELDS["PodSpec"]["ephemeralContainers"], Closed)


@pytest.mark.parametrize(
    ("key", "allowed"),
    [
        ("mine", True),
        ("My_label-2", True),
        ("job-name", False),
        ("aadpodidbinding", False),  # an identity of the cloud
        ("controller-uid", False),
        ("a.b", False),
        ("io.kubernetes.cri-o.Devices", False),
        ("example.org/x", False),
        ("app.kubernetes.io/name", True),
        ("xapp.kubernetes.io/name", False),
        ("kubernetes.io/name", False),
        ("kueue.x-k8s.io/queue-name", False),
        ("hubfleet.dev/user", False),
        ("HUBFLEET.dev/user", False),
        ("/x", False),
        ("", True),  # for the API server to refuse: no name at all
    ],
)
def test_labels(key: str, allowed: bool) -> None:
    assert Keys.of(LABELS).allows(key) is allowed


def test_annotations() -> None:
    keys = Keys.of([*ANNOTATIONS, "example.org/", "other.org/a"])
    assert keys.allows("kubectl.kubernetes.io/default-container")
    assert not keys.allows("kubectl.kubernetes.io/restartedAt")
    assert keys.allows("example.org/anything")
    assert keys.allows("other.org/a") and not keys.allows("other.org/b")
    assert "example.org/*" in str(keys)
