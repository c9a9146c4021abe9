"""Who owns what: controller references, and objects found by the uid of their controller."""

from collections.abc import Callable
from typing import Any

Object = dict[str, Any]
Key = tuple[str, str]
"""Namespace and name."""


def key_of(obj: Object) -> Key:
    """The namespace ("" for cluster-scoped objects) and name of an object."""
    meta = obj["metadata"]
    return meta.get("namespace", ""), meta["name"]


def controller_of(obj: Object) -> Object | None:
    """The ownerReference of the controller of an object, if one has it."""
    for reference in obj["metadata"].get("ownerReferences") or ():
        if reference.get("controller"):
            return dict(reference)
    return None


def controller_reference(owner: Object) -> Object:
    """The ownerReference by which `owner` controls what it makes."""
    return {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


class Owned:
    """The objects of one resource, by the uid of their controller; `observe` is a `feed.Handler`.

    `changed(namespace, owner)` is called with the ownerReference of each controller that gained, kept or lost
    an object.
    """

    def __init__(self, kind: str, changed: Callable[[str, Object], None]) -> None:
        self._kind = kind
        self._changed = changed
        self._by_owner: dict[str, dict[Key, Object]] = {}

    def of(self, uid: str) -> list[Object]:
        """The current objects whose controller has this uid."""
        return list(self._by_owner.get(uid, {}).values())

    def observe(self, _: str, before: Object | None, now: Object | None) -> None:
        old = self._owner(before)
        new = self._owner(now)
        if old is not None and before is not None and (new is None or new["uid"] != old["uid"]):
            owned = self._by_owner.get(old["uid"], {})
            owned.pop(key_of(before), None)
            if not owned:
                self._by_owner.pop(old["uid"], None)
            self._changed(key_of(before)[0], old)
        if new is not None and now is not None:
            self._by_owner.setdefault(new["uid"], {})[key_of(now)] = now
            self._changed(key_of(now)[0], new)

    def _owner(self, obj: Object | None) -> Object | None:
        reference = controller_of(obj) if obj is not None else None
        return reference if reference is not None and reference["kind"] == self._kind else None
