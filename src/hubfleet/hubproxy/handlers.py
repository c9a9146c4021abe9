"""JupyterHub's proxy API as configurable-http-proxy (CHP) 5 speaks it, to the letter of its answers.

Bare ASGI, because what matters is the path as it was sent: frameworks decode it, and collapse `//`, before a
handler sees it, and `/user/a%2Fb` would be somebody else's route.

Order of the checks as in CHP: the method, then a POST's JSON, then the token, then the rest.
"""

import hmac
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs

import msgspec
import structlog
from litestar.enums import ScopeType
from litestar.types import HTTPScope, Receive, Scope, Send

from hubfleet.answers import Answer, for_kube_error
from hubfleet.errors import UserError
from hubfleet.hubproxy.activity import Activity
from hubfleet.hubproxy.service import RouteService
from hubfleet.kube.errors import KubeError
from hubfleet.routing import routespec
from hubfleet.routing.route import Route
from hubfleet.routing.routespec import Routespec
from hubfleet.routing.target import Target, shortened

log = structlog.get_logger(__name__)

PREFIX = "/api/routes"

BODY_LIMIT = 64 * 1024
"""Bytes: the whole of it is kept in an annotation, and the API server takes 256 KiB of those."""

_TOKEN = re.compile(r"token\s+(\S+)")  # CHP's own expression

Reply = tuple[int, str, bytes]
"""Status, content type ("" for none) and body."""

NOTHING = b""
NOT_AN_OBJECT = "Must specify 'target' as string"


class ProxyApi:
    """The ASGI application below `/api/routes`; `target_of` reads a target's URL or raises ValueError."""

    def __init__(
        self,
        service: RouteService,
        activity: Activity,
        target_of: Callable[[str], Target],
        *,
        token: str,
        host_routing: bool,
    ):
        self._service = service
        self._activity = activity
        self._target_of = target_of
        self._token = token.encode()
        self._host_routing = host_routing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == ScopeType.HTTP
        headers: dict[str, str] = {}
        try:
            status, kind, body = await self._answer(scope, receive)
        except UserError as e:
            status, kind, body = _words(e.status, e.detail)
            if e.retry_after is not None:
                headers["retry-after"] = str(max(1, round(e.retry_after)))
        except KubeError as e:
            status, kind, body, headers = _cluster(e)
        await _send(send, status, kind, body, headers)

    async def _answer(self, scope: HTTPScope, receive: Receive) -> Reply:
        raw = (scope["raw_path"] or b"").partition(b"?")[0]
        path = raw[len(PREFIX) :]
        if path and not path.startswith(b"/"):
            return _words(404, "Not Found")
        match scope["method"]:
            case "GET" | "HEAD":
                return self._refusal(scope) or await self._get(path, scope["query_string"])
            case "POST":
                data = _json(await _body(receive))
                return self._refusal(scope) or await self._post(path, data)
            case "DELETE":
                return self._refusal(scope) or await self._delete(path)
            case _:
                return _words(405, "Method not supported")

    def _refusal(self, scope: HTTPScope) -> Reply | None:
        header = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
        found = _TOKEN.search(header.decode("latin-1"))
        given = found[1].encode("latin-1") if found else b""
        # In constant time: how long it takes must not tell how much of a guess is right.
        return None if hmac.compare_digest(given, self._token) else (403, "", NOTHING)

    async def _get(self, path: bytes, query: bytes) -> Reply:
        if path not in (b"", b"/"):
            route = await self._service.route(self._spec(path))
            return (404, "", NOTHING) if route is None else _encoded(self._told(route))
        since = _inactive_since(query)
        routes = await self._service.routes()
        seen = self._activity.last_activity()
        if since is not None:
            # A route of which nothing is known may be in use.
            idle = {
                key: self._told(route, seen)
                for key, route in routes.items()
                if route.identity in seen and seen[route.identity] < since
            }
            return _encoded(idle)
        if seen:
            return _encoded({key: self._told(route, seen) for key, route in routes.items()})
        return 200, "application/json", self._service.store.encoded()

    def _told(self, route: Route, seen: Mapping[str, datetime] | None = None) -> dict[str, Any]:
        seen = self._activity.last_activity() if seen is None else seen
        when = seen.get(route.identity)
        return route.answer() if when is None else {**route.answer(), "last_activity": _timestamp(when)}

    async def _post(self, path: bytes, data: Any) -> Reply:
        if not isinstance(data, dict) or not isinstance(data.get("target"), str):
            return _words(400, NOT_AN_OBJECT)
        spec = self._spec(path)
        url = data.pop("target")
        data.pop("last_activity", None)  # CHP's own, as of now
        if spec.host:
            data["host"] = spec.host
        try:
            target = self._target_of(url)
        except ValueError as e:
            return _words(400, f"{NOT_AN_OBJECT}: {e}")
        await self._service.add(spec, target, url, data)
        return 201, "", NOTHING

    async def _delete(self, path: bytes) -> Reply:
        return (204 if await self._service.remove(self._spec(path)) else 404), "", NOTHING

    def _spec(self, path: bytes) -> Routespec:
        try:
            return routespec.parse(path, host_routing=self._host_routing)
        except ValueError as e:
            raise UserError(400, f"Invalid path: {e}") from None


def _json(body: bytes) -> Any:
    try:
        data = msgspec.json.decode(body)
        msgspec.json.encode(data)  # numbers that no other JSON parser could read are refused here
    except (msgspec.MsgspecError, UnicodeError, RecursionError, OverflowError, ValueError) as e:
        raise UserError(400, f"Body not valid JSON: {e}") from None
    return data


async def _body(receive: Receive) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise UserError(400, "Body not valid JSON: the connection was closed")
        body += message.get("body", b"")
        if len(body) > BODY_LIMIT:
            raise UserError(413, f"Body larger than {BODY_LIMIT} bytes")
        if not message.get("more_body"):
            return bytes(body)


def _inactive_since(query: bytes) -> datetime | None:
    values = parse_qs(query.decode("latin-1"))
    text = (values.get("inactiveSince") or values.get("inactive_since") or [""])[0]
    if not text:
        return None
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise UserError(400, f"Invalid datestamp {shortened(text)} must be ISO8601.") from None
    return when if when.tzinfo else when.replace(tzinfo=UTC)


def _timestamp(when: datetime) -> str:
    """As JavaScript writes it: UTC, milliseconds."""
    return when.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _encoded(value: object) -> Reply:
    return 200, "application/json", msgspec.json.encode(value)


def _words(status: int, text: str) -> Reply:
    return status, "text/plain; charset=utf-8", text.encode("utf-8", "backslashreplace")


def _cluster(error: KubeError) -> tuple[int, str, bytes, dict[str, str]]:
    """503, which the Hub tries again, unless the API server refused for good what it was sent."""
    answer = for_kube_error(error)
    if answer.status not in (400, 422, 429, 503):
        # Its 403 and 404 are about our rights and kinds, and would mean to the Hub: this token, this route.
        answer = Answer(503, f"the API server refused: {error.message}", 5.0)
    if answer.status == 503:
        log.warning("a cluster could not do what it was asked", cluster=error.cluster, error=error.message)
    wait = answer.retry_after or 1.0
    headers = {"retry-after": str(max(1, round(wait)))} if answer.status in (429, 503) else {}
    return (*_words(answer.status, answer.detail), headers)


async def not_yet(send: Send) -> None:
    """The answer to everything before the cluster has answered us."""
    await _send(send, *_words(503, "The cluster has not answered yet"), {"retry-after": "1"})


async def _send(send: Send, status: int, kind: str, body: bytes, headers: Mapping[str, str]) -> None:
    fields = [(b"content-length", b"%d" % len(body))] if status != 204 else []
    if kind:
        fields.append((b"content-type", kind.encode()))
    fields += [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": fields})
    await send({"type": "http.response.body", "body": body, "more_body": False})
