import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localkube.apiserver import schema
from localkube.apiserver.resources import Resources
from localkube.apiserver.status import StatusError

RESOURCES = Resources()
PORT = "ContainerPort.spec.containers.ports"


def pod(**container: Any) -> dict[str, Any]:
    return {"spec": {"containers": [{"name": "c", **container}]}}


def refusal_of(key: str, obj: dict[str, Any]) -> str:
    """The message, without the part in front that names version and kind."""
    with pytest.raises(StatusError) as refusal:
        schema.decode(RESOURCES[key], obj)
    assert (refusal.value.code, refusal.value.reason) == (400, "BadRequest")
    kind = RESOURCES[key].kind
    prefix = f'{obj.get("kind", kind)} in version "v1" cannot be handled as a {kind}: '
    assert refusal.value.message.startswith(prefix)
    return refusal.value.message.removeprefix(prefix)


@pytest.mark.parametrize(
    ("key", "obj", "found", "field", "go_type"),
    [
        ("configmaps", {"data": {"k": 1}}, "number", "ConfigMap.data", "string"),
        ("configmaps", {"data": []}, "array", "ConfigMap.data", "map[string]string"),
        ("configmaps", {"metadata": "x"}, "string", "ConfigMap.metadata", "v1.ObjectMeta"),
        ("secrets", {"data": {"k": 5}}, "number", "Secret.data", "[]uint8"),
        ("pods", {"spec": {"containers": ["x"]}}, "string", "PodSpec.spec.containers", "v1.Container"),
        ("pods", pod(image=True), "bool", "Container.spec.containers.image", "string"),
        ("pods", pod(command="sh"), "string", "Container.spec.containers.command", "[]string"),
        ("pods", pod(tty=1), "number", "Container.spec.containers.tty", "bool"),
        ("pods", pod(ports=[{"hostPort": 1.5}]), "number 1.5", f"{PORT}.hostPort", "int32"),
        ("pods", pod(ports=[{"hostPort": 2**31}]), "number 2147483648", f"{PORT}.hostPort", "int32"),
    ],
)
def test_wrong_types_are_refused_in_go_s_words(
    key: str, obj: dict[str, Any], found: str, field: str, go_type: str
) -> None:
    expected = f"json: cannot unmarshal {found} into Go struct field {field} of type {go_type}"
    assert refusal_of(key, obj) == expected


@pytest.mark.parametrize(
    ("key", "obj", "message"),
    [
        (
            "pods",
            pod(resources={"limits": {"cpu": "lots"}}),
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        ),
        (
            "pods",
            {"metadata": {"creationTimestamp": "today"}},
            'parsing time "today" as "2006-01-02T15:04:05Z07:00": cannot parse "today" as "2006"',
        ),
        (
            "pods",
            {"metadata": {"creationTimestamp": "2026-13-01T00:00:00Z"}},
            'parsing time "2026-13-01T00:00:00Z": month out of range',
        ),
        ("secrets", {"data": {"k": "a?=="}}, "illegal base64 data at input byte 1"),
        ("secrets", {"data": {"k": "YQ="}}, "illegal base64 data at input byte 3"),
        (
            "secrets",
            {"kind": "Foo"},
            'no kind "Foo" is registered for version "v1" in scheme "pkg/api/legacyscheme/scheme.go:30"',
        ),
        ("secrets", {"kind": "Pod"}, "converting (v1.Pod) to (core.Secret): unknown conversion"),
    ],
)
def test_values_that_decode_themselves_have_messages_of_their_own(
    key: str, obj: dict[str, Any], message: str
) -> None:
    assert refusal_of(key, obj) == message


def test_unknown_fields_are_dropped_and_named() -> None:
    obj = pod(env=[{"name": "A", "y": 1}], x={})
    obj["metadata"] = {"labels": {"free": "yes"}, "nope": 1}
    decoded, unknown = schema.decode(RESOURCES["pods"], obj)
    assert unknown == ["spec.containers[0].env[0].y", "spec.containers[0].x", "metadata.nope"]
    assert decoded["spec"]["containers"] == [{"name": "c", "env": [{"name": "A"}]}]


def test_nulls_and_zeros_vanish_where_go_would_not_write_them() -> None:
    container = pod(image="", args=[], stdin=False, securityContext={}, env=[{"name": "A", "value": ""}])
    obj = container | {"metadata": {"labels": {}, "generation": 0, "annotations": None}}
    obj["spec"] |= {"automountServiceAccountToken": False, "hostNetwork": False, "priority": 0}
    decoded, _ = schema.decode(RESOURCES["pods"], obj)
    assert decoded == {
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": {},
        "spec": {
            # Pointers keep their zero, values with omitempty do not.
            "containers": [{"name": "c", "securityContext": {}, "env": [{"name": "A"}]}],
            "automountServiceAccountToken": False,
            "priority": 0,
        },
    }


def test_a_null_in_a_map_or_list_is_a_zero_value() -> None:
    decoded, _ = schema.decode(RESOURCES["configmaps"], {"data": {"k": None}})
    assert decoded["data"] == {"k": ""}
    decoded, _ = schema.decode(RESOURCES["pods"], {"spec": {"containers": [None]}})
    assert decoded["spec"]["containers"] == [{}]


def test_values_take_their_canonical_form() -> None:
    obj = pod(resources={"limits": {"cpu": 1, "memory": "1024Mi"}})
    obj["metadata"] = {"deletionTimestamp": "2026-01-01T02:00:00.9+02:00"}
    decoded, _ = schema.decode(RESOURCES["pods"], obj)
    assert decoded["spec"]["containers"][0]["resources"]["limits"] == {"cpu": "1", "memory": "1Gi"}
    assert decoded["metadata"]["deletionTimestamp"] == "2026-01-01T00:00:00Z"
    lease = {"spec": {"renewTime": "2026-01-01T00:00:00.100000+01:00"}}
    decoded, _ = schema.decode(RESOURCES["leases.coordination.k8s.io"], lease)
    assert decoded["spec"]["renewTime"] == "2025-12-31T23:00:00.100000Z"


@given(st.binary(max_size=40), st.integers(0, 40))
def test_base64_may_be_broken_into_lines(raw: bytes, at: int) -> None:
    text = base64.b64encode(raw).decode()
    broken = text[:at] + "\r\n" + text[at:]
    decoded, _ = schema.decode(RESOURCES["secrets"], {"data": {"k": broken}})
    assert decoded["data"] == {"k": text}


def test_what_go_writes_by_itself_is_filled_in() -> None:
    event = {"metadata": {}, "involvedObject": {}}
    schema.fill(RESOURCES["events"].schema, event)
    assert event == {
        "metadata": {},
        "involvedObject": {},
        "source": {},
        "firstTimestamp": None,
        "lastTimestamp": None,
        "eventTime": None,
        "reportingComponent": "",
        "reportingInstance": "",
    }


def test_fields_tell_how_they_are_merged() -> None:
    container = "io.k8s.api.core.v1.Container"
    ports = schema.field(container, "ports")
    assert ports is not None
    assert (ports.kind, ports.list_type, ports.patch_merge_key, ports.atomic) == (
        "list",
        "map",
        "containerPort",
        False,
    )
    assert ports.list_map_keys == ("containerPort", "protocol")
    command = schema.field(container, "command")
    assert command is not None
    assert command.atomic
    volumes = schema.field("io.k8s.api.core.v1.PodSpec", "volumes")
    assert volumes is not None
    assert volumes.item is not None
    assert (volumes.patch_strategy, volumes.item.type_name) == (
        "merge,retainKeys",
        "io.k8s.api.core.v1.Volume",
    )
    selector = schema.field("io.k8s.api.batch.v1.JobSpec", "selector")
    assert selector is not None
    assert selector.atomic
    assert schema.field(container, "nope") is None
