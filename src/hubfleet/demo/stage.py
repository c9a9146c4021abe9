"""The demo's stage: two clusters, a JupyterHub, hubfleet as its service, each a process of its own."""

import os
import secrets
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import msgspec

from hubfleet.demo import hub
from hubfleet.demo.folder import Folder
from hubfleet.demo.process import Process, free_port

CLUSTERS = ("west", "east")  # the first one is the default

PROFILES = {
    "small": {"image": "python:3.13", "resources": {"limits": {"cpu": "500m", "memory": "256Mi"}}},
    "large": {"image": "python:3.13", "resources": {"limits": {"cpu": "1", "memory": "1Gi"}}},
}


class Stage(msgspec.Struct, frozen=True):
    """What runs, and how to reach it."""

    directory: Path
    kubeconfig: Path
    addresses: hub.HubAddresses
    stage_token: str
    processes: tuple[Process, ...]

    def cluster_url(self, cluster: str) -> str:
        """The base URL that makes an unmodified kbatch client use this cluster."""
        return f"{self.addresses.service_url}clusters/{cluster}/"

    def token_for(self, user: str) -> str:
        return hub.token_for(self.addresses, self.stage_token, user)


def program(name: str) -> str:
    """A program of the environment that we run in."""
    return str(Path(sys.executable).parent / name)


@contextmanager
def raised(
    folder: Folder, *, node: Path, port: int, tell: Callable[[str, str, float], None]
) -> Iterator[Stage]:
    """Start everything, in order, and end it in the reverse order.

    `node` is the folder of configurable-http-proxy; `port` is the wanted port of the Hub (another one is
    taken if it is in use); `tell(name, address, seconds)` is called for each part that is ready.
    """
    addresses = hub.HubAddresses(
        port=free_port(port), hub_port=free_port(), proxy_api_port=free_port(), service_port=free_port()
    )
    directory, holds = folder.path, (folder.lock,)
    stage_token, service_token, proxy_token = (secrets.token_hex(24) for _ in range(3))
    kubeconfig = directory / "kubeconfig"
    with ExitStack() as stack:
        processes: list[Process] = []

        def start(name: str, command: list[str], ready: Callable[[], bool], address: str, **env: str) -> None:
            begun = time.monotonic()
            process = Process(
                name, command, directory / f"{name}.log", env={**os.environ, **env}, holds=holds
            )
            processes.append(stack.enter_context(process))
            process.wait_until(ready, 60)
            tell(name, address, time.monotonic() - begun)

        for name in CLUSTERS:
            listen = f"127.0.0.1:{free_port()}"
            command = [program("localkube"), "--listen", listen, "--kubeconfig", str(kubeconfig)]
            command += ["--context", name, "--data-dir", str(directory / name)]
            start(name, command, partial(_has_context, kubeconfig, name), f"https://{listen}")

        # Before the Hub, which waits for its services to answer.
        settings = directory / "hubfleet.yaml"
        settings.write_bytes(msgspec.yaml.encode(_settings(addresses, service_token, kubeconfig)))
        settings.chmod(0o600)
        serve = [program("hubfleet"), "serve", "--config", str(settings)]
        ready_url = f"http://127.0.0.1:{addresses.service_port}/ready"
        start("hubfleet", serve, lambda: hub.call("GET", ready_url)[0] == 200, addresses.service_url)
        config = directory / "jupyterhub_config.py"
        config.write_text(
            hub.configuration(
                addresses,
                proxy_token=proxy_token,
                service_token=service_token,
                stage_token=stage_token,
            )
        )
        # A process of ours: a proxy that the Hub starts outlives a Hub that is stopped while it starts.
        proxy = Process(
            "proxy",
            hub.proxy_command(addresses, node),
            directory / "proxy.log",
            env={**os.environ, "CONFIGPROXY_AUTH_TOKEN": proxy_token},
            holds=holds,
        )
        processes.append(stack.enter_context(proxy))
        command = [program("jupyterhub"), "--config", str(config)]
        health = f"http://127.0.0.1:{addresses.hub_port}/hub/health"
        start("hub", command, lambda: hub.call("GET", health)[0] == 200, addresses.url)

        controller = Process(
            "controller",
            [program("hubfleet"), "controller", "--config", str(settings)],
            directory / "controller.log",
            holds=holds,
        )
        processes.append(stack.enter_context(controller))
        yield Stage(directory, kubeconfig, addresses, stage_token, tuple(processes))


def _has_context(kubeconfig: Path, name: str) -> bool:
    try:
        document = msgspec.yaml.decode(kubeconfig.read_bytes())
    except (OSError, msgspec.DecodeError):
        return False
    return any(context.get("name") == name for context in document.get("contexts", []))


def _settings(addresses: hub.HubAddresses, service_token: str, kubeconfig: Path) -> dict[str, object]:
    return {
        "listen": f"127.0.0.1:{addresses.service_port}",
        "hub": {"api_url": addresses.api_url, "api_token": service_token, "service_name": "kbatch"},
        "clusters": [{"name": name, "context": name, "kubeconfig": str(kubeconfig)} for name in CLUSTERS],
        "batch": {"prefix": "/services/kbatch", "profiles": PROFILES},
    }
