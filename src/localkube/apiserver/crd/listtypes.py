"""Lists that are sets or maps hold no element twice."""

import json
from typing import Any

from localkube.apiserver.crd.pruning import additional
from localkube.apiserver.status import FieldError
from localkube.apiserver.validation.causes import duplicate, index, invalid

Schema = dict[str, Any]


def check(schema: Schema, value: Any, path: str = "") -> list[FieldError]:
    """What is there twice anywhere in a value, in the real server's words."""
    found: list[FieldError] = []
    if isinstance(value, dict):
        properties: dict[str, Schema] = schema.get("properties") or {}
        rest = additional(schema)
        for name, item in value.items():
            if name in properties:
                found += check(properties[name], item, f"{path}.{name}" if path else name)
            elif rest is not None:
                found += check(rest, item, f"{path}[{name}]")
    elif isinstance(value, list):
        kind = schema.get("x-kubernetes-list-type")
        if kind == "set":
            found += [duplicate(index(path, i), value[i]) for i in _repeated(value)]
        elif kind == "map":
            found += _map(schema, value, path)
        items = schema.get("items")
        if isinstance(items, dict):
            for i, item in enumerate(value):
                found += check(items, item, index(path, i))
    return found


def _map(schema: Schema, value: list[Any], path: str) -> list[FieldError]:
    for i, item in enumerate(value):
        if item is not None and not isinstance(item, dict):
            return [invalid(index(path, i), item, "must be an object for an array of list-type map")]
    names = schema.get("x-kubernetes-list-map-keys") or ()
    keys = [{name: (item or {})[name] for name in names if name in (item or {})} for item in value]
    return [duplicate(index(path, i), keys[i]) for i in _repeated(keys)]


def _repeated(values: list[Any]) -> list[int]:
    """Where each value that was there before stands for the second time."""
    seen: dict[str, int] = {}
    found = []
    for i, value in enumerate(values):
        text = json.dumps(value, sort_keys=True)
        seen[text] = seen.get(text, 0) + 1
        if seen[text] == 2:
            found.append(i)
    return found
