"""The composition root: settings -> clients -> services -> ASGI application. Nothing else builds anything."""

from collections.abc import AsyncGenerator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.metadata import version
from typing import Any

import msgspec
import structlog
from litestar import Litestar, Response, Router, get
from litestar.connection import ASGIConnection
from litestar.datastructures import State
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin

from hubfleet import operators
from hubfleet.admission import Admission, visit_of
from hubfleet.answers import HANDLERS, NOTHING_THERE, respond
from hubfleet.batch import handlers
from hubfleet.batch.manifests import parse_template
from hubfleet.batch.service import BatchService
from hubfleet.errors import SettingsError
from hubfleet.gates import Refused
from hubfleet.identity.header import token_in
from hubfleet.identity.hub import HubIdentity
from hubfleet.identity.tokens import HubTokens
from hubfleet.identity.user import User
from hubfleet.kube.breaker import State as BreakerState
from hubfleet.kube.clusters import Clusters
from hubfleet.metrics import Metrics
from hubfleet.probes import ClusterState, Readiness
from hubfleet.requests import Requests
from hubfleet.settings import BatchSettings, Settings, TenancySettings
from hubfleet.tenancy.policy.enforcement import settled
from hubfleet.tenancy.policy.review import at, pod_path
from hubfleet.tenancy.provisioning import Namespaces

log = structlog.get_logger(__name__)

LOGS_READ = 500
"""Logs that are read at once, beside those that are followed."""


def create_app(settings: Settings) -> Litestar:
    """The application; its lifespan opens the clusters, reads them and keeps reading.

    Raises SettingsError for what can be known before that. `app.state` holds `requests` and `readiness`, for
    whoever has to stop the server without leaving anybody hanging.
    """
    identity = HubIdentity(settings.hub, settings.limits)
    tokens = HubTokens(settings.hub)
    clusters = Clusters(settings.clusters, logs=settings.limits.followed_logs + LOGS_READ)
    try:
        tenancy = _enforceable(settings)
        warn_of_open_doors(tenancy)
        namespaces = Namespaces(
            tenancy,
            labels=settings.batch.labels,
            hub=settings.hub.name,
            priority_classes=priority_classes(settings.batch),
            affinity_abroad=has_affinity_abroad(settings.batch),
        )
        batch = BatchService(
            settings.batch, clusters, namespaces, tokens, hub=settings.hub.name, policy=tenancy.policy
        )
    except ValueError as e:
        raise SettingsError([f"batch: {e}"]) from e

    def states() -> Iterable[ClusterState]:
        return cluster_states(clusters, batch)

    async def user_of(connection: ASGIConnection[Any, Any, Any, State]) -> User:
        visit = visit_of(connection.scope)
        token = token_in(connection.headers.get("authorization", ""))
        try:
            user = await identity.authenticate(token, visit.address)
        except Refused:
            figures.refused.labels("unknown_tokens_per_second").inc()
            raise
        await visit.identify((user.kind, user.name))
        return user

    @asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncGenerator[None, None]:
        async with AsyncExitStack() as stack:
            for part in (identity, tokens, clusters, batch):
                await stack.enter_async_context(part)
            for cluster in clusters.values():
                await stack.enter_async_context(namespaces.watching(cluster))
            yield

    readiness = Readiness(states)
    figures = Metrics(states)
    prefix = settings.batch.prefix
    app = Litestar(
        route_handlers=[
            *operators.handlers(readiness, figures),
            *([_root] if prefix else []),
            handlers.routes(batch, user_of, recheck=settings.hub.cache_seconds),
        ],
        lifespan=[lifespan],
        exception_handlers=HANDLERS,
        openapi_config=OpenAPIConfig(
            title="hubfleet",
            version=version("hubfleet"),
            render_plugins=[JsonRenderPlugin()],  # the others are pages that load scripts from elsewhere
            openapi_router=Router(f"{prefix}/schema", route_handlers=[], after_request=_in_json),
        ),
        request_max_body_size=settings.batch.body_limit,
        logging_config=None,
        state=State({"readiness": readiness}),
    )
    admission = Admission(app.asgi_handler, settings.limits, identity.owner_of, figures)
    app.asgi_handler = requests = Requests(admission, figures, access=settings.log.access)
    app.state.requests = requests
    return app


def _enforceable(settings: Settings) -> TenancySettings:
    """With it decided what the API server enforces, beside the job template.

    Raises ValueError for a template that is none, SettingsError for one that forbids what is asked for.
    """
    template = parse_template(settings.batch.job_template)
    try:
        policy, broken = settled(settings.tenancy.policy, template)
    except ValueError as e:
        raise SettingsError([str(e)]) from e
    if broken:
        log.warning(
            "the job template is against the pod policy's level, so the API server enforces less",
            policy=settings.tenancy.policy.level,
            enforced=policy.enforce,
            template=[f"{'.'.join(map(str, each.path))}: {each.message}" for each in broken],
        )
    return msgspec.structs.replace(settings.tenancy, policy=policy)


def warn_of_open_doors(settings: TenancySettings) -> None:
    """Says what the defaults of a kbatch-proxy's deployment, or the operator, leave open: at every start."""
    doors = {
        "impersonation": settings.impersonation != "required",
        "network_policy": not settings.network_policy.enabled,
        "adopt_unmarked": settings.adopt_unmarked,
        "create_namespaces": not settings.create_namespaces,  # every one of a user's name is then adopted
    }
    if opened := [f"tenancy.{name}" for name, is_open in doors.items() if is_open]:
        log.warning(
            "users' namespaces are protected less than they could be: see docs/tenancy.md", settings=opened
        )


def priority_classes(settings: BatchSettings) -> tuple[str, ...]:
    """Those that the operator's job template gives to every job."""
    name = _template_pod(settings).get("priorityClassName")
    return (name,) if name else ()


def has_affinity_abroad(settings: BatchSettings) -> bool:
    """Whether the operator's job template names namespaces whose pods every job is to be near or far from."""
    affinity = _template_pod(settings).get("affinity") or {}
    for kind in ("podAffinity", "podAntiAffinity"):
        of_kind = affinity.get(kind) or {}
        terms = list(of_kind.get("requiredDuringSchedulingIgnoredDuringExecution") or ())
        preferred = of_kind.get("preferredDuringSchedulingIgnoredDuringExecution") or ()
        terms += [each.get("podAffinityTerm") or {} for each in preferred]
        if any(term.get("namespaces") or term.get("namespaceSelector") is not None for term in terms):
            return True
    return False


def _template_pod(settings: BatchSettings) -> dict[str, Any]:
    """The spec of the job template's pod."""
    pod = at(parse_template(settings.job_template), pod_path("Job"))
    return (pod.get("spec") or {}) if isinstance(pod, dict) else {}


def cluster_states(clusters: Clusters, batch: BatchService) -> Iterable[ClusterState]:
    """What the informers know of each cluster."""
    for name, cluster in clusters.items():
        wing = batch.on(name)
        informers = [wing.jobs.informer, wing.cron_jobs.informer, wing.pods.informer]
        yield ClusterState(
            name=name,
            synced=all(informer.has_synced for informer in informers),
            reachable=all(informer.reachable for informer in informers),
            silent=cluster.breaker.state is not BreakerState.CLOSED,
            last_contact=min(informer.last_contact for informer in informers),
        )


def _in_json(response: Response[Any]) -> Response[Any]:
    # Litestar answers unknown paths below its schema with a page, whatever the render plugins are.
    return respond(NOTHING_THERE) if response.status_code == 404 else response


@get("/", include_in_schema=False)
async def _root() -> dict[str, str]:
    # kbatch-proxy answers this beside its prefix, and load balancers have come to ask for it.
    return {"message": "kbatch"}
