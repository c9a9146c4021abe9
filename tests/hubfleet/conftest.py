"""What several tests share: a real JupyterHub, in a process of its own."""

import asyncio
import json
import os
import secrets
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.hubfleet import account
from tests.hubfleet.account import Account, Run

from hubfleet.kube.client import Client
from hubfleet.kube.clusters import Clusters
from hubfleet.settings import ClusterSettings

CONFIG = """
from jupyterhub.proxy import Proxy

class NoProxy(Proxy):
    # The Hub's API has a port of its own, and nobody here opens a page.
    should_start = False
    async def add_route(self, routespec, target, data): pass
    async def delete_route(self, routespec): pass
    async def get_all_routes(self): return {{}}

c.JupyterHub.proxy_class = NoProxy
c.JupyterHub.hub_bind_url = "http://127.0.0.1:{port}"
c.JupyterHub.db_url = "sqlite:///:memory:"
c.JupyterHub.cookie_secret_file = "{directory}/cookie_secret"
c.JupyterHub.authenticator_class = "dummy"
c.Authenticator.allow_all = True
c.JupyterHub.spawner_class = "simple"
c.JupyterHub.log_level = "WARN"
c.JupyterHub.services = [
    {{"name": "kbatch", "api_token": "{service}"}},
    {{"name": "stage", "api_token": "{stage}"}},
    {{"name": "robot", "api_token": "{robot}"}},
]
c.JupyterHub.load_roles = [
    {{"name": "user", "scopes": ["self", "access:services!service=kbatch"]}},
    {{"name": "stage", "scopes": ["admin:users", "admin:groups", "tokens"], "services": ["stage"]}},
    {{"name": "robot", "scopes": ["access:services!service=kbatch"], "services": ["robot"]}},
]
"""


class Hub:
    """A running JupyterHub: every user may use its service `kbatch`, whose API token is `service_token`.

    `robot_token` is that of the service `robot`, which may use `kbatch`, too; `stage_token` may issue tokens.
    """

    service_name = "kbatch"

    def __init__(self, directory: Path):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.api_url = f"http://127.0.0.1:{port}/hub/api"
        self.service_token, self.stage_token, self.robot_token = (secrets.token_hex(16) for _ in range(3))
        config = directory / "jupyterhub_config.py"
        config.write_text(
            CONFIG.format(
                port=port,
                directory=directory,
                service=self.service_token,
                stage=self.stage_token,
                robot=self.robot_token,
            )
        )
        self._log = directory / "hub.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "jupyterhub", "--config", str(config)],
                cwd=directory,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def user(self, name: str, *, groups: tuple[str, ...] = (), scopes: list[str] | None = None) -> str:
        """A token of the user, who is made if need be; with all of their scopes unless some are named."""
        self.call("POST", "/users", {"usernames": [name]}, expect=(201, 409))
        for group in groups:
            self.call("POST", f"/groups/{group}", {}, expect=(201, 409))
            self.call("POST", f"/groups/{group}/users", {"users": [name]})
        asked = {} if scopes is None else {"scopes": scopes}
        return str(
            self.call("POST", f"/users/{urllib.request.quote(name)}/tokens", asked, expect=(201,))["token"]
        )

    def revoke(self, token: str) -> None:
        """End the life of a user's token."""
        who = self.call("GET", "/user", token=token)
        self.call("DELETE", f"/users/{who['name']}/tokens/{who['token_id']}", expect=(204,))

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        token: str = "",
        expect: tuple[int, ...] = (200, 201),
    ) -> Any:
        request = urllib.request.Request(
            self.api_url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"token {token or self.stage_token}"},
        )
        try:
            with urllib.request.urlopen(request, timeout=10) as response:
                status, content = response.status, response.read()
        except urllib.error.HTTPError as e:
            with e:
                status, content = e.code, e.read()
        assert status in expect, f"{method} {path}: {status} {content!r}"
        return json.loads(content) if content else None

    def wait_until_ready(self, seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while True:
            try:
                self.call("GET", "/")
                return
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"the Hub did not start:\n{self._log.read_text()}") from None
            time.sleep(0.05)

    def stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@pytest.fixture(scope="session")
def jupyterhub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    hub = Hub(tmp_path_factory.mktemp("hub"))
    try:
        hub.wait_until_ready()
        yield hub
    finally:
        hub.stop()


@pytest.fixture(scope="session")
def as_administrator(kubeconfig: Path, kube_context: str) -> Iterator[Run]:
    """In a thread, on connections that outlive a test: handshakes are what a short call costs most."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    def run(call: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(call, loop).result(120)

    settings = ClusterSettings(name="test", kubeconfig=str(kubeconfig), context=kube_context)
    clusters = Clusters((settings,), environ=os.environ)
    client = run(clusters.__aenter__()).default.client

    async def called(call: Callable[[Client], Awaitable[Any]]) -> Any:
        return await call(client)

    yield lambda call: run(called(call))
    run(clusters.__aexit__(None, None, None))
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)
    loop.close()


@pytest.fixture(scope="session")
def own_account(
    as_administrator: Run, kubeconfig: Path, kube_context: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Account]:
    """hubfleet's, with the rights that `hubfleet rbac` prints."""
    directory = tmp_path_factory.mktemp("account")
    made = as_administrator(lambda client: account.make(client, kubeconfig, kube_context, directory))
    yield made
    as_administrator(lambda client: account.remove(client, made))
