"""Whether an object is what its schema says: the checks of kube-openapi's validator, in its words.

On an update, what did not change is not checked again (`CRDValidationRatcheting`), so an object that a
stricter schema finds may still be changed elsewhere. CEL rules are not evaluated.
"""

import json
from typing import Any

from localkube.apiserver.crd import goregexp
from localkube.apiserver.crd.formats import FORMATS
from localkube.apiserver.crd.pruning import additional
from localkube.apiserver.status import FieldError
from localkube.apiserver.validation.causes import invalid, not_supported, required, too_long, too_many

Schema = dict[str, Any]

_ABSENT: Any = object()
_NOWHERE = "<nil>"
"""Where the real server says that the alternatives of a schema (anyOf, oneOf, allOf, not) fail."""
_RANGES = {"int32": 2**31, "int64": 2**63}


def check(schema: Schema, value: Any, path: str = "", old: Any = _ABSENT) -> list[FieldError]:
    """What is wrong with a value; `old` is what it was.

    Values that are not among those allowed come last; the real server's order within an object is random.
    """
    found = _check(schema, value, path, old)
    return sorted(found, key=lambda error: error.reason == "FieldValueNotSupported")


def type_of(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "integer"
    if isinstance(value, float):
        return "number"
    if isinstance(value, str):
        return "string"
    return "array" if isinstance(value, list) else "object"


def _wrong_type(path: str, wanted: str, found: Any) -> FieldError:
    detail = f"{path} in body must be of type {wanted}: {json.dumps(found, ensure_ascii=False)}"
    return FieldError("FieldValueTypeInvalid", path, invalid(path, found, detail).message)


def _bad(path: str, value: Any, words: str) -> FieldError:
    return invalid(path, value, f"{path} in body {words}")


def _alternatives(path: str, words: str) -> FieldError:
    return invalid(_NOWHERE, "", f'"{path}" {words}')


def _check(schema: Schema, value: Any, path: str, old: Any) -> list[FieldError]:
    if old is not _ABSENT and _equal(old, value):
        return []
    found = _type(schema, value, path)
    if value is None:
        return found if schema.get("nullable") and not found else found + _enum(schema, value, path)
    found += _combined(schema, value, path)
    if isinstance(value, str):
        found += _string(schema, value, path)
    elif isinstance(value, bool):
        pass
    elif isinstance(value, int | float):
        found += _number(schema, value, path)
    elif isinstance(value, list):
        found += _list(schema, value, path, old)
    found += _enum(schema, value, path)
    if isinstance(value, dict):
        found += _object(schema, value, path, old)
    return found


def _type(schema: Schema, value: Any, path: str) -> list[FieldError]:
    wanted = ["integer", "string"] if schema.get("x-kubernetes-int-or-string") else []
    wanted = wanted or ([schema["type"]] if schema.get("type") else [])
    if not wanted:
        return []
    found = type_of(value)
    if value is None:
        return [] if schema.get("nullable") else [_wrong_type(path, ",".join(wanted), "null")]
    if found in wanted or (found == "integer" and "number" in wanted):
        return []
    if found == "number" and "integer" in wanted and value.is_integer():
        return []
    form = _format(schema)
    if form and found not in ("string", "array"):
        # the real validator names the formats here, and a boolean or an object has none
        return [_wrong_type(path, form, {"integer": "int64", "number": "double"}.get(found, ""))]
    if form and not {"number", "integer"} & set(wanted) and found in ("string", "array"):
        return []
    return [_wrong_type(path, ",".join(wanted), found)]


def _format(schema: Schema) -> str:
    form: str = schema.get("format") or ""
    return form if form in FORMATS or form in ("int32", "int64", "float", "double") else ""


def _combined(schema: Schema, value: Any, path: str) -> list[FieldError]:
    found: list[FieldError] = []
    if alternatives := schema.get("anyOf"):
        failures = [_check(one, value, path, _ABSENT) for one in alternatives]
        if all(failures):
            found.append(_alternatives(path, "must validate at least one schema (anyOf)"))
            found += _fewest(failures)
    if alternatives := schema.get("oneOf"):
        failures = [_check(one, value, path, _ABSENT) for one in alternatives]
        valid = sum(1 for failure in failures if not failure)
        if valid != 1:
            how = f"Found {valid} valid alternatives" if valid else "Found none valid"
            found.append(_alternatives(path, f"must validate one and only one schema (oneOf). {how}"))
            found += _fewest(failures)
    if parts := schema.get("allOf"):
        failures = [_check(one, value, path, _ABSENT) for one in parts]
        found += [error for failure in failures for error in failure]
        if any(failures):
            found.append(_alternatives(path, "must validate all the schemas (allOf)"))
    if (other := schema.get("not")) is not None and not _check(other, value, path, _ABSENT):
        found.append(_alternatives(path, "must not validate the schema (not)"))
    return found


def _fewest(failures: list[list[FieldError]]) -> list[FieldError]:
    """What is wrong by the alternative that comes nearest."""
    return sorted(failures, key=lambda failure: len(failure))[0]


def _string(schema: Schema, value: str, path: str) -> list[FieldError]:
    found: list[FieldError] = []
    longest, shortest, regex = schema.get("maxLength"), schema.get("minLength"), schema.get("pattern")
    if longest is not None and len(value) > longest:
        found.append(too_long(path, longest))
    if shortest is not None and len(value) < shortest:
        found.append(_bad(path, value, f"should be at least {shortest} chars long"))
    compiled = goregexp.compile(regex) if regex else None
    if compiled is not None and not compiled.search(value):
        found.append(_bad(path, value, f"should match '{regex}'"))
    known = FORMATS.get(schema.get("format") or "")
    if known is not None and not known(value):
        found.append(_wrong_type(path, schema["format"], value))
    return found


def _number(schema: Schema, value: float, path: str) -> list[FieldError]:
    found: list[FieldError] = []
    form = schema.get("format")
    if form in _RANGES and not -_RANGES[form] <= value < _RANGES[form]:
        words = f"Checked value must be of type {type_of(value)} with format {form} in {path}"
        found.append(invalid(_NOWHERE, "", words))
    factor, most, least = schema.get("multipleOf"), schema.get("maximum"), schema.get("minimum")
    if factor and not (value / factor).is_integer():
        found.append(_bad(path, value, f"should be a multiple of {_plain(factor)}"))
    if most is not None:
        if schema.get("exclusiveMaximum") and value >= most:
            found.append(_bad(path, value, f"should be less than {_plain(most)}"))
        elif value > most:
            found.append(_bad(path, value, f"should be less than or equal to {_plain(most)}"))
    if least is not None:
        if schema.get("exclusiveMinimum") and value <= least:
            found.append(_bad(path, value, f"should be greater than {_plain(least)}"))
        elif value < least:
            found.append(_bad(path, value, f"should be greater than or equal to {_plain(least)}"))
    return found


def _plain(number: float) -> str:
    return str(int(number)) if float(number).is_integer() and abs(number) < 1e21 else f"{number:g}"


def _list(schema: Schema, value: list[Any], path: str, old: Any) -> list[FieldError]:
    found: list[FieldError] = []
    items = schema.get("items")
    if isinstance(items, dict):
        before = _correlated(schema, old)
        for index, item in enumerate(value):
            earlier = before.get(_keys(schema, item), _ABSENT) if before else _ABSENT
            found += _check(items, item, f"{path}[{index}]", earlier)
    least, most = schema.get("minItems"), schema.get("maxItems")
    if least is not None and len(value) < least:
        found.append(_bad(path, len(value), f"should have at least {least} items"))
    if most is not None and len(value) > most:
        found.append(too_many(path, len(value), most))
    return found


def _correlated(schema: Schema, old: Any) -> dict[str, Any]:
    """The elements of an old list by their keys: only those of a map can be told apart."""
    if schema.get("x-kubernetes-list-type") != "map" or not isinstance(old, list):
        return {}
    return {_keys(schema, item): item for item in old}


def _keys(schema: Schema, item: Any) -> str:
    names = schema.get("x-kubernetes-list-map-keys") or ()
    return json.dumps([item.get(name) for name in names] if isinstance(item, dict) else item)


def _enum(schema: Schema, value: Any, path: str) -> list[FieldError]:
    allowed = schema.get("enum")
    if not allowed or any(_equal(one, value) for one in allowed):
        return []
    return [not_supported(path, value, [v if isinstance(v, str) else json.dumps(v) for v in allowed])]


def _equal(one: Any, other: Any) -> bool:
    """Equal as JSON is: to Python true is 1, to JSON it is not."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_equal(item, other[name]) for name, item in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_equal, one, other))
    return isinstance(one, bool) is isinstance(other, bool) and bool(one == other)


def _object(schema: Schema, value: dict[str, Any], path: str, old: Any) -> list[FieldError]:
    found: list[FieldError] = []
    least, most = schema.get("minProperties"), schema.get("maxProperties")
    if least is not None and len(value) < least:
        found.append(_bad(path, len(value), f"should have at least {least} properties"))
    if most is not None and len(value) > most:
        found.append(too_many(path, len(value), most))
    properties: dict[str, Schema] = schema.get("properties") or {}
    rest = additional(schema)
    before = old if isinstance(old, dict) else {}
    for name, item in value.items():
        below = f"{path}.{name}" if path else name
        known = properties.get(name, rest)
        if known is not None:
            found += _check(known, item, below, before.get(name, _ABSENT))
        elif schema.get("additionalProperties") is False:
            found.append(invalid(below, "", f"{below} in body is a forbidden property"))
    for name in schema.get("required") or ():
        if name not in value:
            found.append(required(f"{path}.{name}" if path else name))
    return found
