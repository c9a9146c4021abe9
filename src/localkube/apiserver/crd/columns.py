"""The columns that `kubectl get` prints of custom resources."""

from datetime import datetime
from typing import Any, NamedTuple

import msgspec

from localkube.apiserver.crd import jsonpath
from localkube.apiserver.durations import human_duration

Object = dict[str, Any]


class PrinterColumn(NamedTuple):
    """One of `additionalPrinterColumns`."""

    name: str
    type: str
    format: str
    description: str
    priority: int
    path: str

    def cell(self, obj: Object, now: datetime) -> Any:
        """What stands in the column of an object; None where there is nothing of the right type."""
        found = jsonpath.find(self.path, obj)
        return _shown(self.type, found[0], now) if found else None


_AGE = PrinterColumn(
    "Age",
    "date",
    "",
    "CreationTimestamp is a timestamp representing the server time when this object was created.",
    0,
    ".metadata.creationTimestamp",
)


def compile(columns: list[Object] | None) -> tuple[PrinterColumn, ...]:
    """The columns of a version of a definition; without any, the age."""
    if not columns:
        return (_AGE,)
    return tuple(
        PrinterColumn(
            column["name"],
            column["type"],
            column.get("format") or "",
            column.get("description")
            or f"Custom resource definition column (in JSONPath format): {column['jsonPath']}",
            column.get("priority") or 0,
            column["jsonPath"],
        )
        for column in columns
        if _readable(column["jsonPath"])
    )


def _readable(path: str) -> bool:
    try:
        jsonpath.find(path, {})
    except jsonpath.Malformed:
        return False
    return True


def _shown(kind: str, value: Any, now: datetime) -> Any:
    if value is None:
        return None
    number = isinstance(value, int | float) and not isinstance(value, bool)
    match kind:
        case "integer":
            return int(value) if number else None
        case "number":
            return float(value) if number else None
        case "boolean":
            return value if isinstance(value, bool) else None
        case "date":
            return _age(value, now) if isinstance(value, str) else None
    return _text(value)


def _age(text: str, now: datetime) -> str:
    try:
        return human_duration((now - datetime.fromisoformat(text)).total_seconds())
    except (ValueError, TypeError):
        return "<invalid>"


def _text(value: Any) -> str:
    """As Go's JSONPath prints a value: what is no scalar as JSON."""
    if isinstance(value, str):
        return value
    return msgspec.json.encode(value).decode()
