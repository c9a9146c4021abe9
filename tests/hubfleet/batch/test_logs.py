"""Logs over HTTP, of pods that run."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from tests.hubfleet.batch.conftest import (
    BODIES,
    Person,
    Server,
    StartServer,
    body,
    objects,
    opened,
    until,
    user,
)
from tests.hubfleet.batch.test_code import archive, encoded

from hubfleet.following import Following
from hubfleet.kube.client import Client
from hubfleet.kube.resources import JOBS, PODS, RESOURCEQUOTAS
from hubfleet.limits import Turns

pytestmark = pytest.mark.kubelet


_WAITING = re.compile(rb"(\[\S+\] )?kbatch: (waiting for a pod|pod \S+ is waiting): ")


class Hands:
    """Submits jobs that run a shell script, and reads their logs."""

    def __init__(self, server: Server, person: Person, session: aiohttp.ClientSession):
        self.server = server
        self.person = person
        self.session = session

    async def submit(self, script: str, **spec: Any) -> str:
        sent = json.loads((BODIES / "job-0.5.json").read_text())
        sent["job"]["spec"] |= spec
        container = sent["job"]["spec"]["template"]["spec"]["containers"][0]
        container |= {"command": ["sh", "-c"], "args": [script]}
        return await self.post(sent)

    async def post(self, sent: Any) -> str:
        async with self.session.post(self.server.url + "jobs/", json=sent) as response:
            answer = await response.json()
            assert response.status == 200, answer
            return str(answer["metadata"]["name"])

    async def read(self, path: str) -> tuple[int, str]:
        async with self.session.get(self.server.url + path) as response:
            return response.status, await response.text()

    async def follow(self, path: str, *, waiting: bool = False) -> AsyncIterator[str]:
        """The chunks as they were sent, which is what the clients print as lines.

        What a slow start is said to wait for is only there with `waiting`.
        """
        async with self.session.get(self.server.url + path + "?stream=true") as response:
            assert response.status == 200
            whole = b""
            async for data, ends in response.content.iter_chunks():
                whole += data
                if ends and whole:  # the last one is the end of the answer
                    if waiting or not _WAITING.match(whole):
                        yield whole.decode()
                    whole = b""

    async def lines(self, path: str) -> list[str]:
        async with asyncio.timeout(60):
            return [line async for line in self.follow(path)]

    async def ended(self, name: str) -> dict[str, Any]:
        async def status() -> Any:
            found = json.loads((await self.read(f"jobs/{name}"))[1])["status"]
            return found if found["succeeded"] or found["failed"] else None

        found: dict[str, Any] = await until(status, 60)
        return found

    async def pods(self, name: str) -> list[str]:
        items = json.loads((await self.read(f"pods/?job_name={name}"))[1])["items"]
        return [each["metadata"]["name"] for each in items]


@pytest.fixture
async def hands(server: Server, person: Person) -> AsyncIterator[Hands]:
    headers = {"Authorization": f"token {person.token}"}
    async with aiohttp.ClientSession(headers=headers) as session:
        yield Hands(server, person, session)


async def test_a_followed_log_waits_for_its_pod_and_ends_with_its_job(hands: Hands) -> None:
    name = await hands.submit("echo one; echo; printf 'two\\n  three\\n'; sleep 0.3; printf last")
    found = await hands.lines(f"jobs/logs/{name}/")
    # A chunk without a byte would be the end of the answer: an empty line is a space.
    assert found == ["one", " ", "two", "  three", "last"]


async def test_a_line_comes_when_it_is_written(hands: Hands) -> None:
    name = await hands.submit("echo first; sleep 600; echo never")
    async with asyncio.timeout(60):
        follower = hands.follow(f"jobs/logs/{name}/")
        assert await anext(follower) == "first"
        await follower.aclose()  # type: ignore[attr-defined]
    status, text = await hands.read(f"jobs/logs/{name}/")
    assert (status, text) == (200, "first\n")


async def test_a_pod_name_is_taken_where_a_job_name_is(hands: Hands) -> None:
    name = await hands.submit("echo hello")
    await hands.ended(name)
    (pod,) = await hands.pods(name)
    for path in (f"jobs/logs/{name}/", f"jobs/logs/{pod}/", f"pods/logs/{pod}/", f"pods/logs/{pod}"):
        assert await hands.read(path) == (200, "hello\n")
        assert await hands.lines(path) == ["hello"]
    status, text = await hands.read(f"pods/logs/{name}/")
    assert status == 404
    assert "not found" in json.loads(text)["detail"]


async def test_all_pods_of_a_job_are_read_and_named(hands: Hands) -> None:
    script = "echo begin; sleep 0.5; echo end"
    name = await hands.submit(script, parallelism=3, completions=3)
    followed = await hands.lines(f"jobs/logs/{name}/")
    await hands.ended(name)
    pods = await hands.pods(name)
    assert len(pods) == 3
    expected = sorted(f"[{pod}] {word}" for pod in pods for word in ("begin", "end"))
    assert sorted(followed) == expected
    status, text = await hands.read(f"jobs/logs/{name}/")
    assert status == 200
    assert sorted(text.splitlines()) == expected


async def test_each_pod_of_a_followed_job_takes_a_turn(start_server: StartServer, person: Person) -> None:
    server = start_server(limits={"followed_logs_per_user": 2})
    async with aiohttp.ClientSession(headers={"Authorization": f"token {person.token}"}) as session:
        hands = Hands(server, person, session)
        name = await hands.submit("echo begin; sleep 1; echo end", parallelism=5, completions=5)
        begun: set[str] = set()
        ended: set[str] = set()
        told: set[str] = set()
        async with asyncio.timeout(90):
            async for line in hands.follow(f"jobs/logs/{name}/", waiting=True):
                pod, _, words = line.partition("] ")
                if "as many logs are followed as limits.followed_logs_per_user" in words:
                    assert pod not in told | begun
                    told.add(pod)
                    if len(told) == 1:
                        status, text = await hands.read(f"jobs/logs/{name}/?stream=true")
                        assert status == 429
                        assert "limits.followed_logs_per_user" in json.loads(text)["detail"]
                elif words == "begin":
                    begun.add(pod)
                elif words == "end":
                    ended.add(pod)
                assert len(begun - ended) <= 2
        assert len(begun) == len(ended) == 5
        assert len(told) == 3
        # Nothing of it is held any more.
        assert len(await hands.lines(f"jobs/logs/{name}/")) >= 10


async def test_a_followed_log_ends_with_its_token(
    start_server: StartServer, person: Person, jupyterhub: Any
) -> None:
    server = start_server(hub={"cache_seconds": 1.0})
    token = jupyterhub.user(person.name)
    async with aiohttp.ClientSession(headers={"Authorization": f"token {token}"}) as session:
        hands = Hands(server, person, session)
        name = await hands.submit("echo on; sleep 600")
        follower = hands.follow(f"jobs/logs/{name}/")
        async with asyncio.timeout(60):
            assert await anext(follower) == "on"
            await asyncio.to_thread(jupyterhub.revoke, token)
            assert [line async for line in follower] == ["kbatch: this token is no longer valid"]


async def test_every_attempt_of_a_job_is_read(hands: Hands) -> None:
    name = await hands.submit("echo attempt; exit 1", backoff_limit=1)
    followed = await hands.lines(f"jobs/logs/{name}/")
    assert [line.split("] ")[-1] for line in followed] == ["attempt", "attempt"]
    assert (await hands.ended(name))["failed"] == 2


async def test_a_log_that_says_nothing_is_empty(hands: Hands) -> None:
    name = await hands.submit("true")
    assert await hands.lines(f"jobs/logs/{name}/") == []
    assert await hands.read(f"jobs/logs/{name}/") == (200, "")


async def test_code_that_cannot_be_unpacked_fails_the_job_with_a_message(hands: Hands) -> None:
    sent = json.loads((BODIES / "job-0.5.json").read_text())
    # Fine to look at, and damaged where only reading it shows.
    data = bytearray(archive(("main.py", b"print('hello')\n" * 100)))
    data[60:64] = b"\0\0\0\0"
    sent["code"] = {"binary_data": {"code": encoded(bytes(data))}}
    name = await hands.post(sent)
    followed = await hands.lines(f"jobs/logs/{name}/")
    assert (await hands.ended(name))["failed"] == 1
    status, text = await hands.read(f"jobs/logs/{name}/")
    assert status == 200
    for found in (followed, text.splitlines()):
        assert "kbatch: the code could not be unpacked" in " ".join(found)
        assert "failed in init container unpack-code: exit code 1" in found[-1]


async def test_a_log_of_many_long_lines_is_whole(hands: Hands) -> None:
    program = "for i in range(3000): print(i, 'x' * 300)"
    name = await hands.submit(f'python3 -c "{program}"; head -c 100000 /dev/zero | tr "\\0" y')
    followed = await hands.lines(f"jobs/logs/{name}/")
    assert followed[:3000] == [f"{i} {'x' * 300}" for i in range(3000)]
    assert "".join(followed[3000:]) == "y" * 100_000
    _, text = await hands.read(f"jobs/logs/{name}/")
    assert text == "".join(f"{i} {'x' * 300}\n" for i in range(3000)) + "y" * 100_000


async def test_a_job_that_is_deleted_ends_its_followed_log(hands: Hands) -> None:
    name = await hands.submit("trap 'exit 0' TERM; echo on; while true; do sleep 0.1; done")
    async with asyncio.timeout(60):
        follower = hands.follow(f"jobs/logs/{name}/")
        assert await anext(follower) == "on"
        async with hands.session.delete(f"{hands.server.url}jobs/{name}") as response:
            assert response.status == 200
        assert [line async for line in follower] == []


async def test_a_queued_job_has_no_log_yet(start_server: StartServer, hands: Hands) -> None:
    name = await hands.submit("true", suspend=True)
    status, text = await hands.read(f"jobs/logs/{name}/")
    assert status == 404
    assert json.loads(text)["detail"] == f"No pods found for job {name} (it is queued)"


async def test_a_pod_that_cannot_start_says_why(hands: Hands) -> None:
    sent = json.loads(body("job-0.5"))
    container = sent["job"]["spec"]["template"]["spec"]["containers"][0]
    container["resources"] = {"requests": {"cpu": "1000"}}
    name = await hands.post(sent)
    follower = hands.follow(f"jobs/logs/{name}/", waiting=True)
    async with asyncio.timeout(10):
        line = await anext(follower)
    await follower.aclose()  # type: ignore[attr-defined]
    (pod,) = await hands.pods(name)
    why = "not on a node yet: 0/1 nodes are available: "
    assert line.startswith(f"kbatch: pod {pod} is waiting: {why}")
    status, text = await hands.read(f"jobs/logs/{name}/")
    assert status == 400
    assert f'pod "{pod}" is waiting to start: {why}' in json.loads(text)["detail"]


async def test_a_job_whose_pods_the_cluster_refuses_says_why(hands: Hands, client: Client) -> None:
    await hands.submit("true", suspend=True)  # makes the namespace
    head = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "few"}}
    await client.create(RESOURCEQUOTAS, hands.person.namespace, {**head, "spec": {"hard": {"pods": "0"}}})

    async def counted() -> bool:
        found = await client.get(RESOURCEQUOTAS, hands.person.namespace, "few")
        return "pods" in found.get("status", {}).get("hard", {})

    await until(counted)
    name = await hands.submit("echo on")
    why = "exceeded quota few: pods: 0 of 0 used, 1 more asked for"
    async with asyncio.timeout(60):
        follower = hands.follow(f"jobs/logs/{name}/", waiting=True)
        assert await anext(follower) == f"kbatch: waiting for a pod: {why}"
        status, text = await hands.read(f"jobs/logs/{name}/")
        assert (status, json.loads(text)["detail"]) == (404, f"No pods found for job {name} ({why})")
        await client.delete(RESOURCEQUOTAS, hands.person.namespace, "few")
        assert [line async for line in follower][-1] == "on"


async def test_a_followed_log_soon_says_what_it_waits_for(hands: Hands, client: Client) -> None:
    name = await hands.submit("echo on", suspend=True)
    follower = hands.follow(f"jobs/logs/{name}/", waiting=True)
    async with asyncio.timeout(10):  # it is two seconds
        assert await anext(follower) == "kbatch: waiting for a pod: the job is queued"
    await client.patch(JOBS, hands.person.namespace, name, {"spec": {"suspend": False}})
    async with asyncio.timeout(60):
        assert [line async for line in follower][-1] == "on"


async def test_a_job_that_is_not_kbatchs_is_read_as_it_is(hands: Hands, client: Client) -> None:
    """Nothing here watches it: nobody would tell of its pods."""
    await hands.submit("true")  # makes the namespace
    container = {
        "name": "a",
        "image": "python:3.13",
        "command": ["sh", "-c", "echo hello; sleep 2; echo you"],
    }
    template = {"spec": {"restartPolicy": "Never", "containers": [container]}}
    job = {"metadata": {"name": "theirs"}, "spec": {"template": template, "suspend": True}}
    await client.create(JOBS, hands.person.namespace, {"apiVersion": "batch/v1", "kind": "Job", **job})
    for path in ("jobs/logs/theirs/", "jobs/logs/theirs/?stream=true"):
        async with asyncio.timeout(10):
            status, text = await hands.read(path)
        assert (status, json.loads(text)["detail"]) == (404, "No pods found for job theirs (it is queued)")
    await client.patch(JOBS, hands.person.namespace, "theirs", {"spec": {"suspend": False}})

    async def begun() -> bool:
        return (await hands.read("jobs/logs/theirs/"))[1].startswith("hello")

    await until(begun)
    assert await hands.lines("jobs/logs/theirs/") == ["hello", "you"]


async def test_a_job_that_ends_before_its_pods_are_told(
    kubeconfig: Path, kube_context: str, person: Person
) -> None:
    """Two watches, in no agreed order: here that of the pods says nothing any more."""
    async with opened(kubeconfig, kube_context) as service, asyncio.timeout(60):
        wing = service.on()
        await wing.pods.informer.synced()
        await wing.pods.informer.stop()
        sent = json.loads(body("job-0.5"))
        sent["job"]["spec"]["backoff_limit"] = 1
        container = sent["job"]["spec"]["template"]["spec"]["containers"][0]
        container |= {"command": ["sh", "-c"], "args": ["echo attempt; exit 1"]}
        made = json.loads(await wing.submit(user(person), "Job", json.dumps(sent).encode()))
        target = await wing.find_log(user(person), made["metadata"]["name"])
        following = Following(Turns(each=5, waiting=5), ("user", person.name))
        assert following.enter()
        found = [line async for line in await wing.log(user(person), target, following)]
        told = [line.split()[-1] for line in found if not _WAITING.match(line)]
        assert told == [b"attempt", b"attempt"]


async def test_whoever_goes_away_is_let_go_at_once(server: Server, hands: Hands) -> None:
    """The stream to the API server ends with the user's: seen in the server's own figures.

    Nothing is written meanwhile, so nothing but the end of the connection tells of it.
    """
    name = await hands.submit("echo on; sleep 600")

    def under_way() -> float:
        page = server.call("GET", f"{server.origin}/metrics")[2].decode()
        return sum(
            float(line.split()[-1]) for line in page.splitlines() if "under_way" in line and line[0] != "#"
        )

    async with asyncio.timeout(60):
        follower = hands.follow(f"jobs/logs/{name}/")
        assert await anext(follower) == "on"
        before = under_way()
        await follower.aclose()  # type: ignore[attr-defined]
        await until(lambda: under_way() < before, 10)


async def test_the_containers_token_is_the_users_and_in_no_plain_sight(hands: Hands, client: Client) -> None:
    name = await hands.submit("echo token=$JUPYTERHUB_API_TOKEN")
    assert await hands.lines(f"jobs/logs/{name}/") == [f"token={hands.person.token}"]
    for resource in (JOBS, PODS):
        assert hands.person.token not in json.dumps(await objects(client, resource, hands.person.namespace))
    assert hands.person.token not in hands.server.log
