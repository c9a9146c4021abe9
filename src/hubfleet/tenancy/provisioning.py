"""A user's namespace is there before anything goes into it: theirs, labelled, and with what belongs in it.

Done at a user's first write, then remembered: once per process, cluster and user, and again when the user's
groups give them something else. New settings mean a new process, which does it again. That no process relies
on what an earlier one did costs a dozen small requests for each user and process, and mends what somebody
deleted, or restored without its content, in between; a mark that says "all is there" would only be believed.

Reads only make sure that the namespace is the user's: `owned`. It may be deleted, and made or marked by
somebody else, behind our back; so a watch tells whose each one is at this moment (`watching`), and where
there is no watch, or it is away, the namespace is looked at again after a minute.
"""

import asyncio
import shlex
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import structlog

from hubfleet.errors import UserError
from hubfleet.kube.budget import Budget
from hubfleet.kube.clusters import Cluster
from hubfleet.kube.errors import AlreadyExists, ClusterUnreachable, Conflict, Forbidden, NotFound
from hubfleet.kube.impersonation import Impersonation
from hubfleet.kube.informer import Informer
from hubfleet.kube.resources import NAMESPACES
from hubfleet.settings import TenancySettings
from hubfleet.tenancy import manifests
from hubfleet.tenancy.accounts import Accounts
from hubfleet.tenancy.furnishing import Furnisher, refusal
from hubfleet.tenancy.manifests import Entitlement
from hubfleet.tenancy.marks import HUB, MARKS, USERNAME, Namespace, Owner, made_by_kbatch, marks, stranger
from hubfleet.tenancy.naming import namespace_for
from hubfleet.tenancy.policy.policies import Policies
from hubfleet.tenancy.refusals import going

PROVIDE_SECONDS = 30.0
"""For one attempt to provide a namespace, whoever waits for it."""

LOOK_SECONDS = 5.0
"""For the question whose a namespace is; a cluster that hangs is not waited for as long as for real work."""

VERIFIED_SECONDS = 60.0
"""How long a namespace of which no watch tells is believed to be the user's."""

ATTEMPTS = 5
"""To make or label a namespace that somebody else is making or labelling at the same time."""

log = structlog.get_logger(__name__)

_Key = tuple[str, str, str]  # cluster, kind and name of the owner
_Place = tuple[str, str]  # cluster, namespace


class _Verified(msgspec.Struct, frozen=True):
    """A namespace that was the owner's; `watched` where a watch of our hub's namespaces must know it."""

    namespace: str
    until: float
    watched: bool


_decode = msgspec.json.Decoder(Namespace).decode


def _key(cluster: Cluster, owner: Owner) -> _Key:
    return cluster.name, owner.kind, owner.name


class Namespaces:
    """`labels` go on every namespace and on everything in it, `hub` tells apart the hubs of a cluster.

    `priority_classes` are those that the operator's own templates use, `affinity_abroad` is whether these
    want to be near (or far from) pods of other namespaces.
    """

    def __init__(
        self,
        settings: TenancySettings,
        *,
        labels: Mapping[str, str] | None = None,
        hub: str = "",
        priority_classes: Collection[str] = (),
        affinity_abroad: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._settings = settings
        self._labels = dict(labels or {})
        self._hub = hub
        self._priority_classes = tuple(priority_classes)
        self._affinity_abroad = affinity_abroad
        self._clock = clock
        self._policies = Policies(settings.policy)
        self._accounts = Accounts(settings.impersonation, clock=clock)
        self._furnisher = Furnisher(settings, self._accounts, self._labels)
        self._ready: dict[_Key, Entitlement] = {}
        self._verified: dict[_Key, _Verified] = {}
        self._informers: dict[str, Informer[Namespace]] = {}
        self._under_way: dict[_Place, tuple[_Key, asyncio.Task[None]]] = {}
        self._identifying: dict[_Place, asyncio.Task[Impersonation | None]] = {}

    @asynccontextmanager
    async def watching(self, cluster: Cluster) -> AsyncIterator[None]:
        """Inside, a watch tells whose the namespaces of this cluster are: each use is checked, at no cost."""
        if not self._hub:
            yield
            return
        informer = Informer(cluster.client, NAMESPACES, _decode, labels=f"{HUB}={self._hub}")
        async with informer:
            self._informers[cluster.name] = informer
            try:
                yield
            finally:
                del self._informers[cluster.name]

    def name_of(self, cluster: Cluster, owner: Owner) -> str:
        """What the owner's namespace on `cluster` is called, whether it is there or not."""
        reserved = (cluster.namespace_of_context,)
        return namespace_for(owner.name, owner.kind, self._settings.namespace, reserved=reserved)

    async def identity(
        self, cluster: Cluster, namespace: str, *, budget: Budget | None = None
    ) -> Impersonation | None:
        """As whom to act in a user's namespace, which `ensure` or `owned` gave; None is as ourselves.

        The cluster is asked once, then it is remembered. A namespace that was not provided since there are
        such accounts (an adopted one) gets its account now. Raises UserError where we may not act as the
        user and impersonation is required, and KubeError.
        """
        known = self._accounts.known(cluster, namespace)
        if known is not None:
            return known[0]
        place = cluster.name, namespace
        task = self._identifying.get(place)
        if task is None:
            self._accounts.check(cluster, namespace)
            task = asyncio.create_task(self._identify(cluster, namespace, Budget(PROVIDE_SECONDS)))
            task.add_done_callback(lambda done: _finish(self._identifying, place, done))
            self._identifying[place] = task
        await _within(budget, task, cluster, f"the account of namespace {namespace}")
        return task.result()

    async def _identify(self, cluster: Cluster, namespace: str, budget: Budget) -> Impersonation | None:
        try:
            return await self._accounts.prove(cluster, namespace, budget)
        except Forbidden:
            found = await self._look(cluster, namespace, budget)
            theirs = {} if found is None else found.metadata.labels
            theirs = {mark: theirs[mark] for mark in MARKS if mark in theirs}
            try:
                await self._furnisher.identify(cluster, namespace, theirs, budget)
            except UserError:
                self._accounts.refused(cluster, namespace)
                raise
        known = self._accounts.known(cluster, namespace)
        return known[0] if known is not None else None

    async def owned(self, cluster: Cluster, owner: Owner, *, budget: Budget | None = None) -> str | None:
        """The owner's namespace for reading and deleting in it; None where there is none, so nothing in it.

        Raises UserError 403 where it is somebody else's. Asks the cluster once; a cluster that does not
        answer raises ClusterUnreachable, unless the namespace was the owner's before.
        """
        key = _key(cluster, owner)
        known = self._verified.get(key)
        holds = None if known is None else self._holds(cluster, owner, known)
        if known is not None and holds:
            return known.namespace
        namespace = self.name_of(cluster, owner)
        seconds = LOOK_SECONDS if budget is None else min(LOOK_SECONDS, budget.left())
        if known is not None and holds is None:
            # Who else comes while we ask need not ask, too.
            self._verified[key] = _Verified(namespace, self._clock() + seconds, known.watched)
        found = None
        try:
            found = await self._look(cluster, namespace, Budget(seconds))
            if found is None:
                self._check_unseen(cluster, namespace)
            else:
                self._check(cluster, namespace, found, owner)
        except ClusterUnreachable:
            if known is None or holds is False:
                raise
            return known.namespace
        except (NotFound, UserError) as e:
            self.forget(cluster, owner)
            if isinstance(e, NotFound):
                return None
            raise
        self._remember(cluster, owner, namespace, marked=found is not None and self._is_marked(found))
        return namespace

    async def ensure(self, cluster: Cluster, owner: Owner, *, budget: Budget | None = None) -> str:
        """The owner's namespace on `cluster`, which is then there; UserError where it cannot be.

        Raises KubeError for what the cluster itself says. Simultaneous callers share one attempt, which has
        a budget of its own: who came first, with little time left, takes nothing away from the others.
        """
        key = _key(cluster, owner)
        namespace = self.name_of(cluster, owner)
        place = cluster.name, namespace
        policy = self._policies.of(owner.groups)
        gets = manifests.entitlement(
            self._settings,
            policy,
            owner.groups,
            self._priority_classes,
            affinity_abroad=self._affinity_abroad,
        )
        while self._ready.get(key) != gets or await self.owned(cluster, owner, budget=budget) is None:
            under_way = self._under_way.get(place)
            if under_way is None:
                self._accounts.check(cluster, namespace)
                attempt = self._provide(cluster, namespace, owner, gets, Budget(PROVIDE_SECONDS))
                task = asyncio.create_task(attempt)
                task.add_done_callback(lambda done: _finish(self._under_way, place, done))
                self._under_way[place] = under_way = key, task
            # A caller who goes away, or whose time is over, leaves the others their answer.
            await _within(budget, under_way[1], cluster, f"namespace {namespace}")
            # Two users whose names lead to one namespace take turns, so that the second one finds the first.
            if under_way[0] == key:
                under_way[1].result()
        return namespace

    def forget(self, cluster: Cluster, owner: Owner) -> None:
        """The namespace turned out to be gone: the next `ensure` makes it again."""
        self._ready.pop(_key(cluster, owner), None)
        self._verified.pop(_key(cluster, owner), None)
        self._accounts.forget(cluster, self.name_of(cluster, owner))

    async def _provide(
        self, cluster: Cluster, namespace: str, owner: Owner, gets: Entitlement, budget: Budget
    ) -> None:
        items = await self._furnisher.items(cluster, gets, budget)
        optional = frozenset(item.optional for item in items if item.optional)
        stale, marked = await self._claim(cluster, namespace, owner, gets, optional, budget)
        await self._furnisher.furnish(cluster, namespace, items, marks(owner, self._hub), budget)
        if stale:
            await self._furnisher.remove(cluster, namespace, stale, budget)
            wanted = self._manifest(namespace, owner, gets, optional)
            await cluster.client.apply(NAMESPACES, None, wanted, budget=budget)
        self._ready[_key(cluster, owner)] = gets
        self._remember(cluster, owner, namespace, marked=marked)

    async def _claim(
        self,
        cluster: Cluster,
        namespace: str,
        owner: Owner,
        gets: Entitlement,
        optional: frozenset[str],
        budget: Budget,
    ) -> tuple[frozenset[str], bool]:
        """The namespace is there, and the owner's; which objects in it are wanted no more, and whether it is
        marked.

        Two hubs may do this at the same time, for users whose names meet. So it is created, which only one
        of them can, or labelled at the resourceVersion at which it was looked at; who comes second looks
        again, and finds whose it has become. The list of objects grows before they are made and shrinks
        after they are gone, so that a death in between leaves none that is forgotten.
        """
        client = cluster.client
        for _ in range(ATTEMPTS):
            try:
                found = await client.get(NAMESPACES, None, namespace, type=Namespace, budget=budget)
            except NotFound:
                if not self._settings.create_namespaces:
                    raise UserError(
                        404,
                        f"There is no namespace {namespace} on cluster {client.name}, and this server "
                        "creates none: ask an administrator for it",
                    ) from None
                wanted = self._manifest(namespace, owner, gets, optional)
                try:
                    raw = await client.create(NAMESPACES, None, wanted, type=msgspec.Raw, budget=budget)
                except AlreadyExists:
                    continue
                except Forbidden as e:
                    raise refusal(e, "create", NAMESPACES, namespace) from e
                self._learn(cluster, raw)
                return frozenset(), True
            except Forbidden as e:
                await self._claim_unseen(cluster, namespace, owner, gets, optional, e, budget)
                return frozenset(), False
            if found.is_going:
                raise going(cluster.name, namespace)
            self._check(cluster, namespace, found, owner)
            if not self._settings.create_namespaces:
                return frozenset(), self._is_marked(found)
            wanted = self._manifest(namespace, owner, gets, found.objects | optional)
            if not found.covers(wanted):
                wanted["metadata"]["resourceVersion"] = found.metadata.resource_version
                try:
                    raw = await client.apply(NAMESPACES, None, wanted, type=msgspec.Raw, budget=budget)
                except (Conflict, NotFound):
                    continue
                except Forbidden as e:
                    if self._furnisher.strict:
                        raise refusal(e, "patch", NAMESPACES, namespace) from e
                    log.warning(
                        "a namespace cannot be labelled: see `hubfleet rbac`",
                        cluster=cluster.name,
                        namespace=namespace,
                        error=e.message,
                    )
                    return frozenset(), self._is_marked(found)
                self._learn(cluster, raw)
            return found.objects - optional, True
        raise UserError(
            503,
            f"Namespace {namespace} on cluster {cluster.name} changes faster than it can be made ready; try "
            "again",
            retry_after=1.0,
        )

    def _holds(self, cluster: Cluster, owner: Owner, known: _Verified) -> bool | None:
        """Whether what was verified still is so, as can be told without asking; None is that it cannot be."""
        informer = self._informers.get(cluster.name)
        if informer is not None and informer.has_synced and informer.reachable:
            if (item := informer.get("", known.namespace)) is not None:
                return item.value.is_marked and not stranger(item.value, owner, self._hub)
            if known.watched:
                return False
        return True if self._clock() < known.until else None

    def _remember(self, cluster: Cluster, owner: Owner, namespace: str, *, marked: bool) -> None:
        until = self._clock() + VERIFIED_SECONDS
        self._verified[_key(cluster, owner)] = _Verified(namespace, until, marked)

    def _learn(self, cluster: Cluster, raw: msgspec.Raw) -> None:
        if (informer := self._informers.get(cluster.name)) is not None:
            informer.learn(raw)

    def _is_marked(self, found: Namespace) -> bool:
        """Whether a watch of our hub's namespaces tells of it."""
        return found.is_marked and found.metadata.labels.get(HUB) == self._hub

    def _manifest(
        self, namespace: str, owner: Owner, gets: Entitlement, optional: Collection[str]
    ) -> dict[str, Any]:
        return manifests.namespace(
            namespace, owner, gets.enforce, labels=self._labels, hub=self._hub, optional=optional
        )

    async def _look(self, cluster: Cluster, namespace: str, budget: Budget) -> Namespace | None:
        """None where our account may not look, as kbatch-proxy's needs not. Raises NotFound."""
        try:
            return await cluster.client.get(NAMESPACES, None, namespace, type=Namespace, budget=budget)
        except Forbidden as e:
            if self._furnisher.strict:
                raise refusal(e, "get", NAMESPACES, namespace) from e
            return None

    async def _claim_unseen(
        self,
        cluster: Cluster,
        namespace: str,
        owner: Owner,
        gets: Entitlement,
        optional: frozenset[str],
        why: Forbidden,
        budget: Budget,
    ) -> None:
        """For an account that may create namespaces and not read them, as kbatch-proxy's needs no more."""
        if self._furnisher.strict:
            raise refusal(why, "get", NAMESPACES, namespace) from why
        if self._settings.create_namespaces:
            wanted = self._manifest(namespace, owner, gets, optional)
            try:
                await cluster.client.create(NAMESPACES, None, wanted, budget=budget)
            except AlreadyExists:
                pass
            else:
                return
        # Some clusters let an account see only what it was given since: look again before believing.
        found = await self._look(cluster, namespace, budget)
        if found is None:
            self._check_unseen(cluster, namespace)
        else:
            self._check(cluster, namespace, found, owner)

    def _check_unseen(self, cluster: Cluster, namespace: str) -> None:
        log.warning(
            "whose namespace this is cannot be checked: let the account get namespaces",
            cluster=cluster.name,
            namespace=namespace,
        )

    def _check(self, cluster: Cluster, namespace: str, found: Namespace, owner: Owner) -> None:
        """Raises UserError where it is somebody else's, or nobody says that it is the owner's."""
        if theirs := stranger(found, owner, self._hub):
            raise UserError(
                403,
                f"Namespace {namespace} on cluster {cluster.name} belongs to {theirs}: ask an administrator",
            )
        if not found.is_marked and not self._adopts(found.metadata.labels):
            raise UserError(
                403,
                f"Namespace {namespace} on cluster {cluster.name} was made by somebody else, and nothing "
                f"says that it is for {owner.name}. An administrator can say so: kubectl annotate namespace "
                f"{namespace} {shlex.quote(f'{USERNAME}={owner.name}')} (or `hubfleet migrate adopt`, for "
                "all that are like it)",
            )

    def _adopts(self, labels: Mapping[str, str]) -> bool:
        """Whether a namespace without our marks, with these labels, goes to the user of its name."""
        if self._settings.adopt_unmarked or not self._settings.create_namespaces:
            return True
        return made_by_kbatch(labels, self._settings.labels_of_kbatch)


async def _within(budget: Budget | None, task: asyncio.Task[Any], cluster: Cluster, what: str) -> None:
    """Waits for a task that others wait for, too, and that goes on without us."""
    done, _ = await asyncio.wait([task], timeout=None if budget is None else budget.left())
    if not done:
        raise ClusterUnreachable(cluster.name, f"{what} did not come in time")


def _finish(tasks: dict[_Place, Any], place: _Place, done: asyncio.Task[Any]) -> None:
    del tasks[place]
    if not done.cancelled():
        done.exception()  # retrieved, even if nobody waits any more
