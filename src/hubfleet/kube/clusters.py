"""The clusters that the operator connected, each with a client of its own: nothing is shared between them."""

import os
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack
from importlib.metadata import version
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from hubfleet.kube import credentials, kubeconfig, tls
from hubfleet.kube.breaker import Breaker
from hubfleet.kube.client import Client
from hubfleet.kube.credentials import Credentials
from hubfleet.kube.errors import CredentialsError
from hubfleet.kube.kubeconfig import KubeconfigError
from hubfleet.kube.transport import Endpoint, Transport
from hubfleet.settings import ClusterSettings

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where the kubelet puts the account of a pod: token, ca.crt, namespace."""


class Cluster:
    """One connected cluster; `namespace_of_context` is the context's, or that of the pod we run in."""

    def __init__(self, name: str, client: Client, namespace_of_context: str):
        self.name = name
        self.client = client
        self.namespace_of_context = namespace_of_context

    @property
    def breaker(self) -> Breaker:
        return self.client.transport.breaker


class Clusters(Mapping[str, Cluster]):
    """All clusters by name; `async with Clusters(settings.clusters) as clusters:` opens and closes them.

    Entering reads the kubeconfig files (CredentialsError where they say nothing usable) but asks no cluster
    and runs no plugin: one that does not answer keeps nobody from starting. `environ` is what kubectl would
    look at: KUBECONFIG, HOME, the proxies, and what plugins inherit. At most `logs` are read at
    once in each cluster; 0 is any number.
    """

    def __init__(
        self,
        settings: tuple[ClusterSettings, ...],
        *,
        environ: Mapping[str, str] | None = None,
        service_account: Path = SERVICE_ACCOUNT,
        logs: int = 0,
    ):
        if not settings or len({s.name for s in settings}) < len(settings):
            raise ValueError("clusters need at least one entry, and a name of its own each")
        self._settings = settings
        self._environ = os.environ if environ is None else environ
        self._service_account = service_account
        self._logs = logs
        self._clusters: dict[str, Cluster] = {}
        self._exit = AsyncExitStack()

    @property
    def default(self) -> Cluster:
        """The first one of the settings."""
        return self._clusters[self._settings[0].name]

    def __getitem__(self, name: str) -> Cluster:
        return self._clusters[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._clusters)

    def __len__(self) -> int:
        return len(self._clusters)

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            for settings in self._settings:
                transport, namespace = self._connect(settings)
                await stack.enter_async_context(transport)
                self._clusters[settings.name] = Cluster(
                    settings.name, Client(settings.name, transport), namespace
                )
            self._exit = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._clusters.clear()
        await self._exit.aclose()

    def _connect(self, settings: ClusterSettings) -> tuple[Transport, str]:
        try:
            connect = self._from_account if settings.in_cluster else self._from_kubeconfig
            endpoint, access, namespace = connect(settings)
        except (ValueError, OSError) as e:
            raise CredentialsError(settings.name, str(e)) from e
        transport = Transport(
            settings.name,
            endpoint,
            access,
            user_agent=f"hubfleet/{version('hubfleet')}",
            seconds=settings.budget,
            connections=settings.max_connections,
            lean_streams=self._logs,
        )
        return transport, namespace

    def _from_kubeconfig(self, settings: ClusterSettings) -> tuple[Endpoint, Credentials, str]:
        files = kubeconfig.paths(settings.kubeconfig, self._environ)
        context = kubeconfig.load(files, settings.context)
        cluster = context.cluster.value
        server = str(cluster.get("server") or "")
        proxy = str(cluster.get("proxy-url") or "") or proxy_for(server, self._environ)
        if proxy and urlsplit(proxy).scheme not in ("http", "https"):
            raise KubeconfigError(f"proxy {proxy}: only http and https proxies are supported")
        endpoint = Endpoint(server_url(server), str(cluster.get("tls-server-name") or ""), proxy)
        access = credentials.from_context(settings.name, context, self._environ)
        return endpoint, access, context.namespace

    def _from_account(self, settings: ClusterSettings) -> tuple[Endpoint, Credentials, str]:
        host = self._environ.get("KUBERNETES_SERVICE_HOST", "")
        port = self._environ.get("KUBERNETES_SERVICE_PORT", "")
        if not host or not port:
            raise KubeconfigError("in_cluster: KUBERNETES_SERVICE_HOST and _PORT are not set: this is no pod")
        account = self._service_account
        base = tls.context(ca=(account / "ca.crt").read_bytes())
        access = credentials.from_token_file(settings.name, account / "token", base)
        namespace = (account / "namespace").read_text().strip()
        host = f"[{host}]" if ":" in host else host
        return Endpoint(f"https://{host}:{port}"), access, namespace


def server_url(server: str) -> str:
    """The server with a scheme (kubectl's default is http); raises KubeconfigError."""
    url = server if "://" in server else f"http://{server}"
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise KubeconfigError(f"server {server!r} is not a URL")
    return url


def proxy_for(server: str, environ: Mapping[str, str]) -> str:
    """The proxy that the environment names for a server, "" for none, read as kubectl does."""
    parts = urlsplit(server)
    lower = {key.lower(): value for key, value in environ.items() if key.lower().endswith("_proxy")}
    proxy = lower.get(f"{parts.scheme}_proxy", "")
    exempt = {"no": lower.get("no_proxy", "")}
    bypassed = urllib.request.proxy_bypass_environment(parts.netloc, exempt)  # type: ignore[attr-defined]
    return "" if not proxy or bypassed else proxy
