"""The errors of the API: `Status` objects, worded as a Kubernetes API server words them.

Clients show these messages to people and branch on `reason` and `code`, so all three are part of the
wire format. Everything in localkube that refuses a request raises a `StatusError`.
"""

from collections.abc import Sequence
from typing import Any

import msgspec


class FieldError(msgspec.Struct, frozen=True):
    """One thing that is wrong with an object: a cause in `Status.details.causes`.

    `message` is the text after `field: `, e.g. `Invalid value: -1: must be greater than or equal to 0`.
    """

    reason: str
    field: str
    message: str

    def __str__(self) -> str:
        return f"{self.field}: {self.message}"


class StatusError(Exception):
    """A refusal. `status` is the whole `Status` object that answers the request."""

    def __init__(self, status: dict[str, Any]) -> None:
        super().__init__(status["message"])
        self.status = status

    @property
    def code(self) -> int:
        """The HTTP status code."""
        return int(self.status["code"])

    @property
    def reason(self) -> str:
        """The machine-readable reason, `""` where the real server gives none."""
        return str(self.status.get("reason", ""))

    @property
    def message(self) -> str:
        return str(self.status["message"])


def error(code: int, reason: str, message: str, details: dict[str, Any] | None = None) -> StatusError:
    """A `StatusError` from its parts; an empty `reason` and `details=None` are left out of the body."""
    status: dict[str, Any] = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
    }
    if reason:
        status["reason"] = reason
    if details is not None:
        status["details"] = details
    status["code"] = code
    return StatusError(status)


def success(details: dict[str, Any] | None = None) -> dict[str, Any]:
    """The `Status` that answers a deletion that left nothing behind."""
    status: dict[str, Any] = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}
    if details is not None:
        status["details"] = details
    return status


def _details(name: str, group: str, kind: str, causes: list[dict[str, str]] | None = None) -> dict[str, Any]:
    details: dict[str, Any] = {}
    if name:
        details["name"] = name
    if group:
        details["group"] = group
    if kind:
        details["kind"] = kind
    if causes:
        details["causes"] = causes
    return details


def _of_key(key: str, name: str, causes: list[dict[str, str]] | None = None) -> dict[str, Any]:
    """Details for a resource named by its key (`pods`, `jobs.batch`)."""
    plural, _, group = key.partition(".")
    return _details(name, group, plural, causes)


def _qualified(kind: str, group: str) -> str:
    return f"{kind}.{group}" if group else kind


def not_found(key: str, name: str) -> StatusError:
    """404 for an object; `key` is the resource's key, `jobs.batch`."""
    return error(404, "NotFound", f'{key} "{name}" not found', _of_key(key, name))


def no_such_path() -> StatusError:
    """404 for a path that no resource is served at."""
    return error(404, "NotFound", "the server could not find the requested resource", {})


def already_exists(key: str, name: str) -> StatusError:
    return error(409, "AlreadyExists", f'{key} "{name}" already exists', _of_key(key, name))


def conflict(key: str, name: str, detail: str) -> StatusError:
    """409; `detail` says what does not fit. `key` may also be a bare kind, as preconditions word it."""
    return error(
        409, "Conflict", f'Operation cannot be fulfilled on {key} "{name}": {detail}', _of_key(key, name)
    )


def modified(key: str, name: str) -> StatusError:
    """409 for a write with a stale resourceVersion."""
    return conflict(
        key,
        name,
        "the object has been modified; please apply your changes to the latest version and try again",
    )


def apply_conflict(message: str, causes: list[dict[str, str]]) -> StatusError:
    """409 for a server-side apply that another manager's fields stand against."""
    return error(409, "Conflict", message, {"causes": causes})


def invalid(kind: str, group: str, name: str, errors: Sequence[FieldError]) -> StatusError:
    """422 with every error as a cause; equal messages are said once, as the real server does."""
    said = list(dict.fromkeys(str(e) for e in errors))
    text = said[0] if len(said) == 1 else f"[{', '.join(said)}]"
    causes = [{"reason": e.reason, "message": e.message, "field": e.field} for e in errors]
    message = f'{_qualified(kind, group)} "{name}" is invalid: {text}'
    return error(422, "Invalid", message, _details(name, group, kind, causes))


def bad_request(message: str) -> StatusError:
    return error(400, "BadRequest", message)


def unauthorized() -> StatusError:
    return error(401, "Unauthorized", "Unauthorized")


def forbidden(key: str, name: str, detail: str, causes: list[dict[str, str]] | None = None) -> StatusError:
    """403 `pods "p" is forbidden: <detail>`, without the name where none is known yet."""
    quoted = f' "{name}"' if name else ""
    return error(403, "Forbidden", f"{key}{quoted} is forbidden: {detail}", _of_key(key, name, causes))


def expired(message: str) -> StatusError:
    """410 for a resourceVersion or continue token that is too old."""
    return error(410, "Expired", message)


def gone(message: str) -> StatusError:
    """410 inside a watch stream."""
    return error(410, "Gone", message)


def method_not_supported(key: str, action: str) -> StatusError:
    """405; `action` is the verb in words, e.g. `create`."""
    message = f'{action} is not supported on resources of kind "{key}"'
    return error(405, "MethodNotAllowed", message, _of_key(key, ""))


def method_not_allowed() -> StatusError:
    """405 for a verb that the path does not know at all."""
    return error(
        405, "MethodNotAllowed", "the server does not allow this method on the requested resource", {}
    )


def not_acceptable(accepted: Sequence[str]) -> StatusError:
    """406; `accepted` are the media types on offer."""
    offers = ", ".join(accepted)
    message = f"406: Not Acceptable\n\nAvailable representations: {offers}"
    return error(406, "NotAcceptable", message, {})


def unsupported_media_type(accepted: Sequence[str]) -> StatusError:
    """415 for a body; `accepted` are the media types that are read."""
    return error(
        415,
        "UnsupportedMediaType",
        "the body of the request was in an unknown format - accepted media types include: "
        + ", ".join(accepted),
    )


def unsupported_patch_type() -> StatusError:
    """415 for a patch with a content type that is no kind of patch."""
    return error(415, "UnsupportedMediaType", "415: Unsupported Media Type", {})


def unprocessable() -> StatusError:
    """422 for a patch that cannot be carried out on this object."""
    return error(422, "Invalid", "the server rejected our request due to an error in our request", {})


def too_large(message: str = "Request entity too large: limit is 3145728") -> StatusError:
    return error(413, "RequestEntityTooLarge", message)


def too_many_requests(message: str, retry_after_seconds: int) -> StatusError:
    return error(429, "TooManyRequests", message, {"retryAfterSeconds": retry_after_seconds})


def unclassified(message: str) -> StatusError:
    """500 without a reason: what the real server answers where its own code returned a plain error."""
    return error(500, "", message)


def internal(message: str) -> StatusError:
    return error(
        500, "InternalError", f"Internal error occurred: {message}", {"causes": [{"message": message}]}
    )


def not_implemented(message: str) -> StatusError:
    """501: localkube knows that Kubernetes has this, and does not have it."""
    return error(501, "NotImplemented", message)


def unavailable(message: str) -> StatusError:
    return error(503, "ServiceUnavailable", message)


def timeout(
    message: str, causes: list[dict[str, str]] | None = None, retry_after_seconds: int = 1
) -> StatusError:
    """504; `message` is what comes after `Timeout: `."""
    details: dict[str, Any] = {"causes": causes} if causes else {}
    details["retryAfterSeconds"] = retry_after_seconds
    return error(504, "Timeout", f"Timeout: {message}", details)
