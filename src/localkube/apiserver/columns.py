"""The parts that the columns of tables are made of."""

from collections.abc import Callable
from datetime import datetime
from typing import Any, NamedTuple

from localkube.apiserver.durations import human_duration

Obj = dict[str, Any]


class Column(NamedTuple):
    """`priority` 1 is shown with `-o wide` only; `cell` reads it off an object."""

    name: str
    cell: Callable[[Obj, datetime], Any]
    type: str = "string"
    format: str = ""
    priority: int = 0
    description: str = ""


def since(text: str | None, now: datetime) -> str:
    return human_duration((now - datetime.fromisoformat(text)).total_seconds()) if text else "<unknown>"


def read(obj: Obj, *path: str) -> Any:
    found: Any = obj
    for step in path:
        found = found.get(step) if isinstance(found, dict) else None
    return found


def text(*path: str, otherwise: str = "") -> Callable[[Obj, datetime], Any]:
    def cell(obj: Obj, now: datetime) -> Any:
        value = read(obj, *path)
        return otherwise if value is None or value == "" else value

    return cell


def age(obj: Obj, now: datetime) -> str:
    return since(obj["metadata"].get("creationTimestamp"), now)


NAME = Column("Name", text("metadata", "name"), format="name")
AGE = Column("Age", age)
