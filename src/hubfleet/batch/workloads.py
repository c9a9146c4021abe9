"""What is there, in one cluster: Jobs, CronJobs and their pods, as the clients want them, from the informers.

An object is converted and encoded once for each of its versions, a list is a join of these bytes, and the
last lists are kept as long as nothing in their namespace changed.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from hubfleet.batch import wire
from hubfleet.batch.manifests import USERNAME
from hubfleet.kube.budget import Budget
from hubfleet.kube.client import Client
from hubfleet.kube.errors import ApiError, NotFound
from hubfleet.kube.impersonation import Impersonation
from hubfleet.kube.informer import Informer
from hubfleet.kube.resources import CRONJOBS, JOBS, PODS, Resource
from hubfleet.kube.view import Item
from hubfleet.tenancy.refusals import missing_right

ENCODED_AT_ONCE = 20
"""Objects, a tenth of a millisecond each: ten thousand new ones must not stop everybody for a second."""

LISTS = 64
"""Encoded lists kept for each kind and cluster: those of the users who are looking at this moment."""

Answer = tuple[bytes, dict[str, str]]
"""A JSON body and the headers that go with it."""


class Workloads:
    """One kind in one cluster. `async with` starts and stops its informer."""

    def __init__(
        self,
        client: Client,
        resource: Resource,
        convert: Callable[[dict[str, Any]], dict[str, Any]],
        *,
        labels: str = "",
    ):
        self.resource = resource
        self.informer: Informer[bytes] = Informer(client, resource, self._encode, labels=labels)
        self._client = client
        self._convert = convert
        self._lists: OrderedDict[str, tuple[int, bytes]] = OrderedDict()

    async def __aenter__(self) -> "Workloads":
        await self.informer.__aenter__()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.informer.__aexit__(*exc)

    async def list(self, namespace: str, budget: Budget) -> Answer:
        """All of a namespace, ordered by name."""
        await self.informer.synced(budget)
        version = self.informer.version(namespace)
        kept = self._lists.get(namespace)
        if kept is None or kept[0] != version:
            items = list(self.informer.items(namespace))
            await _unhurried(items, lambda item: item.value)
            kept = version, self._join(items)
            self._lists[namespace] = kept
            if len(self._lists) > LISTS:
                self._lists.popitem(last=False)
        self._lists.move_to_end(namespace)
        return kept[1], self._freshness()

    def nothing(self) -> Answer:
        """The list of a namespace that does not exist."""
        return self._join(()), self._freshness()

    def missing(self, name: str) -> NotFound:
        """What an API server says of an object in a namespace that does not exist."""
        return NotFound(self._client.name, 404, "NotFound", f'{self.resource.key} "{name}" not found')

    async def select(self, namespace: str, label: str, value: str, budget: Budget) -> Answer:
        """Those of a namespace with a label."""
        await self.informer.synced(budget)
        items = self.informer.items(namespace)
        await _unhurried(items, lambda item: item.labels)
        found = [item for item in items if item.labels.get(label) == value]
        await _unhurried(found, lambda item: item.value)
        return self._join(found), self._freshness()

    def known(self, namespace: str, name: str) -> Answer | None:
        """One object that we have heard of."""
        item = self.informer.get(namespace, name)
        return None if item is None else (item.value, self._freshness())

    async def get(
        self, namespace: str, name: str, budget: Budget, on_behalf_of: Impersonation | None = None
    ) -> Answer:
        """One object that we have not heard of: the cluster is asked. Raises NotFound."""
        return self._encode(await self.read(namespace, name, budget, on_behalf_of)), {}

    async def read(
        self, namespace: str, name: str, budget: Budget, on_behalf_of: Impersonation | None = None
    ) -> msgspec.Raw:
        """One object as the API server has it, whatever we have heard. Raises NotFound."""
        return await self._client.get(
            self.resource, namespace, name, type=msgspec.Raw, on_behalf_of=on_behalf_of, budget=budget
        )

    async def delete(
        self, namespace: str, name: str, budget: Budget, on_behalf_of: Impersonation | None = None
    ) -> bytes:
        """A `V1Status`. Foreground, as kbatch 0.5: what it owns (pods, a cron job's jobs) goes before it."""
        item = self.informer.get(namespace, name)
        try:
            answer = await self._client.delete(
                self.resource,
                namespace,
                name,
                propagation="Foreground",
                on_behalf_of=on_behalf_of,
                budget=budget,
            )
        except NotFound:
            if item is not None:
                self.informer.forget(namespace, name, item.uid)
            raise
        if answer.get("kind") == "Status":
            if item is not None:
                self.informer.forget(namespace, name, item.uid)
        else:
            self.informer.learn(msgspec.json.encode(answer))
        return wire.encode(wire.status(answer))

    def learn(self, raw: msgspec.Raw) -> bytes:
        """Takes over what we created, so that it is there for the next request; its encoded form."""
        self.informer.learn(raw)
        return self._encode(raw)

    def _encode(self, raw: bytes | msgspec.Raw) -> bytes:
        return wire.encode(self._convert(msgspec.json.decode(raw)))

    def _join(self, items: Sequence[Item[bytes]]) -> bytes:
        head, tail = wire.list_frame(self.resource.kind)
        return head + b",".join([item.value for item in items]) + tail

    def _freshness(self) -> dict[str, str]:
        """What we last heard, said plainly, while we hear no more: better than nothing at all."""
        if self.informer.reachable:
            return {}
        seconds = max(0, round(time.time() - self.informer.last_contact))
        obstacle = self.informer.obstacle
        right = missing_right(obstacle) if isinstance(obstacle, ApiError) else None
        why = f"does not let this server {right}" if right else "does not answer"
        text = f"cluster {self._client.name} {why}; this is as of {seconds} s ago"
        return {"Warning": f'110 hubfleet "{text}"'}


async def _unhurried(items: Sequence[Item[bytes]], get: Callable[[Item[bytes]], object]) -> None:
    """What is decoded and encoded once for each version of an object is, here; others go on in between."""
    for i in range(ENCODED_AT_ONCE, len(items), ENCODED_AT_ONCE):
        for item in items[i - ENCODED_AT_ONCE : i]:
            get(item)
        await asyncio.sleep(0)


def jobs(client: Client) -> Workloads:
    """Ours and kbatch-proxy's: a cluster has other Jobs, of no interest to anyone here."""
    return Workloads(client, JOBS, wire.job, labels=USERNAME)


def cron_jobs(client: Client) -> Workloads:
    """All: those that kbatch-proxy made carry no label to tell them by. They are few."""
    return Workloads(client, CRONJOBS, wire.cron_job)


def pods(client: Client) -> Workloads:
    return Workloads(client, PODS, wire.pod, labels=USERNAME)
