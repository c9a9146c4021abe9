"""A copy of a set of objects, fed by lists, watch events and our own writes: what is newer wins.

Three sources tell of the same objects in no agreed order. What makes one picture of them:

- Versions of one kind in one cluster are comparable numbers (Kubernetes says so since 1.35; etcd made it so).
- `position` is how far the watch has told everything. An answer to our own write at or below it brings
nothing
  new, and may be of an object that has been deleted since: ignored. Above it, the watch will get there later.
- An event older than what we hold is ignored, a DELETED too: it is of an earlier object of that name.
- An object that the API server told us is gone has no version of its death. Its uid never comes back, so
  whatever is told of that uid is ignored; and of its name, whatever is not newer than the last that was seen
  of it: a watch that lags may still be busy with an earlier object of that name.

Pure: no clock, no I/O.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Generic, TypeVar

import msgspec

from hubfleet.kube.selectors import matcher

V = TypeVar("V")
W = TypeVar("W")

FORGOTTEN = 4096
"""Uids remembered as gone at most; the DELETED that ends one never comes where a list skipped it."""


class _Metadata(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    name: str
    resource_version: str
    namespace: str = ""
    uid: str = ""


class _Object(msgspec.Struct, frozen=True, gc=False):
    metadata: _Metadata


class _Labels(msgspec.Struct, frozen=True):
    labels: dict[str, str] | None = None


class _Labelled(msgspec.Struct, frozen=True):
    metadata: _Labels


class _Version(msgspec.Struct, frozen=True, rename="camel"):
    resource_version: str


class _Bookmark(msgspec.Struct, frozen=True):
    metadata: _Version


_bookmark = msgspec.json.Decoder(_Bookmark)
_object = msgspec.json.Decoder(_Object)
_labelled = msgspec.json.Decoder(_Labelled)
_UNSET: Any = object()


class Item(msgspec.Struct, Generic[V], eq=False, gc=False):
    """One object: its bytes as the API server sent them, and what is in them, decoded when first asked for.

    Ten thousand of them lie in memory, most of them never asked for: hence the bytes and the laziness.
    Nothing that they refer to refers to them, so the garbage collector need not walk through them (gc=False).
    """

    name: str
    namespace: str
    uid: str
    resource_version: int
    raw: bytes
    _decode: Callable[[bytes], V]
    _value: Any = _UNSET
    _labels: dict[str, str] | None = None
    _seen: Any = _UNSET

    @property
    def value(self) -> V:
        if self._value is _UNSET:
            self._value = self._decode(self.raw)
        value: V = self._value
        return value

    @property
    def labels(self) -> dict[str, str]:
        if self._labels is None:
            self._labels = _labelled.decode(self.raw).metadata.labels or {}
        return self._labels

    def seen_as(self, decode: Callable[[bytes], W]) -> W:
        """Decoded in another way than `value`, and kept as well: everybody passes the same `decode`."""
        if self._seen is _UNSET:
            self._seen = decode(self.raw)
        seen: W = self._seen
        return seen

    def __repr__(self) -> str:
        return f"Item({self.namespace}/{self.name} {self.uid} @{self.resource_version})"


class Change(msgspec.Struct, Generic[V], frozen=True, gc=False):
    """One object before (None: it is new) and after (None: it is gone)."""

    old: Item[V] | None
    new: Item[V] | None


class View(Generic[V]):
    """The objects of one kind; of one `namespace` and of a label selector, where these are given."""

    def __init__(self, decode: Callable[[bytes], V], *, namespace: str | None = None, labels: str = ""):
        self.position = 0
        self._decode = decode
        self._scope = namespace
        self._matches = matcher(labels) if labels else None
        self._items: dict[str, dict[str, Item[V]]] = {}
        self._sorted: dict[str, tuple[Item[V], ...]] = {}
        self._versions: dict[str, int] = {}
        self._sizes: dict[str, int] = {}
        self._changes = 0
        self._forgotten: dict[str, None] = {}  # uids
        self._floors: dict[tuple[str, str], int] = {}  # the last version seen of what was forgotten

    def get(self, namespace: str, name: str) -> Item[V] | None:
        return self._items.get(namespace, {}).get(name)

    def items(self, namespace: str | None = None) -> Sequence[Item[V]]:
        """Ordered by name (and namespace), as the API server lists; a snapshot, built once per change."""
        if namespace is None:
            return [item for space in sorted(self._items) for item in self.items(space)]
        known = self._sorted.get(namespace)
        if known is None:
            items = self._items.get(namespace)
            if items is None:
                return ()
            known = self._sorted[namespace] = tuple(items[name] for name in sorted(items))
        return known

    def version(self, namespace: str) -> int:
        """Another number whenever anything in the namespace changed; 0 where nothing ever was."""
        return self._versions.get(namespace, 0)

    def size(self, namespace: str) -> int:
        """Bytes of all objects of the namespace, as the API server sent them."""
        return self._sizes.get(namespace, 0)

    def read(self, raw: bytes) -> Item[V]:
        """An item from the bytes of an object; raises msgspec.ValidationError where it is none."""
        metadata = _object.decode(raw).metadata
        version = int(metadata.resource_version)
        return Item(metadata.name, metadata.namespace, metadata.uid, version, raw, self._decode)

    def replace(self, position: int, listed: Iterable[Item[V]]) -> list[Change[V]]:
        """Takes over a complete list, at once; newer objects of our own writes stay."""
        # A list is never behind what the watch told, unless the cluster was restored from a backup: its
        # versions then start again from the past, and nothing we hold can be compared with them.
        restored = position < self.position
        if restored:
            self._forgotten.clear()
            self._floors.clear()
        fresh: dict[str, dict[str, Item[V]]] = {}
        for item in listed:
            if not self._is_forgotten(item):
                fresh.setdefault(item.namespace, {})[item.name] = item
        changes: list[Change[V]] = []
        for namespace, items in list(self._items.items()):
            known = fresh.get(namespace, {})
            for name, old in list(items.items()):
                if name not in known and (restored or old.resource_version <= position):
                    changes.append(self._remove(old))
        for namespace, items in fresh.items():
            held = self._items.get(namespace, {})
            for name, item in items.items():
                mine = held.get(name)
                newer = mine is None or mine.resource_version < item.resource_version
                if newer or (restored and mine is not None and mine.raw != item.raw):
                    changes.append(self._put(item))
        self.position = position
        return changes

    def event(self, kind: str, raw: bytes) -> Change[V] | None:
        """Takes over one event of the watch."""
        item = self.read(raw)
        self.position = max(self.position, item.resource_version)
        held = self.get(item.namespace, item.name)
        if kind == "DELETED":
            self._forgotten.pop(item.uid, None)
            if held is not None and held.resource_version <= item.resource_version:
                return self._remove(held)
            return None
        if self._is_forgotten(item) or (held is not None and held.resource_version >= item.resource_version):
            return None
        return self._put(item)

    def bookmark(self, raw: bytes) -> None:
        """The watch has told everything up to the version of this object, which has no more than that."""
        self.position = max(self.position, int(_bookmark.decode(raw).metadata.resource_version))

    def learn(self, raw: bytes) -> Change[V] | None:
        """Takes over the answer to a write of our own, where the watch has not got that far."""
        item = self.read(raw)
        held = self.get(item.namespace, item.name)
        known = self.position if held is None else max(self.position, held.resource_version)
        if item.resource_version <= known or self._is_forgotten(item):
            return None
        if self._scope not in (None, item.namespace):
            return None
        if self._matches is not None and not self._matches(item.labels):
            return None  # the watch will say DELETED; removed now, an older event could revive it
        return self._put(item)

    def forget(self, namespace: str, name: str, uid: str = "") -> Change[V] | None:
        """Takes over that an object is gone, in the API server's own words to us; "" is whichever we hold."""
        held = self.get(namespace, name)
        uid = uid or (held.uid if held is not None else "")
        if uid:
            self._forgotten[uid] = None
            if len(self._forgotten) > FORGOTTEN:
                del self._forgotten[next(iter(self._forgotten))]
        if held is None or held.uid != uid:
            return None
        if len(self._floors) >= FORGOTTEN:  # those at or below the position have nothing to keep out any more
            self._floors = {key: floor for key, floor in self._floors.items() if floor > self.position}
        self._floors[namespace, name] = held.resource_version
        return self._remove(held)

    def _is_forgotten(self, item: Item[V]) -> bool:
        if item.uid in self._forgotten:
            return True
        return bool(self._floors) and item.resource_version <= self._floors.get(
            (item.namespace, item.name), 0
        )

    def _put(self, item: Item[V]) -> Change[V]:
        items = self._items.setdefault(item.namespace, {})
        old = items.get(item.name)
        items[item.name] = item
        self._grow(item.namespace, len(item.raw) - (len(old.raw) if old is not None else 0))
        self._touch(item.namespace)
        return Change(old, item)

    def _remove(self, item: Item[V]) -> Change[V]:
        items = self._items[item.namespace]
        del items[item.name]
        if not items:
            del self._items[item.namespace]
        self._grow(item.namespace, -len(item.raw))
        self._touch(item.namespace)
        return Change(item, None)

    def _grow(self, namespace: str, by: int) -> None:
        size = self._sizes.pop(namespace, 0) + by
        if size:
            self._sizes[namespace] = size

    def _touch(self, namespace: str) -> None:
        # One counter for all namespaces: a number that was given once never comes back.
        self._changes += 1
        self._versions[namespace] = self._changes
        self._sorted.pop(namespace, None)
