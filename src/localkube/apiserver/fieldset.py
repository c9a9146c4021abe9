"""Sets of fields, in the form in which `metadata.managedFields` carries them (FieldsV1).

A set is a tree of dicts: `f:<name>` is a member of an object, `k:<json>` the element of a list with these
keys, `v:<json>` the element of a set with this value. A path is in the set when its node is empty, or has
`.` beside the paths below it. Being in the set says nothing about the paths below or above. So the wire
form needs no decoding, and as no function changes its arguments, results share what they take over.
"""

import json
from collections.abc import Iterator
from typing import Any

import msgspec

FieldSet = dict[str, Any]

_SELF = "."


def has(node: FieldSet) -> bool:
    """Whether the path of a node found in a set is in the set itself."""
    return not node or _SELF in node


def union(a: FieldSet, b: FieldSet) -> FieldSet:
    """What is in either."""
    if not b:
        return a
    if not a:
        return b
    result = dict(a)
    for name, node in b.items():
        mine = result.get(name)
        if mine is None:
            result[name] = node
        elif mine or node:
            result[name] = _node(has(mine) or has(node), _below(union(mine, node)))
    return result


def intersection(a: FieldSet, b: FieldSet) -> FieldSet:
    """What is in both."""
    result: FieldSet = {}
    for name, node in a.items():
        other = b.get(name)
        if other is None or name == _SELF:
            continue
        member = has(node) and has(other)
        below = intersection(node, other)
        if member or below:
            result[name] = _node(member, below)
    return result


def difference(a: FieldSet, b: FieldSet) -> FieldSet:
    """What is in `a` and not in `b`: the paths below a path stay, whatever becomes of the path."""
    if not b:
        return a
    result: FieldSet = {}
    for name, node in a.items():
        other = b.get(name)
        if other is None:
            result[name] = node
        elif name != _SELF:
            member = has(node) and not has(other)
            below = _below(difference(node, other))
            if member or below:
                result[name] = _node(member, below)
    return result


def without_below(a: FieldSet, b: FieldSet) -> FieldSet:
    """What is in `a` and neither in `b` nor below a path that is in `b`."""
    result: FieldSet = {}
    for name, node in a.items():
        other = b.get(name)
        if other is None:
            result[name] = node
        elif not has(other):
            below = without_below(_below(node), other)
            if has(node) or below:
                result[name] = _node(has(node), below)
    return result


def _below(node: FieldSet) -> FieldSet:
    return {k: v for k, v in node.items() if k != _SELF} if _SELF in node else node


def _node(member: bool, below: FieldSet) -> FieldSet:
    return {_SELF: {}, **below} if member and below else below


def paths(fields: FieldSet) -> Iterator[str]:
    """Every path of the set as the API prints it, those of one level before those below them:
    `.metadata.labels`, `.spec.containers[name="c"].image`, `.metadata.finalizers[="x"]`."""
    yield from _paths(fields, "")


def _paths(fields: FieldSet, prefix: str) -> Iterator[str]:
    names = sorted(n for n in fields if n != _SELF)
    for name in names:
        if has(fields[name]):
            yield prefix + element(name)
    for name in names:
        yield from _paths(fields[name], prefix + element(name))


def element(name: str) -> str:
    """One step of a path as the API prints it."""
    kind, _, rest = name.partition(":")
    match kind:
        case "f":
            return f".{rest}"
        case "k":
            keys = json.loads(rest)
            return (
                f"[{','.join(f'{k}={json.dumps(v, ensure_ascii=False)}' for k, v in sorted(keys.items()))}]"
            )
        case "v":
            return f"[={rest}]"
        case _:
            return f"[{rest}]"


def canonical(fields: FieldSet) -> FieldSet:
    """The set with every level in the order that the API writes: the path itself first, then by name."""
    result = {}
    for name in sorted(fields):
        node = fields[name]
        result[name] = canonical(node) if node else node
    return result


_encode = msgspec.json.Encoder(order="sorted").encode


def name_of_keys(keys: dict[str, Any]) -> str:
    """The step to a list's element that has these keys."""
    return f"k:{_encode(keys).decode()}"


def name_of_value(value: Any) -> str:
    """The step to a set's element."""
    return f"v:{_encode(value).decode()}"


def valid(fields: Any) -> bool:
    """Whether a value a client sent is a field set."""
    if not isinstance(fields, dict):
        return False
    for name, node in fields.items():
        if name == _SELF:
            if node != {}:
                return False
        elif not _valid_name(name) or not valid(node):
            return False
    return True


def _valid_name(name: str) -> bool:
    kind, colon, rest = name.partition(":")
    if not colon or kind not in ("f", "k", "v", "i"):
        return False
    if kind == "f":
        return True
    try:
        value = json.loads(rest)
    except ValueError:
        return False
    return isinstance(value, dict if kind == "k" else int if kind == "i" else object)
