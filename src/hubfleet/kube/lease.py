"""A Lease: at most one process at a time does what must run once.

As client-go's leaderelection, no clock is compared with another machine's: a contender watches for the record
to change, and takes the lease over when it did not for `duration` seconds of its own clock. The holder gives
up earlier (`deadline`) when it cannot renew, so that its work has ended before anybody else begins.
Correctness must still not rest on it (a process may be frozen between the check and the act); it saves work
and noise.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
import structlog

from hubfleet.kube.budget import Budget
from hubfleet.kube.client import Client
from hubfleet.kube.errors import AlreadyExists, Conflict, KubeError, NotFound
from hubfleet.kube.resources import LEASES


class Spec(msgspec.Struct, frozen=True, rename="camel"):
    """The record in a Lease, as far as contenders read it; null and missing mean the same."""

    holder_identity: str | None = None
    lease_duration_seconds: int | None = None
    acquire_time: str | None = None
    renew_time: str | None = None
    lease_transitions: int | None = None


class Metadata(msgspec.Struct, frozen=True, rename="camel"):
    resource_version: str = ""


class Lease(msgspec.Struct, frozen=True):
    metadata: Metadata = Metadata()
    spec: Spec = Spec()


class Observer:
    """When the record last changed, by our own clock; decides whether it is ours to take."""

    def __init__(self, identity: str, duration: float):
        self._identity = identity
        self._duration = duration
        self._seen: Spec | None = None
        self._since = 0.0

    def free(self, spec: Spec, now: float) -> bool:
        """Whether nobody else holds it: it is ours already, released, or was not renewed for its time."""
        if spec != self._seen:
            self._seen, self._since = spec, now
        holder = spec.holder_identity or ""
        # The holder's own duration counts where it is longer than ours: it may be configured differently.
        patience = max(self._duration, float(spec.lease_duration_seconds or 0))
        return holder in ("", self._identity) or now >= self._since + patience


def record(identity: str, previous: Spec, duration: float, now: datetime) -> dict[str, Any]:
    """The spec of a lease that `identity` takes or renews."""
    stamp = now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    renewing = previous.holder_identity == identity
    transitions = previous.lease_transitions or 0
    return {
        "holderIdentity": identity,
        "leaseDurationSeconds": max(1, round(duration)),
        "acquireTime": previous.acquire_time if renewing and previous.acquire_time else stamp,
        "renewTime": stamp,
        "leaseTransitions": transitions if renewing or previous.holder_identity is None else transitions + 1,
    }


class Elector:
    """Contends for the Lease `namespace/name` as `identity`, which no other process may use.

    In seconds: `duration` after which others may take over, `deadline` (less) after which the holder gives
    up, `retry` between two attempts. The defaults are client-go's.
    """

    def __init__(
        self,
        client: Client,
        namespace: str,
        name: str,
        identity: str,
        *,
        duration: float = 15.0,
        deadline: float = 10.0,
        retry: float = 2.0,
    ):
        if not retry < deadline < duration:
            raise ValueError("a lease needs retry < deadline < duration")
        self.holding = False
        self._client = client
        self._namespace = namespace
        self._name = name
        self._identity = identity
        self._duration = duration
        self._deadline = deadline
        self._retry = retry
        self._observer = Observer(identity, duration)
        self._ours = False
        self._renewed = 0.0  # by time.monotonic
        self._log = structlog.get_logger("hubfleet.kube.lease").bind(
            cluster=client.name, lease=f"{namespace}/{name}", identity=identity
        )

    async def run(self, work: Callable[[], Awaitable[None]]) -> None:
        """Runs `work` while we hold the lease: cancels it when the lease is lost, contends again.

        Ends when `work` does (its exceptions pass through) or when cancelled; the lease is then released, so
        that another contender need not wait for it to expire.
        """
        while True:
            await self._acquire()
            self.holding = True
            self._log.info("holding the lease")
            try:
                if await self._hold(work):
                    return
            finally:
                self.holding = False
            self._log.warning("lost the lease")

    async def _acquire(self) -> None:
        while True:
            if await self._attempt(Budget(self._deadline)):
                return
            await asyncio.sleep(self._retry * random.uniform(1.0, 1.2))  # noqa: S311  (contenders spread out)

    async def _hold(self, work: Callable[[], Awaitable[None]]) -> bool:
        """Whether the work ended by itself; False where the lease was lost first."""
        working = asyncio.ensure_future(work())
        try:
            while True:
                await asyncio.wait([working], timeout=self._retry)
                if working.done():
                    await working
                    return True
                left = self._renewed + self._deadline - time.monotonic()
                if left <= 0 or not (await self._attempt(Budget(left)) or self._ours):
                    return False
        finally:
            # The lease is let go only after the work has ended: two holders would be worse than none.
            if not working.done():
                working.cancel()
                await asyncio.wait([working])
            await self._release()

    async def _attempt(self, budget: Budget) -> bool:
        """Takes or renews the lease if it is free; `_ours` then tells whether the record names us."""
        started, began = datetime.now(UTC), time.monotonic()
        try:
            lease = await self._client.get(LEASES, self._namespace, self._name, type=Lease, budget=budget)
            self._ours = lease.spec.holder_identity == self._identity
            if not self._observer.free(lease.spec, time.monotonic()):
                return False
            # With the resourceVersion: of several contenders that saw it free, one succeeds.
            patch = {
                "metadata": {"resourceVersion": lease.metadata.resource_version},
                "spec": record(self._identity, lease.spec, self._duration, started),
            }
            await self._client.patch(LEASES, self._namespace, self._name, patch, budget=budget)
        except NotFound:
            self._ours = False
            if not await self._create(started, budget):
                return False
        except Conflict:
            return False
        except KubeError as e:
            self._log.info("the lease cannot be reached", error=str(e))
            return False
        # From before the request: the others count from when they saw it, which is later.
        self._ours, self._renewed = True, began
        return True

    async def _create(self, started: datetime, budget: Budget) -> bool:
        lease = {
            "apiVersion": LEASES.api_version,
            "kind": LEASES.kind,
            "metadata": {"name": self._name, "namespace": self._namespace},
            "spec": record(self._identity, Spec(), self._duration, started),
        }
        try:
            await self._client.create(LEASES, self._namespace, lease, budget=budget)
        except AlreadyExists:
            return False
        except KubeError as e:
            self._log.info("the lease cannot be made", error=str(e))
            return False
        return True

    async def _release(self) -> None:
        """Lets the next one in at once; when this fails, it has to wait for the lease to expire."""
        budget = Budget(self._retry)
        try:
            lease = await self._client.get(LEASES, self._namespace, self._name, type=Lease, budget=budget)
            if lease.spec.holder_identity == self._identity:
                patch = {
                    "metadata": {"resourceVersion": lease.metadata.resource_version},
                    "spec": {"holderIdentity": "", "leaseDurationSeconds": 1},
                }
                await self._client.patch(LEASES, self._namespace, self._name, patch, budget=budget)
        except KubeError as e:
            self._log.info("the lease was not released", error=str(e))
