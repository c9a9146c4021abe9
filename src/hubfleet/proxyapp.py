"""The composition root of `hubfleet hubproxy`: settings -> client -> backend -> service -> ASGI application.

What our account may do there decides how routes are read and written, so the rest is built once the cluster
has answered that; until then the Hub is told to try again.
"""

import asyncio
from collections.abc import AsyncGenerator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

import structlog
from litestar import Litestar, asgi, get
from litestar.datastructures import State
from litestar.types import Receive, Scope, Send

from hubfleet import operators
from hubfleet.answers import HANDLERS
from hubfleet.errors import SettingsError
from hubfleet.hubproxy.acknowledgement import Acknowledger, Conditions, Probe, Trust
from hubfleet.hubproxy.activity import Unknown
from hubfleet.hubproxy.handlers import PREFIX, ProxyApi, not_yet
from hubfleet.hubproxy.repair import Repair
from hubfleet.hubproxy.rights import Rights, rights_on, watchable
from hubfleet.hubproxy.service import RouteService
from hubfleet.hubproxy.store import Carrier, RouteStore, reader
from hubfleet.hubproxy.writing import Applying, Swapping, Writer
from hubfleet.kube.breaker import State as BreakerState
from hubfleet.kube.budget import Budget
from hubfleet.kube.clusters import Cluster, Clusters
from hubfleet.kube.errors import KubeError
from hubfleet.kube.informer import Informer
from hubfleet.kube.poller import Poller
from hubfleet.kube.resources import Resource
from hubfleet.metrics import Metrics
from hubfleet.probes import ClusterState, Readiness
from hubfleet.requests import Requests
from hubfleet.routing import target
from hubfleet.routing.backend import Backend
from hubfleet.routing.gatewayapi import GatewayApi, GatewayRef
from hubfleet.routing.ingress import ANNOTATIONS, Ingress
from hubfleet.routing.istio import Istio
from hubfleet.routing.route import Naming
from hubfleet.routing.traefik import Traefik
from hubfleet.settings import HubProxySettings, Settings

log = structlog.get_logger(__name__)

UNREACHED = 1.0
"""Seconds between two attempts to begin, while the cluster does not answer."""


def create_app(settings: Settings) -> Litestar:
    """The application; raises SettingsError for what can be known before the cluster is asked.

    `app.state` holds `requests` and `readiness`, as that of `hubfleet.app`.
    """
    hubproxy = settings.hubproxy
    if not hubproxy.auth_token:
        raise SettingsError(
            ["hubproxy.auth_token (CONFIGPROXY_AUTH_TOKEN) is needed: the Hub logs in with it"]
        )
    make_backend(hubproxy, Naming(settings.hub.name, "", hubproxy.name_prefix), Rights(True, True))
    proxy = Proxy(settings)

    @asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncGenerator[None]:
        async with proxy:
            yield

    @asgi(PREFIX, is_mount=True, copy_scope=True)
    async def api(scope: Scope, receive: Receive, send: Send) -> None:
        await proxy(scope, receive, send)

    readiness = Readiness(proxy.states)
    figures = Metrics(proxy.states)
    app = Litestar(
        route_handlers=[*operators.handlers(readiness, figures), _ping, api],
        lifespan=[lifespan],
        exception_handlers=HANDLERS,
        openapi_config=None,
        logging_config=None,
        state=State({"readiness": readiness}),
    )
    app.asgi_handler = requests = Requests(app.asgi_handler, figures, access=settings.log.access)
    app.state.requests = requests
    return app


@get("/ping", include_in_schema=False)
async def _ping() -> dict[str, str]:
    # jupyterhub-istio-proxy's: the probes of its Deployment ask for it.
    return {"message": "pong"}


def make_backend(settings: HubProxySettings, naming: Naming, rights: Rights) -> Backend:
    """The gateway's words for the settings; raises SettingsError."""
    gateway, hostnames = settings.gateway, settings.hostnames
    try:
        match settings.backend:
            case "gateway-api":
                if not gateway:
                    raise ValueError("hubproxy.gateway has to name the Gateway that routes attach to")
                return GatewayApi(
                    naming,
                    GatewayRef.parse(gateway),
                    hostnames=[name for name in hostnames if name != "*"],
                    retry_field=settings.retry_field,
                    tls_ca=settings.tls_ca,
                    tls_hostname=settings.tls_hostname,
                )
            case "istio":
                if not gateway:
                    raise ValueError("hubproxy.gateway (ISTIO_GATEWAY) has to name Istio's Gateway")
                return Istio(
                    naming,
                    gateway,
                    hostnames=hostnames,
                    domain=settings.cluster_domain,
                    tls_hostname=settings.tls_hostname,
                    successors=not rights.patch,
                )
            case "ingress":
                return Ingress(
                    naming,
                    gateway,
                    hostnames=hostnames,
                    tls_secret=settings.tls_secret,
                    annotations=settings.ingress_annotations or ANNOTATIONS,
                )
            case "traefik":
                return Traefik(
                    naming,
                    [name.strip() for name in gateway.split(",") if name.strip()],
                    hostnames=hostnames,
                    tls=settings.tls,
                    servers_transport=settings.servers_transport,
                )
    except ValueError as e:
        raise SettingsError([str(e)]) from e


class Proxy:
    """Everything that answers the Hub, once the cluster has said what we may do there."""

    def __init__(self, settings: Settings):
        self._settings = settings
        self._hub = settings.hubproxy
        self._clusters = Clusters(settings.clusters)
        self._exit = AsyncExitStack()
        self._cluster: Cluster | None = None
        self._source: Informer[Carrier] | None = None
        self._api: ProxyApi | None = None
        self._beginning: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "Proxy":
        await self._exit.enter_async_context(self._clusters)
        name = self._hub.cluster
        self._cluster = self._clusters[name] if name else self._clusters.default
        self._beginning = asyncio.create_task(self._begin(self._cluster))
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._beginning is not None:
            self._beginning.cancel()
            await asyncio.wait([self._beginning])
        await self._exit.aclose()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._api is None:
            await not_yet(send)
        else:
            await self._api(scope, receive, send)

    def states(self) -> Iterable[ClusterState]:
        """Of the one cluster, for probes and figures."""
        if self._cluster is None:
            return
        source = self._source
        yield ClusterState(
            name=self._cluster.name,
            synced=source is not None and source.has_synced,
            reachable=source is not None and source.reachable,
            silent=self._cluster.breaker.state is not BreakerState.CLOSED,
            last_contact=0.0 if source is None else source.last_contact,
        )

    async def _begin(self, cluster: Cluster) -> None:
        while True:
            try:
                async with AsyncExitStack() as stack:
                    self._api = await self._build(cluster, stack)
                    self._exit.push_async_exit(stack.pop_all())
                    return
            except KubeError as e:
                log.warning("the cluster does not answer yet", error=str(e))
            except Exception:
                log.exception("cannot begin to serve")
            await asyncio.sleep(UNREACHED)

    async def _build(self, cluster: Cluster, stack: AsyncExitStack) -> ProxyApi:
        hub = self._hub
        namespace = hub.namespace or cluster.namespace_of_context
        naming = Naming(self._settings.hub.name, namespace, hub.name_prefix)
        kind = make_backend(hub, naming, Rights(True, True)).kind
        budget = Budget(hub.budget)
        rights = await rights_on(cluster.client, kind, namespace, budget)
        backend = make_backend(hub, naming, rights)
        target_of = partial(target.parse, namespace=namespace, domain=hub.cluster_domain)
        inherit = hub.inherit_prefix if hub.backend == "istio" else ""
        source = (Informer[Carrier] if rights.watch else Poller[Carrier])(
            cluster.client,
            kind,
            reader(naming.hub, target_of, inherit),
            namespace=namespace,
            # What jupyterhub-istio-proxy wrote has no label.
            labels="" if inherit else naming.selector,
        )
        store = RouteStore(source, namespace)
        writer: Writer
        if rights.patch:
            writer = Applying(cluster.client, kind, source, namespace, shared=backend.shared)
        else:
            writer = Swapping(cluster.client, kind, source, namespace)
        acknowledger = make_acknowledger(hub, backend, store)
        service = RouteService(
            backend,
            store,
            writer,
            cluster.client,
            acknowledger,
            required=hub.acknowledge == "required",
            seconds=hub.budget,
        )
        parts = await self._informers_of_parts(cluster, backend, naming, budget)
        await stack.enter_async_context(acknowledger)
        await stack.enter_async_context(Repair(service, writer, cluster.client, parts))
        await stack.enter_async_context(source)
        self._source = source
        return ProxyApi(service, Unknown(), target_of, token=hub.auth_token, host_routing=hub.host_routing)

    async def _informers_of_parts(
        self, cluster: Cluster, backend: Backend, naming: Naming, budget: Budget
    ) -> dict[Resource, Informer[bytes]]:
        """Of those kinds that we may watch."""
        return {
            kind: Informer(cluster.client, kind, bytes, namespace=naming.namespace, labels=naming.selector)
            for kind in await watchable(cluster.client, backend.part_kinds, naming.namespace, budget)
        }


def make_acknowledger(settings: HubProxySettings, backend: Backend, store: RouteStore) -> Acknowledger:
    """Who knows whether the gateway serves a route."""
    if settings.acknowledge == "off":
        return Trust()
    if settings.gateway_address:
        hostname = next((name for name in settings.hostnames if "*" not in name), "")
        return Probe(settings.gateway_address, hostname=hostname, identifies=backend.identifies)
    return Conditions(store.item, store.changed) if backend.has_conditions else Trust()
