"""JSON patch (RFC 6902), with the API server's own reading of it.

It keeps to the library that the real server uses where that strays from the RFC: indices may be negative
and are counted from the end, only `replace` and `test` take the whole document as their target, and `test`
finds a missing member equal to null. Nothing is changed in place: the containers along a path are copied.
"""

import re
from collections.abc import Callable
from typing import Any

from localkube.apiserver.scalars import json_type
from localkube.apiserver.status import bad_request, too_large, unprocessable

# `maxJSONPatchOperations` of the API server.
MAX_OPERATIONS = 10_000

_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")
_MISSING = object()
_Edit = Callable[[Any, str], Any]


class _Refused(Exception):
    """The patch does not fit the document."""


def apply(doc: dict[str, Any], patch: Any) -> Any:
    """The patched document (an object, unless the patch replaced it); shares with `doc` what is unchanged.

    Raises `StatusError` 400 for what is no list of operations, 413 for too many of them, 422 when an
    operation cannot be carried out, with the words of the API server, which do not say which one.
    """
    if not isinstance(patch, list):
        raise bad_request(
            f"error decoding patch: json: cannot unmarshal {json_type(patch)} "
            "into Go value of type []interface {}"
        )
    for operation in patch:
        if not isinstance(operation, dict):
            raise bad_request(
                f"json: cannot unmarshal {json_type(operation)} into Go value of type jsonpatch.Operation"
            )
    if len(patch) > MAX_OPERATIONS:
        raise too_large(
            f"The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {len(patch)}"
        )
    result: Any = doc
    try:
        for operation in patch:
            result = _apply(result, operation)
    except _Refused:
        raise unprocessable() from None
    return result


def _apply(doc: Any, operation: dict[str, Any]) -> Any:
    op = operation.get("op")
    path = _pointer(operation, "path")
    value = operation.get("value")
    match op:
        case "add":
            return _edit(doc, path, _adding(value))
        case "remove":
            return _edit(doc, path, _without)
        case "replace":
            if not path:
                if not isinstance(value, dict | list):
                    raise _Refused
                return value
            return _edit(doc, path, _replacing(value))
        case "test":
            found = doc if not path else _get(doc, path)
            if not same(None if found is _MISSING else found, value):
                raise _Refused
            return doc
        case "move" | "copy":
            source = _pointer(operation, "from")
            moved = _get(doc, source) if source else _MISSING
            if moved is _MISSING:
                raise _Refused
            if op == "move":
                doc = _edit(doc, source, _without)
            return _edit(doc, path, _adding(moved))
    raise _Refused


def same(a: Any, b: Any) -> bool:
    """Whether two JSON values are equal, with 1, 1.0 and true kept apart."""
    if a.__class__ is not b.__class__:
        return False
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(v, b[k]) for k, v in a.items())
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


def _pointer(operation: dict[str, Any], name: str) -> list[str]:
    """A JSON pointer's parts, unescaped; `[]` is the whole document."""
    pointer = operation.get(name)
    if not isinstance(pointer, str):
        raise _Refused
    if not pointer:
        return []
    _, slash, rest = pointer.partition("/")
    if not slash:
        raise _Refused
    return [part.replace("~1", "/").replace("~0", "~") for part in rest.split("/")]


def _index(part: str, end: int) -> int:
    """A list index in `[0, end)`; a negative one counts from `end`."""
    if not _INTEGER.fullmatch(part):
        raise _Refused
    index = int(part)
    if not -end <= index < end:
        raise _Refused
    return index % end


def _child(node: Any, part: str) -> Any:
    if isinstance(node, dict):
        return node.get(part, _MISSING)
    if isinstance(node, list):
        return node[_index(part, len(node))]
    raise _Refused


def _get(doc: Any, path: list[str]) -> Any:
    """The value at a path; `_MISSING` when only its last part is missing."""
    for part in path[:-1]:
        doc = _child(doc, part)
    return _child(doc, path[-1])


def _edit(node: Any, path: list[str], change: _Edit) -> Any:
    """A copy of `node` in which `change` was made to the container that the path ends in."""
    if not path:
        raise _Refused
    if not isinstance(node, dict | list):
        raise _Refused
    copy = node.copy()
    part = path[0]
    if len(path) == 1:
        change(copy, part)
        return copy
    below = _edit(_child(node, part), path[1:], change)
    if isinstance(copy, dict):
        copy[part] = below
    else:
        copy[_index(part, len(copy))] = below
    return copy


def _adding(value: Any) -> _Edit:
    def add(node: Any, part: str) -> None:
        if isinstance(node, dict):
            node[part] = value
        elif part == "-":
            node.append(value)
        else:
            node.insert(_index(part, len(node) + 1), value)

    return add


def _replacing(value: Any) -> _Edit:
    def replace(node: Any, part: str) -> None:
        if _child(node, part) is _MISSING:
            raise _Refused
        if isinstance(node, dict):
            node[part] = value
        else:
            node[_index(part, len(node))] = value

    return replace


def _without(node: Any, part: str) -> None:
    if _child(node, part) is _MISSING:
        raise _Refused
    if isinstance(node, dict):
        del node[part]
    else:
        del node[_index(part, len(node))]
