"""The namespaces that users of the originals have are marked as theirs: what `hubfleet migrate adopt` does.

A name alone proves nothing: `kbatch-system` may be the platform's, and whoever has it sees what is in it.
What proves something is what the originals left behind: kbatch-proxy's label on the namespace, its annotation
on the jobs and pods in it, multicluster-kubespawner's key. Where nothing does, the operator has to say so.
"""

from collections.abc import Collection, Mapping
from enum import StrEnum
from typing import Any

import msgspec

from hubfleet.kube.budget import Budget
from hubfleet.kube.clusters import Cluster
from hubfleet.kube.errors import Conflict, NotFound
from hubfleet.kube.resources import CRONJOBS, JOBS, NAMESPACES, PODS
from hubfleet.tenancy.marks import Metadata, Namespace, Owner, claim, made_by_kbatch, marks, stranger
from hubfleet.tenancy.naming import (
    LIMIT,
    escape,
    is_reserved,
    kbatch_namespace,
    namespace_for,
    old_kbatch_namespace,
    spawner_namespace,
)

KBATCH_USERNAME = "kbatch.jupyter.org/username"
SPAWNER_KEY = "mcks.hub.jupyter.org/key"

SECONDS = 60.0
"""For one user on one cluster."""

LOOKED_AT = 500
"""Objects of each kind in which names are looked for; one says whose a namespace is."""


class Outcome(StrEnum):
    """What became of one user's namespace; the first three need nobody's attention."""

    ADOPTED = "adopted"
    OURS = "already ours"
    MISSING = "missing"
    FOREIGN = "foreign"
    UNPROVEN = "unproven"
    TOO_LONG = "name too long"
    ELSEWHERE = "other name"
    GOING = "being deleted"


FINE = frozenset({Outcome.ADOPTED, Outcome.OURS, Outcome.MISSING})


class Finding(msgspec.Struct, frozen=True):
    """One line of the report."""

    cluster: str
    user: str
    namespace: str
    outcome: Outcome
    detail: str = ""


class Traces(msgspec.Struct, frozen=True):
    """What the originals left in a namespace: the names that kbatch wrote down, the keys of the spawner."""

    usernames: frozenset[str] = frozenset()
    keys: frozenset[str] = frozenset()


class _Template(msgspec.Struct, frozen=True):
    metadata: Metadata = Metadata()


class _JobSpec(msgspec.Struct, frozen=True):
    template: _Template = _Template()


class _JobTemplate(msgspec.Struct, frozen=True):
    metadata: Metadata = Metadata()
    spec: _JobSpec = _JobSpec()


class _Spec(msgspec.Struct, frozen=True, rename="camel"):
    job_template: _JobTemplate = _JobTemplate()


class _Object(msgspec.Struct, frozen=True):
    """A job, a pod, or a cron job: kbatch marks that one's template only."""

    metadata: Metadata
    spec: _Spec = _Spec()

    def metadatas(self) -> tuple[Metadata, ...]:
        template = self.spec.job_template
        return self.metadata, template.metadata, template.spec.template.metadata


class Adopter:
    """`scheme` is `tenancy.namespace`, `kbatch_labels` are those of a kbatch-proxy before us.

    With `by_name`, the name alone is believed where nothing speaks against it.
    """

    def __init__(
        self,
        scheme: str,
        *,
        hub: str,
        kbatch_labels: Mapping[str, str],
        by_name: bool = False,
        dry_run: bool = False,
    ):
        self._scheme = scheme
        self._hub = hub
        self._kbatch_labels = kbatch_labels
        self._by_name = by_name
        self._dry_run = dry_run

    async def adopt(self, cluster: Cluster, owner: Owner) -> Finding:
        """What is so, or was done, with the namespace of one user. Raises KubeError."""
        budget = Budget(SECONDS)
        reserved = (cluster.namespace_of_context,)
        name = namespace_for(owner.name, owner.kind, self._scheme, reserved=reserved)
        for _ in range(3):
            found = await _get(cluster, name, budget)
            if found is None:
                outcome, detail = await self._elsewhere(cluster, owner, name, reserved, budget)
                return Finding(cluster.name, owner.name, name, outcome, detail)
            traces = Traces() if found.is_marked else await _traces(cluster, name, budget)
            outcome, detail = self.judge(found, owner, traces)
            if outcome is Outcome.ADOPTED and not self._dry_run:
                try:
                    await self._mark(cluster, found, name, owner, budget)
                except Conflict:
                    continue  # somebody else marks it, or writes to it: look again
            return Finding(cluster.name, owner.name, name, outcome, detail)
        return Finding(cluster.name, owner.name, name, Outcome.UNPROVEN, "it changes all the time: try again")

    def judge(self, found: Namespace, owner: Owner, traces: Traces) -> tuple[Outcome, str]:
        """What to do with a namespace of the owner's name, and why."""
        if found.is_going:
            return Outcome.GOING, ""
        if theirs := stranger(found, owner, self._hub):
            return Outcome.FOREIGN, f"belongs to {theirs}"
        if found.is_marked:
            return Outcome.OURS, ""
        others = sorted(traces.usernames - {owner.name})
        if others:
            shared = "is shared with" if owner.name in traces.usernames else "has objects of"
            return Outcome.FOREIGN, f"{shared} {', '.join(others[:5])}"
        labels = found.metadata.labels
        keys = traces.keys | ({labels[SPAWNER_KEY]} if SPAWNER_KEY in labels else set())
        others = sorted(key for key in keys if not _is_key_of(key, owner.name))
        if others:
            return Outcome.FOREIGN, f"has servers of others: {', '.join(others[:5])}"
        if owner.name in traces.usernames:
            return Outcome.ADOPTED, f"its objects say {KBATCH_USERNAME}: {owner.name}"
        if keys:
            return Outcome.ADOPTED, f"its label or objects say {SPAWNER_KEY}: {min(keys)}"
        if made_by_kbatch(labels, self._kbatch_labels):
            return Outcome.ADOPTED, "has kbatch-proxy's labels"
        if self._by_name:
            return Outcome.ADOPTED, "by its name alone"
        return Outcome.UNPROVEN, "nothing in it says whose it is: look at it, then --by-name"

    async def _elsewhere(
        self, cluster: Cluster, owner: Owner, name: str, reserved: Collection[str], budget: Budget
    ) -> tuple[Outcome, str]:
        """Whether the user has a namespace under a name that these settings do not lead to."""
        for theirs in originals(owner.name).values():
            if theirs == name or is_reserved(theirs, reserved) or not theirs.strip("-"):
                continue
            found = await _get(cluster, theirs, budget)
            if found is None:
                continue
            traces = Traces() if found.is_marked else await _traces(cluster, theirs, budget)
            outcome, _ = self.judge(found, owner, traces)
            if outcome is Outcome.ADOPTED and len(theirs) > LIMIT:
                return Outcome.TOO_LONG, f"{theirs} has {len(theirs)} characters, and a namespace {LIMIT}"
            if outcome in (Outcome.ADOPTED, Outcome.OURS):
                return Outcome.ELSEWHERE, f"{theirs} is there{_way_to(theirs, owner, reserved)}"
        # Made here, under other settings: a template's names cannot be guessed, what we make has our labels.
        labels = ",".join(f"{key}={value}" for key, value in marks(owner, self._hub).items())
        async for marked in cluster.client.list(NAMESPACES, labels=labels, type=Namespace, budget=budget):
            if self.judge(marked, owner, Traces())[0] is Outcome.OURS:
                theirs = marked.metadata.name
                return (
                    Outcome.ELSEWHERE,
                    f"{theirs} is marked as this user's{_way_to(theirs, owner, reserved)}",
                )
        return Outcome.MISSING, ""

    async def _mark(
        self, cluster: Cluster, found: Namespace, name: str, owner: Owner, budget: Budget
    ) -> None:
        marked: dict[str, Any] = claim(name, owner, self._hub)
        marked["metadata"]["resourceVersion"] = found.metadata.resource_version
        await cluster.client.apply(NAMESPACES, None, marked, budget=budget)


def originals(name: str) -> dict[str, str]:
    """What the originals call a user's namespace, by the scheme that leads to it here, where one does."""
    return {
        "kbatch": kbatch_namespace(name),
        "multicluster-kubespawner": spawner_namespace(name),
        "{user}": old_kbatch_namespace(name),  # kbatch before 0.5
    }


def _way_to(namespace: str, owner: Owner, reserved: Collection[str]) -> str:
    """What to set so that a namespace is the owner's, as the end of a sentence."""
    for scheme in ("hubfleet", *originals(owner.name)):
        if namespace_for(owner.name, owner.kind, scheme, reserved=reserved) == namespace:
            return f": tenancy.namespace {scheme!r} leads to it"
    return ", to which no scheme leads: a template of tenancy.namespace may"


def _is_key_of(key: str, name: str) -> bool:
    """Whether multicluster-kubespawner names a server of this user's by that key, by its default template."""
    own = f"jupyter-{escape(name).lower()}"
    return key == own.rstrip("-") or key.startswith(f"{own}--")


async def _get(cluster: Cluster, name: str, budget: Budget) -> Namespace | None:
    try:
        return await cluster.client.get(NAMESPACES, None, name, type=Namespace, budget=budget)
    except NotFound:
        return None


async def _traces(cluster: Cluster, namespace: str, budget: Budget) -> Traces:
    usernames: set[str] = set()
    keys: set[str] = set()
    for resource in (JOBS, CRONJOBS, PODS):
        looked_at = 0
        async for found in cluster.client.list(resource, namespace, type=_Object, budget=budget):
            for metadata in found.metadatas():
                if name := metadata.annotations.get(KBATCH_USERNAME):
                    usernames.add(name)
                if key := metadata.labels.get(SPAWNER_KEY):
                    keys.add(key)
            looked_at += 1
            if looked_at == LOOKED_AT:
                break
    return Traces(frozenset(usernames), frozenset(keys))
