"""What the server itself decides about a custom object (`strategy` for those that are defined at runtime)."""

from typing import Any

from localkube.apiserver.crd.kind import CustomKind

Object = dict[str, Any]


def prepare_create(custom: CustomKind, obj: Object) -> None:
    obj["metadata"]["generation"] = 1
    if custom.has_status:
        obj.pop("status", None)


def prepare_update(custom: CustomKind, new: Object, old: Object, subresource: str) -> None:
    """Of a change of the status nothing else stays, not even metadata; and the other way round."""
    if subresource == "status":
        managed = new["metadata"].get("managedFields")
        for name in old.keys() | new.keys():
            if name not in ("kind", "apiVersion", "status"):
                _keep(new, old, name)
        new["metadata"] = dict(old["metadata"])
        _keep(new["metadata"], {"managedFields": managed} if managed else {}, "managedFields")
        return
    if custom.has_status:
        _keep(new, old, "status")
    if _content(new) != _content(old):
        new["metadata"]["generation"] = old["metadata"].get("generation", 0) + 1


def _content(obj: Object) -> Object:
    return {name: value for name, value in obj.items() if name not in ("apiVersion", "metadata")}


def _keep(new: Object, old: Object, name: str) -> None:
    if name in old:
        new[name] = old[name]
    else:
        new.pop(name, None)
