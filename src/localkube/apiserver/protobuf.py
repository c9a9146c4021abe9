"""The few objects that kubectl sends as protobuf when it asks about rights: read, never written.

`kubectl auth can-i`, `auth whoami` and `create token` know no JSON. The answer may be JSON, which they read.
A message is a table from the numbers of k8s.io/api's generated.proto to the names of the fields in JSON;
fields that are in no table are skipped.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from localkube.apiserver import status

MEDIA = "application/vnd.kubernetes.protobuf"
_MAGIC = b"k8s\x00"


class Field(NamedTuple):
    """A string, unless `message` says what it holds or `number` that it is an integer."""

    name: str
    repeated: bool = False
    message: "Message | None" = None
    number: bool = False


Message = Mapping[int, Field]

_METADATA: Message = {1: Field("name"), 3: Field("namespace")}
_RESOURCE_ATTRIBUTES: Message = dict(
    enumerate(map(Field, ("namespace", "verb", "group", "version", "resource", "subresource", "name")), 1)
)
_PATH_ATTRIBUTES: Message = {1: Field("path"), 2: Field("verb")}
_BOUND: Message = {1: Field("kind"), 2: Field("apiVersion"), 3: Field("name"), 4: Field("uid")}
_SPECS: dict[str, Message] = {
    "SelfSubjectAccessReview": {
        1: Field("resourceAttributes", message=_RESOURCE_ATTRIBUTES),
        2: Field("nonResourceAttributes", message=_PATH_ATTRIBUTES),
    },
    "SelfSubjectRulesReview": {1: Field("namespace")},
    "TokenRequest": {
        1: Field("audiences", repeated=True),
        3: Field("boundObjectRef", message=_BOUND),
        4: Field("expirationSeconds", number=True),
    },
}
_NO_SPEC = frozenset({"SelfSubjectReview"})
_TYPE: Message = {1: Field("apiVersion"), 2: Field("kind")}
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def decode(body: bytes, kind: str) -> dict[str, Any]:
    """The object in a body that should hold a `kind`. Raises StatusError 400, and 415 for other kinds."""
    if kind not in _SPECS and kind not in _NO_SPEC:
        raise status.error(
            415, "UnsupportedMediaType", "localkube does not read protobuf: send application/json instead"
        )
    if not body.startswith(_MAGIC):
        raise status.bad_request(
            "provided data does not appear to be a protobuf message, expected prefix k8s"
        )
    message: dict[int, Field] = {1: Field("metadata", message=_METADATA)}
    if kind in _SPECS:
        message[2] = Field("spec", message=_SPECS[kind])
    try:
        envelope = {n: value for n, value in _fields(body[len(_MAGIC) :]) if isinstance(value, bytes)}
        return _decoded(envelope.get(1, b""), _TYPE) | _decoded(envelope.get(2, b""), message)
    except (ValueError, IndexError) as error:
        raise status.bad_request(
            f"the object provided is unrecognized (must be of type {kind}): {error}"
        ) from None


def _decoded(raw: bytes, message: Message) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for number, value in _fields(raw):
        field = message.get(number)
        if field is None:
            continue
        if isinstance(value, int) is not field.number:
            raise ValueError(f"proto: wrong wireType for field {field.name}")
        if field.message is not None:
            found[field.name] = _decoded(value, field.message)
        elif field.number:
            # int64, in two's complement
            found[field.name] = value - 2**64 if value >= 2**63 else value
        elif field.repeated:
            found.setdefault(field.name, []).append(value.decode())
        elif text := value.decode():
            found[field.name] = text
    return found


def _fields(raw: bytes) -> Iterator[tuple[int, Any]]:
    """(number, value) of the fields of a message: an integer, or bytes. Raises ValueError, IndexError."""
    at = 0
    while at < len(raw):
        tag, at = _varint(raw, at)
        wire = tag & 7
        if wire == _VARINT:
            value, at = _varint(raw, at)
            yield tag >> 3, value
            continue
        if wire == _BYTES:
            size, at = _varint(raw, at)
        elif wire in (_FIXED32, _FIXED64):
            size = 4 if wire == _FIXED32 else 8
        else:
            raise ValueError("proto: illegal wireType")
        if at + size > len(raw):
            raise ValueError("unexpected EOF")
        if wire == _BYTES:
            yield tag >> 3, raw[at : at + size]
        at += size


def _varint(raw: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while shift < 70:
        byte = raw[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise ValueError("proto: integer overflow")
