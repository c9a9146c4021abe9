"""What a structural schema fills in: defaults for what is missing (or null where null may not be).

What is null although it may not be, and has no default, goes away. Applying it twice changes nothing.
"""

import copy
from typing import Any

from localkube.apiserver.crd.pruning import additional

Schema = dict[str, Any]
Object = dict[str, Any]


def default(schema: Schema, value: Any) -> Any:
    """The value with its defaults; it shares with `value` what did not change."""
    if isinstance(value, dict):
        return _object(schema, value)
    items = schema.get("items")
    if isinstance(value, list) and isinstance(items, dict):
        filled = [default(items, _instead(items, item)) for item in value]
        return value if all(a is b for a, b in zip(filled, value, strict=True)) else filled
    return value


def _object(schema: Schema, obj: Object) -> Object:
    properties: dict[str, Schema] = schema.get("properties") or {}
    rest = additional(schema)
    filled: Object = {}
    changed = False
    for name, value in obj.items():
        known = properties.get(name, rest)
        if known is None:
            filled[name] = value
            continue
        now = _instead(known, value)
        if now is None and not known.get("nullable"):
            changed = True
            continue
        filled[name] = default(known, now)
        changed = changed or filled[name] is not value
    for name, known in properties.items():
        if name not in filled and known.get("default") is not None:
            filled[name] = default(known, copy.deepcopy(known["default"]))
            changed = True
    return filled if changed else obj


def _instead(schema: Schema, value: Any) -> Any:
    """A value, or the default where it is null and may not be."""
    if value is None and not schema.get("nullable") and schema.get("default") is not None:
        return copy.deepcopy(schema["default"])
    return value
