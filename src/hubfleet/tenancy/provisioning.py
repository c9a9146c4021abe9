"""A user's namespace is there before anything goes into it: created, labelled, with the operator's manifests.

Done at a user's first write, then remembered: once per process, cluster and user. New settings mean a new
process, which does it again. Reads only make sure that the namespace is the user's: `owned`.

A namespace says whose it is by our annotation and labels. One that says nothing goes to the user of its name
only where kbatch-proxy's label is on it, or the operator said so: `kbatch-system` may be the platform's.
"""

import asyncio
import shlex
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import msgspec
import structlog

from hubfleet.errors import UserError
from hubfleet.kube.budget import Budget
from hubfleet.kube.client import Client
from hubfleet.kube.clusters import Cluster
from hubfleet.kube.discovery import discover
from hubfleet.kube.errors import AlreadyExists, ClusterUnreachable, Forbidden, NotFound
from hubfleet.kube.impersonation import Impersonation
from hubfleet.kube.resources import NAMESPACES, Resource
from hubfleet.settings import TenancySettings
from hubfleet.tenancy.naming import namespace_for, username_label

HUB = "hubfleet.dev/hub"
USER = "hubfleet.dev/user"
USERNAME = "hubfleet.dev/username"
"""An annotation, for it holds the name as it is: whose the namespace is. The label is for selecting."""

KIND = "hubfleet.dev/kind"

MANAGED_BY = "app.kubernetes.io/managed-by"
"""`kbatch` on every namespace that kbatch-proxy 0.5 made, unless KBATCH_LABELS says otherwise.

kbatch-proxy 0.4 put nothing on its namespaces, but they have other names (no `kbatch-` in front).
"""

DELETION_SECONDS = 10.0
"""How long a client is asked to wait while a namespace goes away."""

PROVIDE_SECONDS = 30.0
"""For one attempt to provide a namespace, whoever waits for it."""

LOOK_SECONDS = 5.0
"""For the question whose a namespace is; a cluster that hangs is not waited for as long as for real work."""

UNMARKED_SECONDS = 60.0
"""How long a namespace that nobody marked yet is believed to be nobody else's, or one that goes away."""

log = structlog.get_logger(__name__)


class Owner(Protocol):
    """Whom a namespace is for; `identity.User` is one."""

    @property
    def name(self) -> str: ...

    @property
    def kind(self) -> str:
        """ "user" or "service"."""

    @property
    def groups(self) -> tuple[str, ...]:
        """The Hub's groups that they are in."""


class _Metadata(msgspec.Struct, frozen=True, rename="camel"):
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    deletion_timestamp: str | None = None


class _Namespace(msgspec.Struct, frozen=True):
    metadata: _Metadata


_Key = tuple[str, str, str]  # cluster, kind and name of the owner
_Place = tuple[str, str]  # cluster, namespace


def _key(cluster: Cluster, owner: Owner) -> _Key:
    return cluster.name, owner.kind, owner.name


class Namespaces:
    """`labels` go on every namespace and on every extra manifest, `hub` tells apart the hubs of a cluster."""

    def __init__(
        self,
        settings: TenancySettings,
        *,
        labels: Mapping[str, str] | None = None,
        hub: str = "",
        clock: Callable[[], float] = time.monotonic,
    ):
        self._settings = settings
        self._labels = dict(labels or {})
        self._hub = hub
        self._clock = clock
        self._ready: set[_Key] = set()
        self._verified: dict[_Key, tuple[str, float | None]] = {}  # namespace; until when, None is for ever
        self._under_way: dict[_Place, tuple[_Key, asyncio.Task[None]]] = {}
        self._resources: dict[tuple[str, str, str], Resource] = {}

    def name_of(self, cluster: Cluster, owner: Owner) -> str:
        """What the owner's namespace on `cluster` is called, whether it is there or not."""
        reserved = (cluster.namespace_of_context,)
        return namespace_for(owner.name, owner.kind, self._settings.namespace, reserved=reserved)

    async def identity(
        self, cluster: Cluster, namespace: str, *, budget: Budget | None = None
    ) -> Impersonation | None:
        """As whom to act in a user's namespace, which `ensure` or `owned` gave; None is as ourselves."""
        return None

    async def owned(self, cluster: Cluster, owner: Owner, *, budget: Budget | None = None) -> str | None:
        """The owner's namespace for reading and deleting in it; None where there is none, so nothing in it.

        Raises UserError 403 where it is somebody else's. Asks the cluster once, then remembers; one that
        nobody marked yet only for UNMARKED_SECONDS, for another hub may come and mark it. A cluster that does
        not answer raises ClusterUnreachable, unless the namespace was found to be the owner's before.
        """
        key = _key(cluster, owner)
        known = self._verified.get(key)
        if known is not None and (known[1] is None or self._clock() < known[1]):
            return known[0]
        namespace = self.name_of(cluster, owner)
        seconds = LOOK_SECONDS if budget is None else min(LOOK_SECONDS, budget.left())
        try:
            found = await self._look(cluster, namespace, Budget(seconds))
        except NotFound:
            self.forget(cluster, owner)
            return None
        except ClusterUnreachable:
            if known is None:
                raise
            return known[0]
        self._check(cluster, namespace, found, owner)
        lasting = _is_marked(found) and (found is None or found.metadata.deletion_timestamp is None)
        self._verified[key] = namespace, None if lasting else self._clock() + UNMARKED_SECONDS
        return namespace

    async def ensure(self, cluster: Cluster, owner: Owner, *, budget: Budget | None = None) -> str:
        """The owner's namespace on `cluster`, which is then there; UserError where it cannot be.

        Raises KubeError for what the cluster itself says. Simultaneous callers share one attempt, which has
        a budget of its own: who came first, with little time left, takes nothing away from the others.
        """
        key = _key(cluster, owner)
        namespace = self.name_of(cluster, owner)
        place = cluster.name, namespace
        while key not in self._ready:
            under_way = self._under_way.get(place)
            if under_way is None:
                task = asyncio.create_task(self._provide(cluster, namespace, owner, Budget(PROVIDE_SECONDS)))
                task.add_done_callback(lambda done: self._finish(place, done))
                self._under_way[place] = under_way = key, task
            # A caller who goes away, or whose time is over, leaves the others their answer.
            done, _ = await asyncio.wait([under_way[1]], timeout=None if budget is None else budget.left())
            if not done:
                raise ClusterUnreachable(cluster.name, f"namespace {namespace} did not come in time")
            # Two users whose names lead to one namespace take turns, so that the second one finds the first.
            if under_way[0] == key:
                under_way[1].result()
        return namespace

    def _finish(self, place: _Place, done: asyncio.Task[None]) -> None:
        del self._under_way[place]
        if not done.cancelled():
            done.exception()  # retrieved, even if nobody waits any more

    def forget(self, cluster: Cluster, owner: Owner) -> None:
        """The namespace turned out to be gone: the next `ensure` makes it again."""
        self._ready.discard(_key(cluster, owner))
        self._verified.pop(_key(cluster, owner), None)

    async def _provide(self, cluster: Cluster, namespace: str, owner: Owner, budget: Budget) -> None:
        client = cluster.client
        wanted = manifest(namespace, owner, labels=self._labels, hub=self._hub)
        marked = self._settings.create_namespaces
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
            await self._create_unseen(cluster, wanted, owner, budget)
        else:
            if found.metadata.deletion_timestamp is not None:
                raise UserError(
                    409,
                    f"Namespace {namespace} on cluster {client.name} is being deleted; try again when it is "
                    "gone",
                    retry_after=DELETION_SECONDS,
                )
            self._check(cluster, namespace, found, owner)
            marked = marked or _is_marked(found)
            if self._settings.create_namespaces and not _covers(found.metadata, wanted["metadata"]):
                await client.apply(NAMESPACES, None, wanted, budget=budget)
        for extra in self._settings.manifests:
            await self._apply(client, namespace, extra, budget)
        key = _key(cluster, owner)
        self._ready.add(key)
        self._verified[key] = namespace, None if marked else self._clock() + UNMARKED_SECONDS

    async def _look(self, cluster: Cluster, namespace: str, budget: Budget) -> _Namespace | None:
        """None where our account may not look, as kbatch-proxy's needs not. Raises NotFound."""
        try:
            return await cluster.client.get(NAMESPACES, None, namespace, type=_Namespace, budget=budget)
        except Forbidden:
            return None

    async def _create_unseen(
        self, cluster: Cluster, wanted: dict[str, Any], owner: Owner, budget: Budget
    ) -> None:
        """For an account that may create namespaces and not read them, as kbatch-proxy's needs no more."""
        namespace = str(wanted["metadata"]["name"])
        if self._settings.create_namespaces:
            try:
                await cluster.client.create(NAMESPACES, None, wanted, budget=budget)
            except AlreadyExists:
                pass
            else:
                return
        # Some clusters let an account see only what it was given since: look again before believing.
        self._check(cluster, namespace, await self._look(cluster, namespace, budget), owner)

    def _check(self, cluster: Cluster, namespace: str, found: _Namespace | None, owner: Owner) -> None:
        if found is None:
            if namespace == cluster.namespace_of_context:
                raise _ours(cluster.name, namespace)
            log.warning(
                "whose namespace this is cannot be checked: let the account get namespaces",
                cluster=cluster.name,
                namespace=namespace,
            )
            return
        check_owner(cluster.name, namespace, found, owner, self._hub)
        if _is_marked(found):
            return
        if namespace == cluster.namespace_of_context:
            raise _ours(cluster.name, namespace)
        if not self._adopts(found.metadata.labels):
            raise UserError(
                403,
                f"Namespace {namespace} on cluster {cluster.name} was made by somebody else, and nothing "
                f"says that it is for {owner.name}. An administrator can say so: kubectl annotate namespace "
                f"{namespace} {shlex.quote(f'{USERNAME}={owner.name}')} (or set tenancy.adopt_unmarked, "
                "for all that are like it)",
            )

    def _adopts(self, labels: Mapping[str, str]) -> bool:
        """Whether a namespace without our marks, with these labels, goes to the user of its name."""
        if self._settings.adopt_unmarked or not self._settings.create_namespaces:
            return True
        if labels.get(MANAGED_BY) == "kbatch":
            return True
        return bool(self._labels) and self._labels.items() <= labels.items()

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
    """Raises UserError where the marks of the namespace say that it is somebody else's."""
    metadata = found.metadata
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


def _is_marked(found: _Namespace | None) -> bool:
    """Whether it says whose it is. Not to be seen counts, for it will not be seen the next time either."""
    return found is None or USERNAME in found.metadata.annotations


def _ours(cluster: str, namespace: str) -> UserError:
    return UserError(
        403,
        f"Namespace {namespace} on cluster {cluster} is this server's own, and no user's: ask an "
        "administrator",
    )


def _covers(found: _Metadata, wanted: Mapping[str, Any]) -> bool:
    """Whether applying would change nothing: saves a write at the first submission to every replica."""
    there = {**found.labels, **found.annotations}
    return all(
        there.get(key) == value for part in ("labels", "annotations") for key, value in wanted[part].items()
    )
