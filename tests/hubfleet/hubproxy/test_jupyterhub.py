"""JupyterHub's own client drives it: add, get, delete and check routes."""

from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest
from jupyterhub.httpclient import JupyterHubHTTPClient
from jupyterhub.proxy import ConfigurableHTTPProxy
from jupyterhub.utils import url_escape_path
from tests.hubfleet.hubproxy.conftest import TOKEN, Proxy, Run


@pytest.fixture(autouse=True)
async def http_client() -> AsyncIterator[None]:
    yield
    await JupyterHubHTTPClient.loop_instance().close()


def client_of(proxy: Proxy, *, hub_route: str = "/", host_routing: bool = False) -> Any:
    hub = SimpleNamespace(host="http://hub:8081", routespec=hub_route)
    return ConfigurableHTTPProxy(
        should_start=False,
        api_url=proxy.url,
        auth_token=TOKEN,
        host_routing=host_routing,
        hub=hub,
        app=SimpleNamespace(hub=hub, subdomain_host=""),
    )


def user(name: str, *servers: str, address: str = "10.0.0.1", base: str = "/") -> Any:
    root = f"{base}user/{url_escape_path(name)}/"
    spawners = {
        server: SimpleNamespace(
            ready=True,
            pending=None,
            _log_name=f"{name}:{server}",
            proxy_spec=f"{root}{url_escape_path(server)}/" if server else root,
            server=SimpleNamespace(host=f"http://{address}:{8888 + number}"),
        )
        for number, server in enumerate(servers)
    }
    return SimpleNamespace(name=name, proxy_spec=root, spawners=spawners)


NAMES = ("alice", "a@b.org", "josé", "li 李", "x%y", "semi;colon", "q?#&=+", "tilde~", "a'b\"c")


@pytest.mark.parametrize("backend", ["gateway-api", "istio"])
async def test_the_hub_adds_reads_back_and_deletes(running: Run, backend: str) -> None:
    async with running(backend=backend) as proxy:
        client = client_of(proxy)
        await client.add_hub_route(client.hub)
        users = [user(name, "", "second") for name in NAMES]
        for each in users:
            for server in each.spawners:
                await client.add_user(each, server)
        routes = await client.get_all_routes()
        specs = {s.proxy_spec for each in users for s in each.spawners.values()}
        assert set(routes) == {"/"} | specs
        assert routes["/"] == {"routespec": "/", "target": "http://hub:8081", "data": {"hub": True}}
        one = users[1].spawners["second"]
        assert await client.get_route(one.proxy_spec) == {
            "routespec": one.proxy_spec,
            "target": one.server.host,
            "data": {"user": "a@b.org", "server_name": "second"},
        }
        for each in users:
            await client.delete_user(each)
        await client.delete_user(users[0])  # a second time: 404, which it tolerates
        assert set(await client.get_all_routes()) == {"/"} | {
            each.spawners["second"].proxy_spec for each in users
        }


async def test_the_hub_makes_routes_what_they_should_be(running: Run) -> None:
    async with running() as proxy:
        client = client_of(proxy, hub_route="/base/")
        moved, stays = user("moved", "", base="/base/"), user("stays", "", base="/base/")
        service = SimpleNamespace(
            name="svc", proxy_spec="/base/services/svc/", server=SimpleNamespace(host="http://10.0.0.5:9000")
        )
        await client.add_user(moved)
        await client.add_route("/base/user/stale/", "http://10.0.0.3:8888", {"user": "stale"})
        moved.spawners[""].server.host = "http://10.0.0.9:8888"
        await client.check_routes({1: moved, 2: stays}, {"svc": service})
        routes = await client.get_all_routes()
        assert {spec: r["target"] for spec, r in routes.items()} == {
            "/base/": "http://hub:8081",
            "/base/user/moved/": "http://10.0.0.9:8888",
            "/base/user/stays/": "http://10.0.0.1:8888",
            "/base/services/svc/": "http://10.0.0.5:9000",
        }
        await client.check_routes({1: moved, 2: stays}, {"svc": service})
        assert await client.get_all_routes() == routes


async def test_the_hub_routes_by_hosts(running: Run) -> None:
    async with running(host_routing=True) as proxy:
        client = client_of(proxy, host_routing=True)
        await client.add_hub_route(client.hub)
        await client.add_route("alice.example.org/user/alice/", "http://10.0.0.1:8888", {"user": "alice"})
        routes = await client.get_all_routes()
        assert set(routes) == {"/", "alice.example.org/user/alice/"}
        await client.delete_route("alice.example.org/user/alice/")
        assert set(await client.get_all_routes()) == {"/"}
