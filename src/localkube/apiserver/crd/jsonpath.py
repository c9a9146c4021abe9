"""The JSON paths of printer columns, scale and selectable fields: `.spec.list[?(@.type=="Ready")].status`.

That is the part of Kubernetes' JSONPath that definitions use: fields, quoted fields, indexes, wildcards and
filters by comparison.
"""

import json
import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

_Step = Callable[[Any], Iterator[Any]]
_TOKEN = re.compile(
    r"\.(?P<field>(?:\\.|[^.\[\]\\*])+)"
    r"|\.?\[\s*(?P<quoted>'(?:\\.|[^'])*'|\"(?:\\.|[^\"])*\")\s*\]"
    r"|\[\s*(?P<index>-?\d+)\s*\]"
    r"|(?P<all>\.\*|\[\s*\*\s*\])"
    r"|\[\?\(\s*@(?P<path>[^=!<>]*?)\s*(?:(?P<operator>==|!=|<=|>=|<|>)\s*(?P<value>[^)]*?))?\s*\)\]"
)


class Malformed(ValueError):
    """It is no path, or one of the kinds that are not read."""


def find(path: str, obj: Any) -> list[Any]:
    """The values that a path leads to; none where something is missing on the way. Raises Malformed."""
    found = [obj]
    for step in _steps(path):
        found = [below for value in found for below in step(value)]
    return found


@lru_cache(maxsize=1024)
def _steps(path: str) -> tuple[_Step, ...]:
    steps: list[_Step] = []
    at = 0
    while at < len(path):
        token = _TOKEN.match(path, at)
        if token is None:
            if path[at:] == ".":
                break
            raise Malformed(path)
        steps.append(_step(token))
        at = token.end()
    return tuple(steps)


def _step(token: "re.Match[str]") -> _Step:
    if token["field"] is not None:
        return _field(re.sub(r"\\(.)", r"\1", token["field"]))
    if token["quoted"] is not None:
        return _field(re.sub(r"\\(.)", r"\1", token["quoted"][1:-1]))
    if token["index"] is not None:
        return _index(int(token["index"]))
    if token["all"] is not None:
        return _children
    return _filter(token["path"].strip(), token["operator"], token["value"])


def _field(name: str) -> _Step:
    def step(value: Any) -> Iterator[Any]:
        if isinstance(value, dict) and name in value:
            yield value[name]

    return step


def _index(index: int) -> _Step:
    def step(value: Any) -> Iterator[Any]:
        if isinstance(value, list) and -len(value) <= index < len(value):
            yield value[index]

    return step


def _children(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        yield from value.values()
    elif isinstance(value, list):
        yield from value


_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}


def _filter(path: str, operator: str | None, text: str | None) -> _Step:
    wanted = _literal(text or "")

    def step(value: Any) -> Iterator[Any]:
        for item in value if isinstance(value, list) else ():
            found = find(path, item)
            if operator is None:
                if found:
                    yield item
            elif found and _holds(operator, found[0], wanted):
                yield item

    return step


def _holds(operator: str, found: Any, wanted: Any) -> bool:
    try:
        return type(found) is type(wanted) and _COMPARE[operator](found, wanted)
    except TypeError:
        return False


def _literal(text: str) -> Any:
    if text[:1] in ("'", '"'):
        return text[1:-1]
    try:
        return json.loads(text)
    except ValueError:
        return text
