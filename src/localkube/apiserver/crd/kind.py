"""A custom resource in one of its versions: what a CustomResourceDefinition says, ready for use.

`resources.Resource.custom` points here, and the parts of the server that know types by their Go structs ask
it instead where it is set.
"""

from functools import cached_property
from typing import Any

from localkube.apiserver import schema as gotypes
from localkube.apiserver.crd import columns, conformity, defaulting, fieldtypes, jsonpath, listtypes, pruning
from localkube.apiserver.crd.columns import PrinterColumn
from localkube.apiserver.mergestruct import Struct
from localkube.apiserver.resources import Resource
from localkube.apiserver.scalars import Mismatch, json_type
from localkube.apiserver.status import FieldError, bad_request
from localkube.apiserver.validation import metadata
from localkube.apiserver.validation.causes import invalid, required

Object = dict[str, Any]

_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"


class CustomKind:
    """`definition` and `version` are the CustomResourceDefinition and the part of it that this is about."""

    def __init__(self, definition: Object, version: Object) -> None:
        spec = definition["spec"]
        self.kind: str = spec["names"]["kind"]
        self.version: str = version["name"]
        self.api_version = f"{spec['group']}/{version['name']}"
        self.namespaced = spec["scope"] == "Namespaced"
        self.schema: Object = version["schema"]["openAPIV3Schema"]
        subresources = version.get("subresources") or {}
        self.has_status = subresources.get("status") is not None
        self.scale: Object | None = subresources.get("scale")
        self.columns: tuple[PrinterColumn, ...] = columns.compile(version.get("additionalPrinterColumns"))
        self.selectable = {
            field["jsonPath"].removeprefix("."): _reader(field["jsonPath"])
            for field in version.get("selectableFields") or ()
        }
        self.warning = _warning(spec, version)
        self.terminating = "deletionTimestamp" in definition["metadata"]
        stored: str = next(v["name"] for v in spec["versions"] if v["storage"])
        self.storage_api_version = f"{spec['group']}/{stored}"

    @cached_property
    def type(self) -> gotypes.Field:
        """The type of its objects, as server-side apply sees it."""
        return fieldtypes.root(self.schema)

    @cached_property
    def merge_type(self) -> Struct:
        return Struct(self.type)

    def decode(self, obj: Any) -> tuple[Object, list[str]]:
        """As `schema.decode`: the object without what its schema does not know, and the paths of that."""
        if not isinstance(obj, dict):
            raise bad_request(f"json: cannot unmarshal {json_type(obj)} into Go value of type map[string]any")
        kind, api_version = obj.get("kind") or self.kind, obj.get("apiVersion") or self.api_version
        if api_version != self.api_version:
            raise bad_request(
                f"the API version in the data ({api_version}) does not match the expected API version "
                f"({self.api_version})"
            )
        dropped: list[str] = []
        meta = self._metadata(obj.get("metadata"), "metadata", dropped)
        pruned, unknown = pruning.prune(self.schema, obj)
        for name in pruning.TYPE_META:
            pruned.pop(name, None)
        self._embedded(self.schema, pruned, "", dropped)
        return {"kind": kind, "apiVersion": api_version, "metadata": meta, **pruned}, sorted(
            unknown + dropped
        )

    def default(self, obj: Object) -> None:
        """Fill in, in place, what the schema says; metadata are not the schema's business."""
        filled = defaulting.default(self.schema, {k: v for k, v in obj.items() if k not in pruning.TYPE_META})
        for name in [name for name in obj if name not in pruning.TYPE_META and name not in filled]:
            del obj[name]
        obj.update({k: v for k, v in filled.items() if k not in pruning.TYPE_META})

    def validate(self, obj: Object, old: Object | None = None) -> list[FieldError]:
        """What is wrong with an object besides its metadata; `old` is what it was."""
        found = []
        if obj["kind"] != self.kind:
            found.append(invalid("kind", obj["kind"], f"must be {self.kind}"))
        content = {k: v for k, v in obj.items() if k != "metadata"}
        if old is None:
            found += conformity.check(self.schema, _named(content, obj))
        else:
            found += conformity.check(self.schema, _named(content, obj), "", _named(dict(old), old))
        return (
            found + self._embedded_problems(self.schema, content, "") + listtypes.check(self.schema, content)
        )

    def view(self, obj: Object) -> Object:
        """A stored object as this version shows it; the object itself where that is the same."""
        content = {k: v for k, v in obj.items() if k not in pruning.TYPE_META}
        pruned, _ = pruning.prune(self.schema, content)
        filled = defaulting.default(self.schema, pruned)
        if filled == content and obj["apiVersion"] == self.api_version:
            return obj
        return {
            "kind": obj["kind"],
            "apiVersion": self.api_version,
            "metadata": obj["metadata"],
            **filled,
        }

    def to_storage(self, obj: Object) -> Object:
        """An object as it is stored: of all conversions there is only None, which changes the version."""
        if obj["apiVersion"] == self.storage_api_version:
            return obj
        return {**obj, "apiVersion": self.storage_api_version}

    def _metadata(self, value: Any, path: str, dropped: list[str]) -> Object:
        try:
            decoded, unknown = gotypes.decode_type(_META, value if value is not None else {})
        except Mismatch as error:
            error.inside("ObjectMeta" if error.path else "", path)
            prefix = f'{self.kind} in version "{self.version}" cannot be handled as a {self.kind}: '
            raise bad_request(prefix + str(error)) from None
        dropped += [f"{path}.{name}" for name in unknown]
        return dict(decoded)

    def _embedded(self, schema: Object, value: Any, path: str, dropped: list[str]) -> None:
        """Bring the metadata of embedded objects to their form, in place (`value` is a copy already)."""
        for below, item, name in _children(schema, value, path):
            if below.get("x-kubernetes-embedded-resource") and isinstance(item, dict) and "metadata" in item:
                item["metadata"] = self._metadata(item["metadata"], f"{name}.metadata", dropped)
            self._embedded(below, item, name, dropped)

    def _embedded_problems(self, schema: Object, value: Any, path: str) -> list[FieldError]:
        found: list[FieldError] = []
        for below, item, name in _children(schema, value, path):
            if below.get("x-kubernetes-embedded-resource") and isinstance(item, dict):
                for field in ("apiVersion", "kind"):
                    if not item.get(field):
                        found.append(required(f"{name}.{field}", "must not be empty"))
                errors = metadata.validate_labels(
                    (item.get("metadata") or {}).get("labels"), f"{name}.metadata.labels"
                )
                found += errors
            found += self._embedded_problems(below, item, name)
        return found


def _named(content: Object, obj: Object) -> Object:
    """An object with those of its metadata that a schema can restrict."""
    meta = {name: obj["metadata"][name] for name in ("name", "generateName") if name in obj["metadata"]}
    return {**content, "metadata": meta}


def _children(schema: Object, value: Any, path: str) -> list[tuple[Object, Any, str]]:
    """(schema, value, path) of what lies directly below a value."""
    if isinstance(value, dict):
        properties = schema.get("properties") or {}
        rest = pruning.additional(schema)
        found = ((properties.get(name, rest), item, name) for name, item in value.items())
        return [
            (below, item, f"{path}.{name}" if path else name)
            for below, item, name in found
            if below is not None
        ]
    items = schema.get("items")
    if isinstance(value, list) and isinstance(items, dict):
        return [(items, item, f"{path}[{i}]") for i, item in enumerate(value)]
    return []


def _reader(path: str) -> Any:
    def read(obj: Any) -> Any:
        found = jsonpath.find(path, obj)
        return found[0] if found else None

    return read


def _warning(spec: Object, version: Object) -> str:
    if not version.get("deprecated"):
        return ""
    said = version.get("deprecationWarning")
    return said or f"{spec['group']}/{version['name']} {spec['names']['kind']} is deprecated"


def resource_of(definition: Object, version: Object) -> Resource:
    """What serves a version of a definition whose names are accepted."""
    spec = definition["spec"]
    names = definition["status"]["acceptedNames"]
    custom = CustomKind(definition, version)
    present = (("scale", custom.scale is not None), ("status", custom.has_status))
    return Resource(
        spec["group"],
        version["name"],
        names["plural"],
        names["singular"],
        names["kind"],
        names["listKind"],
        custom.namespaced,
        ".".join([*reversed(spec["group"].split(".")), version["name"], names["kind"]]),
        short_names=tuple(names.get("shortNames") or ()),
        categories=tuple(names.get("categories") or ()),
        subresources=tuple(name for name, there in present if there),
        custom=custom,
    )
