"""Kubernetes' JSON to the form that kbatch's clients speak, and back.

The clients speak what the official Python client's `to_dict()` gives: snake_case keys, every key of a model
present (null where unset: the clients index `status["succeeded"]`), times with `+00:00` (Python before 3.11
cannot parse `Z`). The models come from the official client's own tables (`attribute_map`, `openapi_types`),
compiled once into closures over dicts: walking its model classes takes milliseconds for each Job, these take
tens of microseconds, and a list of a thousand must cost no more than the API server's own.

What goes out is trusted (an API server made it); what comes in is not: it is checked against the same tables,
and what is wrong is said at once, each with its path, but never more than a person reads: a body of a million
wrong items must not become an answer of a million problems.
"""

import re
from collections.abc import Callable
from functools import cache
from typing import Any

import msgspec
from kubernetes.client import models

from hubfleet.errors import Problem

Out = Callable[[Any], Any]
Path = tuple[str | int, ...]

MAX_PROBLEMS = 100
"""How many are told; then one more that says so, and nobody looks further."""

MAX_DETAIL = 32 * 1024
"""Bytes of JSON of all problems together; the one that goes beyond is the last."""

MAX_DEPTH = 64
"""Levels below the first of what only the API server understands; nothing that it understands is so deep."""

_MAX_LOC = 16
_MAX_KEY = 100
_MAX_MESSAGE = 500


class Problems(list[Problem]):
    """What is wrong with a body, as far as it is told. `full`: nothing is added any more, so stop looking."""

    def __init__(self) -> None:
        super().__init__()
        self.full = False
        self._size = 0

    def add(self, path: Path, message: str) -> None:
        if self.full:
            return
        if len(self) == MAX_PROBLEMS or self._size > MAX_DETAIL:
            self.full = True
            self.append(problem(path[:1], "there is more, which is not told; these come first"))
            return
        found = problem(path, message)
        self._size += len(encode(found))
        self.append(found)


In = Callable[[Any, Path, Problems], Any]

MISSING: Any = msgspec.UNSET

_INT64 = 2**63
_LIST = re.compile(r"[Ll]ist\[(\w+)\]")
_QUANTITIES = frozenset({"limits", "requests"})
_ENCODER = msgspec.json.Encoder()


def encode(value: Any) -> bytes:
    return _ENCODER.encode(value)


def job(obj: dict[str, Any]) -> dict[str, Any]:
    """A Kubernetes Job as the clients want it: null-filled, and never in a state that crashes them."""
    return _readable_status(_out("V1Job")({**obj, "apiVersion": "batch/v1", "kind": "Job"}))


def cron_job(obj: dict[str, Any]) -> dict[str, Any]:
    return _plain(_out("V1CronJob")({**obj, "apiVersion": "batch/v1", "kind": "CronJob"}))


def pod(obj: dict[str, Any]) -> dict[str, Any]:
    return _plain(_out("V1Pod")({**obj, "apiVersion": "v1", "kind": "Pod"}))


def status(obj: dict[str, Any]) -> dict[str, Any]:
    """The answer to a delete as a `V1Status`; a Foreground delete answers with the object instead."""
    if obj.get("kind") != "Status":
        meta = obj.get("metadata", {})
        details = {
            "name": meta.get("name"),
            "uid": meta.get("uid"),
            "kind": f"{obj.get('kind', '')}s".lower(),
        }
        obj = {"apiVersion": "v1", "kind": "Status", "status": "Success", "metadata": {}, "details": details}
    answer: dict[str, Any] = _out("V1Status")(obj)
    return answer


@cache
def list_frame(kind: str) -> tuple[bytes, bytes]:
    """What stands before and after the comma-joined items of a list of `kind`."""
    meta = _out("V1ListMeta")({})
    api_version = "v1" if kind == "Pod" else "batch/v1"
    head = encode({"api_version": api_version, "kind": f"{kind}List", "metadata": meta})
    return head[:-1] + b',"items":[', b"]}"


def parse(kind: str, body: Any, path: Path, problems: Problems) -> dict[str, Any]:
    """The Kubernetes JSON for a body of the official model `kind`, without nulls; snake_case or camelCase.

    What is wrong is added to `problems`; what could be read is returned all the same.
    """
    value = _in(kind)(body, path, problems)
    return value if isinstance(value, dict) else {}


def spelled(kind: str, path: Path) -> Path:
    """A path in the Kubernetes JSON of the official model `kind` as the clients spell it, in snake_case."""
    found: list[str | int] = []
    expected = kind
    for key in path:
        match = _LIST.fullmatch(expected)
        if isinstance(key, int):
            expected = match[1] if match else ""
        elif known := _snakes(expected).get(key):
            key, expected = known
        else:  # the key of a map, or one that the model does not have
            expected = ""
        found.append(key)
    return tuple(found)


def problem(path: Path, message: str) -> Problem:
    """One problem; what the user wrote may be of any length, what is said of it is not."""
    loc = [key[:_MAX_KEY] if isinstance(key, str) else key for key in path[:_MAX_LOC]]
    return {"loc": loc, "msg": message[:_MAX_MESSAGE]}


# -- out ---------------------------------------------------------------------------------------------------


def _time(value: Any) -> Any:
    return value[:-1] + "+00:00" if isinstance(value, str) and value.endswith("Z") else value


@cache
def _out(model: str) -> Out:
    """The converter of one model and of those inside it: none of ours contains itself."""
    cls = getattr(models, model)
    nulls: dict[str, Any] = dict.fromkeys(cls.openapi_types)
    keep: dict[str, str] = {}
    convert: dict[str, tuple[str, Out]] = {}
    for snake, kind in cls.openapi_types.items():
        camel = cls.attribute_map[snake]
        function = _out_of_type(kind)
        if function is None:
            keep[camel] = snake
        else:
            convert[camel] = (snake, function)
    keep_get, convert_get = keep.get, convert.get

    def out(obj: dict[str, Any]) -> dict[str, Any]:
        result = nulls.copy()
        for key, value in obj.items():
            if value is None:
                continue
            if (snake := keep_get(key)) is not None:
                result[snake] = value
            elif (rule := convert_get(key)) is not None:
                result[rule[0]] = rule[1](value)
        return result

    return out


def _out_of_type(kind: str) -> Out | None:
    if kind == "datetime":
        return _time
    if match := _LIST.fullmatch(kind):
        if not hasattr(models, match[1]):
            return None
        each = _out(match[1])
        return lambda values: [each(value) for value in values]
    return _out(kind) if hasattr(models, kind) else None


def _plain(obj: dict[str, Any]) -> dict[str, Any]:
    # Who set which field is half of an object's bytes, and nothing that a client of ours reads.
    if (metadata := obj["metadata"]) is not None:
        metadata["managed_fields"] = None
    return obj


def _readable_status(obj: dict[str, Any]) -> dict[str, Any]:
    """Fill in what is null in a Job's status where the clients' tables crash on null.

    - Queued (suspended, in Kueue, or not yet seen by the Job controller): all counts are null, on which 0.4.2
      raises ValueError: it is `active: 1`. A null `start_time`: when it was created.
    - Failed or complete without a single pod: `failed: 1`, `succeeded: 1`.
    - Both clients look for the completion time as soon as a pod succeeded: `succeeded` stays null until the
      Job has one, so that one of several completions is "active" and not a crash.
    - 0.5 walks through the conditions of whatever has a failed pod: they are a list, never null.
    """
    _plain(obj)
    counts = obj["status"]
    if counts is None:
        counts = obj["status"] = _out("V1JobStatus")({})
    if counts["conditions"] is None:
        counts["conditions"] = []
    ended = {c["type"] for c in counts["conditions"] if c["status"] == "True"}
    if counts["completion_time"] is None:
        counts["succeeded"] = None
    if not (counts["succeeded"] or counts["failed"] or counts["active"]):
        if "Failed" in ended:
            counts["failed"] = 1
        elif "Complete" in ended and counts["completion_time"]:
            counts["succeeded"] = 1
        else:
            counts["active"] = 1
    if counts["start_time"] is None and obj["metadata"] is not None:
        counts["start_time"] = obj["metadata"]["creation_timestamp"]
    return obj


# -- in ----------------------------------------------------------------------------------------------------


def _fault(path: Path, problems: Problems, expected: str, value: Any) -> Any:
    article = "an" if expected[0] in "aio" else "a"
    hint = ""
    if expected == "string" and isinstance(value, int | float):
        hint = "; write it in quotes"
    problems.add(path, f"must be {article} {expected}, not {_called(value)}{hint}")
    return MISSING


def _called(value: Any) -> str:
    names = {bool: "a boolean", int: "a number", float: "a number", str: "a string", list: "a list"}
    return "null" if value is None else names.get(type(value), "an object")


def _string(value: Any, path: Path, problems: Problems) -> Any:
    return value if isinstance(value, str) else _fault(path, problems, "string", value)


def _boolean(value: Any, path: Path, problems: Problems) -> Any:
    return value if isinstance(value, bool) else _fault(path, problems, "boolean", value)


def _integer(value: Any, path: Path, problems: Problems) -> Any:
    if isinstance(value, bool) or not isinstance(value, int):
        return _fault(path, problems, "integer", value)
    if not -_INT64 <= value < _INT64:
        problems.add(path, "does not fit into 64 bits")
        return MISSING
    return value


def _anything(value: Any, path: Path, problems: Problems) -> Any:
    """Int-or-string and the like: the API server knows better, but numbers must be ones that it can read."""
    if isinstance(value, int) and not isinstance(value, bool):
        return _integer(value, path, problems)
    if isinstance(value, dict | list):
        _search(value, path, problems, MAX_DEPTH)
    return value


def _search(value: dict[str, Any] | list[Any], path: Path, problems: Problems, depth: int) -> None:
    if not depth:
        problems.add(path, "is nested too deeply")
        return
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
        if problems.full:
            return
        if isinstance(inner, dict | list):
            _search(inner, (*path, key), problems, depth - 1)
        elif isinstance(inner, int):
            _anything(inner, (*path, key), problems)


def _quantity(value: Any, path: Path, problems: Problems) -> Any:
    # `cpu: 1` in an operator's YAML reaches us as a number through the client's profile.
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    return _string(value, path, problems)


def _mapping(inner: In) -> In:
    def parse_mapping(value: Any, path: Path, problems: Problems) -> Any:
        if not isinstance(value, dict):
            return _fault(path, problems, "object", value)
        result = {}
        for key, item in value.items():
            if problems.full:
                break
            if item is not None and (parsed := inner(item, (*path, key), problems)) is not MISSING:
                result[key] = parsed
        return result

    return parse_mapping


def _sequence(inner: In) -> In:
    def parse_sequence(value: Any, path: Path, problems: Problems) -> Any:
        if not isinstance(value, list):
            return _fault(path, problems, "array", value)
        result = []
        for i, item in enumerate(value):
            if problems.full:
                break
            if (parsed := inner(item, (*path, i), problems)) is not MISSING:
                result.append(parsed)
        return result

    return parse_sequence


@cache
def _snakes(model: str) -> dict[str, tuple[str, str]]:
    """By its name in Kubernetes' JSON, each field's name in the clients' form, and its type."""
    if not hasattr(models, model):
        return {}
    cls = getattr(models, model)
    return {cls.attribute_map[snake]: (snake, kind) for snake, kind in cls.openapi_types.items()}


@cache
def _in(model: str) -> In:
    cls = getattr(models, model)
    fields: dict[str, tuple[str, In]] = {}
    for snake, kind in cls.openapi_types.items():
        camel = cls.attribute_map[snake]
        rule = (camel, _mapping(_quantity) if snake in _QUANTITIES and "Dict" in kind else _in_of_type(kind))
        fields[snake] = fields[camel] = rule

    def parse_model(value: Any, path: Path, problems: Problems) -> Any:
        if not isinstance(value, dict):
            return _fault(path, problems, "object", value)
        result: dict[str, Any] = {}
        for key, item in value.items():
            if problems.full:
                break
            if item is None:
                continue
            rule = fields.get(key)
            if rule is None:
                problems.add((*path, key), f"unknown field {key[:100]!r}")
                continue
            if rule[0] in result:
                problems.add((*path, key), f"{rule[0]} is given twice")
                continue
            parsed = rule[1](item, (*path, key), problems)
            if parsed is not MISSING:
                result[rule[0]] = parsed
        return result

    return parse_model


_BASIC: dict[str, In] = {
    "str": _string,
    "datetime": _string,
    "bytes": _string,
    "bool": _boolean,
    "int": _integer,
    "object": _anything,
    "Dict[str, str]": _mapping(_string),
    "Dict[str, bytes]": _mapping(_string),
}


def _in_of_type(kind: str) -> In:
    if kind in _BASIC:
        return _BASIC[kind]
    if match := _LIST.fullmatch(kind):
        return _sequence(_in_of_type(match[1]))
    return _in(kind) if hasattr(models, kind) else _anything
