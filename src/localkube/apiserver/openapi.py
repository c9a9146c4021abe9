"""OpenAPI v3, as much of it as kubectl needs: the types, and which parameters the operations take.

kubectl looks here for whether the server checks fields itself (`fieldValidation`) before it applies
anything, and `kubectl explain` reads the types.
"""

from functools import cache
from importlib import resources as files
from typing import Any

import msgspec

from localkube.apiserver.resources import Resource, Resources

_REFERENCE = "#/components/schemas/"
_WRITE_PARAMETERS = ("dryRun", "fieldManager", "fieldValidation")


@cache
def _schemas() -> dict[str, Any]:
    text = files.files("localkube.apiserver").joinpath("data/schemas.json").read_bytes()
    return dict(msgspec.json.decode(text))


def index(resources: Resources) -> dict[str, Any]:
    """GET /openapi/v3."""
    paths = sorted({_root(resource) for resource in resources})
    return {"paths": {path: {"serverRelativeURL": f"/openapi/v3/{path}"} for path in paths}}


def document(resources: Resources, path: str) -> dict[str, Any] | None:
    """GET /openapi/v3/<path>, where path is `api/v1` or `apis/batch/v1`; None when nothing is there."""
    served = [resource for resource in resources if _root(resource) == path]
    if not served:
        return None
    return {
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": "v1.36.2"},
        "paths": {path: operations for resource in served for path, operations in _paths(resource).items()},
        "components": {"schemas": _closure(served)},
    }


def _root(resource: Resource) -> str:
    return f"apis/{resource.api_version}" if resource.group else f"api/{resource.version}"


def _paths(resource: Resource) -> dict[str, Any]:
    scope = "namespaces/{namespace}/" if resource.namespaced else ""
    collection = f"/{_root(resource)}/{scope}{resource.plural}"
    verbs = resource.verbs
    many = {"get": "list", "post": "create", "delete": "deletecollection"}
    one = {"get": "get", "put": "update", "patch": "patch", "delete": "delete"}
    return {
        collection: {m: _operation(resource, v) for m, v in many.items() if v in verbs},
        f"{collection}/{{name}}": {m: _operation(resource, v) for m, v in one.items() if v in verbs},
    }


def _operation(resource: Resource, verb: str) -> dict[str, Any]:
    names = _WRITE_PARAMETERS if verb in ("create", "update", "patch") else ()
    schema = f"{resource.schema}List" if verb == "list" else resource.schema
    content = {"application/json": {"schema": {"$ref": _REFERENCE + schema}}}
    return {
        "operationId": f"{verb}{resource.version.capitalize()}{resource.kind}",
        "parameters": [{"name": n, "in": "query", "schema": {"type": "string"}} for n in names],
        "responses": {"200": {"description": "OK", "content": content}},
        "x-kubernetes-action": verb,
        "x-kubernetes-group-version-kind": {
            "group": resource.group,
            "version": resource.version,
            "kind": resource.kind,
        },
    }


def _closure(served: list[Resource]) -> dict[str, Any]:
    """The types of resources and all that they refer to."""
    schemas = _schemas()
    names = [name for resource in served for name in (resource.schema, f"{resource.schema}List")]
    found: dict[str, Any] = {}
    for resource in served:
        if resource.custom is not None:
            for name, schema in _custom(resource).items():
                found[name] = schema
                names += _references(schema)
    while names:
        name = names.pop()
        if name not in found and name in schemas:
            found[name] = schemas[name]
            names += _references(schemas[name])
    return found


_META = "io.k8s.apimachinery.pkg.apis.meta.v1."


def _custom(resource: Resource) -> dict[str, Any]:
    """The types of a custom resource and its list, as its definition's schema has them."""
    assert resource.custom is not None
    string = {"type": "string"}
    kind = [{"group": resource.group, "version": resource.version, "kind": resource.kind}]
    schema = resource.custom.schema
    properties = {
        **(schema.get("properties") or {}),
        "apiVersion": string,
        "kind": string,
        "metadata": {"allOf": [{"$ref": f"{_REFERENCE}{_META}ObjectMeta"}]},
    }
    items = {"type": "array", "items": {"$ref": _REFERENCE + resource.schema}}
    metadata = {"$ref": f"{_REFERENCE}{_META}ListMeta"}
    return {
        resource.schema: {
            **schema,
            "properties": properties,
            "x-kubernetes-group-version-kind": kind,
        },
        f"{resource.schema}List": {
            "type": "object",
            "required": ["items"],
            "properties": {"apiVersion": string, "kind": string, "metadata": metadata, "items": items},
            "x-kubernetes-group-version-kind": [{**kind[0], "kind": resource.list_kind}],
        },
    }


def _references(node: Any) -> list[str]:
    if isinstance(node, list):
        return [name for child in node for name in _references(child)]
    if not isinstance(node, dict):
        return []
    own = node.get("$ref")
    below = [name for child in node.values() for name in _references(child)]
    return [own.removeprefix(_REFERENCE), *below] if isinstance(own, str) else below
