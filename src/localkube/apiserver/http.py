"""The API over HTTP: an ASGI application that routes a request to a handler and turns refusals into Status.

The way of a request: who asks (authentication.py, rbac/impersonation.py) -> what for (`parse_path`) -> may
they (rbac/authorizer.py) -> the handler (reads.py, writes.py, logs.py, reviews.py) -> the answer, once what
it tells is durable.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import structlog

from localkube.apiserver import discovery, logs, openapi, reads, reviews, scales, status, tokenrequest, writes
from localkube.apiserver.access import Access
from localkube.apiserver.exchange import Exchange
from localkube.apiserver.negotiation import wants_aggregated_discovery
from localkube.apiserver.rbac import attributes
from localkube.apiserver.rbac.impersonation import impersonated
from localkube.apiserver.registry import Registry
from localkube.apiserver.requests import Query, Target, parse_path
from localkube.apiserver.resources import Resource
from localkube.apiserver.responses import (
    Message,
    Receive,
    Response,
    Send,
    Stream,
    json_response,
    send_response,
    send_stream,
)
from localkube.apiserver.status import StatusError

log = structlog.get_logger(__name__)

Handler = Callable[[Exchange], Awaitable[Response | Stream]]

_HEALTH = ("healthz", "livez", "readyz")


class Api:
    """The ASGI application. `address` is told to clients in /api, `access` decides who may do what."""

    def __init__(self, registry: Registry, access: Access, *, address: str = ""):
        self.registry = registry
        self.access = access
        self.address = address
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """End all streams, so that their clients reconnect to whoever serves next."""
        self._stopping.set()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close"})
            return
        self.registry.requests += 1
        try:
            answer = await self._answer(scope, receive)
        except StatusError as error:
            answer = _refusal(error)
        except Exception as error:
            log.exception("a request failed", method=scope["method"], path=scope["path"])
            answer = _refusal(status.internal(f"{type(error).__name__}: {error}"))
        if isinstance(answer, Stream):
            await send_stream(answer, receive, send, self._stopping)
        else:
            await send_response(answer, send)

    async def _answer(self, scope: Message, receive: Receive) -> Response | Stream:
        headers: list[tuple[bytes, bytes]] = scope["headers"]
        path: str = scope["path"]
        method: str = scope["method"]
        query = Query(scope["query_string"])
        user = impersonated(self.access.authenticator.user(headers), headers, self.access.authorizer)
        target = parse_path(path)
        # before anything is said about what there is at the path
        wanted = attributes.of_request(user, method, path, target, query)
        self.access.authorizer.require(wanted)
        exchange = Exchange(self.registry, self.access, method, path, query, headers, user, receive)
        if target is None:
            return self._outside(exchange)
        resource = self.registry.resources.at(target.group, target.version, target.plural)
        if resource is None:
            raise _unserved(target)
        if resource.namespaced is (target.namespace is None) and (
            target.name or target.namespace is not None
        ):
            raise status.no_such_path()
        exchange.aim(resource, target, wanted)
        if resource.custom is not None and resource.custom.warning:
            exchange.warn(resource.custom.warning)
        return await _handler(resource, target, exchange)(exchange)

    def _outside(self, exchange: Exchange) -> Response:
        """Everything that is not about objects: discovery, health, version."""
        if exchange.method not in ("GET", "HEAD"):
            raise status.no_such_path()
        path = exchange.path.rstrip("/") or "/"
        resources = self.registry.resources
        accept = exchange.header("accept")
        parts = path.strip("/").split("/")
        if parts[0] in _HEALTH:
            return Response(200, b"ok", "text/plain; charset=utf-8")
        if path in ("/api", "/apis") and wants_aggregated_discovery(accept):
            body = discovery.aggregated(resources, core=path == "/api")
            return Response(200, msgspec.json.encode(body), discovery.AGGREGATED)
        found: dict[str, Any] | None = None
        match parts:
            case [""]:
                found = discovery.paths(resources)
            case ["version"]:
                found = discovery.VERSION
            case ["api"]:
                found = discovery.core(self.address)
            case ["apis"]:
                found = discovery.groups(resources)
            case ["api", version]:
                found = discovery.resource_list(resources, "", version)
            case ["apis", group]:
                found = discovery.group(resources, group)
            case ["apis", group, version]:
                found = discovery.resource_list(resources, group, version)
            case ["openapi", "v3"]:
                found = openapi.index(resources)
            case ["openapi", "v3", *rest]:
                found = openapi.document(resources, "/".join(rest))
            case ["openapi", *_]:
                raise status.not_implemented("localkube does not publish OpenAPI v2: see /openapi/v3")
        if found is None:
            raise status.no_such_path()
        return json_response(200, found)


_ITEM: dict[str, tuple[str, Handler]] = {
    "GET": ("get", reads.get),
    "HEAD": ("get", reads.get),
    "PUT": ("update", writes.update),
    "PATCH": ("patch", writes.patch),
    "DELETE": ("delete", writes.delete),
}
_SUBRESOURCE: dict[str, dict[str, Handler]] = {
    "status": {"GET": reads.get, "PUT": writes.update, "PATCH": writes.patch},
    "finalize": {"PUT": writes.update},
    "log": {"GET": logs.read},
    "binding": {"POST": writes.bind},
    "eviction": {"POST": writes.evict},
    "scale": {"GET": scales.get, "PUT": scales.update, "PATCH": scales.patch},
    "token": {"POST": tokenrequest.create},
}
_REVIEWS: dict[str, Handler] = {
    "localsubjectaccessreviews.authorization.k8s.io": reviews.local_access,
    "selfsubjectaccessreviews.authorization.k8s.io": reviews.self_access,
    "selfsubjectreviews.authentication.k8s.io": reviews.subject,
    "selfsubjectrulesreviews.authorization.k8s.io": reviews.self_rules,
    "subjectaccessreviews.authorization.k8s.io": reviews.access,
    "tokenreviews.authentication.k8s.io": reviews.token,
}
_ELSEWHERE = frozenset({"attach", "ephemeralcontainers", "exec", "portforward", "proxy", "resize", "scale"})
"""Subresources that Kubernetes has and localkube has not."""
_CORE_ELSEWHERE = frozenset(
    {
        "bindings", "componentstatuses", "persistentvolumeclaims", "persistentvolumes", "podtemplates",
        "replicationcontrollers",
    }
)  # fmt: skip
_GROUPS_ELSEWHERE = frozenset(
    {
        "admissionregistration.k8s.io", "apiregistration.k8s.io", "apps", "autoscaling",
        "certificates.k8s.io", "events.k8s.io", "flowcontrol.apiserver.k8s.io", "networking.k8s.io",
        "node.k8s.io", "policy", "resource.k8s.io",
        "storage.k8s.io",
    }
)  # fmt: skip


def _unserved(target: Target) -> StatusError:
    known = target.plural in _CORE_ELSEWHERE if not target.group else target.group in _GROUPS_ELSEWHERE
    if known:
        group = f" in {target.group}" if target.group else ""
        return status.not_implemented(f"localkube does not serve {target.plural}{group}")
    return status.no_such_path()


def _handler(resource: Resource, target: Target, exchange: Exchange) -> Handler:
    method = exchange.method
    if target.subresource:
        if target.subresource not in resource.subresources:
            if target.subresource in _ELSEWHERE:
                raise status.not_implemented(f"localkube does not serve {target.plural}/{target.subresource}")
            raise status.no_such_path()
        handler = _SUBRESOURCE.get(target.subresource, {}).get(method)
        if handler is None:
            raise status.method_not_allowed()
        return handler
    if target.name:
        found = _ITEM.get(method)
        if method in ("GET", "HEAD") and exchange.query.flag("watch"):
            found = ("watch", reads.collection)
    else:
        found = _collection(resource, exchange)
    if found is None or found[0] not in resource.verbs:
        raise status.method_not_allowed()
    return found[1]


def _collection(resource: Resource, exchange: Exchange) -> tuple[str, Handler] | None:
    match exchange.method:
        case "GET" | "HEAD":
            return ("watch" if exchange.query.flag("watch") else "list"), reads.collection
        case "POST":
            return "create", _REVIEWS.get(resource.key, writes.create)
        case "DELETE":
            return "deletecollection", writes.delete_collection
    return None


def _refusal(error: StatusError) -> Response:
    headers = []
    retry = error.status.get("details", {}).get("retryAfterSeconds")
    if retry:
        headers.append((b"retry-after", str(retry).encode()))
    if error.code == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    return json_response(error.code, error.status, headers)
