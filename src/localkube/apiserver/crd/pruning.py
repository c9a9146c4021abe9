"""What of an object its structural schema knows: everything else is dropped.

Embedded resources, and the object itself, keep `apiVersion`, `kind` and `metadata` whatever the schema says.
"""

from typing import Any

Schema = dict[str, Any]
Object = dict[str, Any]

TYPE_META = ("apiVersion", "kind", "metadata")


def prune(schema: Schema, obj: Object) -> tuple[Object, list[str]]:
    """The object without what the schema does not know, and the sorted paths of that (`spec.tags[0].x`)."""
    dropped: list[str] = []
    pruned = _object(schema, obj, "", dropped, resource=True)
    return pruned, sorted(dropped)


def additional(schema: Schema) -> Schema | None:
    """The schema of the values of a map, if there is one."""
    found = schema.get("additionalProperties")
    return found if isinstance(found, dict) else None


def _value(schema: Schema | None, value: Any, path: str, dropped: list[str]) -> Any:
    """`schema` None stands for a value of which nothing is known but that it is there."""
    if isinstance(value, dict):
        if schema is None:
            dropped += [f"{path}.{name}" for name in value]
            return {}
        return _object(
            schema, value, path, dropped, resource=schema.get("x-kubernetes-embedded-resource", False)
        )
    if isinstance(value, list):
        if schema is not None and "items" not in schema and _open(schema):
            return value
        items = schema.get("items") if schema is not None else None
        return [_value(items, item, f"{path}[{i}]", dropped) for i, item in enumerate(value)]
    return value


def _open(schema: Schema) -> bool:
    return bool(schema.get("x-kubernetes-preserve-unknown-fields"))


def _object(schema: Schema, obj: Object, path: str, dropped: list[str], *, resource: bool) -> Object:
    properties: dict[str, Schema] = schema.get("properties") or {}
    is_map = schema.get("additionalProperties") not in (None, False)
    pruned: Object = {}
    for name, value in obj.items():
        below = f"{path}.{name}" if path else name
        if resource and name in TYPE_META:
            pruned[name] = value
        elif name in properties:
            pruned[name] = _value(properties[name], value, below, dropped)
        elif is_map:
            pruned[name] = _value(additional(schema), value, below, dropped)
        elif _open(schema):
            pruned[name] = value
        else:
            dropped.append(below)
    return pruned
