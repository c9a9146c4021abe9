"""JSON merge patch (RFC 7386): null deletes, objects merge, everything else replaces."""

from typing import Any

from localkube.apiserver.scalars import json_type
from localkube.apiserver.status import bad_request


def apply(doc: dict[str, Any], patch: Any) -> dict[str, Any]:
    """The patched document; shares with `doc` and `patch` what it takes over unchanged.

    Raises `StatusError` 400 for a patch that is no object: the API patches objects only.
    """
    if patch is None:
        raise bad_request("Invalid JSON Patch")
    if not isinstance(patch, dict):
        raise bad_request(
            f"error decoding patch: json: cannot unmarshal {json_type(patch)} "
            "into Go value of type map[string]interface {}"
        )
    return merge(doc, patch)


def merge(doc: Any, patch: dict[str, Any]) -> dict[str, Any]:
    """RFC 7386's `MergePatch` for a patch that is an object and a target that may be anything."""
    result = dict(doc) if isinstance(doc, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        elif isinstance(value, dict):
            result[name] = merge(result.get(name), value)
        else:
            result[name] = value
    return result
