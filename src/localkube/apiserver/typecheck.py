"""Why server-side apply refuses a configuration: its types, checked against the schema, in its own words.

Other requests are decoded into Go structs, which has other rules and other words (see `schema`).
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from localkube.apiserver import fieldset, goformat
from localkube.apiserver.mergestruct import of_field
from localkube.apiserver.mergetype import Elements
from localkube.apiserver.schema import Field


class Fault(NamedTuple):
    """`path` is written as `fieldset.paths` writes it: `.spec.containers[name="c"].image`."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


def faults(of: Field, value: Any) -> Iterator[Fault]:
    """What is wrong with a value of a type; of an object's unknown fields only the first."""
    return _faults(of, value)


def message(found: list[Fault]) -> str:
    """The faults in one text, as the API says them."""
    if len(found) == 1:
        return str(found[0])
    return "\n".join(["errors:", *(f"  {fault}" for fault in found)])


def _faults(f: Field, value: Any) -> Iterator[Fault]:
    if value is None:
        return
    match f.kind:
        case "struct" | "map":
            yield from _members(f, value)
        case "list":
            yield from _elements(f, value)
        case "integer" | "number":
            if not isinstance(value, int | float) or isinstance(value, bool):
                yield Fault("", f"expected numeric (int or float), got {goformat.go_type(value)}")
        case "string" | "bytes":
            if not isinstance(value, str):
                shown = f"&value.valueUnstructured{{Value:{goformat.syntax(value)}}}"
                yield Fault("", f"expected string, got {shown}")
        case "boolean":
            if not isinstance(value, bool):
                yield _unexpected("boolean", value)


def _unexpected(wanted: str, value: Any) -> Fault:
    return Fault("", f"expected {wanted}, got &{{{goformat.plain(value)}}}")


def _members(f: Field, value: Any) -> Iterator[Fault]:
    if not isinstance(value, dict):
        yield _unexpected("map", value)
        return
    known = f.known if f.kind == "struct" else {}
    for name, item in value.items():
        member = known.get(name) or f.item
        if member is None:
            yield Fault(f".{name}", "field not declared in schema")
            return
        yield from _below(f".{name}", _faults(member, item))


def _elements(f: Field, value: Any) -> Iterator[Fault]:
    if not isinstance(value, list):
        yield _unexpected("list", value)
        return
    assert f.item is not None
    merge_type = of_field(f)
    seen: set[str] = set()
    for index, item in enumerate(value):
        path = f"[{index}]"
        if isinstance(merge_type, Elements):
            try:
                step = merge_type.step(item)
            except ValueError as e:
                yield Fault("", f"element {index}: {e}")
                return
            path = fieldset.element(step)
            if step in seen:
                yield Fault("", f"duplicate entries for key {path}")
            seen.add(step)
        yield from _below(path, _faults(f.item, item))


def _below(path: str, found: Iterator[Fault]) -> Iterator[Fault]:
    for fault in found:
        yield Fault(path + fault.path, fault.message)
