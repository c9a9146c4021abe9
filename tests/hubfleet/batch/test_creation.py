"""A submission makes all of its objects or leaves none, whichever write fails and however.

Where the Job may yet be made, that is with the collector's help.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from tests.hubfleet.batch.conftest import (
    Gate,
    Person,
    StartServer,
    body,
    kubeconfig_for,
    leftovers,
    objects,
    opened,
    until,
    user,
)
from tests.hubfleet.batch.test_manifests import zipped

from hubfleet.batch.collector import Collector
from hubfleet.batch.manifests import EXPIRES_LABEL, SUBMISSION_LABEL
from hubfleet.batch.service import BatchService
from hubfleet.errors import UserError
from hubfleet.kube.client import Client
from hubfleet.kube.errors import AlreadyExists, KubeError
from hubfleet.kube.resources import CONFIGMAPS, JOBS, NAMESPACES, SECRETS

WITH_CODE = {"code": {"kind": "ConfigMap", "binary_data": {"code": zipped()}}}
WRITES = 5  # of a submission with code: Secret, ConfigMap, Job, and the two that give the parts their owner
LATER = 10_000.0


@pytest.fixture
async def service(gate: tuple[Gate, str], tmp_path: Path, person: Person) -> AsyncIterator[BatchService]:
    """A service that reaches the cluster through the gate, and has made the user's namespace."""
    async with opened(kubeconfig_for(gate[1], tmp_path / "kubeconfig")) as service:
        wing = service.on()
        await wing._namespaces.ensure(wing._cluster, user(person))
        yield service


def failing(at: int, how: str) -> Any:
    """Decides for the gate: the write number `at` (from 0), and only that one, goes wrong."""
    count = -1

    def decide(request: web.Request) -> str:
        nonlocal count
        if request.method not in ("POST", "PATCH"):
            return "pass"
        count += 1
        return how if count == at else "pass"

    return decide


async def ourselves(_: str) -> None:
    """As whom the collector acts: as the administrator that the tests are."""


def collector(client: Client, hub: str = "test", **more: Any) -> Collector:
    return Collector(client, ourselves, hub=hub, pace=1000.0, **more)


async def collect_later(client: Client, hub: str = "test") -> int:
    return await collector(client, hub, clock=lambda: time.time() + LATER).collect()


async def check_whole(client: Client, namespace: str) -> None:
    """One Job, whose parts are its own and will not expire."""
    (job,) = await objects(client, JOBS, namespace)
    parts = await objects(client, SECRETS, namespace)
    parts += [
        each
        for each in await objects(client, CONFIGMAPS, namespace)
        if each["metadata"]["name"] != "kube-root-ca.crt"
    ]
    assert len(parts) == 2
    for part in parts:
        (owner,) = part["metadata"]["ownerReferences"]
        assert (owner["kind"], owner["uid"]) == ("Job", job["metadata"]["uid"])
        assert EXPIRES_LABEL not in part["metadata"]["labels"]
        assert part["metadata"]["labels"][SUBMISSION_LABEL] == job["metadata"]["labels"][SUBMISSION_LABEL]


async def test_a_submission_makes_all_of_its_objects(
    service: BatchService, person: Person, client: Client
) -> None:
    answer = json.loads(await service.on().submit(user(person), "Job", body("job-0.5", **WITH_CODE)))
    assert answer["metadata"]["name"].startswith("pi-")
    await check_whole(client, person.namespace)
    assert await collect_later(client) == 0


async def test_who_has_enough_gets_no_more_until_something_of_it_is_gone(
    kubeconfig: Path, kube_context: str, person: Person, client: Client
) -> None:
    async with opened(kubeconfig, kube_context, user_limit=1) as service:
        wing = service.on()
        await wing.jobs.informer.synced()
        made = json.loads(await wing.submit(user(person), "Job", body("job-0.5")))
        for kind, name in (("Job", "job-0.5"), ("CronJob", "cronjob-0.5")):
            with pytest.raises(UserError, match=r"batch\.user_limit") as caught:
                await wing.submit(user(person), kind, body(name))
            assert caught.value.status == 403
        assert len(await objects(client, JOBS, person.namespace)) == 1
        await wing.delete(user(person), wing.jobs, made["metadata"]["name"])
        await until(lambda: not any(w.informer.size(person.namespace) for w in (wing.jobs, wing.pods)))
        await wing.submit(user(person), "Job", body("job-0.5"))


@pytest.mark.parametrize("how", ["refuse", "drop", "do-and-drop"])
@pytest.mark.parametrize("at", range(WRITES))
async def test_whichever_write_fails(
    service: BatchService, gate: tuple[Gate, str], person: Person, client: Client, at: int, how: str
) -> None:
    gate[0].decide = failing(at, how)
    try:
        await service.on().submit(user(person), "Job", body("job-0.5", **WITH_CODE))
    except KubeError:
        assert at < 3
        if at == 2 and how != "do-and-drop":
            # The Job may yet be made, for all that anybody knows: its parts wait for it.
            assert len(await leftovers(client, person.namespace)) == 2
            assert await collector(client).collect() == 0
            await collect_later(client)
        assert await leftovers(client, person.namespace) == []
    else:
        # The Job runs: that its parts have no owner yet is nothing to bother the user with.
        assert at >= 3
        await collect_later(client)
        await check_whole(client, person.namespace)


async def test_a_job_that_is_made_after_all_has_its_parts(
    service: BatchService, gate: tuple[Gate, str], person: Person, client: Client
) -> None:
    """Its create was given up, and the API server was only slow with it."""
    late: dict[str, Any] = {}
    real = Client.create

    async def create(self: Client, resource: Any, namespace: str | None, obj: Any, **more: Any) -> Any:
        if resource == JOBS:
            late.update(obj)
        return await real(self, resource, namespace, obj, **more)

    gate[0].decide = failing(2, "drop")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Client, "create", create)
        with pytest.raises(KubeError):
            await service.on().submit(user(person), "Job", body("job-0.5", **WITH_CODE))
    await client.create(JOBS, person.namespace, late)
    await collect_later(client)
    await check_whole(client, person.namespace)


@pytest.mark.parametrize("at", range(WRITES))
async def test_whoever_dies_at_whichever_write(
    gate: tuple[Gate, str], person: Person, client: Client, tmp_path: Path, at: int
) -> None:
    """The cluster never hears of us again from some write on: not even the undo comes through."""
    dead = False
    count = failing(at, "die")

    def decide(request: web.Request) -> str:
        nonlocal dead
        dead = dead or count(request) == "die"
        return "drop" if dead else "pass"

    async with opened(kubeconfig_for(gate[1], tmp_path / "kubeconfig")) as service:
        wing = service.on()
        await wing._namespaces.ensure(wing._cluster, user(person))
        gate[0].decide = decide
        try:
            await wing.submit(user(person), "Job", body("job-0.5", **WITH_CODE))
        except KubeError:
            assert at < 3
    assert await collector(client).collect() == 0, "too early: it could still be under way"
    await collect_later(client)
    if at < 3:
        assert await leftovers(client, person.namespace) == []
    else:
        await check_whole(client, person.namespace)


@pytest.mark.parametrize("at", range(WRITES))
async def test_a_client_that_goes_away_changes_nothing(
    service: BatchService, gate: tuple[Gate, str], person: Person, client: Client, at: int
) -> None:
    """The submission runs to its end: half of one is what must not be."""
    count = failing(at, "now")
    task: asyncio.Task[bytes]

    def decide(request: web.Request) -> str:
        if count(request) == "now":
            task.cancel()
        return "pass"

    gate[0].decide = decide
    wing = service.on()
    task = asyncio.create_task(wing.submit(user(person), "Job", body("job-0.5", **WITH_CODE)))
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: not wing._under_way)
    await check_whole(client, person.namespace)


async def test_a_job_that_is_refused_leaves_nothing(
    service: BatchService, person: Person, client: Client
) -> None:
    sent = json.loads(body("job-0.5", **WITH_CODE))
    sent["job"]["spec"]["template"]["spec"]["restart_policy"] = "Perhaps"
    with pytest.raises(KubeError, match="restartPolicy"):
        await service.on().submit(user(person), "Job", json.dumps(sent).encode())
    assert await leftovers(client, person.namespace) == []


async def test_a_namesake_is_left_alone(service: BatchService, person: Person, client: Client) -> None:
    sent = json.loads(body("job-0.5", **WITH_CODE))
    sent["job"]["metadata"]["name"] = "mine"
    await service.on().submit(user(person), "Job", json.dumps(sent).encode())
    before = await leftovers(client, person.namespace)
    with pytest.raises(AlreadyExists, match='"mine" already exists'):
        await service.on().submit(user(person), "Job", json.dumps(sent).encode())
    assert await leftovers(client, person.namespace) == before
    await check_whole(client, person.namespace)


async def test_a_name_that_is_taken_is_made_again(
    service: BatchService, person: Person, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    entropy = iter([7, 7, 7, 8])
    monkeypatch.setattr("hubfleet.batch.service.secrets.randbits", lambda _: next(entropy))
    names = {
        json.loads(await service.on().submit(user(person), "Job", body("job-0.5")))["metadata"]["name"]
        for _ in range(2)
    }
    assert len(names) == 2
    assert len(await leftovers(client, person.namespace)) == 4


async def test_a_namespace_that_somebody_deleted_is_made_again(
    service: BatchService, person: Person, client: Client
) -> None:
    await service.on().submit(user(person), "Job", body("job-0.5"))
    await client.delete(NAMESPACES, None, person.namespace)

    async def gone() -> bool:
        return all([n["metadata"]["name"] != person.namespace async for n in client.list(NAMESPACES)])

    await until(gone)
    await service.on().submit(user(person), "Job", body("job-0.5"))
    assert len(await leftovers(client, person.namespace)) == 2


@pytest.mark.parametrize("at", [2, 3], ids=["before the Job", "after the Job"])
async def test_a_server_that_is_killed(
    start_server: StartServer, gate: tuple[Gate, str], person: Person, client: Client, tmp_path: Path, at: int
) -> None:
    """As for want of memory: nobody undoes anything, and a collector elsewhere finds what is left."""
    kubeconfig = kubeconfig_for(gate[1], tmp_path / "kubeconfig")
    clusters = [{"name": "test", "kubeconfig": str(kubeconfig)}]
    server = await asyncio.to_thread(start_server, clusters=clusters)

    async def submit() -> int:
        sent = body("job-0.5", **WITH_CODE)
        return (await asyncio.to_thread(server.call, "POST", "jobs/", person.token, sent))[0]

    assert await submit() == 200
    before = set(await leftovers(client, person.namespace))
    gate[0].decide = failing(at, "hang")
    sending = asyncio.create_task(submit())
    await gate[0].hanging.wait()
    server.kill()
    assert await sending == 0
    left = set(await leftovers(client, person.namespace)) - before
    assert {each.partition("/")[0] for each in left} >= {"secrets", "configmaps"}
    assert await collector(client, "jupyterhub").collect() == 0, "too early: it could still be under way"
    await collect_later(client, "jupyterhub")
    remaining = set(await leftovers(client, person.namespace)) - before
    if at < 3:
        assert remaining == set()
    else:
        assert remaining == left
        for resource in (SECRETS, CONFIGMAPS):
            for part in await objects(client, resource, person.namespace):
                assert EXPIRES_LABEL not in part["metadata"].get("labels", {})
