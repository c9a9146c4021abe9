"""What a user is told when something stands in the way: the only exceptions that handlers turn into answers."""

from typing import Any


class UserError(Exception):
    """An answer other than success, with words for the person who reads it.

    `status` is the HTTP status code, `detail` goes out as the JSON body `{"detail": ...}` (the form that
    kbatch's clients print; a list of `{"loc": ..., "msg": ...}` where several things are wrong at once),
    `retry_after` is in seconds and becomes the header of that name.
    """

    def __init__(self, status: int, detail: str | list[dict[str, Any]], *, retry_after: float | None = None):
        super().__init__(detail if isinstance(detail, str) else "; ".join(str(d.get("msg")) for d in detail))
        self.status = status
        self.detail = detail
        self.retry_after = retry_after
