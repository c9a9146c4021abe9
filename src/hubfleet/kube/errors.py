"""What can go wrong between us and a cluster: the API server said no, or nobody answered.

The two are kept apart because they ask for different things of the caller: an `ApiError` is an answer, in the
API server's own words; `ClusterUnreachable` means that the state of the cluster is unknown, and nothing may
be declared dead, deleted or restarted because of it.
"""

from typing import Any

import msgspec


class KubeError(Exception):
    """Anything that stood in the way of a request to `cluster`; `message` is for the person who reads it."""

    def __init__(self, cluster: str, message: str):
        super().__init__(message)
        self.cluster = cluster
        self.message = message

    def __str__(self) -> str:
        return self.message


class ClusterUnreachable(KubeError):
    """No answer: refused, reset, timed out, budget spent, circuit breaker open, or not Kubernetes at all.

    `retry_after` is in seconds. `sent` is true where the request may have been carried out although nobody
    told us so: whoever retries a create after that must use a name that is the same both times.
    """

    def __init__(self, cluster: str, message: str, *, retry_after: float = 1.0, sent: bool = False):
        super().__init__(cluster, message)
        self.retry_after = retry_after
        self.sent = sent

    def __str__(self) -> str:
        return f"cluster {self.cluster}: {self.message}"


class CredentialsError(ClusterUnreachable):
    """The kubeconfig, a token file or a credential plugin gives us nothing to log in with."""


class ApiError(KubeError):
    """The API server's refusal; `str()` is its own message.

    `code` is the HTTP status, `reason` the machine-readable CamelCase word of the `Status` ("" where the
    answer was none), `status` the whole `Status` object.
    """

    def __init__(
        self,
        cluster: str,
        code: int,
        reason: str = "",
        message: str = "",
        *,
        status: dict[str, Any] | None = None,
        retry_after: float | None = None,
    ):
        super().__init__(cluster, message or reason or f"HTTP {code}")
        self.code = code
        self.reason = reason
        self.status = status or {}
        self.retry_after = retry_after

    @property
    def causes(self) -> list[dict[str, Any]]:
        """The fields that are wrong: `[{"reason", "message", "field"}]`."""
        details = self.status.get("details")
        causes = details.get("causes") if isinstance(details, dict) else None
        return causes if isinstance(causes, list) else []


class BadRequest(ApiError):
    """400: the request makes no sense."""


class Unauthorized(ApiError):
    """401: the credentials are not accepted, fresh ones neither."""


class Forbidden(ApiError):
    """403: RBAC, a quota or an admission policy."""


class NotFound(ApiError):
    """404: no such object, namespace or kind."""


class AlreadyExists(ApiError):
    """409, reason AlreadyExists."""


class Conflict(ApiError):
    """409: a stale resourceVersion, a failed precondition, or a field that another manager owns."""


class Gone(ApiError):
    """410: the resourceVersion or the continue token is too old; list again."""


class Invalid(ApiError):
    """422: the object breaks a rule; `causes` names the fields."""


class TooManyRequests(ApiError):
    """429: rejected before it was carried out; `retry_after` as the server asks, in seconds."""


class ServiceUnavailable(ApiError):
    """503 from the API server or from what stands before it."""


_BY_CODE: dict[int, type[ApiError]] = {
    400: BadRequest,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: Gone,
    422: Invalid,
    429: TooManyRequests,
    503: ServiceUnavailable,
}


def from_status(cluster: str, status: dict[str, Any], *, retry_after: float | None = None) -> ApiError:
    """The error that a `Status` object describes; ERROR events of a watch hold one, too."""
    code = status.get("code")
    code = code if isinstance(code, int) else 500
    reason = str(status.get("reason") or "")
    kind = AlreadyExists if reason == "AlreadyExists" else _BY_CODE.get(code, ApiError)
    if retry_after is None and isinstance(details := status.get("details"), dict):
        asked = details.get("retryAfterSeconds")
        retry_after = float(asked) if isinstance(asked, int) and asked > 0 else None
    return kind(
        cluster, code, reason, str(status.get("message") or ""), status=status, retry_after=retry_after
    )


def from_response(cluster: str, code: int, body: bytes, *, retry_after: float | None = None) -> ApiError:
    """The error for an HTTP answer of `code` >= 300: its `Status`, or what a proxy in between wrote."""
    try:
        status = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        status = None
    if isinstance(status, dict) and status.get("kind") == "Status":
        return from_status(cluster, {**status, "code": code}, retry_after=retry_after)
    text = body[:300].decode("utf-8", "replace").strip()
    kind = _BY_CODE.get(code, ApiError)
    return kind(cluster, code, "", f"HTTP {code}: {text}" if text else "", retry_after=retry_after)
