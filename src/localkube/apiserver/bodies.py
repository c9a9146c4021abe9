"""Request bodies: JSON and YAML into plain objects, refused in the words of the real API server."""

from typing import Any

import msgspec
import yaml

from localkube.apiserver import status
from localkube.apiserver.scalars import json_type

LIMIT = 3 * 1024 * 1024
"""The real API server's limit on a body, in bytes."""
JSON = "application/json"
YAML = "application/yaml"
ACCEPTED = (JSON, YAML, "application/vnd.kubernetes.protobuf")
_TYPE_META = (
    'struct { APIVersion string "json:\\"apiVersion,omitempty\\""; Kind string "json:\\"kind,omitempty\\"" }'
)
_DEPTH_LIMIT = 500
"""Nesting beyond any object's that is refused before it meets a recursive function."""


def media_type(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


def decode(body: bytes, content_type: str, kind: str) -> dict[str, Any]:
    """The object in a body that should hold a `kind`. Raises StatusError 400 or 415."""
    media = media_type(content_type) or JSON
    if media == "application/vnd.kubernetes.protobuf":
        raise status.error(
            415, "UnsupportedMediaType", "localkube does not read protobuf: send application/json instead"
        )
    if media == YAML:
        decoded = decode_yaml(body)
    elif media == JSON:
        decoded = _decode_json(body, kind)
    else:
        raise status.unsupported_media_type(ACCEPTED)
    if decoded is None:
        return {}
    if isinstance(decoded, dict):
        return decoded
    problem = f"json: cannot unmarshal {json_type(decoded)} into Go value of type {_TYPE_META}"
    raise _unrecognized(kind, f"json parse error: {problem}", body)


def _decode_json(body: bytes, kind: str) -> Any:
    try:
        decoded = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _unrecognized(kind, f"json parse error: {go_syntax_error(body, error)}", body) from None
    if isinstance(decoded, dict | list):
        _check_depth(body, decoded)
    return decoded


def decode_yaml(body: bytes) -> Any:
    """A YAML document, which may also be JSON (and is read faster then). Raises StatusError 400."""
    try:
        decoded = msgspec.json.decode(body)
        if isinstance(decoded, dict | list):
            _check_depth(body, decoded)
        return decoded
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    try:
        loaded = yaml.load(body, Loader=_Loader)  # noqa: S506 (a SafeLoader)
        # YAML knows keys and values that JSON does not: what JSON cannot say is refused here
        text = msgspec.json.encode(loaded)
        decoded = msgspec.json.decode(text)
    except (yaml.YAMLError, TypeError, ValueError, RecursionError, msgspec.MsgspecError) as error:
        raise status.bad_request(f"error converting YAML to JSON: yaml: {error}") from None
    if isinstance(decoded, dict | list):
        _check_depth(text, decoded)
    return decoded


def decode_patch(body: bytes) -> Any:
    """A JSON document of any type. Raises StatusError 400."""
    try:
        decoded = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise status.bad_request(f"error decoding patch: {go_syntax_error(body, error)}") from None
    if isinstance(decoded, dict | list):
        _check_depth(body, decoded)
    return decoded


class _Loader(yaml.SafeLoader):
    """YAML as a superset of JSON: dates stay strings, and there are no aliases (they can explode)."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases are not supported")
        return super().compose_node(parent, index)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, regexp) for tag, regexp in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def go_syntax_error(body: bytes, error: Exception) -> str:
    """What Go's encoding/json says about a document that is no JSON."""
    text = str(error)
    if isinstance(error, UnicodeDecodeError) or "utf-8" in text.lower():
        return "invalid UTF-8"
    if isinstance(error, RecursionError) or "recursion" in text.lower():
        return "exceeded max depth"
    if "truncated" in text or not body.strip():
        return "unexpected end of JSON input"
    at = text.rpartition("byte ")[2].rstrip(")")
    if at.isdigit() and int(at) < len(body):
        return f"invalid character {_go_char(body[int(at)])} looking for beginning of value"
    return "unexpected end of JSON input"


def _go_char(byte: int) -> str:
    char = chr(byte)
    if char == "'":
        return "'\\''"
    if 32 <= byte < 127:
        return f"'{char}'"
    return f"'\\x{byte:02x}'"


def _unrecognized(kind: str, problem: str, body: bytes) -> status.StatusError:
    return status.bad_request(
        f"the object provided is unrecognized (must be of type {kind}): couldn't get version/kind; "
        f"{problem} ({_summary(body)})"
    )


def _summary(body: bytes, limit: int = 30) -> str:
    if not body:
        return "<empty>"
    tail = " ..." if len(body) > limit else ""
    shown = body[:limit]
    return (shown.decode("utf-8", "replace") if body[:1] == b"{" else shown.hex()) + tail


def _check_depth(text: bytes, value: Any) -> None:
    if text.count(b"{") + text.count(b"[") <= _DEPTH_LIMIT:
        return
    stack = [(value, 1)]
    while stack:
        node, depth = stack.pop()
        if depth > _DEPTH_LIMIT:
            raise status.bad_request(f"the object is nested deeper than {_DEPTH_LIMIT} levels")
        children = node.values() if isinstance(node, dict) else node
        stack.extend((child, depth + 1) for child in children if isinstance(child, dict | list))
