"""JSON values as Go prints them, because error messages of the API quote them so."""

import json
from collections.abc import Callable
from typing import Any


def go_type(value: Any) -> str:
    """`%T`: the Go type that a decoded JSON value has."""
    if value is None:
        return "<nil>"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "int64"
    if isinstance(value, float):
        return "float64"
    if isinstance(value, str):
        return "string"
    return "[]interface {}" if isinstance(value, list) else "map[string]interface {}"


def plain(value: Any) -> str:
    """`%v`: `map[a:1 b:x]`, `[1 2]`, `<nil>`."""
    if isinstance(value, dict):
        return f"map[{_pairs(value, plain, ' ', str)}]"
    if isinstance(value, list):
        return f"[{' '.join(map(plain, value))}]"
    return value if isinstance(value, str) else _scalar(value, "<nil>")


def syntax(value: Any) -> str:
    """`%#v`: the value in Go's syntax, `map[string]interface {}{"a":1}`."""
    if isinstance(value, dict):
        return f"{go_type(value)}{{{_pairs(value, syntax, ', ', quoted)}}}"
    if isinstance(value, list):
        return f"{go_type(value)}{{{', '.join(map(syntax, value))}}}"
    return quoted(value) if isinstance(value, str) else _scalar(value, "interface {}(nil)")


def quoted(text: str) -> str:
    """`%q`."""
    return json.dumps(text, ensure_ascii=False)


def _pairs(
    value: dict[str, Any], element: Callable[[Any], str], separator: str, key: Callable[[str], str]
) -> str:
    return separator.join(f"{key(k)}:{element(v)}" for k, v in sorted(value.items()))


def _scalar(value: Any, nil: str) -> str:
    if value is None:
        return nil
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:g}" if isinstance(value, float) else str(value)
