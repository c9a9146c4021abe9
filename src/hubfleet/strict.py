"""Untyped data into typed structs, with errors that an operator can act on: path, problem, a guess."""

import difflib
import re
from collections.abc import Iterator
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

import msgspec
import yaml

from hubfleet.errors import SettingsError

T = TypeVar("T")


def decode_yaml(what: str, text: str) -> Any:
    """The one YAML document of `text`; None where it is empty. `what` names the text in errors."""
    documents = decode_yaml_documents(what, text)
    if len(documents) > 1:
        raise SettingsError([f"{what}: expected one YAML document, found {len(documents)}"])
    return documents[0] if documents else None


def decode_yaml_documents(what: str, text: str) -> list[Any]:
    """The YAML documents of `text` that are not empty (a trailing `---` makes an empty one)."""
    try:
        return [document for document in yaml.safe_load_all(text) if document is not None]
    except yaml.YAMLError as e:
        raise SettingsError([f"{what}: {_yaml_problem(e)}"]) from e


def _yaml_problem(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error)
    return f"line {mark.line + 1}, column {mark.column + 1}: {problem}" if mark else problem


def convert(data: Any, type: type[T]) -> T:
    """`data` as `type`; raises SettingsError with everything that is wrong with it."""
    if found := problems(data, type):
        raise SettingsError(found)
    return msgspec.convert(data, type, strict=True)


def problems(data: Any, type_: Any, path: str = "") -> list[str]:
    """One line for each thing in `data` that `type_` does not allow: unknown keys, wrong values.

    What a struct checks as a whole is looked at once its parts are right.
    """
    struct = _struct(type_)
    found: list[str] = []
    if struct is not None and isinstance(data, dict):
        fields = {field.encode_name: field.type for field in msgspec.structs.fields(struct)}
        for key, value in data.items():
            at = f"{path}.{key}" if path else str(key)
            if key in fields:
                found += problems(value, fields[key], at)
            else:
                found.append(f"{at}: unknown key{_suggestion(str(key), fields)}")
    elif isinstance(data, dict) and get_origin(type_) is dict:
        item = get_args(type_)[1]
        found = [p for key, value in data.items() for p in problems(value, item, f"{path}.{key}")]
    elif isinstance(data, list | tuple):
        item = next((a for a in get_args(type_) if _struct(a) is not None), None)
        if item is not None:
            found = [p for i, value in enumerate(data) for p in problems(value, item, f"{path}[{i}]")]
    if found:
        return found
    try:
        msgspec.convert(data, type_, strict=True)
    except msgspec.ValidationError as e:
        return [_problem(str(e), path, type_)]
    return []


def _problem(message: str, where: str, type_: Any) -> str:
    text, _, path = message.rpartition(" - at `$")
    if not text:
        text, path = message, ""
    at = f"{where}{path.rstrip('`')}".lstrip(".")
    # msgspec calls every map an object and every list an array: the words of JSON, where people write YAML.
    text = re.sub(r"`object`", "a map", text)
    text = re.sub(r"`array`", "a list", text)
    if text.startswith("Invalid enum value "):
        allowed = ", ".join(str(word) for part in _parts(type_) for word in _words(part))
        text = f"{text.removeprefix('Invalid enum value ')} is none of: {allowed}"
    for part in _parts(type_):
        if isinstance(part, msgspec.Meta) and part.pattern and part.description:
            text = text.replace(f"`str` matching regex {part.pattern!r}", part.description)
    return f"{at}: {text}" if at else text


def _parts(type_: Any) -> Iterator[Any]:
    """A type and what it is made of: the members of a union, the items of a list, what annotates it."""
    yield type_
    if _struct(type_) is None and get_origin(type_) is not Literal:
        for part in (*get_args(type_), *getattr(type_, "__metadata__", ())):
            yield from _parts(part)


def _words(type_: Any) -> tuple[Any, ...]:
    return get_args(type_) if get_origin(type_) is Literal else ()


def _struct(type_: Any) -> type[msgspec.Struct] | None:
    if get_origin(type_) in (Union, UnionType):
        return next((s for a in get_args(type_) if (s := _struct(a)) is not None), None)
    return type_ if isinstance(type_, type) and issubclass(type_, msgspec.Struct) else None


def _suggestion(key: str, known: dict[str, Any]) -> str:
    if nearest := difflib.get_close_matches(key.lower(), known, n=1, cutoff=0.6):
        return f"; did you mean {nearest[0]}?"
    return f"; known here: {', '.join(known)}"
