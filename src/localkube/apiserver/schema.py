"""The types of the API: what a field is, how it is decoded, how lists and maps are merged.

The facts are `data/schemas.json`, an OpenAPI v3 document without its prose. `decode` does what a JSON
decoder generated from Go structs does: it refuses wrong types in Go's words, drops what it does not know
and what `omitempty` would leave out on the way back, and brings times and quantities to canonical form.

Every create of every client passes through `decode`, so each type is compiled once, when it is first
needed, into a table of closures. They know no paths: an error collects its path while it unwinds, and
the paths of unknown fields are looked for only when there is one.
"""

from collections.abc import Callable, Mapping
from functools import cache
from importlib import resources as files
from typing import Any, Literal

import msgspec

from localkube.apiserver.resources import Resource
from localkube.apiserver.scalars import SCALARS, Decoder, Mismatch, integer, json_type, string
from localkube.apiserver.status import bad_request

FieldKind = Literal[
    "string",
    "integer",
    "number",
    "boolean",
    "bytes",
    "time",
    "microtime",
    "quantity",
    "int-or-string",
    "any",
    "deduced",
    "struct",
    "list",
    "map",
]

_META = "io.k8s.apimachinery.pkg.apis.meta.v1."
_SPECIAL: dict[str, FieldKind] = {
    "io.k8s.apimachinery.pkg.api.resource.Quantity": "quantity",
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": "int-or-string",
    _META + "Time": "time",
    _META + "MicroTime": "microtime",
    _META + "FieldsV1": "any",
    _META + "Patch": "any",
    "io.k8s.apimachinery.pkg.runtime.RawExtension": "any",
}
_REFERENCE = "#/components/schemas/"


class Field(msgspec.Struct, frozen=True):
    """One field of a type, or (`item`) the element of a list or map.

    `type_name` names the type of a struct. `list_type` is `atomic`, `set` or `map` (with `list_map_keys`),
    `""` means atomic; `map_type` is `granular` or `atomic`, for structs too. `patch_strategy` is `merge`,
    `replace`, `retainKeys` or `merge,retainKeys`, `""` means replace for lists and merge for objects.
    `keeps_zero` tells a pointer from a value: a value with `omitempty` disappears when it is zero.

    A struct of a custom resource has no `type_name` but `members`, and `item` if it keeps fields that are
    not declared. The kind `deduced` is a value that has the type that it turns out to have.
    """

    kind: FieldKind
    go_type: str
    type_name: str = ""
    item: "Field | None" = None
    required: bool = False
    enum: tuple[str, ...] = ()
    keeps_zero: bool = False
    default: Any = None
    format: str = ""
    list_type: str = ""
    list_map_keys: tuple[str, ...] = ()
    map_type: str = ""
    patch_strategy: str = ""
    patch_merge_key: str = ""
    members: "dict[str, Field] | None" = None

    @property
    def atomic(self) -> bool:
        """Whether server-side apply takes the value as a whole."""
        if self.kind == "list":
            return self.list_type in ("", "atomic")
        if self.kind in ("map", "struct"):
            return self.map_type == "atomic"
        return self.kind != "deduced"

    @property
    def known(self) -> "Mapping[str, Field]":
        """The declared fields of a struct."""
        return self.members if self.members is not None else fields(self.type_name)


@cache
def go_facts() -> dict[str, Any]:
    """What the schema does not tell of the Go types, `data/go-types.json`.

    A value with `omitempty` is dropped when it is zero, a pointer is not. Optional strings are values and
    optional integers and booleans are pointers, except for the listed ones. `value-times` are no pointers:
    Go writes the zero one as null (`value-quantities` as "0"). `go-types` are named string and map types,
    as Go's messages say them. `internal-order` and `go-names` are the fields of the types that the server
    itself works with, for messages that print one. `omitted-defaults` are strings with `omitempty` although
    the schema gives them an empty default; in `kept-lists` an empty list means something else than none.
    """
    text = files.files("localkube.apiserver").joinpath("data/go-types.json").read_bytes()
    return {k: frozenset(v) if isinstance(v, list) else v for k, v in msgspec.json.decode(text).items()}


@cache
def _document() -> dict[str, Any]:
    text = files.files("localkube.apiserver").joinpath("data/schemas.json").read_bytes()
    return dict(msgspec.json.decode(text))


def has_type(type_name: str) -> bool:
    """Whether the facts know a type, e.g. `io.k8s.api.core.v1.PodSpec`."""
    return type_name in _document()


def _go_name(type_name: str) -> str:
    """`io.k8s.api.core.v1.Pod` is `v1.Pod` in Go's messages."""
    return ".".join(type_name.rsplit(".", 2)[1:])


def _field(spec: Mapping[str, Any], owner: str, required: bool) -> Field:
    """Read one property's schema. `owner` is `Type.field`, by its short name; `""` for elements."""
    default = None if owner in go_facts()["omitted-defaults"] else spec.get("default")
    reference = spec.get("$ref") or (spec["allOf"][0]["$ref"] if "allOf" in spec else None)
    common: dict[str, Any] = {
        "required": required,
        "default": default,
        "list_type": spec.get("x-kubernetes-list-type", ""),
        "list_map_keys": tuple(spec.get("x-kubernetes-list-map-keys", ())),
        "map_type": spec.get("x-kubernetes-map-type", ""),
        "patch_strategy": spec.get("x-kubernetes-patch-strategy", ""),
        "patch_merge_key": spec.get("x-kubernetes-patch-merge-key", ""),
        "enum": tuple(spec.get("enum", ())),
    }
    if reference:
        type_name = reference.removeprefix(_REFERENCE)
        go_type = _go_name(type_name)
        target = _document().get(type_name, {})
        if type_name in _SPECIAL:
            facts = ("value-times", "value-quantities", "pointer-int-or-strings")
            keeps = any(owner in go_facts()[name] for name in facts)
            return Field(_SPECIAL[type_name], go_type, keeps_zero=keeps, **common)
        if "properties" in target:
            common["map_type"] = common["map_type"] or target.get("x-kubernetes-map-type", "")
            return Field("struct", go_type, type_name, keeps_zero=True, **common)
        return Field("any", go_type, keeps_zero=True, **common)
    kind = spec.get("type")
    has_default = default is not None
    if kind == "string":
        if spec.get("format") == "byte":
            return Field("bytes", "[]uint8", **common)
        keeps = has_default or owner in go_facts()["pointer-strings"]
        return Field("string", go_facts()["go-types"].get(owner, "string"), keeps_zero=keeps, **common)
    if kind == "integer":
        keeps = has_default or owner not in go_facts()["value-integers"]
        size = spec.get("format", "int64")
        return Field("integer", size, format=size, keeps_zero=keeps, **common)
    if kind == "boolean":
        keeps = has_default or owner not in go_facts()["value-booleans"]
        return Field("boolean", "bool", keeps_zero=keeps, **common)
    if kind == "number":
        return Field("number", "float64", keeps_zero=True, **common)
    if kind == "array":
        item = _field(spec["items"], "", False)
        keeps = required or owner in go_facts()["kept-lists"]
        return Field("list", f"[]{item.go_type}", item=item, keeps_zero=keeps, **common)
    if isinstance(spec.get("additionalProperties"), dict):
        item = _field(spec["additionalProperties"], "", False)
        go_type = go_facts()["go-types"].get(owner, f"map[string]{item.go_type}")
        return Field("map", go_type, item=item, keeps_zero=required, **common)
    return Field("any", "interface {}", keeps_zero=True, **common)


@cache
def fields(type_name: str) -> Mapping[str, Field]:
    """The fields of a type by their JSON names; KeyError when the facts do not know the type."""
    schema = _document()[type_name]
    short = type_name.rpartition(".")[2]
    required = schema.get("required", ())
    return {
        name: _field(spec, f"{short}.{name}", name in required)
        for name, spec in schema.get("properties", {}).items()
    }


def field_of(resource: Resource) -> Field:
    """The type of a resource's objects."""
    return resource.custom.type if resource.custom is not None else Field("struct", "", resource.schema)


def field(type_name: str, name: str) -> Field | None:
    """One field of a type; None when the type has no such field."""
    return fields(type_name).get(name)


_ZEROS: dict[str, Any] = {"string": "", "integer": 0, "number": 0, "boolean": False, "bytes": ""}


def _zero(f: Field) -> Any:
    """What null decodes to where it cannot be left out: as an element of a list or a map."""
    if f.kind == "struct":
        return {}
    if f.kind == "quantity":
        return "0"
    return _ZEROS.get(f.kind)


def _list(f: Field) -> Decoder:
    assert f.item is not None
    item, go_type = f.item, f.go_type
    decode_item = _decoder(item)

    def decode(value: Any, seen: list[str]) -> Any:
        if value.__class__ is not list:
            raise Mismatch(json_type(value), go_type)
        return [decode_item(v, seen) if v is not None else _zero(item) for v in value]

    return decode


def _map(f: Field) -> Decoder:
    assert f.item is not None
    item, go_type = f.item, f.go_type
    decode_item = _decoder(item)

    def decode(value: Any, seen: list[str]) -> Any:
        if value.__class__ is not dict:
            raise Mismatch(json_type(value), go_type)
        return {k: decode_item(v, seen) if v is not None else _zero(item) for k, v in value.items()}

    return decode


def _decoder(f: Field) -> Decoder:
    if f.kind == "struct":
        return _struct(f.type_name)
    if f.kind == "list":
        return _list(f)
    if f.kind == "map":
        return _map(f)
    if f.kind == "string":
        return string(f.go_type)
    if f.kind == "integer":
        return integer(f.format)
    return SCALARS[f.kind]


@cache
def _struct(type_name: str) -> Decoder:
    """The decoder of a type. Its table is filled at first use, so that types may contain themselves."""
    short = type_name.rpartition(".")[2]
    go_type = _go_name(type_name)
    # field -> (decoder, whether a zero value stays)
    table: dict[str, tuple[Decoder, bool]] = {}

    def decode(value: Any, seen: list[str]) -> Any:
        if value.__class__ is not dict:
            raise Mismatch(json_type(value), go_type)
        if not table:
            table.update((n, (_decoder(f), f.keeps_zero)) for n, f in fields(type_name).items())
        out = {}
        name = ""
        try:
            for name, v in value.items():
                entry = table.get(name)
                if entry is None:
                    seen.append(name)
                elif v is not None:
                    decoded = entry[0](v, seen)
                    if decoded or entry[1]:
                        out[name] = decoded
        except Mismatch as e:
            e.inside(short, name)
            raise
        return out

    return decode


def _unknown(f: Field, value: Any, path: str) -> list[str]:
    """The paths of the fields that the schema does not know, in the order they stand in."""
    found: list[str] = []
    if f.kind == "struct" and isinstance(value, dict):
        known = fields(f.type_name)
        for name, v in value.items():
            below = f"{path}.{name}" if path else name
            if name not in known:
                found.append(below)
            else:
                found += _unknown(known[name], v, below)
    elif f.kind == "list" and isinstance(value, list) and f.item is not None:
        for index, v in enumerate(value):
            found += _unknown(f.item, v, f"{path}[{index}]")
    elif f.kind == "map" and isinstance(value, dict) and f.item is not None:
        for key, v in value.items():
            found += _unknown(f.item, v, f"{path}.{key}")
    return found


def decode_type(type_name: str, value: Any) -> tuple[Any, list[str]]:
    """Decode a value of any type; raises Mismatch. See `decode`."""
    seen: list[str] = []
    out = _struct(type_name)(value, seen)
    if not seen:
        return out, []
    return out, _unknown(Field("struct", "", type_name), value, "")


def decode(resource: Resource, obj: Any) -> tuple[dict[str, Any], list[str]]:
    """The object as the API holds it, and the paths of the fields it does not know (dropped).

    The result shares nothing with `obj` except free-form JSON. `apiVersion` and `kind` may be missing
    and are filled in. Raises `StatusError` 400 in the API server's words for a wrong type anywhere.
    """
    if not isinstance(obj, dict):
        message = f"json: cannot unmarshal {json_type(obj)} into Go value of type {_go_name(resource.schema)}"
        raise bad_request(f"the object provided is unrecognized (must be of type {resource.kind}): {message}")
    kind, api_version = _type_meta(resource, obj)
    version = api_version.rpartition("/")[2]
    prefix = f'{kind} in version "{version}" cannot be handled as a {resource.kind}: '
    if (kind, api_version) != (resource.kind, resource.api_version):
        raise bad_request(prefix + _foreign(resource, kind, api_version))
    try:
        body, unknown = decode_type(resource.schema, obj)
    except Mismatch as e:
        raise bad_request(prefix + str(e)) from None
    # The order that Go writes; the rest follows as it came.
    out: dict[str, Any] = {"kind": kind, "apiVersion": api_version, "metadata": body.pop("metadata", {})}
    body.pop("kind", None)
    body.pop("apiVersion", None)
    out.update(body)
    return out, unknown


def _type_meta(resource: Resource, obj: Mapping[str, Any]) -> tuple[str, str]:
    for name in ("apiVersion", "kind"):
        value = obj.get(name)
        if value is not None and not isinstance(value, str):
            raise bad_request(
                f"the object provided is unrecognized (must be of type {resource.kind}): couldn't get "
                f"version/kind; json parse error: json: cannot unmarshal {json_type(value)} into Go struct "
                f"field .{name} of type string"
            )
    return obj.get("kind") or resource.kind, obj.get("apiVersion") or resource.api_version


def _foreign(resource: Resource, kind: str, api_version: str) -> str:
    """Why an object of another kind cannot be taken for one of this resource."""
    group, _, version = api_version.rpartition("/")
    for known in _document().values():
        for gvk in known.get("x-kubernetes-group-version-kind", ()):
            if (gvk["group"], gvk["version"], gvk["kind"]) == (group, version, kind):
                package = resource.schema.split(".")[-3]
                return f"converting (v1.{kind}) to ({package}.{resource.kind}): unknown conversion"
    scheme = 'in scheme "pkg/api/legacyscheme/scheme.go:30"'
    return f'no kind "{kind}" is registered for version "{api_version}" {scheme}'


# What Go writes although nobody gave it: fields without `omitempty`, and structs that are no pointers.
_ZERO_TEXT: dict[str, Any] = {"time": None, "microtime": None, "quantity": "0"}
_filler = Callable[[dict[str, Any]], None]


@cache
def _fills(type_name: str, above: tuple[str, ...] = ()) -> bool:
    """Whether a type has anything to fill, in itself or below."""
    if type_name in above:
        return False
    for f in fields(type_name).values():
        if f.default is not None or (f.kind in _ZERO_TEXT and f.keeps_zero):
            return True
        inner = f if f.kind == "struct" else f.item
        if inner is not None and inner.kind == "struct" and _fills(inner.type_name, (*above, type_name)):
            return True
    return False


@cache
def _type_filler(type_name: str) -> _filler:
    zeros: list[tuple[str, Any]] = []
    structs: list[tuple[str, bool, _filler | None]] = []
    lists: list[tuple[str, _filler]] = []
    maps: list[tuple[str, _filler]] = []
    ready = False

    def prepare() -> None:
        for name, f in fields(type_name).items():
            if f.kind == "struct":
                fills = _fills(f.type_name)
                if fills or f.default is not None:
                    filler = _type_filler(f.type_name) if fills else None
                    structs.append((name, f.default is not None, filler))
            elif f.default is not None:
                zeros.append((name, f.default))
            elif f.kind in _ZERO_TEXT and f.keeps_zero:
                zeros.append((name, _ZERO_TEXT[f.kind]))
            elif f.item is not None and f.item.kind == "struct" and _fills(f.item.type_name):
                (lists if f.kind == "list" else maps).append((name, _type_filler(f.item.type_name)))

    def fill(obj: dict[str, Any]) -> None:
        nonlocal ready
        if not ready:
            prepare()
            ready = True
        for name, zero in zeros:
            if name not in obj:
                obj[name] = zero
        for name, always, filler in structs:
            value = obj.get(name)
            if value is None:
                if not always:
                    continue
                value = obj[name] = {}
            if filler is not None:
                filler(value)
        for name, filler in lists:
            for item in obj.get(name) or ():
                filler(item)
        for name, filler in maps:
            for item in (obj.get(name) or {}).values():
                filler(item)

    return fill


def fill(type_name: str, obj: dict[str, Any]) -> None:
    """Add, in place, what the API writes although nobody gave it: `status: {}`, `reportingComponent: ""`."""
    _type_filler(type_name)(obj)
