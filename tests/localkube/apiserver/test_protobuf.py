"""The objects that kubectl sends as protobuf, and whatever else comes in their place."""

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.localkube.apiserver.access import Cluster

from localkube.apiserver import protobuf
from localkube.apiserver.status import StatusError

KINDS = ("SelfSubjectAccessReview", "SelfSubjectRulesReview", "SelfSubjectReview", "TokenRequest")
PROTOBUF = {"content_type": "application/vnd.kubernetes.protobuf"}


def varint(value: int) -> bytes:
    out = bytearray()
    value %= 2**64
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def field(number: int, value: "bytes | str | int") -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    raw = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(raw)) + raw


def envelope(api_version: str, kind: str, raw: bytes) -> bytes:
    type_meta = field(1, api_version) + field(2, kind)
    return b"k8s\x00" + field(1, type_meta) + field(2, raw) + field(3, "") + field(4, "")


TEXTS = st.text(max_size=200)


@given(st.lists(TEXTS, max_size=3), st.integers(-(2**63), 2**63 - 1), TEXTS)
def test_what_is_sent_is_read(audiences: list[str], seconds: int, name: str) -> None:
    bound = field(1, "Pod") + field(2, "v1") + field(3, name) + field(4, "")
    spec = b"".join(field(1, audience) for audience in audiences) + field(3, bound) + field(4, seconds)
    # a creationTimestamp, as every client sends it, and a field of the future in every form
    metadata = field(1, name) + field(8, b"")
    unknown = field(99, 7) + field(98, "x") + varint(97 << 3 | 1) + bytes(8) + varint(96 << 3 | 5) + bytes(4)
    raw = field(1, metadata + unknown) + field(2, unknown + spec) + unknown
    found = protobuf.decode(envelope("authentication.k8s.io/v1", "TokenRequest", raw), "TokenRequest")
    named = {"name": name} if name else {}
    assert found == {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "metadata": named,
        "spec": {
            **({"audiences": audiences} if audiences else {}),
            "boundObjectRef": {"kind": "Pod", "apiVersion": "v1", **named},
            "expirationSeconds": seconds,
        },
    }


NOISE = st.one_of(
    st.binary(max_size=60),
    st.lists(st.builds(field, st.integers(1, 5), st.one_of(st.integers(), st.binary(max_size=9)))).map(
        b"".join
    ),
)


@given(st.sampled_from(KINDS), NOISE, st.integers(0, 2))
def test_anything_else_is_refused_or_read(kind: str, noise: bytes, depth: int) -> None:
    raw = (noise, field(2, noise), field(2, field(3, noise)))[depth]
    for body in (b"k8s\x00" + noise, envelope("v1", kind, raw)):
        with contextlib.suppress(StatusError):
            assert protobuf.decode(body, kind).keys() <= {"apiVersion", "kind", "metadata", "spec"}


def test_other_kinds_and_other_bytes_are_refused() -> None:
    for kind, body, code in (("Pod", b"k8s\x00", 415), ("TokenRequest", b"{}", 400)):
        with pytest.raises(StatusError) as refusal:
            protobuf.decode(body, kind)
        assert refusal.value.code == code


def test_a_review_is_answered(cluster: Cluster) -> None:
    attributes = field(1, cluster.name) + field(2, "get") + field(5, "pods")
    body = envelope("authorization.k8s.io/v1", "SelfSubjectAccessReview", field(2, field(1, attributes)))
    path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    accept = {"Accept": "application/vnd.kubernetes.protobuf,application/json"}
    answer = cluster.api.call("POST", path, body, headers=accept, **PROTOBUF)
    assert answer.code == 201
    assert answer.body["status"]["allowed"] is True
    assert answer.body["spec"]["resourceAttributes"] == {
        "namespace": cluster.name,
        "verb": "get",
        "resource": "pods",
    }


def test_an_object_of_another_kind_is_refused(cluster: Cluster) -> None:
    body = envelope("v1", "Pod", b"")
    path = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
    answer: Any = cluster.api.call("POST", path, body, **PROTOBUF)
    assert answer.code == 400
