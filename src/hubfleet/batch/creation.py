"""Creates the objects of one submission, or leaves none of them behind.

The order is what makes it safe to die anywhere:

1. The parts (Secret, ConfigMaps) come first, at once, each with a label that says when it may be collected.
2. Then the Job, which refers to them. From here on it runs.
3. Then the parts get the Job as their owner and lose that label, at once.

A step that fails undoes what was made, here and now; with one exception. Where nobody knows whether the Job
was made (the answer to its create never came) and it is not there, it may yet come: an API server may still
be busy with it. Then the parts stay, for a Job without them would never start. They, and those of whoever
dies in between, are labelled, and so the collector's: it removes them, or gives them to the Job where that
was made.

The race with the collector: it must not remove the parts of a submission that is still under way and then
has its Job made. A submission has `BatchSettings.budget` (30 s), and looks at it once more before it creates
the Job; parts expire after `part_expiry` (600 s, at least twice the budget). Clocks may differ by what lies
in between. What remains is a process that is frozen for all that time between its last look and its request.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Any

import msgspec
import structlog

from hubfleet.batch.manifests import SUBMISSION_LABEL, Owner, Plan, owned_by
from hubfleet.kube.budget import Budget
from hubfleet.kube.client import Client
from hubfleet.kube.errors import ApiError, ClusterUnreachable, KubeError, NotFound
from hubfleet.kube.impersonation import Impersonation
from hubfleet.kube.resources import CONFIGMAPS, CRONJOBS, JOBS, SECRETS, Resource

UNDO_SECONDS = 10.0
"""For undoing, beside the operation's own budget: that one may be what ran out."""

PARTS_AT_ONCE = 3
"""Of one submission. Code of 20 MiB is 20 ConfigMaps, and who submits one waits behind those at once."""

LAST_MOMENT = 1.0
"""Seconds of the budget that must be left to begin with the Job."""

OWNERS = {"Job": JOBS, "CronJob": CRONJOBS}

log = structlog.get_logger(__name__)

_decode_owner = msgspec.json.Decoder(Owner).decode


async def create(
    client: Client,
    plan: Plan,
    budget: Budget,
    on_behalf_of: Impersonation | None = None,
    undo: Callable[[], Awaitable[object]] | None = None,
) -> msgspec.Raw:
    """The Job or CronJob as the API server stored it. Raises KubeError, after undoing.

    `undo` is what else there is to undo: not where the Job may yet be made, or its parts may still be there.
    """
    creation = _Creation(client, plan, budget, on_behalf_of)
    try:
        return await creation.run()
    except KubeError:
        if undo is not None and creation.undone:
            await undo()
        raise


class _Creation:
    def __init__(self, client: Client, plan: Plan, budget: Budget, on_behalf_of: Impersonation | None):
        self._client = client
        self._plan = plan
        self._budget = budget
        self._on_behalf_of = on_behalf_of
        self._job_was_sent = False
        self.undone = False
        self._parts = [(SECRETS, plan.secret), *((CONFIGMAPS, each) for each in plan.config_maps)]

    async def run(self) -> msgspec.Raw:
        resource = OWNERS[self._plan.kind]
        try:
            await _all(partial(self._create, of, part, metadata_only=True) for of, part in self._parts)
            if self._budget.left() < LAST_MOMENT:
                raise ClusterUnreachable(self._client.name, "the time for this submission is over")
            self._job_was_sent = True
            raw = await self._create(resource, self._plan.owner)
        except KubeError as e:
            await self._undo(resource, e)
            raise
        await self._give_parts_to(_decode_owner(raw))
        return raw

    async def _create(
        self, resource: Resource, obj: dict[str, Any], *, metadata_only: bool = False
    ) -> msgspec.Raw:
        return await self._client.create(
            resource,
            self._plan.namespace,
            obj,
            type=msgspec.Raw,
            on_behalf_of=self._on_behalf_of,
            budget=self._budget,
            metadata_only=metadata_only,
        )

    async def _give_parts_to(self, owner: Owner) -> None:
        """A failure is no failure of the submission: the Job runs, and the collector does this later."""
        patch = owned_by(owner)
        answers = await _some_at_once(
            partial(
                self._client.patch,
                resource,
                self._plan.namespace,
                part["metadata"]["name"],
                patch,
                type=msgspec.Raw,
                on_behalf_of=self._on_behalf_of,
                budget=self._budget,
                metadata_only=True,
            )
            for resource, part in self._parts
        )
        for answer in answers:
            if isinstance(answer, KubeError):
                self._log("a part has no owner yet", error=str(answer))
            elif isinstance(answer, BaseException):
                raise answer

    async def _undo(self, resource: Resource, error: KubeError) -> None:
        """Remove whatever of this submission is there, known by its label: never a namesake."""
        budget = Budget(UNDO_SECONDS)
        try:
            # First, and alone: a Job without its parts would never start, parts without it expire.
            if (
                self._job_was_sent
                and _may_have_happened(error)
                and not await self._remove(resource, self._plan.name, budget)
            ):
                self._log("left to the collector: the job may yet be made", error=str(error))
                return
            await _all(
                partial(self._remove, of, each["metadata"]["name"], budget) for of, each in self._parts
            )
            self.undone = True
        except KubeError as e:
            self._log("left to the collector", error=str(e))

    async def _remove(self, resource: Resource, name: str, budget: Budget) -> bool:
        """Whether it was there."""
        # Asked first, for a create whose answer never came may or may not have made it, and the name may be
        # another's (409). The uid makes sure that it is still the same one.
        namespace, whom = self._plan.namespace, self._on_behalf_of
        try:
            found = await self._client.get(
                resource, namespace, name, on_behalf_of=whom, budget=budget, metadata_only=True
            )
            metadata = found["metadata"]
            if metadata.get("labels", {}).get(SUBMISSION_LABEL) != self._plan.submission:
                return False
            await self._client.delete(
                resource, namespace, name, uid=metadata["uid"], on_behalf_of=whom, budget=budget
            )
        except NotFound:
            return False
        return True

    def _log(self, event: str, **values: Any) -> None:
        log.warning(
            event,
            cluster=self._client.name,
            namespace=self._plan.namespace,
            submission=self._plan.submission,
            owner=self._plan.name,
            **values,
        )


async def _all(calls: Iterable[Callable[[], Awaitable[object]]]) -> None:
    """Waits for all of them, and only then raises the first failure: an undo must not race with a create."""
    for answer in await _some_at_once(calls):
        if isinstance(answer, BaseException):
            raise answer


async def _some_at_once(calls: Iterable[Callable[[], Awaitable[object]]]) -> list[object]:
    """What each gives or raises."""
    gate = asyncio.Semaphore(PARTS_AT_ONCE)

    async def one(call: Callable[[], Awaitable[object]]) -> object:
        async with gate:
            return await call()

    return await asyncio.gather(*map(one, calls), return_exceptions=True)


def _may_have_happened(error: KubeError) -> bool:
    return isinstance(error, ClusterUnreachable) or (isinstance(error, ApiError) and error.code >= 500)
