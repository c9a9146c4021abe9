"""The environment of a container: env, envFrom and `$(VAR)`, as the kubelet composes them."""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from localkube.kubelet import references
from localkube.kubelet.references import Facts, Lookup, ReferenceFailed

_REFERENCE = re.compile(r"\$(\$|\([^)]*\)|.)", re.DOTALL)
_NAME = re.compile(r"[ -<>-~]+")
"""What may name a variable: printable ASCII without `=` (relaxed environment variable validation)."""


class Environment(NamedTuple):
    """`skipped` says, in the words of an event, which keys of which source cannot name a variable."""

    variables: dict[str, str]
    skipped: list[str]


def expand(text: str, variables: Mapping[str, str]) -> str:
    """Replace `$(NAME)`; `$$` stands for `$`, and a name that is not known stays as it is written."""

    def replaced(match: re.Match[str]) -> str:
        found = match[1]
        if found == "$":
            return "$"
        if found.startswith("(") and found.endswith(")") and len(found) > 1:
            return variables.get(found[1:-1], match[0])
        return match[0]

    return _REFERENCE.sub(replaced, text)


def compose(
    pod: dict[str, Any],
    container: dict[str, Any],
    lookup: Lookup,
    facts: Facts,
    base: Mapping[str, str],
) -> Environment:
    """The variables of a container on top of `base`. Raises ReferenceFailed.

    What `env` sets wins over `envFrom`, and both over `base`. Only what the spec set before can be
    referred to by `$(NAME)`, besides `base`.
    """
    variables = dict(base)
    skipped: list[str] = []
    for source in container.get("envFrom") or ():
        _add_source(source, lookup, variables, skipped)
    for entry in container.get("env") or ():
        name = entry["name"]
        if entry.get("valueFrom"):
            value = _value_from(pod, container, entry["valueFrom"], lookup, facts)
            if value is None:
                continue
            variables[name] = value
        else:
            variables[name] = expand(entry.get("value") or "", variables)
    return Environment(variables, skipped)


def _add_source(
    source: dict[str, Any], lookup: Lookup, variables: dict[str, str], skipped: list[str]
) -> None:
    prefix = source.get("prefix") or ""
    for field, kind, title in (
        ("configMapRef", "configmaps", "ConfigMap"),
        ("secretRef", "secrets", "Secret"),
    ):
        ref = source.get(field)
        if ref is None:
            continue
        values = references.content(lookup, kind, ref.get("name", ""), bool(ref.get("optional")))
        invalid = []
        for key, value in sorted(values.items()):
            if not _NAME.fullmatch(prefix + key):
                invalid.append(prefix + key)
            elif (text := _text(value)) is not None:
                variables[prefix + key] = text
        if invalid:
            names = ", ".join(invalid)
            skipped.append(
                f"Keys [{names}] from the EnvFrom {title.lower()} {ref.get('name', '')} were skipped since "
                "they are considered invalid environment variable names."
            )


def _text(value: bytes) -> str | None:
    """A value as an environment variable can carry it: bytes that are no text are kept as they are.

    What holds a NUL cannot be carried at all.
    """
    return None if b"\0" in value else value.decode(errors="surrogateescape")


def _value_from(
    pod: dict[str, Any], container: dict[str, Any], source: dict[str, Any], lookup: Lookup, facts: Facts
) -> str | None:
    if ref := source.get("fieldRef"):
        return references.field(pod, ref["fieldPath"], facts)
    if ref := source.get("resourceFieldRef"):
        return references.resource(_container(pod, ref.get("containerName"), container), ref, facts)
    for field, kind, title in (
        ("configMapKeyRef", "configmaps", "ConfigMap"),
        ("secretKeyRef", "secrets", "Secret"),
    ):
        if ref := source.get(field):
            values = references.content(lookup, kind, ref.get("name", ""), bool(ref.get("optional")))
            if ref["key"] in values:
                return _text(values[ref["key"]])
            if ref.get("optional"):
                return None
            place = f"{pod['metadata']['namespace']}/{ref.get('name', '')}"
            raise ReferenceFailed(f"couldn't find key {ref['key']} in {title} {place}")
    raise ReferenceFailed(f"localkube does not support this source of a variable: {', '.join(source)}")


def _container(pod: dict[str, Any], name: str | None, own: dict[str, Any]) -> dict[str, Any]:
    if not name:
        return own
    spec = pod["spec"]
    for candidate in (*(spec.get("containers") or ()), *(spec.get("initContainers") or ())):
        if candidate["name"] == name:
            return dict(candidate)
    raise ReferenceFailed(f"container {name} not found")


def command(container: dict[str, Any], variables: Mapping[str, str]) -> list[str]:
    """The argument list of a container.

    The image's own entry point is not known: without a command, args are the command, and without either
    it is a shell, as for a bare base image.
    """
    words = [*(container.get("command") or ()), *(container.get("args") or ())]
    return [expand(word, variables) for word in words] or ["/bin/sh"]
