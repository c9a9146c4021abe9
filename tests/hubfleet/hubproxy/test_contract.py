"""CHP's contract, over HTTP, whatever the gateway is."""

import json

import pytest
from tests.hubfleet.hubproxy.conftest import Run

BACKENDS = ("gateway-api", "istio", "ingress", "traefik")
each_backend = pytest.mark.parametrize("backend", BACKENDS)


@each_backend
async def test_a_route_is_made_told_changed_and_removed(running: Run, backend: str) -> None:
    async with running(backend=backend) as proxy:
        assert await proxy.routes() == {}
        await proxy.add("/", "http://hub:8081", hub=True)
        await proxy.add("/user/a@b.org/", "http://10.0.0.1:8888", user="a@b.org", server_name="")
        await proxy.add("/user/jos%C3%A9/s%201", "http://10.0.0.2:8888", user="josé")
        expected = {
            "/": {"hub": True, "jupyterhub": True, "target": "http://hub:8081"},
            "/user/a@b.org": {
                "jupyterhub": True,
                "server_name": "",
                "target": "http://10.0.0.1:8888",
                "user": "a@b.org",
            },
            "/user/josé/s 1": {"jupyterhub": True, "target": "http://10.0.0.2:8888", "user": "josé"},
        }
        assert await proxy.routes() == expected
        status, body, _ = await proxy.call("GET", "/api/routes/user/a%40b.org")
        assert (status, json.loads(body)) == (200, expected["/user/a@b.org"])
        await proxy.add("/user/a@b.org", "http://10.0.0.9:9999")
        assert (await proxy.routes())["/user/a@b.org"] == {
            "jupyterhub": True,
            "target": "http://10.0.0.9:9999",
        }
        assert (await proxy.call("DELETE", "/api/routes/user/a@b.org"))[:2] == (204, b"")
        assert (await proxy.call("DELETE", "/api/routes/user/a@b.org"))[:2] == (404, b"")
        assert (await proxy.call("GET", "/api/routes/user/a@b.org"))[:2] == (404, b"")
        assert set(await proxy.routes()) == {"/", "/user/josé/s 1"}


async def test_another_process_reads_what_one_wrote(running: Run) -> None:
    async with running() as first, running() as second:
        await first.add("/user/a", "http://10.0.0.1:8888", user="a")
    async with running() as third:
        assert set(await third.routes()) == {"/user/a"}
        assert (await third.call("DELETE", "/api/routes/user/a"))[0] == 204
        assert await third.routes() == {}
    del second


async def test_refusals_are_chps(running: Run) -> None:
    async with running() as proxy:
        for token in (None, "", "wrong", "a-token-of-the-hubb"):
            for method in ("GET", "DELETE"):
                assert (await proxy.call(method, "/api/routes/x", token=token))[:2] == (403, b"")
            assert (await proxy.call("POST", "/api/routes/x", {"target": "http://a"}, token=token))[:2] == (
                403,
                b"",
            )
        status, body, _ = await proxy.call("POST", "/api/routes/x", data=b"{", token=None)
        assert status == 400 and body.startswith(b"Body not valid JSON: ")
        for body in ({}, [], "x", 1, None, {"target": 1}, {"target": None}, {"target": ["http://a"]}):
            assert (await proxy.call("POST", "/api/routes/x", data=json.dumps(body).encode()))[:2] == (
                400,
                b"Must specify 'target' as string",
            )
        for method in ("PUT", "PATCH", "OPTIONS"):
            assert (await proxy.call(method, "/api/routes/x"))[:2] == (405, b"Method not supported")
        status, body, _ = await proxy.call("GET", "/api/routes?inactive_since=yesterday")
        assert (status, body) == (400, b"Invalid datestamp 'yesterday' must be ISO8601.")
        for name in ("inactive_since", "inactiveSince"):
            status, body, _ = await proxy.call("GET", f"/api/routes?{name}=2020-01-01T00:00:00Z")
            assert (status, body) == (200, b"{}")
        assert await proxy.routes() == {}


PATHS = (
    "/user/../hub",
    "/user/%2e%2e/hub",
    "//user",
    "/user//a",
    "/user%2Fa",
    "/user/%00",
    "/user/%0a",
    "/user/%ff",
    "/user/%5c",
    "/" + "a" * 4096,
    "/" + "/".join("a" * 600),
)


async def test_a_path_that_is_none_is_refused(running: Run) -> None:
    async with running() as proxy:
        for path in PATHS:
            for method in ("POST", "GET", "DELETE"):
                status, body, _ = await proxy.call(
                    method, f"/api/routes{path}", {"target": "http://10.0.0.1:80"}
                )
                assert status == 400 and body.startswith(b"Invalid path: "), (path, status, body)
        assert await proxy.routes() == {}
        await proxy.add("/" + "/".join("a" * 500), "http://10.0.0.1:80")
        assert len(await proxy.routes()) == 1


TARGETS = ("", "hub", "http://", "ftp://hub", "http://127.0.0.1:1", "http://a/b", "http://a b", "x" * 5000)


async def test_a_target_that_is_none_is_refused_in_chps_words(running: Run) -> None:
    async with running() as proxy:
        for target in TARGETS:
            status, body, _ = await proxy.call("POST", "/api/routes/x", {"target": target})
            assert status == 400 and body.startswith(b"Must specify 'target' as string: "), target
            assert len(body) < 400
        assert await proxy.routes() == {}


async def test_bodies_that_no_object_can_hold_are_refused(running: Run) -> None:
    async with running() as proxy:
        large = {"target": "http://10.0.0.1:80", "x": "y" * 70_000}
        assert (await proxy.call("POST", "/api/routes/x", large))[0] == 413
        for data in (b"[" * 50_000, b'{"target": "http://a", "x": 1e999}', b'{"target":"\\ud800"}', b"\xff"):
            assert (await proxy.call("POST", "/api/routes/x", data=data))[0] == 400, data[:20]
        assert await proxy.routes() == {}


async def test_what_operators_and_others_ask(running: Run) -> None:
    async with running() as proxy:
        assert (await proxy.call("GET", "/ping", token=None))[:2] == (200, b'{"message":"pong"}')
        assert (await proxy.call("GET", "/health", token=None))[0] == 200
        assert (await proxy.call("GET", "/ready", token=None))[0] == 200
        assert (await proxy.call("GET", "/metrics", token=None))[0] == 200
        assert (await proxy.call("GET", "/api/elsewhere"))[0] == 404
        assert (await proxy.call("GET", "/api/routesandmore"))[0] == 404


async def test_with_host_routing_the_host_comes_first(running: Run) -> None:
    async with running(host_routing=True) as proxy:
        await proxy.add("/", "http://hub:8081")
        await proxy.add("/alice.example.org/user/a", "http://10.0.0.1:8888", user="a")
        assert await proxy.routes() == {
            "/": {"jupyterhub": True, "target": "http://hub:8081"},
            "/alice.example.org/user/a": {
                "host": "alice.example.org",
                "jupyterhub": True,
                "target": "http://10.0.0.1:8888",
                "user": "a",
            },
        }
        assert (await proxy.call("POST", "/api/routes/not_a_host", {"target": "http://10.0.0.1"}))[0] == 400
