"""What a request asks for: its path, its query and its identity, read before anything is touched."""

from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from localkube.apiserver import status
from localkube.apiserver.status import FieldError


class User(NamedTuple):
    """Who acts: the one the credentials name, or the one impersonated."""

    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: Mapping[str, tuple[str, ...]] = {}


class Target(NamedTuple):
    """What a path points at; namespace None is every namespace (or a cluster-wide kind)."""

    group: str
    version: str
    plural: str
    namespace: str | None = None
    name: str = ""
    subresource: str = ""


def parse_path(path: str) -> Target | None:
    """The target of `/api/v1/...` or `/apis/<group>/<version>/...`; None when the path has another form."""
    parts = path.strip("/").split("/")
    if parts[0] == "api" and len(parts) > 2:
        group, version, rest = "", parts[1], parts[2:]
    elif parts[0] == "apis" and len(parts) > 3:
        group, version, rest = parts[1], parts[2], parts[3:]
    else:
        return None
    if not all(rest):
        return None
    namespace: str | None = None
    # `namespaces/<name>/status` and `.../finalize` are subresources, everything else lies in the namespace
    if (
        rest[0] == "namespaces"
        and len(rest) > 2
        and not (not group and len(rest) == 3 and rest[2] in ("status", "finalize"))
    ):
        namespace, rest = rest[1], rest[2:]
    if len(rest) > 3:
        return None
    return Target(group, version, rest[0], namespace, *rest[1:])


class Query:
    """The query string; a name given more than once keeps its first value, except through `all`."""

    def __init__(self, raw: bytes):
        # bytes that are no UTF-8 become replacement characters and then fail as values do
        self._pairs = parse_qsl(raw.decode("latin-1"), keep_blank_values=True) if raw else []
        self._first: dict[str, str] = {}
        for name, value in self._pairs:
            self._first.setdefault(name, value)

    def get(self, name: str, default: str = "") -> str:
        return self._first.get(name, default)

    def all(self, name: str) -> list[str]:
        return [v for n, v in self._pairs if n == name]

    def __contains__(self, name: str) -> bool:
        return name in self._first

    def flag(self, name: str) -> bool:
        """As apimachinery reads booleans: present and neither "false" nor "0"."""
        return name in self._first and self._first[name].lower() not in ("false", "0")

    def integer(self, name: str) -> int | None:
        """Raises StatusError 400 for what is no integer."""
        text = self._first.get(name, "")
        if not text:
            return None
        try:
            return parse_int(text)
        except ValueError as error:
            raise status.bad_request(str(error)) from None


def parse_int(text: str) -> int:
    """Raises ValueError with the words of Go's strconv."""
    digits = text[1:] if text[:1] in "+-" else text
    if not (digits.isascii() and digits.isdigit()):
        raise ValueError(f'strconv.ParseInt: parsing "{text}": invalid syntax')
    if not -(2**63) <= int(text) < 2**63:
        raise ValueError(f'strconv.ParseInt: parsing "{text}": value out of range')
    return int(text)


def parse_revision(text: str) -> int:
    """A resourceVersion. Raises the StatusError 500 of the real API server for what is none."""
    if not (text.isascii() and text.isdigit()):
        problem = "invalid syntax"
    elif int(text) >= 2**64:
        problem = "value out of range"
    else:
        return int(text)
    raise status.unclassified(
        f'resourceVersion: Invalid value: "{text}": strconv.ParseUint: parsing "{text}": {problem}'
    )


class ListOptions(NamedTuple):
    """The options of LIST and WATCH; revision None is "not given", `send_initial` None likewise."""

    labels: str
    fields: str
    limit: int
    continues: str
    revision: int | None
    match: str
    watch: bool
    bookmarks: bool
    timeout: int | None
    send_initial: bool | None


def list_options(query: Query) -> ListOptions:
    """Raises StatusError: 400, 422 for options that exclude each other, 500 for a bad resourceVersion."""
    limit = query.integer("limit") or 0
    timeout = query.integer("timeoutSeconds")
    watch = query.flag("watch")
    match = query.get("resourceVersionMatch")
    text = query.get("resourceVersion")
    send_initial = query.flag("sendInitialEvents") if "sendInitialEvents" in query else None
    check = _watch_problems if watch else _list_problems
    problems = check(match, text, query.get("continue"), send_initial)
    if problems:
        raise status.invalid("ListOptions", "meta.k8s.io", "", problems)
    revision = parse_revision(text) if text else None
    return ListOptions(
        query.get("labelSelector"),
        query.get("fieldSelector"),
        max(limit, 0),
        query.get("continue"),
        revision,
        match,
        watch,
        query.flag("allowWatchBookmarks"),
        timeout,
        send_initial,
    )


def _forbidden(field: str, why: str) -> FieldError:
    return FieldError("FieldValueForbidden", field, f"Forbidden: {why}")


def _list_problems(match: str, revision: str, continues: str, send_initial: bool | None) -> list[FieldError]:
    found: list[FieldError] = []
    field = "resourceVersionMatch"
    if match:
        if not revision:
            found.append(_forbidden(field, f"{field} is forbidden unless resourceVersion is provided"))
        if continues:
            found.append(_forbidden(field, f"{field} is forbidden when continue is provided"))
        if match not in ("Exact", "NotOlderThan"):
            found.append(unsupported_value(field, match, ("Exact", "NotOlderThan", "")))
        if match == "Exact" and revision == "0":
            found.append(_forbidden(field, f'{field} "exact" is forbidden for resourceVersion "0"'))
    if send_initial is not None:
        found.append(_forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list"))
    return found


def _watch_problems(match: str, revision: str, continues: str, send_initial: bool | None) -> list[FieldError]:
    found: list[FieldError] = []
    field = "resourceVersionMatch"
    if send_initial is not None and match != "NotOlderThan":
        found.append(_forbidden(field, f"sendInitialEvents requires setting {field} to NotOlderThan"))
    if match:
        if send_initial is None:
            found.append(
                _forbidden(field, f"{field} is forbidden for watch unless sendInitialEvents is provided")
            )
        if match != "NotOlderThan":
            found.append(unsupported_value(field, match, ("NotOlderThan",)))
        if continues:
            found.append(_forbidden(field, f"{field} is forbidden when continue is provided"))
    return found


def unsupported_value(field: str, value: str, supported: tuple[str, ...]) -> FieldError:
    offers = ", ".join(f'"{s}"' for s in supported)
    return FieldError(
        "FieldValueNotSupported", field, f'Unsupported value: "{value}": supported values: {offers}'
    )


class WriteOptions(NamedTuple):
    """The options of create, update and patch. `manager` is "" when the caller named none."""

    dry_run: bool
    manager: str
    validation: str
    force: bool | None


_MANAGER_LIMIT = 128


def write_options(query: Query, kind: str) -> WriteOptions:
    """`kind` is CreateOptions, UpdateOptions or PatchOptions. Raises StatusError 422."""
    problems: list[FieldError] = []
    manager = query.get("fieldManager")
    if len(manager) > _MANAGER_LIMIT:
        problems.append(
            FieldError(
                "FieldValueTooLong",
                "fieldManager",
                f"Too long: may not be more than {_MANAGER_LIMIT} bytes",
            )
        )
    elif not manager.isprintable():
        problems.append(
            FieldError(
                "FieldValueInvalid",
                "fieldManager",
                f'Invalid value: "{manager}": should only contain printable characters',
            )
        )
    dry_run = query.all("dryRun")
    problems += dry_run_problems(dry_run)
    validation = query.get("fieldValidation")
    if validation not in ("", "Ignore", "Strict", "Warn"):
        problems.append(unsupported_value("fieldValidation", validation, ("", "Ignore", "Strict", "Warn")))
    if problems:
        raise status.invalid(kind, "meta.k8s.io", "", problems)
    force = query.flag("force") if "force" in query else None
    return WriteOptions(bool(dry_run), manager, validation or "Warn", force)


def dry_run_problems(values: list[str]) -> list[FieldError]:
    if all(value == "All" for value in values):
        return []
    quoted = ",".join(f'"{value}"' for value in values)
    return [
        FieldError(
            "FieldValueNotSupported", "dryRun", f'Unsupported value: [{quoted}]: supported values: "All"'
        )
    ]


def manager_of(options: WriteOptions, user_agent: str) -> str:
    """The field manager: as named, else the user agent's first word, as the real server does."""
    return options.manager or user_agent.split("/", 1)[0][:_MANAGER_LIMIT] or "unknown"


def delete_query(query: Query) -> dict[str, Any]:
    """DeleteOptions as they are sent in a query, in the form of a body. Raises StatusError 400."""
    found: dict[str, Any] = {}
    if propagation := query.get("propagationPolicy"):
        found["propagationPolicy"] = propagation
    if "orphanDependents" in query:
        found["orphanDependents"] = query.flag("orphanDependents")
    if (grace := query.integer("gracePeriodSeconds")) is not None:
        found["gracePeriodSeconds"] = grace
    if dry_run := query.all("dryRun"):
        found["dryRun"] = dry_run
    return found
