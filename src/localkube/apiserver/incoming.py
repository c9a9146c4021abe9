"""What comes in, made ready for the registry: decoded, named, with the owners of its fields."""

import random
from collections.abc import Callable
from typing import Any

import msgspec

from localkube.apiserver import managedfields, schema, status
from localkube.apiserver.resources import Resource
from localkube.apiserver.status import FieldError

_SUFFIX = "bcdfghjklmnpqrstvwxz2456789"
"""Letters of generated names (k8s.io/apimachinery/pkg/util/rand): no vowels, so that no words come out."""
_GENERATED_BASE = 58


def generated_name(base: str) -> str:
    """A name from `generateName`: five random characters behind the base, which is cut to leave them room."""
    return base[:_GENERATED_BASE] + "".join(random.choices(_SUFFIX, k=5))  # noqa: S311 (no secret)


def tracked(
    resource: Resource,
    old: dict[str, Any] | None,
    new: dict[str, Any],
    manager: str,
    now: str,
    subresource: str,
) -> dict[str, Any]:
    """`new` with the owners of its fields, or as it is where it cannot be typed, as the real server does."""
    if resource.custom is not None and not all(managedfields.typed(resource, obj) for obj in (old, new)):
        return new
    try:
        return managedfields.update(resource, old, new, manager=manager, now=now, subresource=subresource)
    except ValueError:
        return new


def decode(resource: Resource, obj: Any, unknown: str, warn: Callable[[str], None]) -> dict[str, Any]:
    """A copy of `obj` as the API holds it. `unknown` fields are for Ignore, Warn or Strict. Raises 400."""
    new, paths = resource.custom.decode(obj) if resource.custom is not None else schema.decode(resource, obj)
    if paths and unknown == "Strict":
        problem = ", ".join(f'unknown field "{path}"' for path in paths)
        raise status.bad_request(
            f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}: '
            f"strict decoding error: {problem}"
        )
    if unknown == "Warn":
        for path in paths:
            warn(f'unknown field "{path}"')
    return new


def decode_patched(
    resource: Resource, patched: Any, unknown: str, warn: Callable[[str], None]
) -> dict[str, Any]:
    """Decode what a patch made; what does not decode is the patch's fault, and said so (422)."""
    try:
        return decode(resource, patched, unknown, warn)
    except status.StatusError as error:
        if error.code != 400:
            raise
        shown = msgspec.json.encode(patched).decode()
        value = FieldError(
            "FieldValueInvalid", "patch", f'Invalid value: "{_quoted(shown)}": {error.message}'
        )
        raise status.invalid("", "", "", [value]) from None


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def check_identity(resource: Resource, old: dict[str, Any], new: dict[str, Any]) -> None:
    """A patch must leave the object the one that it is."""
    name, wanted = new["metadata"].get("name", ""), old["metadata"]["name"]
    if name != wanted:
        raise status.bad_request(
            f"the name of the object ({name}) does not match the name on the URL ({wanted})"
        )
    namespace = new["metadata"].get("namespace", "")
    if resource.namespaced and namespace != old["metadata"]["namespace"]:
        raise status.bad_request(
            "the namespace of the provided object does not match the namespace sent on the request"
        )
