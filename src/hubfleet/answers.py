"""Every exception as an HTTP answer: JSON `{"detail": ...}`, in the words of whoever said no, never a trace.

kbatch's clients decode the body of any error as JSON; 0.5 prints its `detail`, 0.4.2 all of it. So `detail`
is text, with a line for each problem, and comes first; `errors` holds the same problems for programs.
"""

import math
from collections.abc import Mapping
from typing import Any

import msgspec
import structlog
from litestar import Request, Response
from litestar.enums import MediaType
from litestar.exceptions import HTTPException, ValidationException
from litestar.types import ExceptionHandlersMap

from hubfleet.errors import Problem, UserError
from hubfleet.kube.errors import ApiError, ClusterUnreachable, CredentialsError, KubeError
from hubfleet.logs import redact_text

log = structlog.get_logger(__name__)

RETRY_AFTER = 5.0
"""Seconds, where nobody knows better."""

_RELAYED = frozenset({400, 403, 404, 405, 409, 410, 413, 415, 422, 429})
"""The API server's codes that tell the user something about what they asked for."""

AnyRequest = Request[Any, Any, Any]


class Answer(msgspec.Struct, frozen=True):
    """An error as it goes out; `retry_after` in seconds."""

    status: int
    detail: str
    retry_after: float | None = None
    errors: tuple[Problem, ...] = ()


NOTHING_THERE = Answer(404, "There is nothing at this address")


def for_user_error(error: UserError) -> Answer:
    """As the error says."""
    return Answer(error.status, error.detail, error.retry_after, error.errors)


def for_kube_error(error: KubeError) -> Answer:
    """The API server's own code and message where they are about the request, else 503: try again.

    What went wrong on the way to a cluster names its address, and a credential plugin's own words may hold
    anything: that is for the log.
    """
    if isinstance(error, ApiError) and error.code in _RELAYED:
        return Answer(error.code, error.message, error.retry_after)
    if isinstance(error, CredentialsError):
        detail = f"cluster {error.cluster} cannot be logged into: ask an administrator"
        return Answer(503, detail, max(error.retry_after, 1.0))
    if isinstance(error, ClusterUnreachable):
        detail = f"cluster {error.cluster} does not answer: try again in a moment"
        return Answer(503, detail, max(error.retry_after, 1.0))
    # 401 is about our own account, and would make a client believe that its token is wrong.
    code = f" ({error.code})" if isinstance(error, ApiError) else ""
    # Nor is it about the request, and may quote anything: a proxy the headers that it was sent, for one.
    detail = f"cluster {error.cluster} cannot do this now{code}: {redact_text(error.message)}"
    return Answer(503, detail, getattr(error, "retry_after", None) or RETRY_AFTER)


def for_http_exception(error: HTTPException) -> Answer:
    """What the framework itself refuses: unknown paths, methods, parameters, bodies."""
    if isinstance(error, ValidationException) and isinstance(error.extra, list) and error.extra:
        return for_user_error(UserError(422, [_problem(each) for each in error.extra]))
    return NOTHING_THERE if error.status_code == 404 else Answer(error.status_code, error.detail)


def _problem(extra: Mapping[str, Any]) -> Problem:
    # The source is an enum whose str() is its Python name.
    where = [str(getattr(extra[key], "value", extra[key])) for key in ("source", "key") if extra.get(key)]
    return {"loc": where, "msg": str(extra.get("message", ""))}


def respond(answer: Answer, headers: Mapping[str, str] | None = None) -> Response[dict[str, Any]]:
    headers = dict(headers or {})
    if answer.retry_after is not None:
        headers["Retry-After"] = str(max(1, math.ceil(answer.retry_after)))
    content: dict[str, Any] = {"detail": answer.detail}
    if answer.errors:
        content["errors"] = answer.errors
    return Response(content, status_code=answer.status, headers=headers, media_type=MediaType.JSON)


def _user_error(_: AnyRequest, error: UserError) -> Response[dict[str, Any]]:
    return respond(for_user_error(error))


def _kube_error(_: AnyRequest, error: KubeError) -> Response[dict[str, Any]]:
    answer = for_kube_error(error)
    if answer.status == 503:
        log.warning("a cluster could not do what it was asked", cluster=error.cluster, error=error.message)
    return respond(answer)


def _http_exception(request: AnyRequest, error: HTTPException) -> Response[dict[str, Any]]:
    if error.status_code >= 500:
        return _unexpected(request, error)
    return respond(for_http_exception(error), error.headers)


def _unexpected(_: AnyRequest, error: Exception) -> Response[dict[str, Any]]:
    log.error("a request failed unexpectedly", exc_info=error)
    request_id = structlog.contextvars.get_contextvars().get("request_id", "")
    named = f" (request {request_id})" if request_id else ""
    return respond(Answer(500, f"Something went wrong on our side{named}; the server's log has the details"))


HANDLERS: ExceptionHandlersMap = {
    UserError: _user_error,
    KubeError: _kube_error,
    HTTPException: _http_exception,
    Exception: _unexpected,
}
