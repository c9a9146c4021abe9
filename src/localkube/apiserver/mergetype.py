"""How values of a type are compared, merged and owned field by field: the typed half of server-side apply.

A leaf is owned as a whole (scalars, and everything atomic), a `Map` by its keys, a `KeyedList` by the keys of
its elements, a `ValueSet` by its elements; `mergestruct` adds what has declared fields. Sets of fields are
`fieldset` trees. No method changes its arguments; results share what they take over.

Null and missing are two things: null is a value that happens to be empty, what is missing was never given.
"""

from typing import Any, NamedTuple

from localkube.apiserver import fieldset
from localkube.apiserver.fieldset import FieldSet

MISSING: Any = object()


class Diff(NamedTuple):
    """The node of what was added or modified, and that of what was removed; None where nothing was."""

    changed: FieldSet | None
    removed: FieldSet | None


_SAME = Diff(None, None)
_CHANGED = Diff({}, None)
_REMOVED = Diff(None, {})


class MergeType:
    """A leaf: replaced, compared and owned as a whole."""

    def added(self, value: Any) -> FieldSet:
        """The node of a value that was not there before, with all that is below."""
        return {}

    def diff(self, old: Any, new: Any) -> Diff:
        """What changed from `old` to `new`, one of which may be MISSING."""
        if new is MISSING:
            return _REMOVED
        return _CHANGED if old is MISSING or old != new else _SAME

    def owned(self, value: Any) -> FieldSet | None:
        """What applying `value` owns below it; None when that is the value itself."""
        return None

    def merge(self, live: Any, config: Any) -> Any:
        """`live` with what `config` says."""
        return config

    def without(self, value: Any, items: FieldSet) -> Any:
        """`value` without the fields and elements in `items`; null when nothing is left."""
        return None

    def named(self, items: FieldSet) -> FieldSet:
        """`items` and every declared field that has something below it in `items`."""
        return items


class Container(MergeType):
    """What all have in common that are walked and not taken as a whole."""

    def added(self, value: Any) -> FieldSet:
        below = self._added(value) if value is not None else {}
        return {".": {}, **below} if below else {}

    def diff(self, old: Any, new: Any) -> Diff:
        old_value = None if old is MISSING else old
        new_value = None if new is MISSING else new
        if not old_value and not new_value:
            return super().diff(old, new)
        if old is MISSING:
            return Diff(self.added(new_value), None)
        if new is MISSING:
            return Diff(None, self.added(old_value))
        changed, removed = self._diff(old_value, new_value)
        return Diff(changed or None, removed or None)

    def merge(self, live: Any, config: Any) -> Any:
        if not live or not config:
            return live or config
        return self._merge(live, config)

    def _added(self, value: Any) -> FieldSet:
        raise NotImplementedError

    def _diff(self, old: Any, new: Any) -> tuple[FieldSet, FieldSet]:
        """The sets of what changed and what was removed; one of the two may be null or empty."""
        raise NotImplementedError

    def _merge(self, live: Any, config: Any) -> Any:
        raise NotImplementedError


def note(step: str, diff: Diff, changed: FieldSet, removed: FieldSet) -> None:
    """Enter what changed in one item, in place."""
    if diff.changed is not None:
        changed[step] = diff.changed
    if diff.removed is not None:
        removed[step] = diff.removed


def with_self(node: FieldSet | None) -> FieldSet:
    """The node of an item that is owned, with what is owned below it."""
    return {".": {}, **node} if node else {}


class Map(Container):
    """A map with free keys."""

    def __init__(self, item: MergeType) -> None:
        self._item = item

    def _added(self, value: Any) -> FieldSet:
        added = self._item.added
        return {f"f:{name}": added(item) for name, item in value.items()}

    def _diff(self, old: Any, new: Any) -> tuple[FieldSet, FieldSet]:
        old, new = old or {}, new or {}
        changed: FieldSet = {}
        removed: FieldSet = {}
        for name, now in new.items():
            before = old.get(name, MISSING)
            if before != now:
                note(f"f:{name}", self._item.diff(before, now), changed, removed)
        for name, before in old.items():
            if name not in new:
                removed[f"f:{name}"] = self._item.added(before)
        return changed, removed

    def owned(self, value: Any) -> FieldSet | None:
        return {f"f:{name}": with_self(self._item.owned(item)) for name, item in (value or {}).items()}

    def _merge(self, live: Any, config: Any) -> Any:
        result = dict(live)
        for name, item in config.items():
            result[name] = self._item.merge(live[name], item) if name in live else item
        return result

    def without(self, value: Any, items: FieldSet) -> Any:
        result = {}
        for name, item in (value or {}).items():
            node = items.get(f"f:{name}")
            if node is None:
                result[name] = item
            elif not fieldset.has(node):
                result[name] = self._item.without(item, node)
        return result or None

    def named(self, items: FieldSet) -> FieldSet:
        return {step: self._item.named(node) if node else node for step, node in items.items()}


class Elements(Container):
    """A list whose elements are told apart by something of their own, not by their place."""

    def __init__(self, item: MergeType) -> None:
        self._item = item

    def step(self, item: Any) -> str:
        """The element's name in a field set. Raises ValueError for what cannot be an element."""
        raise NotImplementedError

    def _items(self, value: Any) -> dict[str, list[Any]]:
        """The elements by name: of some names there may be several, such as environment variables.

        Their owners cannot be told apart, so what happens to one of them happens to all.
        """
        result: dict[str, list[Any]] = {}
        for item in value or ():
            result.setdefault(self.step(item), []).append(item)
        return result

    def _added_item(self, items: list[Any]) -> FieldSet:
        return self._item.added(items[0]) if len(items) == 1 else {}

    def _added(self, value: Any) -> FieldSet:
        return {step: self._added_item(items) for step, items in self._items(value).items()}

    def _diff(self, old: Any, new: Any) -> tuple[FieldSet, FieldSet]:
        before, now = self._items(old), self._items(new)
        changed: FieldSet = {}
        removed: FieldSet = {}
        for step, items in now.items():
            earlier = before.get(step)
            if earlier is None:
                changed[step] = self._added_item(items)
            elif len(earlier) == len(items) == 1:
                note(step, self._item.diff(earlier[0], items[0]), changed, removed)
            elif earlier != items:
                changed[step] = {}
        for step, items in before.items():
            if step not in now:
                removed[step] = self._added_item(items)
        return changed, removed

    def owned(self, value: Any) -> FieldSet | None:
        return {
            step: with_self(self._item.owned(items[0])) if len(items) == 1 else {}
            for step, items in self._items(value).items()
        }

    def _merge(self, live: Any, config: Any) -> Any:
        """The elements in the order of `config`, the others between them where `live` has them."""
        names = [self.step(item) for item in live]
        theirs = dict(zip(names, live, strict=True))
        ours = {self.step(item): item for item in config}
        order = list(ours)
        shared = iter([step for step in order if step in theirs])
        awaited = next(shared, None)
        result: list[Any] = []
        left = right = 0
        while left < len(names) or right < len(order):
            if left < len(names) and names[left] not in ours:
                result.append(live[left])
                left += 1
                continue
            if left < len(names) and (right == len(order) or names[left] not in (awaited, order[right])):
                # It stands where `config` has it, which is elsewhere.
                left += 1
                continue
            step = order[right]
            result.append(self._item.merge(theirs[step], ours[step]) if step in theirs else ours[step])
            left += left < len(names) and names[left] == step
            right += 1
            if step == awaited:
                awaited = next(shared, None)
        return result

    def without(self, value: Any, items: FieldSet) -> Any:
        result = []
        for item in value or ():
            node = items.get(self.step(item))
            if node is None:
                result.append(item)
            elif not fieldset.has(node):
                result.append(self._item.without(item, node))
        return result or None

    def named(self, items: FieldSet) -> FieldSet:
        return {step: self._item.named(node) if node else node for step, node in items.items()}


class KeyedList(Elements):
    """A list of objects that are told apart by some of their fields."""

    def __init__(self, item: MergeType, keys: dict[str, Any]) -> None:
        """`keys` are the fields, each with its default (None: it has to be given)."""
        super().__init__(item)
        self._keys = keys

    def step(self, item: Any) -> str:
        if item is None:
            raise ValueError("associative list with keys may not have a null element")
        if not isinstance(item, dict):
            raise ValueError("associative list with keys may not have non-map elements")
        keys = {}
        for key, default in self._keys.items():
            value = item.get(key, default)
            if value is None and key not in item:
                raise ValueError(
                    f'associative list with keys has an element that omits key field "{key}" '
                    "(and doesn't have default value)"
                )
            keys[key] = value
        return fieldset.name_of_keys(keys)


class ValueSet(Elements):
    """A list of scalars, each of which is there or not."""

    def step(self, item: Any) -> str:
        if isinstance(item, dict):
            raise ValueError("associative list without keys has an element that's a map type")
        if isinstance(item, list):
            raise ValueError("not supported: associative list with lists as elements")
        if item is None:
            raise ValueError("associative list without keys has an element that's an explicit null")
        return fieldset.name_of_value(item)
