"""What belongs in a user's namespace is written there, all at once; refusals get words and a log line.

Where impersonation is not required, the deployment is one that worked before there were such objects: those
that its settings did not ask for are left out where its account may not write them, with a warning.
"""

import asyncio
from collections.abc import Awaitable, Collection, Iterable, Mapping
from typing import Any

import msgspec
import structlog

from hubfleet.errors import UserError
from hubfleet.kube.budget import Budget
from hubfleet.kube.clusters import Cluster
from hubfleet.kube.discovery import discover
from hubfleet.kube.errors import ApiError, BadRequest, Forbidden, Invalid, NotFound
from hubfleet.kube.resources import PRIORITYCLASSES, Resource
from hubfleet.settings import TenancySettings
from hubfleet.tenancy import manifests
from hubfleet.tenancy.accounts import PATIENCE, Accounts
from hubfleet.tenancy.manifests import Entitlement, Item
from hubfleet.tenancy.refusals import Right, explained, going, missing_right

log = structlog.get_logger(__name__)


class _PriorityClass(msgspec.Struct, frozen=True, rename="camel"):
    metadata: dict[str, Any]
    global_default: bool = False


class Furnisher:
    """Writes what belongs in users' namespaces; remembers of each cluster which kinds it has."""

    def __init__(self, settings: TenancySettings, accounts: Accounts, labels: Mapping[str, str]):
        """`labels` are for everything, besides the marks of whose it is on what is in a namespace."""
        self._settings = settings
        self._labels = labels
        self._accounts = accounts
        self._resources: dict[tuple[str, str, str], Resource] = {}
        self._default_classes: dict[str, str | None] = {}
        self._queue_versions: dict[str, str] = {}

    @property
    def strict(self) -> bool:
        """Whether nothing may be left out."""
        return self._accounts.mode == "required"

    async def items(self, cluster: Cluster, gets: Entitlement, budget: Budget) -> tuple[Item, ...]:
        """What belongs in a namespace of this cluster, identity and operator's manifests apart."""
        return manifests.content(
            self._settings,
            gets,
            default_class=await self._default_class(cluster, budget),
            queue_version=await self._queue_version(cluster, budget),
        )

    async def furnish(
        self,
        cluster: Cluster,
        namespace: str,
        items: Iterable[Item],
        marks: Mapping[str, str],
        budget: Budget,
    ) -> None:
        """The items, the user's identity, then the operator's manifests, one after the other as written.

        Raises UserError where something stands in the way, KubeError for what the cluster says besides.
        """
        left_out: list[str] = []

        async def write(item: Item) -> None:
            manifest = manifests.labelled(item.manifest, {**self._labels, **marks}, namespace)
            try:
                await cluster.client.apply(item.resource, namespace, manifest, budget=budget)
            except ApiError as e:
                if self.strict or item.asked or not isinstance(e, Forbidden) or explained(e, namespace):
                    raise refusal(e, "write", item.resource, namespace) from e
                left_out.append(item.resource.key)

        await together([write(item) for item in items] + [self.identify(cluster, namespace, marks, budget)])
        if left_out:
            log.warning(
                "a namespace lacks what this server's account may not write: see `hubfleet rbac`",
                cluster=cluster.name,
                namespace=namespace,
                lacks=sorted(left_out),
            )
        for manifest in self._settings.manifests:
            await self._apply(cluster, namespace, manifest, marks, budget)

    async def identify(
        self, cluster: Cluster, namespace: str, marks: Mapping[str, str], budget: Budget
    ) -> None:
        """The user's account in the namespace, its rights, and ours to act as it; tried out.

        Raises UserError where we may not, and impersonation is required.
        """
        if self._accounts.mode == "off":
            return
        try:
            account = await self._accounts.own(cluster, budget)
            await self._accounts.provide_roles(cluster, budget)
            items = manifests.identity(namespace, account)
            await together(
                cluster.client.apply(
                    item.resource,
                    namespace,
                    manifests.labelled(item.manifest, {**self._labels, **marks}, namespace),
                    budget=budget,
                )
                for item in items
            )
            await self._accounts.prove(cluster, namespace, budget, patience=PATIENCE)
        except ApiError as e:
            if error := explained(e, namespace):
                raise error from e
            if not isinstance(e, Forbidden) and not lacks_kind(e):
                raise
            self._accounts.without(cluster, namespace, e)

    async def remove(self, cluster: Cluster, namespace: str, names: Collection[str], budget: Budget) -> None:
        """What the settings had and have no more; `names` are words of the annotation OBJECTS."""
        known = manifests.removable(self._settings, await self._queue_version(cluster, budget))
        for resource, name in (known[each] for each in sorted(names) if each in known):
            try:
                await cluster.client.delete(resource, namespace, name, budget=budget)
            except NotFound:
                pass
            except ApiError as e:
                raise refusal(e, "delete", resource, namespace) from e

    async def _apply(
        self,
        cluster: Cluster,
        namespace: str,
        manifest: Mapping[str, Any],
        marks: Mapping[str, str],
        budget: Budget,
    ) -> None:
        kind, api_version = str(manifest["kind"]), str(manifest["apiVersion"])
        try:
            resource = await self._resource(cluster, api_version, kind, budget)
        except NotFound as e:
            unknown = Resource("", "", f"{kind} of {api_version}", kind)
            raise refusal(e, "get", unknown, namespace) from e
        place = namespace if resource.namespaced else None
        # What is in no namespace is everybody's, and says of nobody that it is theirs.
        body = manifests.labelled(manifest, {**self._labels, **(marks if place else {})}, place or "")
        try:
            await cluster.client.apply(resource, place, body, budget=budget)
        except ApiError as e:
            raise refusal(e, "write", resource, namespace) from e

    async def _resource(self, cluster: Cluster, api_version: str, kind: str, budget: Budget) -> Resource:
        key = (cluster.name, api_version, kind)
        if key not in self._resources:
            self._resources[key] = await discover(cluster.client, api_version, kind, budget=budget)
        return self._resources[key]

    async def _default_class(self, cluster: Cluster, budget: Budget) -> str | None:
        """The priority class that every pod has which names none; "" is none, None that we may not know."""
        if cluster.name not in self._default_classes:
            try:
                self._default_classes[cluster.name] = await _default_class(cluster, budget)
            except ApiError as e:
                if self.strict or not isinstance(e, Forbidden):
                    raise refusal(e, "list", PRIORITYCLASSES, "") from e
                log.warning(
                    "priority classes are not refused by quota: see `hubfleet rbac`",
                    cluster=cluster.name,
                    error=e.message,
                )
                self._default_classes[cluster.name] = None
        return self._default_classes[cluster.name]

    async def _queue_version(self, cluster: Cluster, budget: Budget) -> str:
        """Kueue's version on this cluster; "" where it is not asked for, or not there."""
        if not self._settings.local_queue.cluster_queue:
            return ""
        if cluster.name not in self._queue_versions:
            self._queue_versions[cluster.name] = await _queue_version(cluster, budget)
        return self._queue_versions[cluster.name]


async def together(calls: Iterable[Awaitable[Any]]) -> None:
    """All of them at once, to their ends; then raises the first one's error, if there is one."""
    for result in await asyncio.gather(*calls, return_exceptions=True):
        if isinstance(result, BaseException):
            raise result


def lacks_kind(error: ApiError) -> bool:
    """Whether the cluster does not have the kind at all: then no namespace and no object is missing."""
    details = error.status.get("details")
    about = details.get("kind") if isinstance(details, dict) else None
    return error.code in (405, 501) or (isinstance(error, NotFound) and about != "namespaces")


def refusal(error: ApiError, verb: str, resource: Resource, namespace: str) -> Exception:
    """What to raise where the cluster refuses what a namespace needs; the operator's log has the details.

    `verb` is what was asked for, for where the cluster does not say what was missing.
    """
    if words := explained(error, namespace):
        return words
    fields = {"cluster": error.cluster, "namespace": namespace, "error": error.message}
    if isinstance(error, Forbidden):
        right = missing_right(error) or Right(verb, resource.key)
        log.error("this server's account lacks a right: see `hubfleet rbac`", right=str(right), **fields)
        return UserError(
            503,
            f"Your namespace on cluster {error.cluster} cannot be provided, for this server may not {right} "
            "there: an administrator has to give its account that right",
        )
    if lacks_kind(error):
        log.error("a cluster lacks a kind that namespaces need", kind=resource.key, **fields)
        return UserError(
            503,
            f"Your namespace on cluster {error.cluster} cannot be provided, for the cluster has no "
            f"{resource.key}: ask an administrator",
        )
    if isinstance(error, NotFound):  # the namespace itself
        return going(error.cluster, namespace)
    if isinstance(error, BadRequest | Invalid):
        log.error("a cluster refuses what the settings say: tenancy", kind=resource.key, **fields)
        return UserError(
            503,
            f"Your namespace on cluster {error.cluster} cannot be provided, for the cluster does not take "
            f"what this server's settings put there: ask an administrator ({error.message})",
        )
    return error


async def _default_class(cluster: Cluster, budget: Budget) -> str:
    async for found in cluster.client.list(PRIORITYCLASSES, type=_PriorityClass, budget=budget):
        if found.global_default:
            return str(found.metadata["name"])
    return ""


async def _queue_version(cluster: Cluster, budget: Budget) -> str:
    for version in manifests.QUEUE_VERSIONS:
        try:
            await discover(cluster.client, f"{manifests.QUEUE_GROUP}/{version}", "LocalQueue", budget=budget)
        except NotFound:
            continue
        return version
    log.warning("there is no Kueue: namespaces get no LocalQueue", cluster=cluster.name)
    return ""
