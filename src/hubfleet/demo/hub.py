"""The demo's JupyterHub: its configuration, and the few calls to its API that set the stage."""

import http.client
import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec


class HubAddresses(msgspec.Struct, frozen=True):
    """Where the Hub and what belongs to it listen; all on loopback."""

    port: int  # of the proxy, the address that people open
    hub_port: int
    proxy_api_port: int
    service_port: int  # hubfleet

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def api_url(self) -> str:
        return f"http://127.0.0.1:{self.hub_port}/hub/api"

    @property
    def service_url(self) -> str:
        return f"{self.url}/services/kbatch/"


def proxy_command(addresses: HubAddresses, node: Path) -> list[str]:
    """JupyterHub's own proxy, from npm's folder `node`; its token comes in CONFIGPROXY_AUTH_TOKEN."""
    command = [str(node / "configurable-http-proxy"), "--ip", "127.0.0.1", "--port", str(addresses.port)]
    command += ["--api-ip", "127.0.0.1", "--api-port", str(addresses.proxy_api_port)]
    return [*command, "--error-target", f"http://127.0.0.1:{addresses.hub_port}/hub/error"]


def configuration(addresses: HubAddresses, *, proxy_token: str, service_token: str, stage_token: str) -> str:
    """The text of jupyterhub_config.py: hubfleet is the service `kbatch`, every user may use it."""
    return f"""\
c.JupyterHub.bind_url = "{addresses.url}"
c.JupyterHub.hub_bind_url = "http://127.0.0.1:{addresses.hub_port}"
c.ConfigurableHTTPProxy.api_url = "http://127.0.0.1:{addresses.proxy_api_port}"
c.ConfigurableHTTPProxy.should_start = False
c.ConfigurableHTTPProxy.auth_token = {proxy_token!r}
c.JupyterHub.authenticator_class = "dummy"
c.Authenticator.allow_all = True
c.JupyterHub.spawner_class = "simple"
c.JupyterHub.default_url = "/hub/token"
c.JupyterHub.services = [
    {{"name": "kbatch", "url": "http://127.0.0.1:{addresses.service_port}", "api_token": {service_token!r}}},
    {{"name": "stage", "api_token": {stage_token!r}}},
]
c.JupyterHub.load_roles = [
    {{"name": "user", "scopes": ["self", "access:services!service=kbatch"]}},
    {{"name": "stage", "scopes": ["admin:users", "tokens"], "services": ["stage"]}},
]
"""


def call(method: str, url: str, token: str = "", body: Any = None) -> tuple[int, Any]:
    """One request; the status and the decoded JSON body. Status 0 where nothing answers."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "127.0.0.1", parts.port, timeout=10)
    headers = {"Authorization": f"token {token}"} if token else {}
    try:
        connection.request(method, parts.path or "/", json.dumps(body) if body is not None else None, headers)
        response = connection.getresponse()
        content = response.read()
    except (OSError, http.client.HTTPException):
        return 0, None
    finally:
        connection.close()
    try:
        return response.status, json.loads(content)
    except ValueError:
        return response.status, content.decode(errors="replace")


def token_for(addresses: HubAddresses, stage_token: str, user: str) -> str:
    """Make sure that the user exists, and issue a token as the page /hub/token would."""
    call("POST", f"{addresses.api_url}/users", stage_token, {"usernames": [user]})
    status, answer = call(
        "POST", f"{addresses.api_url}/users/{user}/tokens", stage_token, {"note": "hubfleet demo"}
    )
    if status != 201:
        raise RuntimeError(f"the Hub issued no token for {user}: {status} {answer}")
    return str(answer["token"])
