"""What the schema of a CustomResourceDefinition must be: structural, so that pruning and defaults are clear.

The rules of apiextensions-apiserver (`ValidateStructural`, `ValidateCustomResourceDefinitionOpenAPISchema`,
`ValidateDefaults`); `schemaprops` has those that concern one part of a schema alone.
"""

import re
from collections.abc import Iterator
from typing import Any

from localkube.apiserver.crd import conformity, goregexp, listtypes, pruning
from localkube.apiserver.status import FieldError
from localkube.apiserver.validation import schemaprops
from localkube.apiserver.validation.causes import (
    duplicate,
    forbidden,
    index,
    invalid,
    key,
    required,
)

Schema = dict[str, Any]

_INT_OR_STRING = [{"type": "integer"}, {"type": "string"}]
_STRUCTURAL = "to be structural"
_NESTED: tuple[tuple[str, str], ...] = (
    ("type", "must be empty"),
    ("additionalProperties", "must be undefined"),
    ("default", "must be undefined"),
    ("title", "must be empty"),
    ("description", "must be empty"),
    ("nullable", "must be false"),
    ("externalDocs", "must be undefined"),
    ("x-kubernetes-preserve-unknown-fields", "must be false"),
    ("x-kubernetes-embedded-resource", "must be false"),
    ("x-kubernetes-int-or-string", "must be false"),
    ("x-kubernetes-list-map-keys", "must be empty"),
    ("x-kubernetes-list-type", "must be undefined"),
    ("x-kubernetes-map-type", "must be undefined"),
    ("x-kubernetes-validations", "must be empty"),
)
_AT_ROOT = (
    "Description Type Format Title Maximum ExclusiveMaximum Minimum ExclusiveMinimum MaxLength MinLength "
    "Pattern MaxItems MinItems UniqueItems MultipleOf Required Items Properties ExternalDocs Example "
    "XPreserveUnknownFields XValidations"
)


def validate(schema: Schema, path: str, *, has_status: bool) -> list[FieldError]:
    """What is wrong with the schema of a version; `has_status` if that has a status subresource."""
    found: list[FieldError] = []
    if has_status:
        found += _root_with_status(schema, path)
    if schema.get("nullable"):
        found.append(forbidden(f"{path}.nullable", "nullable cannot be true at the root"))
    structural = _invariants(schema, "root", path) + list(_completeness(schema, schema, path))
    found += sorted(structural, key=str) or list(_defaults(schema, path, root=True))
    return found + list(schemaprops.validate(schema, path))


def _go_name(name: str) -> str:
    bare = name.removeprefix("x-kubernetes-")
    words = "".join(part[:1].upper() + part[1:] for part in bare.split("-"))
    return f"X{words}" if bare != name else words


def _root_with_status(schema: Schema, path: str) -> list[FieldError]:
    for name in schema:
        if name == "type":
            if schema["type"] != "object":
                detail = (
                    'only "object" is allowed as the type at the root of the schema if the status '
                    "subresource is enabled"
                )
                return [invalid(f"{path}.type", schema["type"], detail)]
        elif _go_name(name) not in _AT_ROOT.split() and schema[name] not in (None, False):
            detail = (
                f"only [{_AT_ROOT}] fields are allowed at the root of the schema if the status "
                "subresource is enabled"
            )
            return [invalid(path, schema, detail)]
    return []


# structurality


def _invariants(schema: Schema, level: str, path: str) -> list[FieldError]:
    found: list[FieldError] = []
    kind = schema.get("type") or ""
    items, properties = schema.get("items"), schema.get("properties") or {}
    if kind == "array" and items is None:
        found.append(required(f"{path}.items", "must be specified"))
    if isinstance(items, dict):
        found += _invariants(items, "items", f"{path}.items")
    for name, below in properties.items():
        found += _invariants(below, "field", key(f"{path}.properties", name))
    rest = schema.get("additionalProperties")
    if rest is not None:
        if level == "root":
            found.append(forbidden(f"{path}.additionalProperties", "must not be used at the root"))
        if isinstance(rest, dict):
            found += _invariants(rest, "field", f"{path}.additionalProperties")
    int_or_string = bool(schema.get("x-kubernetes-int-or-string"))
    keeps = bool(schema.get("x-kubernetes-preserve-unknown-fields"))
    embedded = bool(schema.get("x-kubernetes-embedded-resource"))
    for name, there in (("preserve-unknown-fields", keeps), ("embedded-resource", embedded)):
        if int_or_string and there:
            detail = "must be false if x-kubernetes-int-or-string is true"
            found.append(invalid(f"{path}.x-kubernetes-{name}", True, detail))
    found += _values(schema, path, int_or_string)
    if embedded and kind != "object":
        detail = "must be object if x-kubernetes-embedded-resource is true"
        found.append(invalid(f"{path}.type", kind, detail) if kind else required(f"{path}.type", detail))
    elif not kind and not int_or_string and not keeps:
        where = {"root": "at the root", "items": "for specified array items"}.get(
            level, "for specified object fields"
        )
        found.append(required(f"{path}.type", f"must not be empty {where}"))
    if embedded and rest is not None:
        detail = "must not be used if x-kubernetes-embedded-resource is set"
        found.append(forbidden(f"{path}.additionalProperties", detail))
    if level == "root" and kind and kind != "object":
        found.append(invalid(f"{path}.type", kind, "must be object at the root"))
    if level == "root" or embedded:
        for name in ("kind", "apiVersion"):
            if name in properties and properties[name].get("type") != "string":
                shown = properties[name].get("type") or ""
                found.append(invalid(f"{key(f'{path}.properties', name)}.type", shown, "must be string"))
        if "metadata" in properties:
            found += _metadata(properties["metadata"], level, key(f"{path}.properties", "metadata"))
    if embedded and not keeps and not properties:
        detail = (
            "must not be empty if x-kubernetes-embedded-resource is true without "
            "x-kubernetes-preserve-unknown-fields"
        )
        found.append(required(f"{path}.properties", detail))
    return found


def _metadata(schema: Schema, level: str, path: str) -> list[FieldError]:
    found = []
    if schema.get("type") != "object":
        found.append(invalid(f"{path}.type", schema.get("type") or "", "must be object"))
    if level == "root":
        named = set(schema.get("properties") or ()) - {"name", "generateName"}
        others = set(schema) - {"type", "properties", "default", "description"}
        if named or others:
            detail = (
                "must not specify anything other than name and generateName, but metadata is implicitly "
                "specified"
            )
            found.append(forbidden(path, detail))
    return found


def _values(schema: Schema, path: str, int_or_string: bool) -> list[FieldError]:
    """Of value validation: what stands below anyOf, allOf, oneOf and not may restrict values only."""
    found: list[FieldError] = []
    any_of = schema.get("anyOf") or []
    if not (int_or_string and any_of == _INT_OR_STRING):
        for i, below in enumerate(any_of):
            found += _nested(below, index(f"{path}.anyOf", i))
    for i, below in enumerate(schema.get("allOf") or ()):
        first = int_or_string and i == 0 and below.get("anyOf") == _INT_OR_STRING
        found += _nested(below, index(f"{path}.allOf", i), skip_any_of=first)
    for i, below in enumerate(schema.get("oneOf") or ()):
        found += _nested(below, index(f"{path}.oneOf", i))
    if schema.get("not") is not None:
        found += _nested(schema["not"], f"{path}.not")
    if schema.get("pattern"):
        try:
            goregexp.compile(schema["pattern"])
        except re.error as error:
            detail = f"must be a valid regular expression, but isn't: error parsing regexp: {error}"
            found.append(invalid(f"{path}.pattern", schema["pattern"], detail))
    return found


def _nested(schema: Schema, path: str, *, skip_any_of: bool = False) -> list[FieldError]:
    found = _values(schema, path, skip_any_of)
    if isinstance(schema.get("items"), dict):
        found += _nested(schema["items"], f"{path}.items")
    for name, below in (schema.get("properties") or {}).items():
        found += _nested(below, key(f"{path}.properties", name))
    for name, words in _NESTED:
        if schema.get(name) not in (None, False, "", []):
            found.append(forbidden(f"{path}.{name}", f"{words} {_STRUCTURAL}"))
    if "metadata" in (schema.get("properties") or {}):
        detail = "must not be specified in a nested context"
        found.append(forbidden(key(f"{path}.properties", "metadata"), detail))
    return found


def _completeness(schema: Schema, outer: Schema, path: str) -> Iterator[FieldError]:
    """Every field that is restricted below a junctor has to be specified outside of it."""
    for name in ("allOf", "anyOf", "oneOf"):
        for i, below in enumerate(schema.get(name) or ()):
            yield from _specified(below, outer, index(f"{path}.{name}", i), path)
    if schema.get("not") is not None:
        yield from _specified(schema["not"], outer, f"{path}.not", path)
    if schema is outer:
        if isinstance(schema.get("items"), dict):
            yield from _completeness(schema["items"], schema["items"], f"{path}.items")
        for name, below in (schema.get("properties") or {}).items():
            yield from _completeness(below, below, key(f"{path}.properties", name))
        rest = pruning.additional(schema)
        if rest is not None:
            yield from _completeness(rest, rest, f"{path}.additionalProperties")


def _specified(schema: Schema, outer: Schema, path: str, outer_path: str) -> Iterator[FieldError]:
    detail = f"because it is defined in {path}"
    if isinstance(schema.get("items"), dict):
        if not isinstance(outer.get("items"), dict):
            yield required(f"{outer_path}.items", f"{detail}.items")
        else:
            yield from _specified(schema["items"], outer["items"], f"{path}.items", f"{outer_path}.items")
    known = outer.get("properties") or {}
    for name, below in (schema.get("properties") or {}).items():
        place, outer_place = key(f"{path}.properties", name), key(f"{outer_path}.properties", name)
        if name in known:
            yield from _specified(below, known[name], place, outer_place)
        else:
            yield required(outer_place, f"because it is defined in {place}")
    yield from _completeness(schema, outer, path) if schema is not outer else ()


def _defaults(schema: Schema, path: str, *, root: bool = False) -> Iterator[FieldError]:
    """Defaults have to be what their own schema allows, and to have nothing that it does not know."""
    value = schema.get("default")
    if value is not None and not root:
        place = f"{path}.default"
        if isinstance(value, dict | list):
            _, unknown = pruning.prune({"type": "object", "properties": {"x": schema}}, {"x": value})
            if unknown:
                yield invalid(place, value, "must not have unknown fields")
        yield from conformity.check(schema, value, place)
        yield from listtypes.check(schema, value, place)
    if isinstance(schema.get("items"), dict):
        yield from _defaults(schema["items"], f"{path}.items")
    for name, below in (schema.get("properties") or {}).items():
        if not (root and name in schemaprops.META):
            yield from _defaults(below, key(f"{path}.properties", name))


def selectable(fields: list[Schema], schema: Schema, path: str) -> Iterator[FieldError]:
    """What is wrong with the fields that clients may select by."""
    seen: set[str] = set()
    for i, field in enumerate(fields):
        text = field.get("jsonPath") or ""
        place = f"{index(path, i)}.jsonPath"
        if not text:
            yield required(place)
            continue
        below: Schema | None = schema
        for step in text.removeprefix(".").split("."):
            below = (below.get("properties") or {}).get(step) if below is not None else None
        if text.startswith(".metadata"):
            yield invalid(place, text, "must not point to fields in metadata")
        elif below is None:
            yield invalid(place, text, f'is an invalid path: does not refer to a valid field: "{text}"')
        elif below.get("type") not in ("string", "boolean", "integer"):
            detail = (
                "must point to a field of type string, boolean or integer. Enum string fields and strings "
                "with formats are allowed."
            )
            yield invalid(place, text, detail)
        if text in seen:
            yield duplicate(place, text)
        seen.add(text)
