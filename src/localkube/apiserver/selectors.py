"""Label and field selectors: parsed once per request, matched against many objects.

The grammar, its precedence and its error messages are those of k8s.io/apimachinery (pkg/labels, pkg/fields).
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from localkube.apiserver.resources import Resource
from localkube.apiserver.status import bad_request

_SYMBOLS = ("!=", "==", "!", "(", ")", ",", "=", "<", ">")
_OPERATORS = {"=": "=", "==": "=", "!=": "!=", "in": "in", "notin": "notin", ">": ">", "<": "<"}
_QUALIFIED = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")
_LABEL = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_INTEGER = re.compile(r"[+-]?[0-9]+")

_LABEL_RULE = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must "
    "start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used "
    "for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)
_NAME_RULE = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an "
    "alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
    "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)


class Requirement(NamedTuple):
    """One term; `operator` is one of "=", "!=", "in", "notin", "exists", "!", ">", "<"."""

    key: str
    operator: str
    values: frozenset[str]

    def matches(self, labels: Mapping[str, str]) -> bool:
        value = labels.get(self.key)
        match self.operator:
            case "=" | "in":
                return value is not None and value in self.values
            case "!=" | "notin":
                return value is None or value not in self.values
            case "exists":
                return value is not None
            case "!":
                return value is None
        if value is None or not _INTEGER.fullmatch(value):
            return False
        (bound,) = self.values
        return int(value) > int(bound) if self.operator == ">" else int(value) < int(bound)


class LabelSelector(NamedTuple):
    requirements: tuple[Requirement, ...] = ()

    def matches(self, obj: Mapping[str, Any]) -> bool:
        if not self.requirements:
            return True
        labels = obj["metadata"].get("labels") or {}
        return all(r.matches(labels) for r in self.requirements)


Reader = Callable[[Mapping[str, Any]], Any]
"""Reads the field of an object that is selected by."""


class FieldTerm(NamedTuple):
    path: str
    equal: bool
    value: str


class FieldSelector(NamedTuple):
    """Terms over the fields that `_FIELDS` names for the resource `key`."""

    key: str = ""
    terms: tuple[FieldTerm, ...] = ()
    selectable: Mapping[str, Reader] | None = None
    """The fields of a custom resource, instead of those in `_FIELDS`."""

    def matches(self, obj: Mapping[str, Any]) -> bool:
        readers = self.selectable if self.selectable is not None else _FIELDS.get(self.key, {})
        return all((_field(readers, obj, t.path) == t.value) is t.equal for t in self.terms)

    @property
    def name(self) -> str | None:
        """The one object name that can match, if the selector names it."""
        return next((t.value for t in self.terms if t.path == "metadata.name" and t.equal), None)


class Selector(NamedTuple):
    """What a LIST, a WATCH or a DELETE of a collection covers."""

    labels: LabelSelector = LabelSelector()
    fields: FieldSelector = FieldSelector()

    def __bool__(self) -> bool:
        return bool(self.labels.requirements or self.fields.terms)

    def matches(self, obj: Mapping[str, Any]) -> bool:
        return self.labels.matches(obj) and self.fields.matches(obj)


EVERYTHING = Selector()


def parse(key: str, labels: str, fields: str, selectable: Mapping[str, Reader] | None = None) -> Selector:
    """The selector of a request for the resource `key`. Raises StatusError 400."""
    if not labels and not fields:
        return EVERYTHING
    return Selector(parse_labels(labels), parse_fields(key, fields, selectable))


def of_resource(resource: Resource, labels: str, fields: str) -> Selector:
    """The selector of a request for a resource, which may be a custom one. Raises StatusError 400."""
    selectable = resource.custom.selectable if resource.custom is not None else None
    return parse(resource.key, labels, fields, selectable)


class _Token(NamedTuple):
    kind: str  # "id", "end", or the symbol itself
    text: str


def _tokens(text: str) -> list[_Token]:
    found: list[_Token] = []
    i = 0
    while i < len(text):
        if text[i] in " \t\r\n":
            i += 1
            continue
        symbol = next((s for s in _SYMBOLS if text.startswith(s, i)), None)
        if symbol is not None:
            found.append(_Token(symbol, symbol))
            i += len(symbol)
            continue
        end = i
        while end < len(text) and text[end] not in " \t\r\n=!(),<>":
            end += 1
        found.append(_Token("id", text[i:end]))
        i = end
    found.append(_Token("end", ""))
    return found


class _Parser:
    def __init__(self, text: str):
        self.tokens = _tokens(text)
        self.at = 0

    def peek(self) -> _Token:
        return self.tokens[self.at]

    def next(self) -> _Token:
        token = self.tokens[self.at]
        self.at = min(self.at + 1, len(self.tokens) - 1)
        return token

    def selector(self) -> LabelSelector:
        found: list[Requirement] = []
        while True:
            token = self.peek()
            if token.kind == "end":
                return LabelSelector(tuple(found))
            if token.kind not in ("id", "!"):
                raise bad_request(f"found '{token.text}', expected: !, identifier, or 'end of string'")
            found.append(self.requirement())
            token = self.next()
            if token.kind == "end":
                return LabelSelector(tuple(found))
            if token.kind != ",":
                raise bad_request(f"found '{token.text}', expected: ',' or 'end of string'")
            token = self.peek()
            if token.kind not in ("id", "!"):
                raise bad_request(f"found '{token.text}', expected: identifier after ','")

    def requirement(self) -> Requirement:
        token = self.next()
        absent = token.kind == "!"
        if absent:
            token = self.next()
        if token.kind != "id":
            raise _unparsable(f"found '{token.text}', expected: identifier")
        key = token.text
        _check_key(key)
        if absent or self.peek().kind in ("end", ","):
            return Requirement(key, "!" if absent else "exists", frozenset())
        token = self.next()
        operator = _OPERATORS.get(token.text)
        if operator is None:
            raise _unparsable(f"found '{token.text}', expected: in, notin, =, ==, !=, gt, lt")
        values = self.values() if operator in ("in", "notin") else {self.value()}
        for i, value in enumerate(sorted(values)):
            _check_value(key, i, value)
            if operator in ("<", ">") and not _INTEGER.fullmatch(value):
                raise _unparsable(
                    f"values[{i}]: Invalid value: \"{value}\": for 'Gt', 'Lt' operators, "
                    "the value must be an integer"
                )
        return Requirement(key, operator, frozenset(values))

    def values(self) -> set[str]:
        token = self.next()
        if token.kind != "(":
            raise _unparsable(f"found '{token.text}' expected: '('")
        found: set[str] = set()
        wants_value = True
        while True:
            token = self.next()
            if token.kind == "id" and wants_value:
                found.add(token.text)
                wants_value = False
            elif token.kind == ",":
                if wants_value:
                    found.add("")
                wants_value = True
            elif token.kind == ")":
                if wants_value and found:
                    found.add("")
                if not found:
                    raise _unparsable(
                        "values: Invalid value: []: for 'in', 'notin' operators, values set can't be empty"
                    )
                return found
            else:
                raise _unparsable(f"found '{token.text}', expected: ',' or ')'")

    def value(self) -> str:
        if self.peek().kind in ("end", ","):
            return ""
        token = self.next()
        if token.kind != "id":
            raise _unparsable(f"found '{token.text}', expected: identifier")
        return token.text


def _unparsable(message: str) -> Exception:
    return bad_request(f"unable to parse requirement: {message}")


def _check_key(key: str) -> None:
    prefix, slash, name = key.rpartition("/")
    problem = ""
    if slash and not prefix:
        problem = "prefix part must be non-empty"
    elif slash and (len(prefix) > 253 or not _SUBDOMAIN.fullmatch(prefix)):
        problem = (
            "prefix part a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, "
            "'-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex "
            "used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
        )
    elif len(name) > 63:
        problem = "name part must be no more than 63 bytes"
    elif not _QUALIFIED.fullmatch(name):
        problem = _NAME_RULE
    if problem:
        raise _unparsable(f'key: Invalid value: "{key}": {problem}')


def _check_value(key: str, index: int, value: str) -> None:
    if len(value.encode()) > 63:
        raise _unparsable(f'values[{index}][{key}]: Invalid value: "{value}": must be no more than 63 bytes')
    if not _LABEL.fullmatch(value):
        raise _unparsable(f'values[{index}][{key}]: Invalid value: "{value}": {_LABEL_RULE}')


def parse_labels(text: str) -> LabelSelector:
    """A label selector such as `app in (a,b),!canary`. Raises StatusError 400."""
    return _Parser(text).selector() if text else LabelSelector()


_TERM = re.compile(r"(!=|==|=)")
_SEPARATOR = re.compile(r"(?<!\\),")


def parse_fields(key: str, text: str, selectable: Mapping[str, Reader] | None = None) -> FieldSelector:
    """A field selector such as `status.phase!=Pending` for the resource `key`. Raises StatusError 400."""
    terms: list[FieldTerm] = []
    for part in _SEPARATOR.split(text) if text else ():
        if not part:
            continue
        path, operator, value = _split_term(text, part)
        _check_field(key, path, selectable)
        terms.append(FieldTerm(path, operator != "!=", value))
    return FieldSelector(key, tuple(terms), selectable)


def _split_term(text: str, part: str) -> tuple[str, str, str]:
    pieces = _TERM.split(part, maxsplit=1)
    if len(pieces) != 3:
        raise bad_request(f"invalid selector: '{text}'; can't understand '{part}'")
    path, operator, value = pieces
    return path, operator, re.sub(r"\\([\\,=])", r"\1", value)


def _path(*steps: str) -> Reader:
    def value(obj: Mapping[str, Any]) -> Any:
        found: Any = obj
        for step in steps:
            found = found.get(step) if isinstance(found, Mapping) else None
        return found

    return value


def _event_source(obj: Mapping[str, Any]) -> Any:
    return (obj.get("source") or {}).get("component") or obj.get("reportingComponent")


def _job_successful(obj: Mapping[str, Any]) -> Any:
    return (obj.get("status") or {}).get("succeeded") or 0


def _flag(*steps: str) -> Reader:
    read = _path(*steps)
    return lambda obj: bool(read(obj))


_METADATA = {name: _path(*name.split(".")) for name in ("metadata.name", "metadata.namespace")}
_FIELDS: dict[str, dict[str, Reader]] = {
    "pods": {
        **{
            name: _path(*name.split("."))
            for name in (
                "spec.nodeName",
                "spec.restartPolicy",
                "spec.schedulerName",
                "spec.serviceAccountName",
                "status.phase",
                "status.podIP",
                "status.nominatedNodeName",
            )
        },
        "spec.hostNetwork": _flag("spec", "hostNetwork"),
    },
    "events": {
        **{
            f"involvedObject.{name}": _path("involvedObject", name)
            for name in ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")
        },
        "reason": _path("reason"),
        "type": _path("type"),
        "reportingComponent": _path("reportingComponent"),
        "source": _event_source,
    },
    "secrets": {"type": _path("type")},
    "namespaces": {"status.phase": _path("status", "phase"), "name": _path("metadata", "name")},
    "nodes": {"spec.unschedulable": _flag("spec", "unschedulable")},
    "jobs.batch": {"status.successful": _job_successful},
}
"""What the real API server selects by (pkg/apis/*/v1/conversion.go); other kinds know `_METADATA` alone."""


def _check_field(key: str, path: str, selectable: Mapping[str, Reader] | None) -> None:
    if path in _METADATA or path in (selectable if selectable is not None else _FIELDS.get(key, ())):
        return
    if selectable is not None or key in _FIELDS:
        raise bad_request(f"field label not supported: {path}")
    raise bad_request(f'"{path}" is not a known field selector: only "metadata.name", "metadata.namespace"')


def _field(readers: Mapping[str, Reader], obj: Mapping[str, Any], path: str) -> str:
    value = (_METADATA.get(path) or readers[path])(obj)
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)
