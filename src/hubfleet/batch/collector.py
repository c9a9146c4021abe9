"""Removes what dead submissions left behind: parts whose expiry has passed and that nobody owns.

Parts whose Job was made after all (whoever made it died before giving them to it) are given to it now. Any
number of collectors may run: everything is done with names and uids as preconditions, and done twice is done
once. The race with a submission under way is written down in `creation`.

Our own account sees no Secret and no ConfigMap anywhere, and should not: whoever may list them in all
namespaces reads every user's token. So a round goes through the users' namespaces, in each one as its user's
account, at a pace that an API server does not notice.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any

import structlog

from hubfleet.batch.creation import OWNERS
from hubfleet.batch.manifests import EXPIRES_LABEL, OWNER_ANNOTATION, SUBMISSION_LABEL, owned_by
from hubfleet.errors import UserError
from hubfleet.kube.budget import Budget
from hubfleet.kube.client import Client
from hubfleet.kube.errors import ApiError, ClusterUnreachable, Conflict, Forbidden, KubeError, NotFound
from hubfleet.kube.impersonation import Impersonation
from hubfleet.kube.resources import CONFIGMAPS, NAMESPACES, SECRETS, Resource
from hubfleet.tenancy.marks import HUB, USER

INTERVAL = 60.0
"""Seconds between two rounds; there is rarely anything to do."""

AT_ONCE = 100
"""Namespaces of a round that are looked at one after the other without a pause: most hubs have no more."""

PACE = 10.0
"""Namespaces a second after those, each with two lists of what still has an expiry (submissions under way,
or dead), of metadata alone: the parts themselves hold users' code, up to a MiB each.

10,000 namespaces are 20 pages of namespaces and 20 small requests a second for 17 minutes: what was left
behind is gone half an hour after it was made. A namespace costs us 0.7 ms of CPU (measured against localkube,
which takes as long), so that is less than a hundredth of a core; the first 100 take 0.2 s.
"""

NAMESPACE_BUDGET = 20.0
"""Seconds for one namespace: whoever fills theirs with parts keeps nobody's from being looked at."""

NOWHERE = 5
"""A round that begins with so many namespaces in which we may not act ends: it would be so in all of them."""

IdentityOf = Callable[[str], Awaitable[Impersonation | None]]
"""As whom we act in a user's namespace; None is ourselves. Raises UserError, KubeError."""

log = structlog.get_logger(__name__)


class Collector:
    """Collects in the namespaces that the users of one hub have on one cluster. `clock` gives Unix time."""

    def __init__(
        self,
        client: Client,
        identity: IdentityOf,
        *,
        hub: str,
        interval: float = INTERVAL,
        pace: float = PACE,
        clock: Callable[[], float] = time.time,
    ):
        self._client = client
        self._identity = identity
        self._hub = hub
        self._interval = interval
        self._pace = pace
        self._clock = clock

    async def run(self) -> None:
        """Until cancelled. A cluster that does not answer is asked again in the next round."""
        while True:
            try:
                await self.collect()
            except KubeError as e:
                log.warning("cannot collect", cluster=self._client.name, error=str(e))
            await asyncio.sleep(self._interval)

    async def collect(self) -> int:
        """One round: how many parts were removed or given to their owner.

        Raises KubeError where the cluster does not answer, or does not show us the namespaces. What goes
        wrong in single namespaces is told in one line of the log, and keeps nobody from the others.
        """
        handled = visited = 0
        failures: dict[str, str] = {}
        names = await self._namespaces()
        started = time.monotonic()
        for i, namespace in enumerate(names):
            wait = started + (i - AT_ONCE) / self._pace - time.monotonic()
            if wait > 0:
                await asyncio.sleep(wait)
            budget = Budget(NAMESPACE_BUDGET)
            try:
                handled += await self._visit(namespace, budget)
                visited += 1
            except (KubeError, UserError) as e:
                if isinstance(e, ClusterUnreachable) and not budget.expired:
                    raise
                if not await self._is_gone(namespace):
                    failures[namespace] = str(e)
            if not visited and len(failures) == NOWHERE:
                break
        if failures:
            namespace, error = next(iter(failures.items()))
            log.warning(
                "what dead submissions left behind cannot be collected in some namespaces; the command "
                "`hubfleet rbac` prints the rights that this needs",
                cluster=self._client.name,
                namespaces=len(failures),
                of=len(names),
                one=namespace,
                error=error,
            )
        return handled

    async def _namespaces(self) -> list[str]:
        """Those of this hub's users, in another order each time: a round that breaks off favours nobody."""
        labels = f"{USER},{HUB}={self._hub}" if self._hub else USER
        names = [
            str(each["metadata"]["name"])
            async for each in self._client.list(NAMESPACES, labels=labels, metadata_only=True)
            if not each["metadata"].get("deletionTimestamp")
        ]
        random.shuffle(names)
        return names

    async def _is_gone(self, namespace: str) -> bool:
        """Whether it went, or is about to, since it was listed: its bindings go before it does."""
        try:
            found = await self._client.get(NAMESPACES, None, namespace)
        except NotFound:
            return True
        return bool(found["metadata"].get("deletionTimestamp"))

    async def _visit(self, namespace: str, budget: Budget) -> int:
        whom = await self._identity(namespace)
        handled = 0
        for resource in (SECRETS, CONFIGMAPS):
            parts = self._client.list(
                resource,
                namespace,
                labels=EXPIRES_LABEL,
                metadata_only=True,
                on_behalf_of=whom,
                budget=budget,
            )
            async for part in parts:
                if not _expired(part, self._clock()):
                    continue
                try:
                    handled += await self._settle(resource, namespace, part, whom, budget)
                except (NotFound, Conflict):
                    continue  # someone else was faster
                except Forbidden:
                    raise  # and so would be the next one
                except ApiError as e:
                    part_name = f"{resource.key} {namespace}/{part['metadata']['name']}"
                    log.warning("cannot collect a part", part=part_name, error=str(e))
        return handled

    async def _settle(
        self,
        resource: Resource,
        namespace: str,
        part: dict[str, Any],
        whom: Impersonation | None,
        budget: Budget,
    ) -> int:
        metadata = part["metadata"]
        name = metadata["name"]
        part_name = f"{resource.key} {namespace}/{name}"
        owner = await self._owner(namespace, part, whom, budget)
        if owner is not None:
            await self._client.patch(
                resource, namespace, name, owned_by(owner), on_behalf_of=whom, budget=budget
            )
            log.info("gave a part to its owner", part=part_name, owner=owner["metadata"]["name"])
        else:
            await self._client.delete(
                resource, namespace, name, uid=metadata["uid"], on_behalf_of=whom, budget=budget
            )
            log.info("removed an abandoned part", part=part_name)
        return 1

    async def _owner(
        self, namespace: str, part: dict[str, Any], whom: Impersonation | None, budget: Budget
    ) -> dict[str, Any] | None:
        """The Job or CronJob of the same submission, if it exists: a namesake is none."""
        metadata = part["metadata"]
        kind, _, name = metadata.get("annotations", {}).get(OWNER_ANNOTATION, "").partition("/")
        if kind not in OWNERS or not name:
            return None
        try:
            owner = await self._client.get(OWNERS[kind], namespace, name, on_behalf_of=whom, budget=budget)
        except NotFound:
            return None
        same = owner["metadata"].get("labels", {}).get(SUBMISSION_LABEL)
        return owner if same == metadata["labels"].get(SUBMISSION_LABEL) else None


def _expired(part: dict[str, Any], now: float) -> bool:
    metadata = part["metadata"]
    try:
        # Owned, but still labelled: the garbage collector knows what to do with it.
        return not metadata.get("ownerReferences") and float(metadata["labels"][EXPIRES_LABEL]) <= now
    except (KeyError, ValueError):
        return False
