"""Removes what dead submissions left behind: parts whose expiry has passed and that nobody owns.

Parts whose Job was made after all (whoever made it died before giving them to it) are given to it now. Any
number of collectors may run: everything is done with names and uids as preconditions, and done twice is done
once. The race with a submission under way is written down in `creation`.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import structlog

from hubfleet.batch.creation import OWNERS
from hubfleet.batch.manifests import EXPIRES_LABEL, OWNER_ANNOTATION, SUBMISSION_LABEL, owned_by
from hubfleet.kube.budget import Budget
from hubfleet.kube.client import Client
from hubfleet.kube.errors import ApiError, Conflict, KubeError, NotFound
from hubfleet.kube.resources import CONFIGMAPS, SECRETS, Resource

INTERVAL = 60.0
"""Seconds between two rounds; there is rarely anything to do.

A round is two lists of what still has an expiry (submissions under way, or dead), of metadata alone: the
parts themselves hold users' code, up to a MiB each.
"""

ROUND_BUDGET = 45.0
"""Seconds for one round in one cluster."""

log = structlog.get_logger(__name__)


class Collector:
    """Collects in one cluster. `clock` gives Unix time."""

    def __init__(self, client: Client, *, interval: float = INTERVAL, clock: Callable[[], float] = time.time):
        self._client = client
        self._interval = interval
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
        """One round: how many parts were removed or given to their owner. Raises KubeError."""
        budget = Budget(ROUND_BUDGET)
        handled = 0
        for resource in (SECRETS, CONFIGMAPS):
            parts = self._client.list(resource, labels=EXPIRES_LABEL, metadata_only=True, budget=budget)
            async for part in parts:
                if not _expired(part, self._clock()):
                    continue
                try:
                    handled += await self._settle(resource, part, budget)
                except (NotFound, Conflict):
                    continue  # someone else was faster
                except ApiError as e:
                    log.warning("cannot collect a part", part=_name(resource, part), error=str(e))
        return handled

    async def _settle(self, resource: Resource, part: dict[str, Any], budget: Budget) -> int:
        metadata = part["metadata"]
        namespace, name = metadata["namespace"], metadata["name"]
        owner = await self._owner(part, budget)
        if owner is not None:
            await self._client.patch(resource, namespace, name, owned_by(owner), budget=budget)
            log.info("gave a part to its owner", part=_name(resource, part), owner=owner["metadata"]["name"])
        else:
            await self._client.delete(resource, namespace, name, uid=metadata["uid"], budget=budget)
            log.info("removed an abandoned part", part=_name(resource, part))
        return 1

    async def _owner(self, part: dict[str, Any], budget: Budget) -> dict[str, Any] | None:
        """The Job or CronJob of the same submission, if it exists: a namesake is none."""
        metadata = part["metadata"]
        kind, _, name = metadata.get("annotations", {}).get(OWNER_ANNOTATION, "").partition("/")
        if kind not in OWNERS or not name:
            return None
        try:
            owner = await self._client.get(OWNERS[kind], metadata["namespace"], name, budget=budget)
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


def _name(resource: Resource, part: dict[str, Any]) -> str:
    return f"{resource.key} {part['metadata']['namespace']}/{part['metadata']['name']}"
