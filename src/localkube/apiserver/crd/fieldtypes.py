"""The types of a structural schema as server-side apply sees them: what is owned field by field.

A list is owned as a whole unless its schema says `set` or `map`, an object by its fields unless it says
`atomic`; what lies below `x-kubernetes-preserve-unknown-fields` has the types that its values have.
"""

from typing import Any

from localkube.apiserver.crd.pruning import additional
from localkube.apiserver.schema import Field

Schema = dict[str, Any]

_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
_STRING = Field("string", "string", keeps_zero=True)
_METADATA = Field("struct", "v1.ObjectMeta", _META, keeps_zero=True)
DEDUCED = Field("deduced", "interface {}", keeps_zero=True)
"""A value of any type, whose fields are owned one by one if it is an object."""


def root(schema: Schema) -> Field:
    """The type of whole objects."""
    return _struct(schema, resource=True)


def _struct(schema: Schema, *, resource: bool) -> Field:
    members = {name: _field(one) for name, one in (schema.get("properties") or {}).items()}
    if resource:
        members |= {"apiVersion": _STRING, "kind": _STRING, "metadata": _METADATA}
    rest = DEDUCED if schema.get("x-kubernetes-preserve-unknown-fields") else None
    return Field(
        "struct",
        "map[string]interface {}",
        keeps_zero=True,
        members=members,
        item=rest,
        map_type=schema.get("x-kubernetes-map-type") or "",
    )


def _field(schema: Schema) -> Field:
    if schema.get("x-kubernetes-int-or-string"):
        return Field("int-or-string", "intstr.IntOrString", keeps_zero=True, default=schema.get("default"))
    embedded = bool(schema.get("x-kubernetes-embedded-resource"))
    default = schema.get("default")
    match schema.get("type"):
        case "object":
            rest = additional(schema)
            if schema.get("properties") or embedded or rest is None:
                if schema.get("additionalProperties") is True:
                    return Field("map", "map[string]interface {}", item=DEDUCED, keeps_zero=True)
                return _struct(schema, resource=embedded)
            item = _field(rest)
            map_type = schema.get("x-kubernetes-map-type") or ""
            return Field("map", f"map[string]{item.go_type}", item=item, map_type=map_type, keeps_zero=True)
        case "array":
            items = schema.get("items")
            item = _field(items) if isinstance(items, dict) else DEDUCED
            keys = tuple(schema.get("x-kubernetes-list-map-keys") or ())
            list_type = schema.get("x-kubernetes-list-type") or ""
            return Field(
                "list",
                f"[]{item.go_type}",
                item=item,
                list_type=list_type,
                list_map_keys=keys,
                keeps_zero=True,
            )
        case "string":
            return Field("string", "string", keeps_zero=True, default=default)
        case "integer":
            return Field("integer", "int64", keeps_zero=True, default=default)
        case "number":
            return Field("number", "float64", keeps_zero=True, default=default)
        case "boolean":
            return Field("boolean", "bool", keeps_zero=True, default=default)
    return DEDUCED
