"""A user's namespace is there before anything goes into it: created, labelled, with the operator's manifests.

Done at a user's first write, then remembered: once per process, cluster and user. New settings mean a new
process, which does it again.
"""

import asyncio
from collections.abc import Mapping
from typing import Any, Protocol

import msgspec

from hubfleet.errors import UserError
from hubfleet.kube.budget import Budget
from hubfleet.kube.client import Client
from hubfleet.kube.clusters import Cluster
from hubfleet.kube.discovery import discover
from hubfleet.kube.errors import AlreadyExists, Forbidden, NotFound
from hubfleet.kube.resources import NAMESPACES, Resource
from hubfleet.settings import TenancySettings
from hubfleet.tenancy.naming import namespace_for, username_label

HUB = "hubfleet.dev/hub"
USER = "hubfleet.dev/user"
USERNAME = "hubfleet.dev/username"
"""An annotation, for it holds the name as it is: whose the namespace is. The label is for selecting."""

KIND = "hubfleet.dev/kind"

DELETION_SECONDS = 10.0
"""How long a client is asked to wait while a namespace goes away."""


class Owner(Protocol):
    """Whom a namespace is for; `identity.User` is one."""

    @property
    def name(self) -> str: ...

    @property
    def kind(self) -> str:
        """ "user" or "service"."""


class _Metadata(msgspec.Struct, frozen=True, rename="camel"):
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    deletion_timestamp: str | None = None


class _Namespace(msgspec.Struct, frozen=True):
    metadata: _Metadata


_Key = tuple[str, str, str]  # cluster, namespace, kind/name of the owner


def _key(cluster: Cluster, owner: Owner) -> _Key:
    return cluster.name, namespace_for(owner.name, owner.kind), f"{owner.kind}/{owner.name}"


class Namespaces:
    """`labels` go on every namespace and on every extra manifest, `hub` tells apart the hubs of a cluster."""

    def __init__(self, settings: TenancySettings, *, labels: Mapping[str, str] | None = None, hub: str = ""):
        self._settings = settings
        self._labels = dict(labels or {})
        self._hub = hub
        self._ready: set[_Key] = set()
        self._under_way: dict[tuple[str, str], tuple[_Key, asyncio.Task[None]]] = {}
        self._resources: dict[tuple[str, str, str], Resource] = {}

    async def ensure(self, cluster: Cluster, owner: Owner, *, budget: Budget | None = None) -> str:
        """The owner's namespace on `cluster`, which is then there; UserError where it cannot be.

        Raises KubeError for what the cluster itself says. Simultaneous callers share one attempt.
        """
        key = _key(cluster, owner)
        place = key[:2]
        while key not in self._ready:
            under_way = self._under_way.get(place)
            if under_way is None:
                task = asyncio.create_task(self._provide(cluster.client, key, owner, budget))
                task.add_done_callback(lambda done: self._finish(place, done))
                self._under_way[place] = under_way = key, task
            # Two users whose names lead to one namespace take turns, so that the second one finds the first.
            if under_way[0] != key:
                await asyncio.wait([under_way[1]])
            else:
                await asyncio.shield(under_way[1])  # a caller who goes away leaves the others their answer
        return key[1]

    def _finish(self, place: tuple[str, str], done: asyncio.Task[None]) -> None:
        del self._under_way[place]
        if not done.cancelled():
            done.exception()  # retrieved, even if nobody waits any more

    def forget(self, cluster: Cluster, owner: Owner) -> None:
        """The namespace turned out to be gone: the next `ensure` makes it again."""
        self._ready.discard(_key(cluster, owner))

    async def _provide(self, client: Client, key: _Key, owner: Owner, budget: Budget | None) -> None:
        namespace = key[1]
        wanted = manifest(namespace, owner, labels=self._labels, hub=self._hub)
        try:
            found = await client.get(NAMESPACES, None, namespace, type=_Namespace, budget=budget)
        except NotFound:
            if not self._settings.create_namespaces:
                raise UserError(
                    404,
                    f"There is no namespace {namespace} on cluster {client.name}, and this server creates "
                    "none: ask an administrator for it",
                ) from None
            await client.apply(NAMESPACES, None, wanted, budget=budget)
        except Forbidden:
            await self._create_unseen(client, wanted, budget)
        else:
            check_owner(client.name, namespace, found, owner, self._hub)
            if self._settings.create_namespaces and not _covers(found.metadata, wanted["metadata"]):
                await client.apply(NAMESPACES, None, wanted, budget=budget)
        for extra in self._settings.manifests:
            await self._apply(client, namespace, extra, budget)
        self._ready.add(key)

    async def _create_unseen(self, client: Client, wanted: dict[str, Any], budget: Budget | None) -> None:
        """For an account that may create namespaces and not read them, as kbatch-proxy's needs no more."""
        if not self._settings.create_namespaces:
            return
        try:
            await client.create(NAMESPACES, None, wanted, budget=budget)
        except AlreadyExists:
            return

    async def _apply(
        self, client: Client, namespace: str, extra: Mapping[str, Any], budget: Budget | None
    ) -> None:
        resource = await self._resource(client, extra["apiVersion"], extra["kind"], budget)
        metadata = extra["metadata"]
        labelled = {**metadata, "labels": {**(metadata.get("labels") or {}), **self._labels}}
        if resource.namespaced:
            labelled["namespace"] = namespace
        await client.apply(
            resource,
            namespace if resource.namespaced else None,
            {**extra, "metadata": labelled},
            budget=budget,
        )

    async def _resource(self, client: Client, api_version: str, kind: str, budget: Budget | None) -> Resource:
        key = (client.name, api_version, kind)
        if key not in self._resources:
            self._resources[key] = await discover(client, api_version, kind, budget=budget)
        return self._resources[key]


def manifest(namespace: str, owner: Owner, *, labels: Mapping[str, str], hub: str) -> dict[str, Any]:
    """The Namespace object of `owner`, as we apply it."""
    stamped = {**labels, USER: username_label(owner.name), KIND: owner.kind}
    if hub:
        stamped[HUB] = hub
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": namespace, "labels": stamped, "annotations": {USERNAME: owner.name}},
    }


def check_owner(cluster: str, namespace: str, found: _Namespace, owner: Owner, hub: str) -> None:
    """Raises UserError where the namespace is going away, or is somebody else's.

    A namespace without our marks is taken over: kbatch-proxy or an administrator made it under this name.
    """
    metadata = found.metadata
    if metadata.deletion_timestamp is not None:
        raise UserError(
            409,
            f"Namespace {namespace} on cluster {cluster} is being deleted; try again when it is gone",
            retry_after=DELETION_SECONDS,
        )
    name = metadata.annotations.get(USERNAME, owner.name)
    kind = metadata.labels.get(KIND, owner.kind)
    if (name, kind) != (owner.name, owner.kind):
        raise UserError(
            403,
            f"Namespace {namespace} on cluster {cluster} belongs to another {kind} whose name leads to it, "
            "too: ask an administrator",
        )
    if hub and metadata.labels.get(HUB, hub) != hub:
        raise UserError(
            403,
            f"Namespace {namespace} on cluster {cluster} belongs to a user of another hub, "
            f"{metadata.labels[HUB]}: ask an administrator",
        )


def _covers(found: _Metadata, wanted: Mapping[str, Any]) -> bool:
    """Whether applying would change nothing: saves a write at the first submission to every replica."""
    there = {**found.labels, **found.annotations}
    return all(
        there.get(key) == value for part in ("labels", "annotations") for key, value in wanted[part].items()
    )
