"""Who owns which field: `metadata.managedFields` of every write, and server-side apply.

Every write that is no apply belongs to an Update entry of its manager: what it adds or changes is taken
from all others and given to that entry, what it removes is nobody's any more. An apply owns what it says,
whoever else owns it too; a field that it does not say any more and that nobody else owns goes away. All of
it happens before the object's strategy: what the server itself fills in is owned by nobody.
"""

from typing import Any, NamedTuple

from localkube.apiserver import fieldset, schema, typecheck
from localkube.apiserver.fieldset import FieldSet
from localkube.apiserver.goformat import quoted
from localkube.apiserver.mergestruct import Struct, of_resource
from localkube.apiserver.resources import Resource
from localkube.apiserver.scalars import json_type
from localkube.apiserver.status import StatusError, apply_conflict, bad_request, unclassified

Object = dict[str, Any]

# `DefaultMaxUpdateManagers`: above it the oldest Update entries become one of this name.
MAX_UPDATERS = 10
_OLD_UPDATES = "ancient-changes"
# Owns what was there when an object that nobody tracked is applied to.
_BEFORE_APPLY = "before-first-apply"


class Manager(NamedTuple):
    """What tells one entry from another. An applier keeps its entry when it moves to another version."""

    name: str
    operation: str
    api_version: str
    subresource: str

    def __str__(self) -> str:
        """As conflicts name it."""
        text = quoted(self.name)
        if self.subresource:
            text += f" with subresource {quoted(self.subresource)}"
        return f"{text} using {self.api_version}" if self.operation == "Update" else text


class Entry(NamedTuple):
    """What a manager owns, and since when (RFC 3339, `""` when it never changed the object)."""

    fields: FieldSet
    api_version: str
    time: str


Entries = dict[Manager, Entry]


# What nobody owns, because the server alone says it or because it is the name of the object.
_UNTRACKED: FieldSet = {
    "f:apiVersion": {},
    "f:kind": {},
    "f:metadata": {
        ".": {},
        "f:creationTimestamp": {},
        "f:generation": {},
        "f:managedFields": {},
        "f:name": {},
        "f:namespace": {},
        "f:resourceVersion": {},
        "f:selfLink": {},
        "f:uid": {},
    },
}


def _ignored(resource: Resource, subresource: str) -> FieldSet:
    """What a write through this endpoint cannot change, so whoever writes it does not come to own it."""
    if subresource == "" and "status" in resource.subresources:
        return {"f:status": {}}
    if subresource == "status" and resource.key == "pods":
        return {"f:spec": {}, "f:metadata": {"f:deletionTimestamp": {}, "f:ownerReferences": {}}}
    return {"f:spec": {}} if subresource == "status" else {}


def update(
    resource: Resource, old: Object | None, new: Object, *, manager: str, now: str, subresource: str = ""
) -> Object:
    """`new`, as a create, an update or a patch made it of `old`, with the owners of its fields.

    `old` is None for a create. Call it with the decoded and defaulted object, before its strategy; `now` is
    RFC 3339 in seconds. `metadata.managedFields` of `new` is taken where it is valid (`[]` or `[{}]` makes
    the object one that nobody tracks), else that of `old`.
    """
    sent = new["metadata"].get("managedFields")
    held = old["metadata"].get("managedFields") if old is not None else None
    entries = _entries(held) if subresource or not sent or sent == held else _valid_entries(sent)
    if not entries and sent and not _is_reset(sent):
        entries = _entries(held)
    if old is not None and (not entries or (not subresource and _is_reset(sent))):
        return _with_managed(new, None)
    changed, removed = _diff(of_resource(resource), old or {}, new, _ignored(resource, subresource))
    if not changed and not removed and sent == held:
        return new
    entries = _less(entries, changed, removed)
    mine = fieldset.difference(changed, _UNTRACKED)
    if mine:
        who = Manager(manager or "unknown", "Update", resource.api_version, subresource)
        if who in entries:
            mine = fieldset.union(mine, entries[who].fields)
        entries[who] = Entry(fieldset.canonical(mine), resource.api_version, now)
        entries = _capped(entries)
    return _with_managed(new, entries)


def apply(
    resource: Resource,
    live: Object | None,
    config: Any,
    *,
    manager: str,
    now: str,
    force: bool = False,
    subresource: str = "",
) -> Object:
    """Server-side apply: what `live` becomes (None: what is created), with the owners of its fields.

    The result is not decoded yet: it may hold nulls and quantities as the manager wrote them. It is `live`
    itself when nothing changes. Raises `StatusError` 400 for a configuration of another kind or one with
    managedFields, 409 for fields that others own with other values (unless `force`), and 500 without a
    reason for one that does not fit the schema, as the real server does.
    """
    _check(resource, config)
    if resource.custom is not None and not typed(resource, live):
        raise unclassified("failed to create typed live object: it is no longer what its schema says")
    merge_type = of_resource(resource)
    ignored = _ignored(resource, subresource)
    entries = _entries(live["metadata"].get("managedFields")) if live is not None else {}
    before = dict(entries)
    if live is not None and not entries:
        there = fieldset.difference(_diff(merge_type, {}, live, ignored)[0], _UNTRACKED)
        if there:
            who = Manager(_BEFORE_APPLY, "Update", resource.api_version, "")
            entries[who] = Entry(fieldset.canonical(there), resource.api_version, now)
    me = Manager(manager, "Apply", "", subresource)
    last = entries.pop(me, None)
    mine = fieldset.without_below(merge_type.owned(config), ignored)
    merged = merge_type.merge(live or {}, config)
    if last is not None:
        owned = mine
        for entry in entries.values():
            owned = fieldset.union(owned, entry.fields)
        merged = _prune(merge_type, merged, last.fields, owned)
    changed, removed = _diff(merge_type, live or {}, merged, ignored)
    if not force:
        _refuse_conflicts(entries, changed)
    entries = _less(entries, changed, removed)
    mine = fieldset.difference(mine, _UNTRACKED)
    if mine:
        time = now if merged != live else last.time if last is not None else ""
        entries[me] = Entry(fieldset.canonical(mine), resource.api_version, time)
    if live is not None and merged == live and entries == before:
        return live
    return _with_managed(merged, entries)


def typed(resource: Resource, obj: Object | None) -> bool:
    """Whether an object has the types of its schema: a custom one is looked at before it is validated."""
    return obj is None or next(typecheck.faults(schema.field_of(resource), obj), None) is None


def restore_times(new: Object, old: Object) -> Object:
    """`new` with the times of `old` where nothing else differs, so that writing the same again is no change.

    For an applied object once it is decoded: `1000m` may have turned out to be the `1` that was there.
    """
    ours, theirs = new["metadata"].get("managedFields"), old["metadata"].get("managedFields")
    if not ours or not theirs or ours == theirs or _untimed(ours) != _untimed(theirs):
        return new
    restored = _with_managed_list(new, theirs)
    return restored if restored == old else new


def _check(resource: Resource, config: Any) -> None:
    """Refuse a configuration that cannot be applied to the resource at all."""
    if not isinstance(config, dict):
        raise bad_request(
            f"error decoding YAML: json: cannot unmarshal {json_type(config)} "
            "into Go value of type map[string]interface {}"
        )
    metadata = config["metadata"] if isinstance(config.get("metadata"), dict) else {}
    group, _, version = str(config.get("apiVersion") or "").rpartition("/")
    kind = config.get("kind") or ""
    shown = f"{group}/{version}, Kind={kind}"
    if (group, version, kind) != (resource.group, resource.version, resource.kind):
        raise bad_request(f"invalid object type: {shown}")
    if isinstance(metadata.get("managedFields"), list):
        raise bad_request("metadata.managedFields must be nil")
    found = list(typecheck.faults(schema.field_of(resource), config))
    if found:
        name = f"{metadata.get('namespace') or ''}/{metadata.get('name') or ''}"
        raise unclassified(
            f"failed to create typed patch object ({name}; {shown}): {typecheck.message(found)}"
        )


def _prune(merge_type: Struct, merged: Object, last: FieldSet, owned: FieldSet) -> Object:
    """`merged` without what the manager said last time (`last`) and nobody owns any more (`owned`).

    What stands inside something that goes, but was never in `last`, is kept, and so is what holds it.
    """
    named = merge_type.named
    last, owned = named(last), named(owned)
    everything = named(merge_type.owned(merged))
    rest = named(merge_type.owned(merge_type.without(merged, last)))
    unowned = fieldset.difference(everything, fieldset.union(rest, owned))
    rest = named(merge_type.owned(merge_type.without(merged, unowned)))
    gone = fieldset.intersection(fieldset.difference(everything, rest), last)
    return dict(merge_type.without(merged, gone) or {})


def _diff(merge_type: Struct, old: Object, new: Object, ignored: FieldSet) -> tuple[FieldSet, FieldSet]:
    """What was added or modified, and what was removed, of what this endpoint can change."""
    changed, removed = merge_type.diff(old, new)
    return (
        fieldset.without_below(changed or {}, ignored),
        fieldset.without_below(removed or {}, ignored),
    )


def _less(entries: Entries, changed: FieldSet, removed: FieldSet) -> Entries:
    """The entries without what somebody else just changed, and without what is no more."""
    result = {}
    for who, entry in entries.items():
        fields = fieldset.difference(fieldset.difference(entry.fields, changed), removed)
        if fields:
            result[who] = entry._replace(fields=fields)
    return result


def _refuse_conflicts(entries: Entries, changed: FieldSet) -> None:
    conflicts: dict[Manager, list[str]] = {}
    for who in sorted(entries):
        fields = fieldset.intersection(entries[who].fields, changed)
        if fields:
            conflicts[who] = list(fieldset.paths(fields))
    if conflicts:
        raise _conflict(conflicts)


def _conflict(conflicts: dict[Manager, list[str]]) -> StatusError:
    pairs = [(who, path) for who, paths in conflicts.items() for path in paths]
    causes = [
        {"reason": "FieldManagerConflict", "message": f"conflict with {who}", "field": path}
        for who, path in pairs
    ]
    if len(pairs) == 1:
        [(who, path)] = pairs
        return apply_conflict(f"Apply failed with 1 conflict: conflict with {who}: {path}", causes)
    lines = []
    for who, paths in conflicts.items():
        lines += [f"conflicts with {who}:", *(f"- {path}" for path in paths)]
    return apply_conflict(f"Apply failed with {len(pairs)} conflicts: " + "\n".join(lines), causes)


def _capped(entries: Entries) -> Entries:
    """At most MAX_UPDATERS Update entries, the oldest of each version merged into one."""
    updaters = sorted((w for w in entries if w.operation == "Update"), key=lambda w: (entries[w].time, w))
    excess = len(updaters) - MAX_UPDATERS
    if excess <= 0:
        return entries
    result = dict(entries)
    first: dict[str, Manager] = {}
    for who in updaters:
        if excess <= 0:
            break
        version = who.api_version
        bucket = Manager(_OLD_UPDATES, "Update", version, "")
        if version not in first:
            first[version] = who
            continue
        if bucket not in result:
            result[bucket] = result.pop(first[version])
        entry = result.pop(who)
        fields = fieldset.canonical(fieldset.union(entry.fields, result[bucket].fields))
        # The more recent time of the two.
        result[bucket] = Entry(fields, version, entry.time)
        excess -= 1
    return result


def _is_reset(managed: Any) -> bool:
    return managed in ([], [{}])


def _valid_entries(managed: list[Any]) -> Entries:
    """The entries of a list that a client sent; none when one of them is malformed."""
    for entry in managed:
        if (
            entry.get("operation") not in ("Apply", "Update")
            or not entry.get("apiVersion")
            or entry.get("fieldsType") != "FieldsV1"
            or not fieldset.valid(entry.get("fieldsV1", {}))
        ):
            return {}
    return _entries(managed)


def _entries(managed: list[Any] | None) -> Entries:
    result: Entries = {}
    for entry in managed or ():
        operation, version = entry["operation"], entry["apiVersion"]
        who = Manager(
            entry.get("manager", ""),
            operation,
            version if operation == "Update" else "",
            entry.get("subresource", ""),
        )
        result[who] = Entry(entry.get("fieldsV1", {}), version, entry.get("time") or "")
    return result


def _encoded(entries: Entries) -> list[Object]:
    """In the API's order: by operation, time, manager, version and subresource."""
    order = sorted(
        entries.items(), key=lambda i: (i[0].operation, i[1].time, i[0].name, i[1].api_version, i[0][3])
    )
    result = []
    for who, entry in order:
        encoded: Object = {"manager": who.name, "operation": who.operation, "apiVersion": entry.api_version}
        if entry.time:
            encoded["time"] = entry.time
        encoded["fieldsType"] = "FieldsV1"
        encoded["fieldsV1"] = entry.fields
        if who.subresource:
            encoded["subresource"] = who.subresource
        result.append(encoded)
    return result


def _untimed(managed: list[Object]) -> list[Object]:
    return [{k: v for k, v in entry.items() if k != "time"} for entry in managed]


def _with_managed(obj: Object, entries: Entries | None) -> Object:
    return _with_managed_list(obj, _encoded(entries) if entries else None)


def _with_managed_list(obj: Object, managed: list[Object] | None) -> Object:
    metadata = {k: v for k, v in obj.get("metadata", {}).items() if k != "managedFields"}
    if managed:
        metadata["managedFields"] = managed
    return {**obj, "metadata": metadata}
