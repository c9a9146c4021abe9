"""GET, PUT and PATCH of `<resource>/<name>/scale`, for custom resources that have it."""

from typing import Any

import msgspec

from localkube.apiserver import bodies, jsonpatch, mergepatch, status
from localkube.apiserver.crd.kind import CustomKind
from localkube.apiserver.crd.scale import scale_of, scaled
from localkube.apiserver.exchange import Exchange
from localkube.apiserver.requests import manager_of, write_options
from localkube.apiserver.responses import Response

_PATCH_TYPES = ("application/json-patch+json", "application/merge-patch+json")


async def get(x: Exchange) -> Response:
    found = x.registry.read(x.resource.served_key, x.namespace, x.target.name)
    return await x.objects(msgspec.json.encode(scale_of(_custom(x), found.object)))


async def update(x: Exchange) -> Response:
    body = bodies.decode(await x.body(), x.header("content-type"), "Scale")
    return await _write(x, body, "UpdateOptions")


async def patch(x: Exchange) -> Response:
    content_type = bodies.media_type(x.header("content-type"))
    if content_type not in _PATCH_TYPES:
        raise status.unsupported_media_type(_PATCH_TYPES)
    document = bodies.decode_patch(await x.body())
    found = x.registry.read(x.resource.served_key, x.namespace, x.target.name)
    apply = jsonpatch.apply if content_type == _PATCH_TYPES[0] else mergepatch.apply
    return await _write(x, apply(scale_of(_custom(x), found.object), document), "PatchOptions")


async def _write(x: Exchange, scale: dict[str, Any], options_kind: str) -> Response:
    options = write_options(x.query, options_kind)
    custom = _custom(x)
    found = x.registry.read(x.resource.served_key, x.namespace, x.target.name)
    updated = x.registry.update(
        x.resource.served_key,
        x.namespace,
        scaled(custom, found.object, scale),
        dry_run=options.dry_run,
        manager=manager_of(options, x.header("user-agent")),
        warn=x.warn,
    )
    return await x.objects(msgspec.json.encode(scale_of(custom, updated)))


def _custom(x: Exchange) -> CustomKind:
    assert x.resource.custom is not None, "built-in resources have no scale"
    return x.resource.custom
