"""What every part of the schema of a CustomResourceDefinition must be, whatever stands around it.

CEL rules are looked at, but not compiled.
"""

import re
from collections.abc import Iterator
from typing import Any

from localkube.apiserver.status import FieldError
from localkube.apiserver.validation.causes import forbidden, index, invalid, key, not_supported, required

Schema = dict[str, Any]

_TYPES = ("array", "boolean", "integer", "number", "object", "string")
_UNSUPPORTED = ("id", "additionalItems", "patternProperties", "definitions", "dependencies", "$ref")
META = ("metadata", "kind", "apiVersion")


def validate(schema: Schema, path: str) -> Iterator[FieldError]:
    """What is wrong with a schema of whole objects, part by part."""
    return _props(schema, path, root=True, inside_meta=False, no_defaults="")


def _props(
    schema: Schema, path: str, *, root: bool, inside_meta: bool, no_defaults: str
) -> Iterator[FieldError]:
    kind = schema.get("type") or ""
    embedded = bool(schema.get("x-kubernetes-embedded-resource"))
    if kind and kind not in _TYPES:
        yield not_supported(f"{path}.type", kind, _TYPES)
    if schema.get("default") is not None and no_defaults:
        yield forbidden(f"{path}.default", f"must not be set {no_defaults}")
    for name in _UNSUPPORTED:
        if schema.get(name) is not None:
            yield forbidden(f"{path}.{name}", f"{name} is not supported")
    if kind == "null":
        detail = "type cannot be set to null, use nullable as an alternative"
        yield forbidden(f"{path}.type", detail)
    items = schema.get("items")
    if isinstance(items, list):
        yield forbidden(f"{path}.items", "items must be a schema object and not an array")
    if inside_meta and embedded:
        place = f"{path}.x-kubernetes-embedded-resource"
        yield forbidden(place, "must not be used inside of resource meta")
    if schema.get("uniqueItems"):
        detail = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic"
        yield forbidden(f"{path}.uniqueItems", detail)
    properties, rest = schema.get("properties") or {}, schema.get("additionalProperties")
    if rest is not None and rest is not True and properties:
        detail = "additionalProperties and properties are mutual exclusive"
        yield forbidden(f"{path}.additionalProperties", detail)
    common: dict[str, Any] = {"root": False, "inside_meta": inside_meta}
    if isinstance(rest, dict):
        inner = "inside additionalProperties applying to object metadata" if inside_meta else no_defaults
        yield from _props(rest, f"{path}.additionalProperties", **common, no_defaults=inner)
    for name, below in properties.items():
        meta = inside_meta or ((root or embedded) and name in META)
        top = f"in top-level {name}" if root and name in META else no_defaults
        place = key(f"{path}.properties", name)
        yield from _props(below, place, root=False, inside_meta=meta, no_defaults=top)
    if schema.get("not") is not None:
        yield from _props(schema["not"], f"{path}.not", **common, no_defaults=no_defaults)
    for junctor in ("allOf", "oneOf", "anyOf"):
        for i, below in enumerate(schema.get(junctor) or ()):
            yield from _props(below, index(f"{path}.{junctor}", i), **common, no_defaults=no_defaults)
    if isinstance(items, dict):
        yield from _props(items, f"{path}.items", **common, no_defaults=no_defaults)
    yield from _extensions(schema, path, kind)
    yield from _rules(schema.get("x-kubernetes-validations") or [], f"{path}.x-kubernetes-validations")


def _extensions(schema: Schema, path: str, kind: str) -> Iterator[FieldError]:
    if schema.get("x-kubernetes-preserve-unknown-fields") is False:
        place = f"{path}.x-kubernetes-preserve-unknown-fields"
        yield invalid(place, False, "must be true or undefined")
    for name, wanted, allowed in (
        ("x-kubernetes-map-type", "object", ("atomic", "granular")),
        ("x-kubernetes-list-type", "array", ("atomic", "set", "map")),
    ):
        value = schema.get(name)
        if value is None:
            continue
        if kind != wanted:
            detail = f"must be {wanted} if {name} is specified"
            yield invalid(f"{path}.type", kind, detail) if kind else required(f"{path}.type", detail)
        elif value == "set":
            yield from _set_items(schema, path)
        if value not in allowed:
            yield not_supported(f"{path}.{name}", value, allowed)
    yield from _list_map(schema, path)


def _set_items(schema: Schema, path: str) -> Iterator[FieldError]:
    items = schema.get("items")
    if not isinstance(items, dict):
        return
    for kind, name in (("array", "x-kubernetes-list-type"), ("object", "x-kubernetes-map-type")):
        value = items.get(name)
        if items.get("type") == kind and value != "atomic" and not (kind == "array" and value is None):
            detail = "must be atomic as item of a list with x-kubernetes-list-type=set"
            yield invalid(f"{path}.items.{name}", value, detail)


def _list_map(schema: Schema, path: str) -> Iterator[FieldError]:
    keys, list_type = schema.get("x-kubernetes-list-map-keys") or [], schema.get("x-kubernetes-list-type")
    if keys and list_type != "map":
        place, detail = (
            f"{path}.x-kubernetes-list-type",
            "must be map if x-kubernetes-list-map-keys is non-empty",
        )
        yield required(place, detail) if list_type is None else invalid(place, list_type, detail)
    items = schema.get("items")
    place = f"{path}.x-kubernetes-list-map-keys"
    if list_type == "map":
        if not keys:
            yield required(place, "must not be empty if x-kubernetes-list-type is map")
        if items is None:
            yield required(f"{path}.items", "must have a schema if x-kubernetes-list-type is map")
        elif isinstance(items, dict) and items.get("type") != "object":
            detail = "must be object if parent array's x-kubernetes-list-type is map"
            yield invalid(f"{path}.items.type", items.get("type") or "", detail)
        elif isinstance(items, dict):
            yield from _map_keys(items, keys, path, place)
    if list_type in ("set", "map") and isinstance(items, dict):
        if items.get("nullable"):
            detail = f"cannot be nullable when x-kubernetes-list-type is {list_type}"
            yield forbidden(f"{path}.items.nullable", detail)
        if list_type == "map":
            yield from _keys_given(items, keys, path)


def _map_keys(items: Schema, keys: list[str], path: str, place: str) -> Iterator[FieldError]:
    properties = items.get("properties") or {}
    seen = set()
    for name in keys:
        if name not in properties:
            yield invalid(place, keys, "entries must all be names of item properties")
        elif properties[name].get("type") in ("array", "object"):
            detail = "must be a scalar type if parent array's x-kubernetes-list-type is map"
            yield invalid(f"{key(f'{path}.items.properties', name)}.type", items["type"], detail)
        if name in seen:
            yield invalid(place, keys, "must not contain duplicate entries")
        seen.add(name)


def _keys_given(items: Schema, keys: list[str], path: str) -> Iterator[FieldError]:
    for name in keys:
        schema = (items.get("properties") or {}).get(name)
        if schema is None:
            continue
        place = key(f"{path}.items.properties", name)
        if name not in (items.get("required") or ()) and schema.get("default") is None:
            detail = (
                "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required "
                "property"
            )
            yield required(f"{place}.default", detail)
        if schema.get("nullable"):
            detail = "this property is in x-kubernetes-list-map-keys, so it cannot be nullable"
            yield forbidden(f"{place}.nullable", detail)


def _rules(rules: list[Schema], path: str) -> Iterator[FieldError]:
    reasons = ("FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired")
    for i, rule in enumerate(rules):
        place = index(path, i)
        text, message = rule.get("rule") or "", rule.get("message") or ""
        if not text.strip():
            yield required(f"{place}.rule", "rule is not specified")
        elif message and not message.strip():
            yield invalid(f"{place}.message", message, "message must be non-empty if specified")
        elif re.search(r"[\n\r]", message.strip()):
            yield invalid(f"{place}.message", message, "message must not contain line breaks")
        elif re.search(r"[\n\r]", text.strip()) and not message.strip():
            detail = "message must be specified if rule contains line breaks"
            yield required(f"{place}.message", detail)
        if rule.get("reason") is not None and rule["reason"] not in reasons:
            yield not_supported(f"{place}.reason", rule["reason"], reasons)
