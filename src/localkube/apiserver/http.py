"""The API over HTTP: an ASGI application that routes a request to a handler and turns refusals into Status.

The way of a request: who asks (`authenticate`, impersonation) -> what for (`parse_path`) -> may they
(`authorize`) -> the handler (reads.py, writes.py, logs.py) -> the answer, once what it tells is durable.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import structlog

from localkube.apiserver import discovery, logs, openapi, reads, status, writes
from localkube.apiserver.exchange import Exchange
from localkube.apiserver.negotiation import wants_aggregated_discovery
from localkube.apiserver.registry import Registry
from localkube.apiserver.requests import Query, Target, User, impersonated, parse_path
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

Authenticate = Callable[[str], User | None]
"""The user behind a bearer token, None when it is not valid."""

Authorize = Callable[[User, str, str, str, str | None, str, str], None]
"""(user, verb, group, plural, namespace, name, subresource): raises 403 for what is not allowed."""

Handler = Callable[[Exchange], Awaitable[Response | Stream]]

_HEALTH = ("/healthz", "/livez", "/readyz")
_ANYONE = (*_HEALTH, "/version")


def allow_all(
    user: User,
    verb: str,
    group: str,
    plural: str,
    namespace: str | None,
    name: str,
    subresource: str,
) -> None:
    """The authorizer as long as there is no RBAC: whoever has a token may do everything."""


class Api:
    """The ASGI application. `address` is told to clients in /api, `authenticate` and `authorize` decide."""

    def __init__(
        self,
        registry: Registry,
        authenticate: Authenticate,
        *,
        authorize: Authorize = allow_all,
        address: str = "",
    ):
        self.registry = registry
        self.authenticate = authenticate
        self.authorize = authorize
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
        user = self._user(headers, path)
        exchange = Exchange(
            self.registry,
            scope["method"],
            path,
            Query(scope["query_string"]),
            headers,
            impersonated(user, headers),
            receive,
        )
        target = parse_path(path)
        if target is None:
            return self._outside(exchange)
        resource = self.registry.resources.at(target.group, target.version, target.plural)
        if resource is None:
            raise _unserved(target)
        if resource.namespaced is (target.namespace is None) and (
            target.name or target.namespace is not None
        ):
            raise status.no_such_path()
        exchange.aim(resource, target)
        verb, handler = _handler(resource, target, exchange)
        self.authorize(
            exchange.user,
            verb,
            target.group,
            target.plural,
            target.namespace,
            target.name,
            target.subresource,
        )
        return await handler(exchange)

    def _user(self, headers: list[tuple[bytes, bytes]], path: str) -> User:
        for name, value in headers:
            if name == b"authorization":
                scheme, _, token = value.decode("latin-1").partition(" ")
                user = self.authenticate(token.strip()) if scheme.lower() == "bearer" else None
                if user is not None:
                    return user
        if path in _ANYONE or path.startswith(tuple(f"{p}/" for p in _HEALTH)):
            return User("system:anonymous", ("system:unauthenticated",))
        raise status.unauthorized()

    def _outside(self, exchange: Exchange) -> Response:
        """Everything that is not about objects: discovery, health, version."""
        if exchange.method not in ("GET", "HEAD"):
            raise status.no_such_path()
        path = exchange.path.rstrip("/") or "/"
        resources = self.registry.resources
        accept = exchange.header("accept")
        parts = path.strip("/").split("/")
        if path in _HEALTH or (parts[0] in ("healthz", "livez", "readyz")):
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
_SUBRESOURCE: dict[str, dict[str, tuple[str, Handler]]] = {
    "status": {
        "GET": ("get", reads.get),
        "PUT": ("update", writes.update),
        "PATCH": ("patch", writes.patch),
    },
    "finalize": {"PUT": ("update", writes.update)},
    "log": {"GET": ("get", logs.read)},
    "binding": {"POST": ("create", writes.bind)},
    "eviction": {"POST": ("create", writes.evict)},
}
_ELSEWHERE = frozenset(
    {"attach", "ephemeralcontainers", "exec", "portforward", "proxy", "resize", "scale", "token"}
)
"""Subresources that Kubernetes has and localkube has not."""
_CORE_ELSEWHERE = frozenset(
    {
        "bindings", "componentstatuses", "endpoints", "limitranges", "persistentvolumeclaims",
        "persistentvolumes", "podtemplates", "replicationcontrollers", "resourcequotas", "services",
    }
)  # fmt: skip
_GROUPS_ELSEWHERE = frozenset(
    {
        "admissionregistration.k8s.io", "apiextensions.k8s.io", "apiregistration.k8s.io", "apps",
        "authentication.k8s.io", "authorization.k8s.io", "autoscaling", "certificates.k8s.io",
        "discovery.k8s.io", "events.k8s.io", "flowcontrol.apiserver.k8s.io", "networking.k8s.io",
        "node.k8s.io", "policy", "rbac.authorization.k8s.io", "resource.k8s.io", "scheduling.k8s.io",
        "storage.k8s.io",
    }
)  # fmt: skip


def _unserved(target: Target) -> StatusError:
    known = target.plural in _CORE_ELSEWHERE if not target.group else target.group in _GROUPS_ELSEWHERE
    if known:
        group = f" in {target.group}" if target.group else ""
        return status.not_implemented(f"localkube does not serve {target.plural}{group}")
    return status.no_such_path()


def _handler(resource: Resource, target: Target, exchange: Exchange) -> tuple[str, Handler]:
    method = exchange.method
    if target.subresource:
        if target.subresource not in resource.subresources and target.subresource != "eviction":
            if target.subresource in _ELSEWHERE:
                raise status.not_implemented(f"localkube does not serve {target.plural}/{target.subresource}")
            raise status.no_such_path()
        found = _SUBRESOURCE.get(target.subresource, {}).get(method)
    elif target.name:
        found = _ITEM.get(method)
        if method in ("GET", "HEAD") and exchange.query.flag("watch"):
            found = ("watch", reads.collection)
    else:
        found = _collection(resource, exchange)
    if found is None or (not target.subresource and found[0] not in resource.verbs):
        raise status.method_not_allowed()
    return found


def _collection(resource: Resource, exchange: Exchange) -> tuple[str, Handler] | None:
    match exchange.method:
        case "GET" | "HEAD":
            return ("watch" if exchange.query.flag("watch") else "list"), reads.collection
        case "POST":
            return "create", writes.create
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
