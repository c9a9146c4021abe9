"""Environment variables: expansion, order, references, and the words for what is missing."""

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localkube.kubelet import environment
from localkube.kubelet.references import Facts, ReferenceFailed

OBJECTS: dict[tuple[str, str], dict[str, Any]] = {
    ("configmaps", "cm"): {"data": {"a": "1", "b.c": "2", "bad=": "x"}, "binaryData": {"nul": "AA=="}},
    ("secrets", "s"): {"data": {"k": base64.b64encode(b"sec").decode()}},
}
FACTS = Facts("node", ("10.0.0.5", "fd00::5"), ("10.0.0.1",), {"cpu": "4", "memory": "8Gi"})


def lookup(kind: str, name: str) -> dict[str, Any] | None:
    return OBJECTS.get((kind, name))


def pod(**container: Any) -> dict[str, Any]:
    return {
        "metadata": {
            "name": "p",
            "namespace": "ns",
            "uid": "u",
            "labels": {"x/y": "lab", "b": 'quo"te'},
            "annotations": {"n": "note"},
        },
        "spec": {"serviceAccountName": "sa", "containers": [{"name": "c", **container}]},
    }


def compose(**container: Any) -> dict[str, str]:
    made = pod(**container)
    return environment.compose(made, made["spec"]["containers"][0], lookup, FACTS, {"BASE": "b"}).variables


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$(A)", "1"),
        ("x$(A)y$(B)", "x1y2"),
        ("$$(A)", "$(A)"),
        ("$$$(A)", "$1"),
        ("$(NOPE)", "$(NOPE)"),
        ("$(A", "$(A"),
        ("$A $", "$A $"),
        ("$()", "$()"),
        ("kill -9 $$", "kill -9 $"),
        ("$x$(A)", "$x1"),
        ("$($(A))", "$($(A))"),
    ],
)
def test_expand(text: str, expected: str) -> None:
    assert environment.expand(text, {"A": "1", "B": "2"}) == expected


@given(st.text(alphabet="aA$(){} \n", max_size=30))
def test_doubled_dollars_give_any_text_back(text: str) -> None:
    assert environment.expand(text.replace("$", "$$"), {"a": "1", "A": "2", "": "3"}) == text


@given(st.text(alphabet="aA(){} ", max_size=30))
def test_text_without_dollars_stays(text: str) -> None:
    assert environment.expand(text, {"a": "1"}) == text


def test_later_variables_refer_to_earlier_ones_only() -> None:
    env = [
        {"name": "TWO", "value": "$(ONE)"},
        {"name": "ONE", "value": "1-$(BASE)"},
        {"name": "THREE", "value": "$(ONE)"},
    ]
    found = compose(env=env)
    assert (found["TWO"], found["ONE"], found["THREE"]) == ("$(ONE)", "1-b", "1-b")


def test_env_wins_over_env_from() -> None:
    found = compose(
        env=[{"name": "a", "value": "own"}, {"name": "ref", "value": "$(P_b.c)"}],
        envFrom=[{"configMapRef": {"name": "cm"}}, {"prefix": "P_", "configMapRef": {"name": "cm"}}],
    )
    assert found == {"BASE": "b", "a": "own", "b.c": "2", "P_a": "1", "P_b.c": "2", "ref": "2"}


def test_keys_that_cannot_name_a_variable_are_skipped_and_told() -> None:
    made = pod(envFrom=[{"configMapRef": {"name": "cm"}}])
    found = environment.compose(made, made["spec"]["containers"][0], lookup, FACTS, {})
    assert "bad=" not in found.variables
    assert found.skipped == [
        "Keys [bad=] from the EnvFrom configmap cm were skipped since they are considered invalid "
        "environment variable names."
    ]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ({"fieldRef": {"fieldPath": "metadata.name"}}, "p"),
        ({"fieldRef": {"fieldPath": "metadata.labels['x/y']"}}, "lab"),
        ({"fieldRef": {"fieldPath": "metadata.annotations['none']"}}, ""),
        ({"fieldRef": {"fieldPath": "spec.nodeName"}}, "node"),
        ({"fieldRef": {"fieldPath": "status.podIPs"}}, "10.0.0.5,fd00::5"),
        ({"fieldRef": {"fieldPath": "status.hostIP"}}, "10.0.0.1"),
        ({"fieldRef": {"fieldPath": "spec.serviceAccountName"}}, "sa"),
        ({"secretKeyRef": {"name": "s", "key": "k"}}, "sec"),
        ({"configMapKeyRef": {"name": "cm", "key": "b.c"}}, "2"),
        ({"resourceFieldRef": {"resource": "limits.cpu"}}, "1"),
        ({"resourceFieldRef": {"resource": "limits.cpu", "divisor": "1m"}}, "300"),
        ({"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}}, "8192"),
        ({"resourceFieldRef": {"resource": "requests.memory"}}, "0"),
    ],
)
def test_value_from(source: dict[str, Any], expected: str) -> None:
    found = compose(resources={"limits": {"cpu": "300m"}}, env=[{"name": "V", "valueFrom": source}])
    assert found["V"] == expected


@pytest.mark.parametrize(
    ("container", "message"),
    [
        ({"secretKeyRef": {"name": "nope", "key": "k"}}, 'secret "nope" not found'),
        ({"configMapKeyRef": {"name": "nope", "key": "k"}}, 'configmap "nope" not found'),
        ({"secretKeyRef": {"name": "s", "key": "x"}}, "couldn't find key x in Secret ns/s"),
        ({"configMapKeyRef": {"name": "cm", "key": "x"}}, "couldn't find key x in ConfigMap ns/cm"),
    ],
)
def test_missing_references(container: dict[str, Any], message: str) -> None:
    with pytest.raises(ReferenceFailed) as failure:
        compose(env=[{"name": "V", "valueFrom": container}])
    assert str(failure.value) == message
    (ref,) = container.values()
    optional = {next(iter(container)): {**ref, "optional": True}}
    assert "V" not in compose(env=[{"name": "V", "valueFrom": optional}])


def test_missing_source_of_many() -> None:
    with pytest.raises(ReferenceFailed, match='secret "nope" not found'):
        compose(envFrom=[{"secretRef": {"name": "nope"}}])
    assert compose(envFrom=[{"secretRef": {"name": "nope", "optional": True}}]) == {"BASE": "b"}


@pytest.mark.parametrize(
    ("container", "expected"),
    [
        ({"command": ["a", "$(V)"], "args": ["$$x"]}, ["a", "1", "$x"]),
        ({"args": ["b"]}, ["b"]),
        ({}, ["/bin/sh"]),
    ],
)
def test_command(container: dict[str, Any], expected: list[str]) -> None:
    assert environment.command(container, {"V": "1"}) == expected
