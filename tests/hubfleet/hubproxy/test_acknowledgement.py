"""A route is acknowledged when the gateway serves it."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from tests.hubfleet.hubproxy.conftest import Proxy, Run, eventually

from hubfleet.kube.client import Client
from hubfleet.routing.gatewayapi import HTTPROUTES


class Edge:
    """A gateway that serves what it is told to: paths and the identities of their routes."""

    def __init__(self) -> None:
        self.serves: dict[str, str] = {}
        self.asked: list[tuple[str, str]] = []
        self.url = ""

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append((request.host, request.raw_path))
        identity = self.serves.get(request.raw_path)
        if identity is None:
            return web.Response(status=404)
        return web.Response(status=302, headers={"hubfleet-route": identity, "Location": "/elsewhere"})


@pytest.fixture
async def edge() -> AsyncIterator[Edge]:
    edge = Edge()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", edge.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    edge.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield edge
    await runner.cleanup()


def adding(proxy: Proxy, path: str, target: str) -> "asyncio.Task[Any]":
    return asyncio.create_task(proxy.call("POST", f"/api/routes{path}", {"target": target}))


async def identity_of(client: Client, namespace: str, target: str) -> str | None:
    """The identity that the gateway is to set for the route to a target."""
    async for obj in client.list(HTTPROUTES, namespace):
        if target in obj["metadata"]["annotations"]["hubfleet.dev/routes"]:
            header = obj["spec"]["rules"][0]["filters"][0]["responseHeaderModifier"]["set"][0]
            assert header["name"] == "hubfleet-route"
            return str(header["value"])
    return None


async def test_the_hub_waits_until_the_gateway_serves_the_new_target(
    running: Run, client: Client, namespace: str, edge: Edge
) -> None:
    settings = {"acknowledge": "required", "gateway_address": edge.url, "hostnames": ("hub.example.org",)}
    async with running(**settings) as proxy:
        target = "http://10.0.0.1:8888"
        post = adding(proxy, "/user/a@b", target)
        first = await eventually(lambda: identity_of(client, namespace, target))
        await eventually(lambda: len(edge.asked) > 3)
        assert not post.done()
        assert set(edge.asked) == {("hub.example.org", "/user/a@b/")}
        edge.serves["/user/a@b/"] = first
        assert (await post)[0] == 201
        other = "http://10.0.0.2:8888"
        post = adding(proxy, "/user/a@b", other)
        second = await eventually(lambda: identity_of(client, namespace, other))
        assert second != first
        asked = len(edge.asked)
        await eventually(lambda: len(edge.asked) > asked + 2)
        assert not post.done(), "the gateway still serves the old target"
        edge.serves["/user/a@b/"] = second
        assert (await post)[0] == 201


@pytest.mark.parametrize(("mode", "status"), [("required", 503), ("preferred", 201)])
async def test_a_gateway_that_does_not_serve_in_time(
    running: Run, edge: Edge, mode: str, status: int
) -> None:
    async with running(acknowledge=mode, gateway_address=edge.url, budget=1.0) as proxy:
        answer, _, headers = await adding(proxy, "/user/a", "http://10.0.0.1:8888")
        assert answer == status
        assert ("Retry-After" in headers) == (status == 503)
        assert set(await proxy.routes()) == {"/user/a"}
        assert edge.asked


def accepted(route: dict[str, Any], *, generation: int, status: str = "True") -> dict[str, Any]:
    return {
        "apiVersion": HTTPROUTES.api_version,
        "kind": HTTPROUTES.kind,
        "metadata": {"name": route["metadata"]["name"]},
        "status": {
            "parents": [
                {
                    "controllerName": "example.org/edge",
                    "parentRef": {"name": "edge"},
                    "conditions": [
                        {
                            "type": kind,
                            "status": status,
                            "reason": "Because",
                            "message": "",
                            "observedGeneration": generation,
                            "lastTransitionTime": "2026-01-01T00:00:00Z",
                        }
                        for kind in ("Accepted", "ResolvedRefs")
                    ],
                }
            ]
        },
    }


async def test_without_an_address_the_status_of_the_route_tells(
    running: Run, client: Client, namespace: str
) -> None:
    async def only() -> dict[str, Any] | None:
        async for obj in client.list(HTTPROUTES, namespace):
            return obj
        return None

    async with running(acknowledge="required", budget=8.0) as proxy:
        post = adding(proxy, "/user/a", "http://10.0.0.1:8888")
        route = await eventually(only)
        generation = route["metadata"]["generation"]
        await client.apply(
            HTTPROUTES,
            namespace,
            accepted(route, generation=generation, status="False"),
            subresource="status",
        )
        await asyncio.sleep(0.3)
        assert not post.done()
        await client.apply(
            HTTPROUTES, namespace, accepted(route, generation=generation), subresource="status"
        )
        assert (await post)[0] == 201
        post = adding(proxy, "/user/a", "http://10.0.0.2:8888")

        async def changed() -> bool:
            route = await only()
            return route is not None and route["metadata"]["generation"] > generation

        await eventually(changed)
        await asyncio.sleep(0.3)
        assert not post.done(), "the conditions are of the last generation"
        await client.apply(
            HTTPROUTES, namespace, accepted(route, generation=generation + 1), subresource="status"
        )
        assert (await post)[0] == 201


async def test_where_nobody_sets_conditions_none_are_waited_for(running: Run) -> None:
    async with running(acknowledge="preferred") as proxy:
        loop = asyncio.get_running_loop()
        await proxy.add("/user/a", "http://10.0.0.1:8888")
        begun = loop.time()
        await proxy.add("/user/b", "http://10.0.0.1:8888")
        assert loop.time() - begun < 1.0
