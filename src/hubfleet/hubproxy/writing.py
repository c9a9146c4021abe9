"""How carriers and heads are written: two ways, by what our account may do.

With the right to patch, an object is applied over itself. An object that carries many routes is written by
several replicas at once, each of which knows the others' routes only from what it read: so such a write names
the version that it is based on, and a stale one comes back as `Stale`.

Without that right (jupyterhub-istio-proxy's documented role has list, get, create and delete) an object is
never changed. Its successor is created under the other one of two names, and then it is deleted: the gateway
has at least one of them at any moment. As long as both are there the older one counts, for a successor may be
made of what was no longer so: of several writers one gets the name, and has replaced the object when it is
the one who deleted it. The others are told `Stale`, as is whoever finds that somebody else was first; the
successor is then taken back. (One whose maker died is taken away by the repair.)
"""

from contextlib import suppress
from typing import Any, NoReturn, Protocol

import msgspec

from hubfleet.kube.budget import Budget
from hubfleet.kube.client import Client
from hubfleet.kube.errors import AlreadyExists, Conflict, NotFound
from hubfleet.kube.informer import Informer
from hubfleet.kube.resources import Resource
from hubfleet.kube.view import Item
from hubfleet.routing.istio import SUFFIX
from hubfleet.routing.route import REMOVED, Object


class Stale(Exception):
    """Somebody else wrote the object since we read it; its state was read again."""


class Writer(Protocol):
    """Writes and deletes objects of one kind; what it did is in the copy that `source` is when it returns."""

    marks: bool  # whether an object that we delete says so before
    learning: bool  # whether the change that `source` is just telling of is a write of ours

    async def put(self, obj: Object, held: Item[Any] | None, budget: Budget) -> None:
        """Makes the object what it should be; `held` is what we know of it. Raises Stale."""

    async def remove(self, obj: Object, held: Item[Any], budget: Budget) -> None:
        """Deletes what we know as `held`; `obj` is what it was. Raises Stale."""

    async def drop(self, held: Item[Any], budget: Budget) -> None:
        """Deletes an object as it is, if it is still that; raises Stale."""


class _Common:
    def __init__(self, client: Client, resource: Resource, source: Informer[Any], namespace: str):
        self._client = client
        self._resource = resource
        self._source = source
        self._namespace = namespace
        self.learning = False

    def _learn(self, raw: msgspec.Raw) -> None:
        self.learning = True
        try:
            self._source.learn(raw)
        finally:
            self.learning = False

    async def _create(self, obj: Object, budget: Budget) -> None:
        name = obj["metadata"]["name"]
        try:
            raw = await self._client.create(
                self._resource, self._namespace, obj, type=msgspec.Raw, budget=budget
            )
        except AlreadyExists as e:
            await self._read(name, budget)
            raise Stale from e
        self._learn(raw)

    async def _delete(self, held: Item[Any], budget: Budget, version: int | None = None) -> bool:
        """Whether it was still there."""
        there = True
        try:
            answer = await self._client.delete(
                self._resource,
                self._namespace,
                held.name,
                uid=held.uid,
                resource_version=version,
                budget=budget,
            )
        except NotFound:
            there = False
        except Conflict as e:
            await self._read(held.name, budget)
            raise Stale from e
        else:
            if answer.get("kind") != "Status":  # a finalizer of somebody's keeps it
                self._source.learn(msgspec.json.encode(answer))
                return there
        self._source.forget(self._namespace, held.name, held.uid)
        return there

    async def _read(self, name: str, budget: Budget) -> None:
        try:
            raw = await self._client.get(
                self._resource, self._namespace, name, type=msgspec.Raw, budget=budget
            )
        except NotFound:
            self._source.forget(self._namespace, name)
        else:
            self._source.learn(raw)

    async def drop(self, held: Item[Any], budget: Budget) -> None:
        await self._delete(held, budget, held.resource_version)


class Applying(_Common):
    """By server-side apply; `shared` objects only over the version that we know."""

    marks = True

    def __init__(
        self, client: Client, resource: Resource, source: Informer[Any], namespace: str, *, shared: bool
    ):
        super().__init__(client, resource, source, namespace)
        self._shared = shared

    async def put(self, obj: Object, held: Item[Any] | None, budget: Budget) -> None:
        if held is None and self._shared:
            await self._create(obj, budget)
        else:
            # Where we know of none, the name may be somebody else's: then their fields are a conflict.
            await self._apply(obj, held, budget, force=held is not None)

    async def remove(self, obj: Object, held: Item[Any], budget: Budget) -> None:
        # The mark tells the other replicas, who bring back what was deleted by hand, that it was not.
        metadata = obj["metadata"]
        annotations = {**metadata.get("annotations", {}), REMOVED: "true"}
        marked = {**obj, "metadata": {**metadata, "annotations": annotations}}
        version = await self._apply(marked, held, budget, force=True)
        await self._delete(held, budget, version)

    async def _apply(self, obj: Object, held: Item[Any] | None, budget: Budget, *, force: bool) -> int:
        if held is not None:
            known = {"name": held.name, "uid": held.uid}
            if self._shared:
                known["resourceVersion"] = str(held.resource_version)
            obj = {**obj, "metadata": {**obj["metadata"], **known}}
        try:
            raw = await self._client.apply(
                self._resource, self._namespace, obj, force=force, type=msgspec.Raw, budget=budget
            )
        except (Conflict, NotFound) as e:
            await self._read(obj["metadata"]["name"], budget)
            if held is None and isinstance(e, Conflict):
                raise  # of somebody's own object
            raise Stale from e
        self._learn(raw)
        return _version(raw)


class Swapping(_Common):
    """By successors."""

    marks = False

    async def put(self, obj: Object, held: Item[Any] | None, budget: Budget) -> None:
        names = _names(obj)
        name = names[1] if held is not None and held.name == names[0] else names[0]
        if self._source.get(self._namespace, name) is not None:
            await self._again(names, budget)  # somebody else is about to replace it
        try:
            await self._create({**obj, "metadata": {**obj["metadata"], "name": name}}, budget)
        except Stale:
            await self._again(names, budget)
        ours = self._source.get(self._namespace, name)
        if ours is None:
            raise Stale
        (other,) = {*names} - {name}
        with suppress(Stale):
            if held is not None and await self._delete(held, budget):
                return  # whatever is made under that name from now on is made of ours
            await self._read(other, budget)
        if self._source.get(self._namespace, other) is not None:
            # What we replaced had been replaced before: ours is made of what was no longer so.
            with suppress(Stale):
                await self._delete(ours, budget)
            raise Stale

    async def remove(self, obj: Object, held: Item[Any], budget: Budget) -> None:
        await self._delete(held, budget)
        (other,) = {*_names(obj)} - {held.name}
        await self._read(other, budget)
        if self._source.get(self._namespace, other) is not None:
            raise Stale  # it was just being replaced: the successor has what is to go

    async def _again(self, names: tuple[str, str], budget: Budget) -> NoReturn:
        for name in names:
            await self._read(name, budget)
        raise Stale


def _names(obj: Object) -> tuple[str, str]:
    name = obj["metadata"]["name"]
    return name, name + SUFFIX


class _VersionOf(msgspec.Struct, rename="camel"):
    resource_version: str


class _Versioned(msgspec.Struct):
    metadata: _VersionOf


def _version(raw: bytes | msgspec.Raw) -> int:
    return int(msgspec.json.decode(raw, type=_Versioned).metadata.resource_version)
