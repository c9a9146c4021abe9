"""A hubproxy over HTTP, on a cluster that knows the kinds of the gateways."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

import hubfleet.demo
from hubfleet.cli.serve import make_server
from hubfleet.kube.client import Client
from hubfleet.kube.errors import AlreadyExists
from hubfleet.kube.resources import Resource
from hubfleet.proxyapp import create_app
from hubfleet.settings import ClusterSettings, HubProxySettings, HubSettings, Settings

TOKEN = "a-token-of-the-hub"
CRDS = Resource(
    "apiextensions.k8s.io",
    "v1",
    "customresourcedefinitions",
    "CustomResourceDefinition",
    namespaced=False,
)
DEFINITIONS = Path(hubfleet.demo.__file__).parent / "crds"


class Proxy:
    """One running hubproxy, as its Hub sees it."""

    def __init__(self, url: str, session: aiohttp.ClientSession):
        self.url = url
        self._session = session

    async def call(
        self,
        method: str,
        path: str = "",
        body: Any = None,
        *,
        data: bytes | None = None,
        token: str | None = TOKEN,
    ) -> tuple[int, bytes, Mapping[str, str]]:
        from yarl import URL

        headers = {} if token is None else {"Authorization": f"token {token}"}
        raw = data if body is None else json.dumps(body).encode()
        async with self._session.request(
            method, URL(f"{self.url}{path}", encoded=True), data=raw, headers=headers
        ) as response:
            return response.status, await response.read(), response.headers

    async def add(self, path: str, target: str, **data: Any) -> None:
        status, body, _ = await self.call(
            "POST", f"/api/routes{path}", {"target": target, "jupyterhub": True, **data}
        )
        assert (status, body) == (201, b""), body

    async def routes(self) -> dict[str, Any]:
        status, body, _ = await self.call("GET", "/api/routes")
        assert status == 200, body
        routes: dict[str, Any] = json.loads(body)
        return routes


Run = Callable[..., AbstractAsyncContextManager[Proxy]]


@pytest.fixture
async def definitions(client: Client) -> None:
    """The kinds of the Gateway API, Istio and Traefik exist."""
    for path in sorted(DEFINITIONS.glob("*.yaml")):
        for definition in yaml.safe_load_all(path.read_text()):
            try:
                await client.create(CRDS, None, definition)
            except AlreadyExists:
                continue
    for path in sorted(DEFINITIONS.glob("*.yaml")):
        for definition in yaml.safe_load_all(path.read_text()):
            await eventually(lambda d=definition: established(client, d["metadata"]["name"]))


async def established(client: Client, name: str) -> bool:
    found = await client.get(CRDS, None, name)
    conditions = found.get("status", {}).get("conditions", ())
    return any(c["type"] == "Established" and c["status"] == "True" for c in conditions)


async def eventually(check: Callable[[], Any], seconds: float = 10.0) -> Any:
    """What `check` returns, once that is true."""
    async with asyncio.timeout(seconds):
        while True:
            result = check()
            if asyncio.iscoroutine(result):
                result = await result
            if result:
                return result
            await asyncio.sleep(0.02)


@pytest.fixture
def running(definitions: None, kubeconfig: Path, kube_context: str, namespace: str) -> Run:
    """`async with running(backend=..., ...) as proxy`: a hubproxy with these settings."""

    @asynccontextmanager
    async def run(
        *, cluster: ClusterSettings | None = None, hub: str = "hub", **settings: Any
    ) -> AsyncIterator[Proxy]:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        chosen = {"gateway": "edge", "acknowledge": "off", "namespace": namespace, **settings}
        app = create_app(
            Settings(
                hub=HubSettings(name=hub),
                clusters=(
                    cluster or ClusterSettings(name="test", kubeconfig=str(kubeconfig), context=kube_context),
                ),
                hubproxy=HubProxySettings(auth_token=TOKEN, **chosen),
            )
        )
        async with app.lifespan():
            server = make_server(app, "127.0.0.1", port)
            serving = asyncio.create_task(server.serve())
            try:
                async with aiohttp.ClientSession() as session:
                    proxy = Proxy(f"http://127.0.0.1:{port}", session)
                    await eventually(lambda: up(proxy))
                    yield proxy
            finally:
                server.stop()
                await serving

    return run


async def up(proxy: Proxy) -> bool:
    try:
        return (await proxy.call("GET", "/ready"))[0] == 200
    except aiohttp.ClientError:
        return False
