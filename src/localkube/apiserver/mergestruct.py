"""Types with declared fields, and how every type of the schema merges (see `mergetype`)."""

from collections.abc import Mapping
from functools import cache
from typing import Any, NamedTuple

from localkube.apiserver import fieldset
from localkube.apiserver.fieldset import FieldSet
from localkube.apiserver.mergetype import (
    MISSING,
    Container,
    Diff,
    KeyedList,
    Map,
    MergeType,
    ValueSet,
    note,
    with_self,
)
from localkube.apiserver.resources import Resource
from localkube.apiserver.schema import Field


class _Entry(NamedTuple):
    """A field; `step` is its name in a field set.

    Go's structs have fields that are never missing (those without `omitempty`), so who sets something in
    them does not come to own the field itself: `always`, and `zero` is what they are when nobody gave them.
    """

    step: str
    type: MergeType
    always: bool
    zero: Any


class Struct(Container):
    """A type with declared fields. They are compiled at first use, so that types may contain themselves.

    Fields that are not declared are no fields, unless the type keeps them (custom resources): those are
    owned as the keys of a map are.
    """

    def __init__(self, of: Field) -> None:
        self._of = of
        self._rest = Deduced() if of.item is not None else None
        self._compiled: dict[str, _Entry] = {}
        self._always: dict[str, _Entry] = {}

    @property
    def _fields(self) -> Mapping[str, _Entry]:
        if not self._compiled:
            self._compiled = {name: _entry(name, f) for name, f in self._of.known.items()}
            self._always = {name: entry for name, entry in self._compiled.items() if entry.always}
        return self._compiled

    def _undeclared(self, name: str) -> _Entry | None:
        return _Entry(f"f:{name}", self._rest, False, None) if self._rest is not None else None

    def _added(self, value: Any) -> FieldSet:
        result: FieldSet = {}
        table = self._fields
        for name, item in value.items():
            entry = table.get(name) or self._undeclared(name)
            if entry is not None:
                result[entry.step] = entry.type.added(item)
        for name, entry in self._always.items():
            if name not in value:
                result[entry.step] = entry.type.added(entry.zero)
        return result

    def _diff(self, old: Any, new: Any) -> tuple[FieldSet, FieldSet]:
        old, new = old or {}, new or {}
        changed: FieldSet = {}
        removed: FieldSet = {}
        table = self._fields
        for name, item in new.items():
            before = old.get(name, MISSING)
            if before == item:
                continue
            entry = table.get(name) or self._undeclared(name)
            if entry is not None:
                if before is MISSING and entry.always:
                    before = entry.zero
                note(entry.step, entry.type.diff(before, item), changed, removed)
        for name, item in old.items():
            if name not in new:
                entry = table.get(name) or self._undeclared(name)
                if entry is not None:
                    now = entry.zero if entry.always else MISSING
                    note(entry.step, entry.type.diff(item, now), changed, removed)
        return changed, removed

    def owned(self, value: Any) -> FieldSet:
        result: FieldSet = {}
        table = self._fields
        for name, item in (value or {}).items():
            entry = table.get(name)
            if entry is None:
                if self._rest is not None:
                    result[f"f:{name}"] = with_self(self._rest.owned(item))
                continue
            node = entry.type.owned(item)
            if node is None or item is None or item == {}:
                result[entry.step] = {}
            elif node:
                result[entry.step] = node
        return result

    def _merge(self, live: Any, config: Any) -> Any:
        result = dict(live)
        table = self._fields
        for name, item in config.items():
            entry = table.get(name) or self._undeclared(name)
            known = name in live and entry is not None
            result[name] = entry.type.merge(live[name], item) if known and entry is not None else item
        return result

    def without(self, value: Any, items: FieldSet) -> Any:
        result = {}
        for name, item in (value or {}).items():
            node = items.get(f"f:{name}")
            if node is None:
                result[name] = item
            elif not fieldset.has(node):
                entry = self._fields.get(name) or self._undeclared(name)
                result[name] = entry.type.without(item, node) if entry is not None else item
        return result or None

    def named(self, items: FieldSet) -> FieldSet:
        result: FieldSet = {}
        table = self._fields
        for step, node in items.items():
            entry = table.get(step[2:])
            if entry is not None:
                result[step] = {".": {}, **entry.type.named(node)} if node else node
            else:
                result[step] = self._rest.named(node) if node and self._rest is not None else node
        return result


class Deduced(MergeType):
    """A value without a type of its own: an object is owned by its fields, everything else as a whole."""

    def __init__(self) -> None:
        self._map = Map(self)

    def added(self, value: Any) -> FieldSet:
        return self._map.added(value) if isinstance(value, dict) else {}

    def diff(self, old: Any, new: Any) -> Diff:
        if all(value is MISSING or isinstance(value, dict) for value in (old, new)):
            return self._map.diff(old, new)
        return super().diff(old, new)

    def owned(self, value: Any) -> FieldSet | None:
        return self._map.owned(value) if isinstance(value, dict) else None

    def merge(self, live: Any, config: Any) -> Any:
        if isinstance(live, dict) and isinstance(config, dict):
            return self._map.merge(live, config)
        return config

    def without(self, value: Any, items: FieldSet) -> Any:
        return self._map.without(value, items) if isinstance(value, dict) else value

    def named(self, items: FieldSet) -> FieldSet:
        return self._map.named(items)


def _entry(name: str, f: Field) -> _Entry:
    always = f.default in ("", 0, {}) or (f.required and f.kind in ("list", "map"))
    return _Entry(f"f:{name}", of_field(f), always, f.default)


def of_field(f: Field) -> MergeType:
    """The type of a field, or of the element of a list or a map."""
    if f.atomic:
        return MergeType()
    if f.kind == "deduced":
        return Deduced()
    if f.kind == "struct":
        return Struct(f) if f.members is not None else of_type(f.type_name)
    assert f.item is not None, "only structs, lists and maps are not atomic"
    if f.kind == "map":
        return Map(of_field(f.item))
    if f.list_type == "set":
        return ValueSet(of_field(f.item))
    known = f.item.known
    return KeyedList(of_field(f.item), {key: known[key].default for key in f.list_map_keys})


@cache
def of_type(type_name: str) -> Struct:
    """A type of the schema, `io.k8s.api.core.v1.PodSpec`."""
    return Struct(Field("struct", "", type_name))


def of_resource(resource: Resource) -> Struct:
    """The type of a resource's objects."""
    return resource.custom.merge_type if resource.custom is not None else of_type(resource.schema)
