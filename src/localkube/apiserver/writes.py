"""POST, PUT, PATCH and DELETE: decode, let the registry do it, answer with what became of the object."""

import asyncio
from typing import Any

import msgspec

from localkube.apiserver import bodies, deletion, status
from localkube.apiserver.exchange import Exchange
from localkube.apiserver.rbac import escalation
from localkube.apiserver.rbac.grants import CLUSTER_ROLE_BINDINGS, CLUSTER_ROLES, ROLE_BINDINGS, ROLES
from localkube.apiserver.reads import encode_list
from localkube.apiserver.registry import APPLY, STRATEGIC, Guard
from localkube.apiserver.requests import WriteOptions, delete_query, manager_of, write_options
from localkube.apiserver.resources import Resource
from localkube.apiserver.responses import Response
from localkube.apiserver.status import FieldError
from localkube.apiserver.store import Version

_PATCH_TYPES = (
    "application/json-patch+json",
    "application/merge-patch+json",
    STRATEGIC,
    APPLY,
)
_CREATES_ON_UPDATE = frozenset(
    {
        "leases.coordination.k8s.io",
        "events",
        "services",
        "endpoints",
        ROLES,
        ROLE_BINDINGS,
        CLUSTER_ROLES,
        CLUSTER_ROLE_BINDINGS,
    }
)
"""Kinds for which a PUT to a missing object creates it (`AllowCreateOnUpdate`)."""

_ACCOUNT_SECONDS = 1.0


async def create(x: Exchange) -> Response:
    if x.resource.namespaced and x.target.namespace is None:
        raise status.method_not_allowed()
    options = write_options(x.query, "CreateOptions")
    _ = x.representation
    body = bodies.decode(await x.body(), x.header("content-type"), x.resource.kind)
    if x.resource.key == "pods":
        await _default_account(x, body)
    created = x.registry.create(
        x.resource.served_key,
        x.namespace,
        body,
        dry_run=options.dry_run,
        manager=_manager(x, options),
        unknown=options.validation,
        warn=x.warn,
        guard=_guard(x),
    )
    return await x.one(created, 201)


async def _default_account(x: Exchange, pod: dict[str, Any]) -> None:
    """Wait a moment for the service account that a controller makes in every new namespace.

    The real server looks for it again and again for a second, since clients create a namespace and
    a pod in it in one breath.
    """
    spec = pod.get("spec")
    named = spec.get("serviceAccountName") if isinstance(spec, dict) else None
    if named not in (None, "", "default") or x.registry.exists("serviceaccounts", x.namespace, "default"):
        return
    if not x.registry.exists("namespaces", "", x.namespace):
        return
    watch = x.registry.watch("serviceaccounts", x.namespace, fields="metadata.name=default")
    try:
        async with asyncio.timeout(_ACCOUNT_SECONDS):
            await watch.batch()
    except TimeoutError:
        pass
    finally:
        watch.close()


async def update(x: Exchange) -> Response:
    options = write_options(x.query, "UpdateOptions")
    _ = x.representation
    body = bodies.decode(await x.body(), x.header("content-type"), x.resource.kind)
    _check_address(x, body)
    common: dict[str, Any] = {
        "dry_run": options.dry_run,
        "manager": _manager(x, options),
        "unknown": options.validation,
        "warn": x.warn,
        "guard": _guard(x),
    }
    key, name = x.resource.key, x.target.name
    if key in _CREATES_ON_UPDATE and not x.registry.exists(key, x.namespace, name):
        return await x.one(x.registry.create(key, x.namespace, body, **common), 201)
    key = x.resource.served_key
    updated = x.registry.update(key, x.namespace, body, subresource=x.target.subresource, **common)
    return await x.one(updated)


async def patch(x: Exchange) -> Response:
    content_type = bodies.media_type(x.header("content-type"))
    if content_type not in _PATCH_TYPES:
        raise status.unsupported_patch_type()
    if x.resource.custom is not None and content_type == STRATEGIC:
        raise status.unsupported_media_type([t for t in _PATCH_TYPES if t != STRATEGIC])
    apply = content_type == APPLY
    options = write_options(x.query, "PatchOptions")
    _check_patch_options(options, apply)
    _ = x.representation
    raw = await x.body()
    document = bodies.decode_yaml(raw) if apply else bodies.decode_patch(raw)
    key, name = x.resource.key, x.target.name
    if apply and isinstance(document, dict):
        _check_address(x, document)
    existed = x.registry.exists(key, x.namespace, name)
    patched = x.registry.patch(
        x.resource.served_key,
        x.namespace,
        name,
        document,
        content_type,
        subresource=x.target.subresource,
        manager=_manager(x, options),
        force=bool(options.force),
        dry_run=options.dry_run,
        unknown=options.validation,
        warn=x.warn,
        guard=_guard(x),
    )
    return await x.one(patched, 200 if existed else 201)


async def delete(x: Exchange) -> Response:
    options = await _delete_options(x)
    key, name = x.resource.key, x.target.name
    if key == "jobs.batch" and options.propagation is None:
        x.warn(deletion.JOB_ORPHAN_WARNING)
    obj, gone = x.registry.remove(x.resource.served_key, x.namespace, name, options)
    if not gone or key in deletion.RETURNS_OBJECT:
        return await x.one(obj)
    details = {"name": name}
    if x.resource.group:
        details["group"] = x.resource.group
    details |= {"kind": x.resource.plural, "uid": obj["metadata"]["uid"]}
    return await x.one(status.success(details))


async def delete_collection(x: Exchange) -> Response:
    if x.resource.namespaced and x.target.namespace is None:
        raise status.method_not_allowed()
    options = await _delete_options(x)
    deleted = x.registry.delete_collection(
        x.resource.served_key,
        x.target.namespace,
        labels=x.query.get("labelSelector"),
        fields=x.query.get("fieldSelector"),
        propagation=options.propagation,
        grace=options.grace,
        dry_run=options.dry_run,
    )
    metadata = {"resourceVersion": str(x.registry.store.revision)}
    versions = [Version("", obj, 0) for obj in deleted]
    body = encode_list(x.resource, metadata, versions)
    return await x.objects(body)


async def bind(x: Exchange) -> Response:
    """POST pods/<name>/binding: a scheduler's decision."""
    options = write_options(x.query, "CreateOptions")
    body = bodies.decode(await x.body(), x.header("content-type"), "Binding")
    target = body.get("target")
    node = target.get("name") if isinstance(target, dict) else None
    if not isinstance(node, str) or not node:
        raise status.invalid(
            "Binding",
            "",
            x.target.name,
            [FieldError("FieldValueRequired", "target.name", "Required value")],
        )
    x.registry.bind(x.namespace, x.target.name, node, dry_run=options.dry_run)
    return await x.objects(msgspec.json.encode(status.success()), 201)


async def evict(x: Exchange) -> Response:
    """POST pods/<name>/eviction: a deletion that a disruption budget may refuse (there are none yet)."""
    body = bodies.decode(await x.body(), x.header("content-type"), "Eviction")
    options = deletion.parse_options(body.get("deleteOptions") or {})
    x.registry.remove("pods", x.namespace, x.target.name, options)
    return await x.objects(msgspec.json.encode(status.success()), 201)


def _guard(x: Exchange) -> Guard:
    """What is asked about an object once it is known, beyond the right to the request."""

    def guard(resource: Resource, old: dict[str, Any] | None, new: dict[str, Any]) -> None:
        if old is None and x.allowed.verb != "create":
            # a PUT or an apply that finds nothing creates, and so needs the right to create as well
            x.access.authorizer.require(x.allowed._replace(verb="create", namespace=x.namespace))
        escalation.check(x.access.authorizer, x.allowed, resource, old, new)

    return guard


def _manager(x: Exchange, options: WriteOptions) -> str:
    return manager_of(options, x.header("user-agent"))


def _check_address(x: Exchange, body: dict[str, Any]) -> None:
    """The object has to be the one that the path names. Raises 400."""
    metadata = body.get("metadata")
    if not isinstance(metadata, dict):
        metadata = {}
    name, namespace = metadata.get("name"), metadata.get("namespace")
    wanted = x.target.name
    if isinstance(namespace, str) and namespace and x.resource.namespaced and namespace != x.target.namespace:
        raise status.bad_request(
            "the namespace of the provided object does not match the namespace sent on the request"
        )
    if name is None or name == "":
        raise status.bad_request(
            f"the name of the object ({wanted} based on URL) was undeterminable: name must be provided"
        )
    if isinstance(name, str) and name != wanted:
        raise status.bad_request(
            f"the name of the object ({name}) does not match the name on the URL ({wanted})"
        )


def _check_patch_options(options: WriteOptions, apply: bool) -> None:
    problem: FieldError | None = None
    if apply and not options.manager:
        problem = FieldError(
            "FieldValueRequired", "fieldManager", "Required value: is required for apply patch"
        )
    elif not apply and options.force is not None:
        problem = FieldError(
            "FieldValueForbidden", "force", "Forbidden: may not be specified for non-apply patch"
        )
    if problem is not None:
        raise status.invalid("PatchOptions", "meta.k8s.io", "", [problem])


async def _delete_options(x: Exchange) -> deletion.Options:
    _ = x.representation
    raw = await x.body()
    if raw.strip():
        return deletion.parse_options(bodies.decode(raw, x.header("content-type"), "DeleteOptions"))
    return deletion.parse_options(delete_query(x.query))
