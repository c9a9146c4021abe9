"""Types with declared fields, and how every type of the schema merges (see `mergetype`)."""

from functools import cache
from typing import Any, NamedTuple

from localkube.apiserver import fieldset
from localkube.apiserver.fieldset import FieldSet
from localkube.apiserver.mergetype import MISSING, Container, KeyedList, Map, MergeType, ValueSet, note
from localkube.apiserver.schema import Field, fields


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
    """A type with declared fields. They are compiled at first use, so that types may contain themselves."""

    def __init__(self, type_name: str) -> None:
        self._type_name = type_name
        self._compiled: dict[str, _Entry] = {}
        self._always: dict[str, _Entry] = {}

    @property
    def _fields(self) -> dict[str, _Entry]:
        if not self._compiled:
            self._compiled = {name: _entry(name, f) for name, f in fields(self._type_name).items()}
            self._always = {name: entry for name, entry in self._compiled.items() if entry.always}
        return self._compiled

    def _added(self, value: Any) -> FieldSet:
        result: FieldSet = {}
        table = self._fields
        for name, item in value.items():
            entry = table.get(name)
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
            entry = table.get(name)
            if entry is not None:
                if before is MISSING and entry.always:
                    before = entry.zero
                note(entry.step, entry.type.diff(before, item), changed, removed)
        for name, item in old.items():
            if name not in new:
                entry = table.get(name)
                if entry is not None:
                    now = entry.zero if entry.always else MISSING
                    note(entry.step, entry.type.diff(item, now), changed, removed)
        return changed, removed

    def diff_objects(self, old: dict[str, Any], new: dict[str, Any]) -> tuple[FieldSet, FieldSet]:
        """The sets of the fields that were added or modified, and of those that were removed."""
        return self._diff(old, new)

    def owned(self, value: Any) -> FieldSet:
        result: FieldSet = {}
        table = self._fields
        for name, item in (value or {}).items():
            entry = table.get(name)
            if entry is None:
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
            known = name in live and name in table
            result[name] = table[name].type.merge(live[name], item) if known else item
        return result

    def without(self, value: Any, items: FieldSet) -> Any:
        result = {}
        for name, item in (value or {}).items():
            node = items.get(f"f:{name}")
            if node is None:
                result[name] = item
            elif not fieldset.has(node):
                result[name] = self._fields[name].type.without(item, node)
        return result or None

    def named(self, items: FieldSet) -> FieldSet:
        result: FieldSet = {}
        table = self._fields
        for step, node in items.items():
            entry = table.get(step[2:])
            result[step] = {".": {}, **entry.type.named(node)} if node and entry is not None else node
        return result


def _entry(name: str, f: Field) -> _Entry:
    always = f.default in ("", 0, {}) or (f.required and f.kind in ("list", "map"))
    return _Entry(f"f:{name}", of_field(f), always, f.default)


def of_field(f: Field) -> MergeType:
    """The type of a field, or of the element of a list or a map."""
    if f.atomic:
        return MergeType()
    if f.kind == "struct":
        return of_type(f.type_name)
    assert f.item is not None, "only structs, lists and maps are not atomic"
    if f.kind == "map":
        return Map(of_field(f.item))
    if f.list_type == "set":
        return ValueSet(of_field(f.item))
    known = fields(f.item.type_name)
    return KeyedList(of_field(f.item), {key: known[key].default for key in f.list_map_keys})


@cache
def of_type(type_name: str) -> Struct:
    """A type of the schema, `io.k8s.api.core.v1.PodSpec`."""
    return Struct(type_name)
