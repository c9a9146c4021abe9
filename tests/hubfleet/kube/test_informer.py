"""The copy follows the cluster through every fault, and lists no more often than it must."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import msgspec
import pytest
from aiohttp import web

from hubfleet.kube.budget import Budget
from hubfleet.kube.client import Client
from hubfleet.kube.errors import ApiError, ClusterUnreachable
from hubfleet.kube.informer import FIRST_WORD, LONGEST_PAUSE, Informer, pause
from hubfleet.kube.resources import CONFIGMAPS
from hubfleet.kube.view import Change

Connect = Callable[..., Awaitable[Client]]
Serve = Callable[..., Awaitable[str]]
Until = Callable[..., Awaitable[None]]


class Data(msgspec.Struct):
    data: dict[str, str] = {}


decode = msgspec.json.Decoder(Data).decode


def config_map(name: str, **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def shown(informer: Informer[Data], namespace: str) -> dict[str, dict[str, str]]:
    return {
        item.name: item.value.data for item in informer.items(namespace) if item.name != "kube-root-ca.crt"
    }


async def test_it_follows_the_cluster(client: Client, namespace: str, until: Until) -> None:
    await client.create(CONFIGMAPS, namespace, config_map("a", k="1"))
    async with Informer(client, CONFIGMAPS, decode, namespace=namespace) as informer:
        await informer.synced(Budget(10))
        assert shown(informer, namespace) == {"a": {"k": "1"}} and informer.reachable
        await client.create(CONFIGMAPS, namespace, config_map("b"))
        await until(lambda: informer.get(namespace, "b"))
        await client.patch(CONFIGMAPS, namespace, "a", {"data": {"k": "2"}})
        await until(lambda: shown(informer, namespace)["a"] == {"k": "2"})
        await client.delete(CONFIGMAPS, namespace, "a")
        await until(lambda: informer.get(namespace, "a") is None)
        assert abs(informer.last_contact - time.time()) < 5


async def test_users_read_their_own_writes(client: Client, namespace: str) -> None:
    async with Informer(client, CONFIGMAPS, decode, namespace=namespace) as informer:
        await informer.synced(Budget(10))
        changes: list[Change[Data]] = []
        stop = informer.subscribe(changes.append)
        made = await client.create(CONFIGMAPS, namespace, config_map("a", k="1"), type=msgspec.Raw)
        informer.learn(made)
        assert shown(informer, namespace) == {"a": {"k": "1"}}
        await client.delete(CONFIGMAPS, namespace, "a")
        informer.forget(namespace, "a")
        assert shown(informer, namespace) == {}
        stop()
        informer.learn(await client.create(CONFIGMAPS, namespace, config_map("a", k="2"), type=msgspec.Raw))
        assert shown(informer, namespace) == {"a": {"k": "2"}}
        assert [(bool(c.old), bool(c.new)) for c in changes] == [(False, True), (True, False)]


async def test_it_converges_under_many_writers(client: Client, namespace: str, until: Until) -> None:
    async with Informer(client, CONFIGMAPS, decode, namespace=namespace, page=7) as informer:

        async def writer(n: int) -> None:
            for i in range(10):
                name = f"c{(n * 7 + i) % 13}"
                obj = config_map(name, by=f"{n}-{i}")
                if i % 4 == 3:
                    try:
                        gone = await client.delete(CONFIGMAPS, namespace, name)
                    except ApiError:
                        continue
                    informer.forget(namespace, name, gone["details"]["uid"])
                else:
                    informer.learn(await client.apply(CONFIGMAPS, namespace, obj, type=msgspec.Raw))

        await asyncio.gather(*(writer(n) for n in range(8)))
        truth = {
            o["metadata"]["name"]: o.get("data", {})
            async for o in client.list(CONFIGMAPS, namespace)
            if o["metadata"]["name"] != "kube-root-ca.crt"
        }
        await until(lambda: shown(informer, namespace) == truth)


class ApiServer:
    """A pretended API server with a history: its watches can be cut, silenced and declared too old."""

    def __init__(self) -> None:
        self.version = 100
        self.objects: dict[str, dict[str, Any]] = {}
        self.history: list[tuple[int, str, dict[str, Any]]] = []
        self.oldest = 0
        self.lists = 0
        self.watches: list[int] = []
        self.silent = False
        self.down = False
        self.refuse = 0
        self.changed = asyncio.Event()
        self.streams: set[web.StreamResponse] = set()
        self.cuts = 0

    def write(self, name: str, kind: str = "MODIFIED") -> None:
        self.version += 1
        metadata = {
            "name": name,
            "namespace": "ns",
            "uid": f"uid-{name}",
            "resourceVersion": str(self.version),
        }
        obj = {"metadata": metadata, "data": {"v": str(self.version)}}
        if kind == "DELETED":
            self.objects.pop(name)
        else:
            self.objects[name] = obj
        self.history.append((self.version, kind, obj))
        self.wake()

    def wake(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()

    def cut(self) -> None:
        self.cuts += 1
        self.wake()

    def compact(self) -> None:
        self.oldest = self.version

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        if self.down:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        if self.refuse:
            code = self.refuse
            return web.json_response(
                {"kind": "Status", "code": code, "reason": "Forbidden", "message": "configmaps is forbidden"},
                status=code,
            )
        if "watch" not in request.query:
            self.lists += 1
            names = sorted(self.objects)
            start, limit = int(request.query.get("continue", 0)), int(request.query["limit"])
            token = str(start + limit) if start + limit < len(names) else ""
            metadata = {"resourceVersion": str(self.version), "continue": token}
            items = [self.objects[name] for name in names[start : start + limit]]
            return web.json_response({"kind": "List", "metadata": metadata, "items": items})
        assert request.query["allowWatchBookmarks"] == "true"
        since, cuts = int(request.query["resourceVersion"]), self.cuts
        self.watches.append(since)
        response = web.StreamResponse()
        await response.prepare(request)
        if since < self.oldest:
            status = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"}
            await response.write(json.dumps({"type": "ERROR", "object": status}).encode() + b"\n")
            return response
        while True:
            changed = self.changed
            if not self.silent:
                for version, kind, obj in self.history:
                    if version > since:
                        await response.write(json.dumps({"type": kind, "object": obj}).encode() + b"\n")
                        since = version
            if self.cuts != cuts:
                assert request.transport is not None
                request.transport.abort()
                return response
            await changed.wait()


@pytest.fixture
async def api() -> ApiServer:
    return ApiServer()


@pytest.fixture
async def informer(api: ApiServer, serve: Serve, connect: Connect) -> AsyncIterator[Informer[Data]]:
    client = await connect(await serve(api), seconds=1)
    made = Informer(client, CONFIGMAPS, decode, page=3, stall=0.3)
    yield made
    await made.stop()


async def converged(informer: Informer[Data], api: ApiServer, until: Until) -> None:
    def same() -> bool:
        held = {item.name: str(item.resource_version) for item in informer.items("ns")}
        return held == {name: obj["metadata"]["resourceVersion"] for name, obj in api.objects.items()}

    await until(same)


async def test_a_cut_watch_resumes_where_it_stopped(
    api: ApiServer, informer: Informer[Data], until: Until
) -> None:
    for name in "abcdefgh":
        api.write(name)
    informer.start()
    await informer.synced(Budget(5))
    assert api.lists == 3  # pages
    api.write("a")
    await converged(informer, api, until)
    position = api.version
    api.cut()
    await until(lambda: len(api.watches) >= 2)
    api.write("b")
    await converged(informer, api, until)
    assert api.lists == 3 and api.watches[:2] == [108, position]


async def test_only_a_410_makes_it_list_again_and_readers_see_no_gap(
    api: ApiServer, informer: Informer[Data], until: Until
) -> None:
    for name in "abc":
        api.write(name)
    informer.start()
    await informer.synced(Budget(5))
    await until(lambda: api.watches)
    api.silent = True
    api.write("a", "DELETED")
    api.write("d")
    api.compact()
    api.silent = False
    seen: set[tuple[str, ...]] = set()
    informer.subscribe(lambda change: seen.add(tuple(item.name for item in informer.items("ns"))))
    api.history.clear()
    api.cut()
    await converged(informer, api, until)
    assert api.lists == 2
    assert seen == {("b", "c", "d")}  # subscribers, too, are told when it is whole


async def test_a_silent_watch_is_replaced(api: ApiServer, informer: Informer[Data], until: Until) -> None:
    api.write("a")
    informer.start()
    await informer.synced(Budget(5))
    api.silent = True
    api.write("b")
    await until(lambda: len(api.watches) >= 2)
    api.silent = False
    await converged(informer, api, until)
    assert api.lists == 1


async def test_an_outage_is_visible_and_the_copy_stays(
    api: ApiServer, informer: Informer[Data], until: Until
) -> None:
    api.write("a")
    informer.start()
    await informer.synced(Budget(5))
    await until(lambda: informer.reachable)
    api.down = True
    api.cut()
    await until(lambda: not informer.reachable)
    contact = informer.last_contact
    assert [item.name for item in informer.items("ns")] == ["a"]
    api.down = False
    api.write("a", "DELETED")
    await converged(informer, api, until)
    assert informer.reachable and informer.last_contact > contact and api.lists == 1


async def test_a_cluster_that_is_down_at_first(
    api: ApiServer, informer: Informer[Data], until: Until
) -> None:
    api.down = True
    informer.start()
    started = time.monotonic()
    for _ in range(3):  # the first one waits for the attempt, the others know how it went
        with pytest.raises(ClusterUnreachable):
            await informer.synced(Budget(30))
    assert time.monotonic() - started < 1
    api.down = False
    await until(lambda: informer.has_synced)
    await informer.synced(Budget(10))


async def test_a_cluster_that_says_nothing_is_waited_for_shortly(serve: Serve, connect: Connect) -> None:
    async def silent(_: web.Request) -> web.Response:
        await asyncio.sleep(3600)
        return web.Response()

    client = await connect(await serve(silent), seconds=30)
    async with Informer(client, CONFIGMAPS, decode) as informer:
        started = time.monotonic()
        with pytest.raises(ClusterUnreachable, match="not complete yet"):
            await informer.synced(Budget(30))
        assert FIRST_WORD <= time.monotonic() - started < FIRST_WORD + 1


async def test_a_cluster_that_speaks_slowly_is_waited_for(serve: Serve, connect: Connect) -> None:
    async def slow(request: web.Request) -> web.Response:
        if request.query.get("continue"):
            await asyncio.sleep(FIRST_WORD + 0.3)
        token = "" if request.query.get("continue") else "more"
        return web.json_response({"items": [], "metadata": {"resourceVersion": "7", "continue": token}})

    client = await connect(await serve(slow), seconds=30)
    async with Informer(client, CONFIGMAPS, decode) as informer:
        await informer.synced(Budget(30))


async def test_what_we_may_not_list_is_said(api: ApiServer, informer: Informer[Data]) -> None:
    api.refuse = 403
    informer.start()
    with pytest.raises(ApiError, match="configmaps is forbidden"):
        await informer.synced(Budget(30))


async def test_a_subscriber_that_fails_harms_nobody(
    api: ApiServer, informer: Informer[Data], until: Until
) -> None:
    told: list[Change[Data]] = []

    def fail(change: Change[Data]) -> None:
        raise RuntimeError("mine")

    informer.subscribe(fail)
    informer.subscribe(told.append)
    api.write("a")
    informer.start()
    await converged(informer, api, until)
    assert len(told) == 1


async def test_garbage_does_not_end_it(serve: Serve, connect: Connect, until: Until) -> None:
    answers = [
        {"items": [{"metadata": {"name": "x"}}], "metadata": {"resourceVersion": "1"}},
        {"items": [], "metadata": {}},
        {"items": [], "metadata": {"resourceVersion": "7"}},
    ]
    watches: list[str] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        if "watch" not in request.query:
            return web.json_response(answers.pop(0) if len(answers) > 1 else answers[0])
        watches.append(request.query["resourceVersion"])
        return web.Response(body=b'{"type":"ADDED","object":{}}\n')

    async with Informer(await connect(await serve(handler)), CONFIGMAPS, decode) as informer:
        with pytest.raises(ClusterUnreachable, match="not what a Kubernetes API sends"):
            await informer.synced(Budget(10))
        await until(lambda: informer.has_synced and len(watches) > 2)
        assert set(watches) == {"7"}


async def test_10_000_objects_are_copied_fast() -> None:
    """Twenty pages of 500 jobs of 1.4 KB: the time of the processor, without the network."""
    body = json.dumps({"spec": {"template": "x" * 1200}}).encode()
    metadata = b'{"metadata":{"name":"job-%05d","namespace":"ns","uid":"%036d","resourceVersion":"%d"},'
    from hubfleet.kube.response import Page
    from hubfleet.kube.view import View

    pages = [
        b'{"metadata":{"resourceVersion":"1"},"items":['
        + b",".join(metadata % (i, i, i + 1) + body[1:] for i in range(start, start + 500))
        + b"]}"
        for start in range(0, 10_000, 500)
    ]
    best = 10.0
    for _ in range(3):
        started = time.process_time()
        view = View(decode)
        items = []
        for page in pages:
            items += [
                view.read(bytes(raw)) for raw in msgspec.json.decode(page, type=Page[msgspec.Raw]).items
            ]
        view.replace(1, items)
        best = min(best, time.process_time() - started)
    assert len(view.items("ns")) == 10_000
    assert best < 0.3, f"{best * 1000:.0f} ms"  # twice what it takes on two slow cores


def test_the_pause_grows_and_is_bounded() -> None:
    assert pause(0) == 0
    for failures in range(1, 60):
        assert 0 < pause(failures) <= LONGEST_PAUSE
    assert pause(50) >= LONGEST_PAUSE / 2
