"""The exceptions that are words for a person: a user at any time, an operator at the start."""

import re
from collections.abc import Sequence
from typing import Any

Problem = dict[str, Any]
"""One thing that is wrong with a request: `msg`, and `loc`, the keys and indexes of where it is."""

_PLAIN = re.compile(r"[\w-]+")


class UserError(Exception):
    """An answer other than success, with words for the person who reads it.

    `status` is the HTTP status code. `detail` is what kbatch's clients print; where it is given as a list of
    problems, it is their text, a line for each, and `errors` is the list itself, for programs.
    `retry_after` is in seconds and becomes the header of that name.
    """

    def __init__(self, status: int, detail: str | Sequence[Problem], *, retry_after: float | None = None):
        self.errors: tuple[Problem, ...] = () if isinstance(detail, str) else tuple(detail)
        self.detail = detail if isinstance(detail, str) else in_words(detail)
        super().__init__(self.detail)
        self.status = status
        self.retry_after = retry_after


def in_words(problems: Sequence[Problem]) -> str:
    """`place: what is wrong with it`, a line for each of several."""
    lines = [_line(problem) for problem in problems]
    return lines[0] if len(lines) == 1 else "\n  ".join(["Several things are wrong:", *lines])


def _line(problem: Problem) -> str:
    place = ""
    for i, key in enumerate(problem["loc"]):
        if i == 0 and key == "body":
            continue  # as good as everything is in the body
        if isinstance(key, int):
            place += f"[{key}]"
        elif _PLAIN.fullmatch(key):
            place += f".{key}" if place else key
        else:
            place += f"[{key!r}]"
    text = problem["msg"].replace("\n", " ")
    return f"{place}: {text}" if place else text


class SettingsError(Exception):
    """The settings do not make sense; `problems` holds one line for each, with its path or variable."""

    def __init__(self, problems: Sequence[str]):
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)


class HubFailed(Exception):
    """The Hub does not answer, or not with what was asked for; the words say which, and its URL."""
