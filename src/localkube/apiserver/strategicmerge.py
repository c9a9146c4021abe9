"""Strategic merge patch: a merge patch that knows from the schema which lists merge, and by which key.

Directives in the patch steer it: `$patch` (replace, delete) in an object or an element,
`$deleteFromPrimitiveList/<field>`, `$setElementOrder/<field>` and `$retainKeys`. Where the real server lets
a directive stand as data (in a list that does not merge), so does this: decoding drops it as unknown.
"""

from collections.abc import Iterable
from typing import Any

from localkube.apiserver import goformat
from localkube.apiserver.jsonpatch import same
from localkube.apiserver.scalars import json_type
from localkube.apiserver.schema import Field, fields
from localkube.apiserver.status import StatusError, bad_request, unclassified, unprocessable

_PATCH = "$patch"
_RETAIN_KEYS = "$retainKeys"
_DELETE_FROM = "$deleteFromPrimitiveList"
_SET_ORDER = "$setElementOrder"


def apply(doc: dict[str, Any], patch: Any, type_name: str) -> dict[str, Any]:
    """The patched document, not decoded yet; shares with `doc` and `patch` what it takes over unchanged.

    `type_name` names the type of `doc` in the schema, `io.k8s.api.core.v1.Pod`. Raises `StatusError` 400
    for a malformed patch, 422 for lists of lists, and 500 without a reason where the real server lets a
    plain error through (an element without its merge key).
    """
    if patch is None:
        return doc
    if not isinstance(patch, dict):
        raise bad_request(
            f"json: cannot unmarshal {json_type(patch)} into Go value of type map[string]interface {{}}"
        )
    return _merge_map(doc, patch, Field("struct", "", type_name))


def _child(schema: Field | None, name: str) -> Field | None:
    """The schema of a member; None where the schema says nothing, so nothing in it merges by key."""
    if schema is None:
        return None
    if schema.kind == "struct":
        return fields(schema.type_name).get(name)
    return schema.item if schema.kind == "map" else None


def _strategy(schema: Field | None) -> str:
    """`merge`, `replace` or `""`; that keys may be retained says nothing about merging."""
    names = schema.patch_strategy.split(",") if schema is not None else []
    return next((n for n in names if n and n != "retainKeys"), "")


def _merge_map(original: dict[str, Any], patch: dict[str, Any], schema: Field | None) -> dict[str, Any]:
    if _PATCH in patch:
        return _directed(patch)
    result, rest = dict(original), dict(patch)
    _retain_keys(result, rest)
    for name in [n for n in rest if n.startswith(_SET_ORDER)]:
        _set_order(result, rest, name, schema)
    # What is deleted from a list of primitives goes first, so that the same patch may add it again.
    for name in sorted(rest, key=lambda n: not n.startswith(_DELETE_FROM)):
        value = rest[name]
        deleting = name.startswith(_DELETE_FROM)
        key = _target(name, "primitive list") if deleting else name
        if value is None:
            result.pop(key, None)
        elif key not in result or result[key].__class__ is not value.__class__:
            if not deleting:
                kept, keep = _without_directives(value)
                if keep:
                    result[key] = kept
                else:
                    result.pop(key, None)
        elif isinstance(value, dict):
            child = _child(schema, key)
            replaces = _strategy(child) == "replace"
            result[key] = value if replaces else _merge_map(result[key], value, child)
        elif isinstance(value, list):
            result[key] = _merge_field(result[key], value, _child(schema, key), deleting)
        else:
            result[key] = value
    return result


def _directed(patch: dict[str, Any]) -> dict[str, Any]:
    directive = patch[_PATCH]
    if directive == "replace":
        return {k: v for k, v in patch.items() if k != _PATCH}
    if directive == "delete":
        return {}
    raise _unknown_directive(patch)


def _unknown_directive(patch: dict[str, Any]) -> StatusError:
    shown = goformat.plain(patch)
    return unclassified(f"unknown patch type: {goformat.plain(patch[_PATCH])} in map: {shown}")


def _without_directives(value: Any) -> tuple[Any, bool]:
    """What a patch says of a field that is not there yet, and whether it says anything."""
    if isinstance(value, dict):
        if _PATCH in value:
            return None, False
        members = {k: _without_directives(v) for k, v in value.items() if v is not None}
        return {k: v for k, (v, keep) in members.items() if keep}, True
    if isinstance(value, list):
        return [v for v, keep in map(_without_directives, value) if keep], True
    return value, True


def _target(name: str, what: str) -> str:
    """The field that a directive such as `$setElementOrder/finalizers` is about."""
    prefix, slash, key = name.partition("/")
    if not slash or prefix not in (_DELETE_FROM, _SET_ORDER):
        raise bad_request(f"invalid patch format of {what}")
    return key


def _retain_keys(result: dict[str, Any], rest: dict[str, Any]) -> None:
    """Clear, in place, what `$retainKeys` does not name; it has to name all that the patch sets."""
    if _RETAIN_KEYS not in rest:
        return
    names = rest.pop(_RETAIN_KEYS)
    if not isinstance(names, list):
        raise bad_request("invalid patch format of retainKeys")
    for name, value in rest.items():
        if value is not None and not name.startswith((_DELETE_FROM, _SET_ORDER)) and name not in names:
            raise bad_request("invalid patch format of retainKeys")
    for name in [n for n in result if n not in names]:
        del result[name]


def _set_order(result: dict[str, Any], rest: dict[str, Any], name: str, schema: Field | None) -> None:
    """Merge, in place, a list and bring it into the order that `$setElementOrder/<field>` gives."""
    order = rest.pop(name)
    if not isinstance(order, list):
        raise _bad_type([], order)
    key = _target(name, "setElementOrder list")
    current, patch = result.get(key), rest.pop(key, None)
    for value in (current, patch):
        if value is not None and not isinstance(value, list):
            raise _bad_type([], value)
    child = _child(schema, key)
    merge_key = child.patch_merge_key if child is not None else ""
    _check_order(patch or [], order, merge_key)
    if current is None and patch is None:
        return
    if patch is None:
        merged = current or []
    elif current is None:
        merged = _without_directives(patch)[0]
    else:
        merged = _merge_field(current, patch, child, False)
    ours = [v for v in merged if _position(order, v, merge_key) >= 0]
    others = [v for v in merged if _position(order, v, merge_key) < 0]
    _element_type(current or [], patch or [])
    result[key] = _ordered(ours, others, order, current or [], merge_key)


def _check_order(patch: list[Any], order: list[Any], merge_key: str) -> None:
    """The patch's elements have to stand in `$setElementOrder`, in the same order (deletions aside)."""
    if not order or not patch:
        return
    wanted = iter(order)
    for item in patch:
        if isinstance(item, dict) and _PATCH in item:
            continue
        if not any(same(_key(item, merge_key), _key(o, merge_key)) for o in wanted):
            raise unclassified(
                f"The order in patch list:\n{goformat.plain(patch)}\n doesn't match {_SET_ORDER} list:\n"
                f"{goformat.plain(order)}\n"
            )


def _merge_field(original: list[Any], patch: list[Any], schema: Field | None, deleting: bool) -> list[Any]:
    """A list field by its strategy: merged, or replaced as it stands."""
    if _strategy(schema) != "merge" or schema is None:
        return patch
    if not original and not patch:
        return original
    if _element_type(original, patch) is not dict:
        if deleting:
            return [v for v in original if not _contains(patch, v)]
        both = original + patch
        merged = [v for i, v in enumerate(both) if not _contains(both[:i], v)]
        key = ""
    else:
        key = schema.patch_merge_key
        if not key:
            raise unclassified("cannot merge lists without merge key for type struct")
        original, patch = _obey_elements(original, patch, key)
        merged = _merge_elements(original, patch, key, schema.item)
    ours = [v for v in merged if _position(patch, v, key) >= 0]
    others = [v for v in merged if _position(patch, v, key) < 0]
    return _ordered(ours, others, patch, original, key)


def _obey_elements(original: list[Any], patch: list[Any], key: str) -> tuple[list[Any], list[Any]]:
    """Carry out the `$patch` elements; returns the list they leave and the patch without them."""
    rest = [v for v in patch if _PATCH not in v]
    replace = False
    for item in patch:
        if _PATCH not in item:
            continue
        match item[_PATCH]:
            case "delete":
                value = _key(item, key)
                original = [v for v in original if not same(v.get(key), value)]
            case "replace":
                replace = True
            case "merge":
                raise unclassified("merging lists cannot yet be specified in the patch")
            case _:
                raise _unknown_directive(item)
    return (rest, []) if replace else (original, rest)


def _merge_elements(
    original: list[dict[str, Any]], patch: list[dict[str, Any]], key: str, schema: Field | None
) -> list[dict[str, Any]]:
    result = list(original)
    for item in patch:
        value = _key(item, key)
        at = next((i for i, v in enumerate(result) if key in v and same(v[key], value)), None)
        if at is None:
            result.append(item)
        else:
            result[at] = _merge_map(result[at], item, schema)
    return result


def _key(item: Any, merge_key: str) -> Any:
    """What tells an element from others: itself, or its merge key."""
    if not merge_key:
        return item
    if not isinstance(item, dict):
        raise _bad_type({}, item)
    if merge_key not in item:
        shown = goformat.plain(item)
        raise unclassified(f"map: {shown} does not contain declared merge key: {merge_key}")
    return item[merge_key]


def _contains(items: Iterable[Any], value: Any) -> bool:
    return any(same(v, value) for v in items)


def _position(items: list[Any], item: Any, merge_key: str) -> int:
    value = _key(item, merge_key)
    return next((i for i, v in enumerate(items) if same(_key(v, merge_key), value)), -1)


def _ordered(ours: list[Any], others: list[Any], order: list[Any], live: list[Any], key: str) -> list[Any]:
    """The patch's elements in the patch's order, between them the others where they stood in the live list.

    Both orders hold; where they leave a choice, an element of the patch comes first unless the live list
    has it after the other one.
    """
    ours = sorted(ours, key=lambda v: _position(order, v, key))
    others = sorted(others, key=lambda v: _position(live, v, key))
    result: list[Any] = []
    for item in ours:
        place = _position(live, item, key)
        while others and -1 < _position(live, others[0], key) < place:
            result.append(others.pop(0))
        result.append(item)
    return result + others


def _element_type(*lists: list[Any]) -> type:
    """The one type that all elements have."""
    found: type | None = None
    for items in lists:
        for item in items:
            if isinstance(item, list):
                raise unprocessable()
            if found is not None and item.__class__ is not found:
                raise unclassified(f"list element types are not identical: {goformat.plain(items)}")
            found = item.__class__
    if found is None:
        raise unclassified("no elements in any of the given slices")
    return found


def _bad_type(expected: Any, actual: Any) -> StatusError:
    wanted, got = goformat.go_type(expected), goformat.go_type(actual)
    return unclassified(f"expected a {wanted}, but received a {got}")
