"""The exceptions that are words for a person: a user at any time, an operator at the start."""

from collections.abc import Sequence
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


class SettingsError(Exception):
    """The settings do not make sense; `problems` holds one line for each, with its path or variable."""

    def __init__(self, problems: Sequence[str]):
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)
