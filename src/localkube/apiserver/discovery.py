"""What the server offers, told to clients: /api, /apis, /version, and the form that kubectl prefers."""

import base64
import hashlib
from collections.abc import Iterable
from typing import Any

from localkube.apiserver.crd.definitions import priority
from localkube.apiserver.resources import Resource, Resources

VERSION = {
    "major": "1",
    "minor": "36",
    "emulationMajor": "1",
    "emulationMinor": "36",
    "minCompatibilityMajor": "1",
    "minCompatibilityMinor": "35",
    "gitVersion": "v1.36.2+localkube",
    "gitCommit": "",
    "gitTreeState": "",
    "buildDate": "1970-01-01T00:00:00Z",
    "goVersion": "",
    "compiler": "",
    "platform": "linux/amd64",
}
"""The API that is spoken, not the program: clients decide by it what they may use."""

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"

_SUBRESOURCES: dict[str, dict[str, Any]] = {
    "binding": {"kind": "Binding", "verbs": ["create"]},
    "eviction": {"kind": "Eviction", "verbs": ["create"], "group": "policy", "version": "v1"},
    "finalize": {"verbs": ["update"]},
    "scale": {"kind": "Scale", "verbs": ["get", "patch", "update"], "group": "autoscaling", "version": "v1"},
    "log": {"verbs": ["get"]},
    "status": {"verbs": ["get", "patch", "update"]},
    "token": {"kind": "TokenRequest", "verbs": ["create"], "group": "authentication.k8s.io", "version": "v1"},
}


def paths(resources: Resources) -> dict[str, Any]:
    """GET /: every path that leads somewhere."""
    groups = sorted({r.group for r in resources if r.group})
    versions = sorted({f"/apis/{r.api_version}" for r in resources if r.group})
    listed = ["/api", "/api/v1", "/apis", *(f"/apis/{g}" for g in groups), *versions]
    return {"paths": sorted([*listed, "/healthz", "/livez", "/readyz", "/version"])}


def core(address: str) -> dict[str, Any]:
    """GET /api."""
    return {
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}],
    }


def groups(resources: Resources) -> dict[str, Any]:
    """GET /apis."""
    return {
        "kind": "APIGroupList",
        "apiVersion": "v1",
        "groups": [_group(name, versions) for name, versions in _versions(resources).items() if name],
    }


def group(resources: Resources, name: str) -> dict[str, Any] | None:
    """GET /apis/<group>; None when there is no such group."""
    versions = _versions(resources).get(name)
    return {"kind": "APIGroup", "apiVersion": "v1", **_group(name, versions)} if name and versions else None


def resource_list(resources: Resources, group: str, version: str) -> dict[str, Any] | None:
    """GET /api/v1 and /apis/<group>/<version>; None when nothing is served there."""
    listed = [entry for r in _of(resources, group, version) for entry in _entries(r)]
    if not listed:
        return None
    return {
        "kind": "APIResourceList",
        # the core group's document has no apiVersion on the real server either
        **({"apiVersion": "v1"} if group else {}),
        "groupVersion": f"{group}/{version}" if group else version,
        "resources": listed,
    }


def aggregated(resources: Resources, *, core: bool) -> dict[str, Any]:
    """GET /api and /apis for clients that ask for everything at once (APIGroupDiscoveryList)."""
    items = []
    for name, versions in _versions(resources).items():
        if bool(name) is core:
            continue
        items.append(
            {
                "metadata": {"name": name} if name else {},
                "versions": [
                    {
                        "version": version,
                        "resources": [_aggregated(r) for r in _of(resources, name, version)],
                        "freshness": "Current",
                    }
                    for version in versions
                ],
            }
        )
    return {
        "kind": "APIGroupDiscoveryList",
        "apiVersion": "apidiscovery.k8s.io/v2",
        "metadata": {},
        "items": items,
    }


def _versions(resources: Resources) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for resource in resources:
        versions = found.setdefault(resource.group, [])
        if resource.version not in versions:
            versions.append(resource.version)
    return {group: sorted(versions, key=priority) for group, versions in found.items()}


def _of(resources: Resources, group: str, version: str) -> Iterable[Resource]:
    found = (r for r in resources if (r.group, r.version) == (group, version))
    return sorted(found, key=lambda r: r.plural)


def _group(name: str, versions: list[str]) -> dict[str, Any]:
    served = [{"groupVersion": f"{name}/{version}", "version": version} for version in versions]
    return {"name": name, "versions": served, "preferredVersion": served[0]}


def _entries(resource: Resource) -> list[dict[str, Any]]:
    entry: dict[str, Any] = {
        "name": resource.plural,
        "singularName": resource.singular,
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": sorted(resource.verbs),
    }
    if resource.short_names:
        entry["shortNames"] = list(resource.short_names)
    if resource.categories:
        entry["categories"] = list(resource.categories)
    if resource.list_kind:
        entry["storageVersionHash"] = storage_version_hash(resource)
    found = [entry]
    for subresource in sorted(resource.subresources):
        facts = _SUBRESOURCES.get(subresource, {"verbs": ["get", "patch", "update"]})
        found.append(
            {
                "name": f"{resource.plural}/{subresource}",
                "singularName": "",
                "namespaced": resource.namespaced,
                "kind": resource.kind,
                **facts,
            }
        )
    return found


def _aggregated(resource: Resource) -> dict[str, Any]:
    gvk = {"group": resource.group, "version": resource.version, "kind": resource.kind}
    entry: dict[str, Any] = {
        "resource": resource.plural,
        "responseKind": gvk,
        "scope": "Namespaced" if resource.namespaced else "Cluster",
        "singularResource": resource.singular,
        "verbs": sorted(resource.verbs),
    }
    if resource.short_names:
        entry["shortNames"] = list(resource.short_names)
    if resource.categories:
        entry["categories"] = list(resource.categories)
    if resource.subresources:
        entry["subresources"] = [
            {
                "subresource": name,
                "responseKind": {
                    "group": facts.get("group", resource.group),
                    "version": facts.get("version", resource.version),
                    "kind": facts.get("kind", resource.kind),
                },
                "verbs": facts["verbs"],
            }
            for name in sorted(resource.subresources)
            for facts in [_SUBRESOURCES.get(name, {"verbs": ["get", "patch", "update"]})]
        ]
    return entry


def storage_version_hash(resource: Resource) -> str:
    """How the real server lets clients notice a change of what is stored (StorageVersionHash)."""
    version = resource.custom.storage_api_version if resource.custom is not None else resource.api_version
    stored = f"{resource.group}/{version.rpartition('/')[2]}/{resource.kind}"
    return base64.b64encode(hashlib.sha256(stored.encode()).digest()[:8]).decode()
