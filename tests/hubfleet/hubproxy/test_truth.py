"""The objects are the truth: what is written, what comes back, what is left alone."""

import asyncio
from typing import Any

import pytest
from tests.hubfleet.hubproxy.conftest import Proxy, Run, eventually
from tests.hubfleet.routing import gateways

from hubfleet.kube.client import Client
from hubfleet.kube.request import PatchType
from hubfleet.kube.resources import ENDPOINTSLICES, INGRESSES, SERVICES, Resource
from hubfleet.routing.gatewayapi import HTTPROUTES
from hubfleet.routing.istio import SERVICEENTRIES, VIRTUALSERVICES
from hubfleet.routing.traefik import INGRESSROUTES, MIDDLEWARES

SERVE: dict[str, tuple[gateways.Serve, tuple[Resource, ...]]] = {
    "gateway-api": (gateways.gateway_api, (HTTPROUTES, SERVICES, ENDPOINTSLICES)),
    "istio": (gateways.istio, (VIRTUALSERVICES, SERVICEENTRIES)),
    "ingress": (gateways.ingress, (INGRESSES, SERVICES, ENDPOINTSLICES)),
    "traefik": (gateways.traefik, (INGRESSROUTES, MIDDLEWARES, SERVICES, ENDPOINTSLICES)),
}
each_backend = pytest.mark.parametrize("backend", SERVE)


async def objects_in(client: Client, namespace: str, backend: str) -> list[Any]:
    """Everything that the gateway reads, the oldest first."""
    objects = []
    for resource in SERVE[backend][1]:
        async for obj in client.list(resource, namespace):
            objects.append({**obj, "kind": resource.kind})
    return sorted(objects, key=lambda o: (o["metadata"]["creationTimestamp"], o["metadata"]["name"]))


async def served(client: Client, namespace: str, backend: str, path: str, host: str = "h") -> str | None:
    return SERVE[backend][0](await objects_in(client, namespace, backend), host, path)


async def call(proxy: Proxy, method: str, path: str) -> int:
    return (await proxy.call(method, f"/api/routes{path}"))[0]


@each_backend
async def test_the_gateway_finds_what_the_hub_said(
    running: Run, client: Client, namespace: str, backend: str
) -> None:
    async with running(backend=backend) as proxy:
        await proxy.add("/jupyter", "http://hub:8081")
        await proxy.add("/jupyter/user/a", "http://10.0.0.1:8888")
        await proxy.add("/jupyter/user/a/s", "http://10.0.0.2:8888")
        await proxy.add("/jupyter/user/ab", "http://10.0.0.3:8888")
        wanted = {
            "/jupyter/hub/home": f"hub.{namespace}:8081",
            "/jupyter/user/a/lab": "10.0.0.1:8888",
            "/jupyter/user/a/s/lab": "10.0.0.2:8888",
            "/jupyter/user/ab/lab": "10.0.0.3:8888",
            "/jupyter/user/abc": f"hub.{namespace}:8081",
            "/elsewhere": None,
        }
        for path, place in wanted.items():
            assert await served(client, namespace, backend, path) == place, path
        await proxy.add("/jupyter/user/a", "http://[fd00::1]:9999")
        assert await served(client, namespace, backend, "/jupyter/user/a") == "[fd00::1]:9999"
        assert await call(proxy, "DELETE", "/jupyter/user/a/s") == 204
        assert await served(client, namespace, backend, "/jupyter/user/a/s") == "[fd00::1]:9999"
        for path in ("/jupyter/user/a", "/jupyter/user/ab", "/jupyter"):
            assert await call(proxy, "DELETE", path) == 204
        assert await objects_in(client, namespace, backend) == []


@pytest.mark.parametrize("backend", ["gateway-api", "istio", "ingress"])
async def test_hosts_that_come_and_go_always_find_the_hub(
    running: Run, client: Client, namespace: str, backend: str
) -> None:
    async def at(host: str, path: str) -> str | None:
        return await served(client, namespace, backend, path, host)

    hostnames = () if backend != "istio" else ("*",)
    async with running(backend=backend, host_routing=True, hostnames=hostnames) as proxy:
        await proxy.add("/a.example.org/s", "http://10.0.0.1:8888")
        assert await at("a.example.org", "/hub") is None
        await proxy.add("/", "http://hub:8081")
        assert await at("a.example.org", "/hub") == f"hub.{namespace}:8081"
        assert await at("b.example.org", "/hub") == f"hub.{namespace}:8081"
        await proxy.add("/", "http://hub2:8081")
        assert await at("a.example.org", "/hub") == f"hub2.{namespace}:8081"
        await proxy.add("/a.example.org", "http://10.0.0.2:8888")
        assert await at("a.example.org", "/hub") == "10.0.0.2:8888"
        assert await at("a.example.org", "/s/x") == "10.0.0.1:8888"
        assert await call(proxy, "DELETE", "/a.example.org") == 204
        assert await at("a.example.org", "/hub") == f"hub2.{namespace}:8081"
        assert await call(proxy, "DELETE", "/a.example.org/s") == 204
        assert await call(proxy, "DELETE", "/") == 204
        assert await objects_in(client, namespace, backend) == []


@each_backend
async def test_what_is_deleted_or_edited_by_hand_comes_back(
    running: Run, client: Client, namespace: str, backend: str
) -> None:
    async with running(backend=backend) as proxy:
        await proxy.add("/", "http://hub:8081")
        await proxy.add("/user/a", "http://10.0.0.1:8888", user="a")
        before = await proxy.routes()

        async def as_it_was() -> bool:
            places = [await served(client, namespace, backend, p) for p in ("/user/a/lab", "/hub")]
            return places == ["10.0.0.1:8888", f"hub.{namespace}:8081"] and await proxy.routes() == before

        assert await as_it_was()
        for resource in SERVE[backend][1]:
            names = [obj["metadata"]["name"] async for obj in client.list(resource, namespace)]
            assert names
            for name in names:
                await client.delete(resource, namespace, name)
            await eventually(as_it_was)
        kind = SERVE[backend][1][0]
        names = [obj["metadata"]["name"] async for obj in client.list(kind, namespace)]
        for name in names:
            edited = await client.get(kind, namespace, name)
            annotations = edited["metadata"]["annotations"]
            text = annotations["hubfleet.dev/routes"].replace("10.0.0.1", "10.6.6.6").replace("hub:", "evil:")
            await client.patch(
                kind, namespace, name, {"metadata": {"annotations": {"hubfleet.dev/routes": text}}}
            )
        await eventually(as_it_was)
        for name in names:
            await client.patch(kind, namespace, name, [broken(backend)], kind=PatchType.JSON)
        await eventually(as_it_was)


def broken(backend: str) -> dict[str, Any]:
    """A JSON patch that makes an object lead nowhere."""
    path, value = {
        "gateway-api": ("/spec/rules/0/backendRefs/0/name", "nobody"),
        "istio": ("/spec/http/0", {"match": [{"uri": {"prefix": "/nowhere"}}], "route": []}),
        "ingress": ("/spec/rules/0/http/paths/0/backend/service/name", "nobody"),
        "traefik": ("/spec/routes/0/services/0/name", "nobody"),
    }[backend]
    return {"op": "replace", "path": path, "value": value}


async def test_what_the_hub_removed_stays_gone(running: Run, client: Client, namespace: str) -> None:
    async with running() as one, running() as other:
        for number in range(10):
            await one.add(f"/user/{number}", f"http://10.0.0.{number + 1}:8888")
        await eventually(lambda: all_of(other, 10))
        for number in range(10):
            proxy = one if number % 2 else other
            assert await call(proxy, "DELETE", f"/user/{number}") == 204
        await asyncio.sleep(1.5)  # the repairs of both have looked at it by then
        assert await one.routes() == await other.routes() == {}
        assert await objects_in(client, namespace, "gateway-api") == []


async def all_of(proxy: Proxy, number: int) -> bool:
    return len(await proxy.routes()) == number


@each_backend
async def test_objects_of_others_are_never_touched(
    running: Run, client: Client, namespace: str, backend: str
) -> None:
    kind = SERVE[backend][1][0]
    async with running(backend=backend, hub="other", name_prefix="theirs") as others:
        await others.add("/user/a", "http://10.9.9.9:8888", user="a")
    async with running(backend=backend) as proxy:
        await proxy.add("/user/a", "http://10.0.0.1:8888")
        names = [o["metadata"]["name"] async for o in client.list(kind, namespace)]
        theirs = [name for name in names if name.startswith("theirs-")]
        assert theirs and len(theirs) < len(names)
        before = {name: await client.get(kind, namespace, name) for name in theirs}
        assert set(await proxy.routes()) == {"/user/a"}
        assert await call(proxy, "DELETE", "/user/a") == 204
        await asyncio.sleep(0.5)
        assert {name: await client.get(kind, namespace, name) for name in theirs} == before


@pytest.mark.parametrize("backend", ["gateway-api", "istio"])
async def test_two_replicas_and_fifty_writers_agree(
    running: Run, client: Client, namespace: str, backend: str
) -> None:
    paths = [f"/user/{number}" for number in range(5)]
    async with running(backend=backend) as one, running(backend=backend) as other:

        async def write(number: int) -> None:
            proxy = (one, other)[number % 2]
            await proxy.add(paths[number % len(paths)], f"http://10.0.{number}.1:8888", number=number)

        await asyncio.gather(*(write(number) for number in range(50)))

        async def settled() -> bool:
            routes = await one.routes()
            if routes != await other.routes() or set(routes) != set(paths):
                return False
            objects = await objects_in(client, namespace, backend)
            places = {p: SERVE[backend][0](objects, "h", p) for p in paths}
            return places == {p: r["target"].removeprefix("http://") for p, r in routes.items()}

        await eventually(settled, 20)
        if backend == "gateway-api":
            assert len([o async for o in client.list(HTTPROUTES, namespace)]) == len(paths)


async def test_after_a_restart_nothing_is_written(running: Run, client: Client, namespace: str) -> None:
    async with running(backend="istio") as proxy:
        for number in range(20):
            await proxy.add(f"/user/{number}", f"http://10.0.0.{number + 1}:8888")
        await asyncio.sleep(0.5)
    before = await objects_in(client, namespace, "istio")
    async with running(backend="istio") as proxy:
        for number in range(20):
            await proxy.add(f"/user/{number}", f"http://10.0.0.{number + 1}:8888")
        await asyncio.sleep(0.5)
        assert await objects_in(client, namespace, "istio") == before
