"""Values as the server's own Go types print them, which some messages quote in full.

The internal types mirror the public ones, but have capitalized names, an order of their own, and print
what is absent. `data/go-types.json` holds order and names.
"""

from collections.abc import Mapping
from typing import Any

from localkube.apiserver import schema

_CORE = "io.k8s.api.core.v1."
_ZEROS: dict[str, Any] = {"string": "", "integer": 0, "boolean": False, "quantity": "0", "int-or-string": 0}
# Fields of a pod spec that the internal types keep in its security context.
_HOST = ("hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace", "hostUsers")


def pod_template(template: Mapping[str, Any]) -> dict[str, Any]:
    """A pod template: its metadata is embedded (and printed by its public names), its spec is not."""
    metadata = template.get("metadata") or {}
    embedded = {name: _sorted(value) for name, value in metadata.items() if value}
    return {**embedded, "Spec": _struct(_CORE + "PodSpec", template.get("spec") or {})}


def _sorted(value: Any) -> Any:
    return dict(sorted(value.items())) if isinstance(value, dict) else value


def _go_name(name: str) -> str:
    return str(schema.go_facts()["go-names"].get(name) or name[:1].upper() + name[1:])


def _struct(type_name: str, value: Mapping[str, Any]) -> dict[str, Any]:
    short = type_name.rpartition(".")[2]
    fields = schema.fields(type_name)
    if short == "PodSpec":
        moved = {name: value[name] for name in _HOST if name in value}
        value = {**value, "securityContext": {**(value.get("securityContext") or {}), **moved}}
    elif short == "PodSecurityContext":
        fields = {**fields, **{name: schema.fields(_CORE + "PodSpec")[name] for name in _HOST}}
    order = schema.go_facts()["internal-order"].get(short) or list(fields)
    return {_go_name(name): _value(fields[name], value.get(name)) for name in order if name in fields}


def _value(field: schema.Field, value: Any) -> Any:
    if field.kind == "struct":
        if value is None and field.default is None:
            return None
        if not field.type_name.startswith(_CORE):
            return value
        return _struct(field.type_name, value or {})
    if value is None:
        is_pointer = field.keeps_zero and field.default is None and field.kind != "int-or-string"
        return None if is_pointer else _ZEROS.get(field.kind)
    if field.kind == "list" and field.item is not None:
        return [_value(field.item, item) for item in value]
    return _sorted(value)
