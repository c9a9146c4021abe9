"""Which resource a manifest means: from the apiVersion and kind that people write to the REST path of it."""

from typing import Any

import msgspec

from hubfleet.kube.budget import Budget
from hubfleet.kube.client import Client
from hubfleet.kube.errors import NotFound
from hubfleet.kube.request import prepare
from hubfleet.kube.resources import Resource
from hubfleet.kube.response import decode


class _Entry(msgspec.Struct, frozen=True):
    name: str
    kind: str
    namespaced: bool


class _ResourceList(msgspec.Struct, frozen=True):
    """`APIResourceList`: what the server has below one group and version."""

    resources: tuple[_Entry, ...] = ()


async def discover(client: Client, api_version: str, kind: str, *, budget: Budget | None = None) -> Resource:
    """The resource of `kind` in `api_version` ("v1", "apps/v1"); NotFound where the cluster has none."""
    group, slash, version = api_version.rpartition("/")
    root = f"/apis/{group}/{version}" if slash else f"/api/{version}"
    body = await client.transport.send(prepare("GET", root), budget)
    for entry in decode(client.name, body, _ResourceList).resources:
        if entry.kind == kind and "/" not in entry.name:  # with a slash: a subresource
            return Resource(group, version, entry.name, kind, entry.namespaced)
    message = f"cluster {client.name} has no kind {kind} in {api_version}"
    status: dict[str, Any] = {"kind": "Status", "code": 404, "reason": "NotFound", "message": message}
    raise NotFound(client.name, 404, "NotFound", message, status=status)
