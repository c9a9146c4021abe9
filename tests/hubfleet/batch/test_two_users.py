"""Two users at once, 200 random operations each, with names guessed from the other's.

Both use the same few names, so that whoever mixes the two up finds something. Everything that a user makes
bears their mark, which no answer to the other may hold. What each one finds is what their own model says, and
at the end an administrator finds the same.
"""

import asyncio
import json
import random
import secrets
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import suppress
from typing import Any

import aiohttp
import pytest
from tests.hubfleet.batch.conftest import Person, Server, objects, until

from hubfleet.kube.client import Client
from hubfleet.kube.errors import NotFound
from hubfleet.kube.resources import CONFIGMAPS, CRONJOBS, JOBS, NAMESPACES, PODS, SECRETS, Resource

OPERATIONS = 200
NAMES = ("train", "fit", "a", "kbatch", "logs")
KINDS = {"jobs": JOBS, "cronjobs": CRONJOBS}
RUNNING = 2  # jobs of each user that really run; the others are suspended

AND_OTHERS = (
    "jobs/..%2f..%2f{namespace}%2fjobs%2f{name}",
    "jobs/{namespace}%2f{name}",
    "jobs/../../namespaces/{namespace}/jobs/{name}",
    "jobs/{name}?namespace={namespace}",
    "jobs/logs/{name}?namespace={namespace}&stream=false",
    "pods/?job_name={name},kbatch.jupyter.org/username={user}",
    "pods/?namespace={namespace}",
    "pods/{name}.{namespace}",
)
"""Ways to say "the other's" that lead nowhere."""


class Someone:
    """A user, and what they believe to have: name -> uid. `going` was deleted, and may still be seen."""

    def __init__(self, session: aiohttp.ClientSession, server: Server, person: Person, seed: int):
        self.person = person
        self.mark = f"mark-{secrets.token_hex(8)}"
        self.has: dict[str, dict[str, str]] = {"jobs": {}, "cronjobs": {}}
        self.going: dict[str, set[str]] = {"jobs": set(), "cronjobs": set()}
        self.other: Someone
        self.counts: dict[str, int] = {}
        self._random = random.Random(seed)
        self._session = session
        self._url = server.url
        self._running = 0

    async def live(self) -> None:
        steps: list[Callable[[], Coroutine[Any, Any, None]]] = [
            *[self.submit] * 4,
            *[self.delete] * 2,
            self.list,
            self.show,
            self.log,
            self.pods,
            self.ask_for_the_others,
        ]
        for _ in range(OPERATIONS):
            step = self._random.choice(steps)
            self.counts[step.__name__] = self.counts.get(step.__name__, 0) + 1
            await step()

    async def call(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Status and decoded body; nothing in them is the other's."""
        headers = {"Authorization": f"token {self.person.token}"}
        while True:
            async with self._session.request(
                method, self._url + path, json=body, headers=headers
            ) as response:
                raw = await response.read()
                if response.status != 429:
                    break
            await asyncio.sleep(float(response.headers["Retry-After"]))
        everything = raw.decode("utf-8", "replace") + str(response.headers)
        for secret in (self.other.mark, self.other.person.token, *self.other.uids()):
            assert secret not in everything, f"{self.person.name}: {method} {path}: {everything}"
        assert response.status < 500, f"{method} {path}: {response.status} {everything}"
        return response.status, json.loads(raw) if raw.startswith(b"{") else raw

    def uids(self) -> set[str]:
        return {uid for names in self.has.values() for uid in names.values()}

    def _kind(self) -> str:
        return self._random.choice(("jobs", "jobs", "cronjobs"))

    def _name(self, kind: str) -> str:
        """One's own, the other's, one that anybody may have, or one that nobody has."""
        choices = [*self.has[kind], *self.other.has[kind], *NAMES, "nobodys"]
        return self._random.choice(choices)

    async def submit(self) -> None:
        kind, name = self._kind(), self._random.choice((*NAMES, ""))
        run = kind == "jobs" and self._running < RUNNING
        self._running += run
        status, made = await self.call("POST", f"{kind}/", self._body(kind, name, suspended=not run))
        if status == 409:
            assert name in self.has[kind] or name in self.going[kind]
            return
        assert status == 200, made
        assert made["metadata"]["namespace"] == self.person.namespace
        name = made["metadata"]["name"]
        assert name not in self.has[kind]
        self.going[kind].discard(name)
        self.has[kind][name] = made["metadata"]["uid"]

    def _body(self, kind: str, name: str, *, suspended: bool) -> dict[str, Any]:
        container = {
            "name": "main",
            "image": "python:3.13",
            "command": ["echo", self.mark],
            "env": [{"name": "A", "value": self.mark}],
        }
        pod = {"restartPolicy": "Never", "containers": [container]}
        spec: dict[str, Any] = {"suspend": suspended, "template": {"spec": pod}}
        if kind == "cronjobs":
            spec = {"schedule": "0 0 1 1 *", "jobTemplate": {"spec": spec}}
        metadata = {"name": name} if name else {"generateName": "gen-"}
        return {"job": {"metadata": metadata | {"annotations": {"mark": self.mark}}, "spec": spec}}

    async def delete(self) -> None:
        kind = self._kind()
        name = self._name(kind)
        status, _ = await self.call("DELETE", f"{kind}/{name}")
        if name in self.has[kind]:
            assert status == 200
            del self.has[kind][name]
            self.going[kind].add(name)
        else:
            assert status == 404 or name in self.going[kind]

    async def list(self) -> None:
        kind = self._kind()
        status, found = await self.call("GET", f"{kind}/")
        assert status == 200
        uids = {each["metadata"]["name"]: each["metadata"]["uid"] for each in found["items"]}
        own = self.has[kind]
        assert {name: uid for name, uid in uids.items() if name in own} == own
        assert uids.keys() <= own.keys() | self.going[kind]

    async def show(self) -> None:
        kind = self._kind()
        name = self._name(kind)
        status, found = await self.call("GET", f"{kind}/{name}")
        if name in self.has[kind]:
            assert status == 200
            assert found["metadata"]["uid"] == self.has[kind][name]
            assert found["metadata"]["annotations"]["mark"] == self.mark
        else:
            assert status == 404 or name in self.going[kind]

    async def log(self) -> None:
        name = self._name("jobs")
        status, _ = await self.call("GET", f"jobs/logs/{name}/")
        if name not in (*self.has["jobs"], *self.going["jobs"], *NAMES):  # those are pods, too
            assert status == 404

    async def pods(self) -> None:
        status, found = await self.call("GET", f"pods/?job_name={self._name('jobs')}")
        assert status == 200
        status, found = await self.call("GET", "pods/")
        assert status == 200
        assert {each["metadata"]["namespace"] for each in found["items"]} <= {self.person.namespace}
        name = self._random.choice(NAMES)
        status, found = await self.call("GET", f"pods/{name}")
        assert status == 200
        assert found["metadata"]["annotations"]["mark"] == self.mark

    async def ask_for_the_others(self) -> None:
        other = self.other
        names = [*other.has["jobs"]] or ["train"]
        path = self._random.choice(AND_OTHERS).format(
            namespace=other.person.namespace, user=other.person.name, name=self._random.choice(names)
        )
        await self.call(self._random.choice(("GET", "GET", "DELETE")) if "?" not in path else "GET", path)


@pytest.fixture
async def people(jupyterhub: Any, client: Client) -> AsyncIterator[list[Person]]:
    """Two whose names are as alike as names can be."""
    name = f"eve-{secrets.token_hex(3)}"
    people = [Person(each, jupyterhub.user(each)) for each in (name, f"{name}-a")]
    yield people
    for each in people:
        with suppress(NotFound):
            await client.delete(NAMESPACES, None, each.namespace)


async def pods_of_all_names(client: Client, someone: Someone) -> None:
    """Pods that nothing schedules, under the names that both ask for."""
    for name in NAMES:
        container = {"name": "main", "image": "python:3.13", "command": ["echo", someone.mark]}
        metadata = {
            "name": name,
            "labels": {"kbatch.jupyter.org/username": someone.person.name},
            "annotations": {"mark": someone.mark},
        }
        spec = {"schedulerName": "nobody", "restartPolicy": "Never", "containers": [container]}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
        await client.create(PODS, someone.person.namespace, pod)


@pytest.mark.parametrize("seed", [1, 2])
async def test_neither_ever_sees_or_changes_what_is_the_others(
    server: Server, people: list[Person], client: Client, seed: int
) -> None:
    connector = aiohttp.TCPConnector(limit=4)
    async with aiohttp.ClientSession(connector=connector) as session:
        one, two = (Someone(session, server, each, seed * 10 + i) for i, each in enumerate(people))
        one.other, two.other = two, one
        for each in (one, two):
            await each.submit()  # makes the namespace
            await pods_of_all_names(client, each)
        async with asyncio.TaskGroup() as tasks:
            for each in (one, two):
                tasks.create_task(each.live())
    for each in (one, two):
        assert len(each.counts) == 7, each.counts
        assert sum(each.counts.values()) == OPERATIONS
        for kind, resource in KINDS.items():
            await until(lambda e=each, k=kind, r=resource: holds(client, e, k, r))
        await until(lambda e=each: parts_of_nothing_else(client, e))
        await check_marks(client, each)


async def holds(client: Client, someone: Someone, kind: str, resource: Resource) -> bool:
    """Whether what is there is what they made and did not delete: the same objects, not namesakes."""
    found = await objects(client, resource, someone.person.namespace)
    there = {
        each["metadata"]["name"]: each["metadata"]["uid"]
        for each in found
        if not each["metadata"].get("deletionTimestamp")
    }
    return there == someone.has[kind]


async def parts_of_nothing_else(client: Client, someone: Someone) -> bool:
    """Whether each object that they have owns its Secret, and nothing else is left."""
    found = await objects(client, SECRETS, someone.person.namespace)
    owners = {owner["uid"] for each in found for owner in each["metadata"].get("ownerReferences", ())}
    return owners == someone.uids() and len(found) == len(owners)


async def check_marks(client: Client, someone: Someone) -> None:
    """Every object in their namespace is theirs, and their mark is in no other namespace."""
    for resource in (JOBS, CRONJOBS, PODS, SECRETS, CONFIGMAPS):
        async for each in client.list(resource):
            theirs = each["metadata"]["namespace"] == someone.person.namespace
            text = json.dumps(each)
            assert theirs or someone.mark not in text, text
            assert not theirs or someone.other.mark not in text, text
