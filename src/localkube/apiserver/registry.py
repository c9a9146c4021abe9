"""The API in process: what controllers and the kubelet call, and what the HTTP server answers from.

Every method is synchronous and atomic (it runs on the event loop's thread without awaiting), so a
read-modify-write inside one is never interleaved with another. Objects that are returned are SHARED with the
store and with other readers: copy before changing.
"""

import copy
import secrets
import uuid
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any, Protocol

from . import deletion, selectors, status
from .deletion import Propagation, timestamp
from .resources import Resource, Resources
from .status import FieldError
from .store import Store, Version
from .watches import Event, Watch

__all__ = ["Event", "LogSource", "Registry", "Watch"]

_SUFFIX = "bcdfghjklmnpqrstvwxz2456789"
"""Letters of generated names (k8s.io/apimachinery/pkg/util/rand): no vowels, so that no words come out."""
_GENERATED_BASE = 58
_GENERATE_ATTEMPTS = 8


Objects = list[dict[str, Any]]


class LogSource(Protocol):
    """Opens a container's log; raises StatusError. Set by the kubelet."""

    async def __call__(
        self,
        pod: dict[str, Any],
        container: str | None,
        *,
        follow: bool,
        tail_lines: int | None,
        since_seconds: int | None,
        since_time: str | None,
        timestamps: bool,
        previous: bool,
        limit_bytes: int | None,
    ) -> AsyncIterator[bytes]: ...


def _ignore(warning: str) -> None:
    """Where warnings go when nobody asked for them."""


class Registry:
    """`key` is a `Resource.key` such as "pods" or "jobs.batch"; `namespace` is "" for cluster-wide kinds."""

    def __init__(
        self,
        store: Store | None = None,
        resources: Resources | None = None,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ):
        self.store = store if store is not None else Store()
        self.resources = resources if resources is not None else Resources()
        self.clock = clock
        self.log_source: LogSource | None = None

    # reading

    def read(self, key: str, namespace: str, name: str) -> Version:
        """The current version of an object, with its encoded bytes. Raises 404."""
        version = self.store.get(key, namespace, name)
        if version is None:
            raise status.not_found(key, name)
        return version

    def get(self, key: str, namespace: str, name: str) -> dict[str, Any]:
        return self.read(key, namespace, name).object

    def list(self, key: str, namespace: str | None = None, *, labels: str = "", fields: str = "") -> Objects:
        """The objects in key order; namespace None is all namespaces."""
        selector = selectors.parse(key, labels, fields)
        versions = self.store.list(key, namespace)
        if not selector:
            return [version.object for version in versions]
        return [version.object for version in versions if selector.matches(version.object)]

    def watch(
        self,
        key: str,
        namespace: str | None = None,
        *,
        since: int | None = None,
        initial: bool = True,
        labels: str = "",
        fields: str = "",
        bookmark: bool = False,
    ) -> Watch:
        """The changes after revision `since`; without it (and if `initial`) ADDED for each object first.

        With `bookmark`, one BOOKMARK follows the initial events. Raises 410 when `since` is too old.
        """
        return Watch(
            self.store,
            key,
            namespace,
            since=since,
            initial=initial,
            selector=selectors.parse(key, labels, fields),
            bookmark=bookmark,
        )

    # writing

    def create(
        self,
        key: str,
        namespace: str,
        obj: dict[str, Any],
        *,
        dry_run: bool = False,
        manager: str = "localkube",
        warn: Callable[[str], None] = _ignore,
    ) -> dict[str, Any]:
        """Add an object (which is copied). Raises 404 and 403 about the namespace, 409, 422."""
        resource = self.resources[key]
        obj = copy.deepcopy(obj)
        now = self.clock()
        metadata = self._admit_metadata(resource, namespace, obj)
        self._admit_namespace(resource, namespace, metadata.get("name", ""))
        if metadata.get("resourceVersion"):
            raise status.unclassified("resourceVersion should not be set on objects to be created")
        metadata["uid"] = str(uuid.uuid4())
        metadata["creationTimestamp"] = timestamp(now)
        metadata.pop("resourceVersion", None)
        self._name(resource, namespace, metadata)
        if self.store.get(key, namespace, metadata["name"]) is not None:
            raise status.already_exists(key, metadata["name"])
        if dry_run:
            return obj
        return self.store.put(key, namespace, metadata["name"], obj).object

    def update(
        self,
        key: str,
        namespace: str,
        obj: dict[str, Any],
        *,
        subresource: str = "",
        manager: str = "localkube",
        dry_run: bool = False,
        warn: Callable[[str], None] = _ignore,
    ) -> dict[str, Any]:
        """Replace an object (or its status). Raises 404, 409 on a stale resourceVersion, 422."""
        resource = self.resources[key]
        old = self.read(key, namespace, obj["metadata"]["name"]).object
        return self._replace(resource, namespace, old, copy.deepcopy(obj), subresource, manager, dry_run)

    def patch(
        self,
        key: str,
        namespace: str,
        name: str,
        patch: Any,
        content_type: str = "application/merge-patch+json",
        *,
        subresource: str = "",
        manager: str = "localkube",
        force: bool = False,
        dry_run: bool = False,
        warn: Callable[[str], None] = _ignore,
    ) -> dict[str, Any]:
        """Change an object by a patch (decoded JSON); an apply patch creates it where it is missing."""
        resource = self.resources[key]
        old = self.read(key, namespace, name).object
        new = _merge(old, patch)
        return self._replace(resource, namespace, old, new, subresource, manager, dry_run)

    def delete(
        self,
        key: str,
        namespace: str,
        name: str,
        *,
        propagation: Propagation | None = None,
        grace: int | None = None,
        uid: str | None = None,
        resource_version: str | None = None,
        dry_run: bool = False,
    ) -> dict[str, Any]:
        """Delete an object, or mark it as being deleted; the answer is its last state, or the marked object.

        Raises 404, and 409 when a precondition (`uid`, `resource_version`) does not hold.
        """
        resource = self.resources[key]
        obj = self.read(key, namespace, name).object
        options = deletion.Options(propagation, grace, uid, resource_version, dry_run)
        deletion.check_preconditions(resource.kind, resource.group, obj, options)
        update, remove = deletion.plan(key, obj, options, self.clock())
        if dry_run:
            return update or obj
        if update is not None:
            obj = self.store.put(key, namespace, name, update).object
        if remove:
            obj = self.store.delete(key, namespace, name).object
        return obj

    def exists(self, key: str, namespace: str, name: str) -> bool:
        return self.store.get(key, namespace, name) is not None

    def delete_collection(
        self,
        key: str,
        namespace: str | None,
        *,
        labels: str = "",
        fields: str = "",
        propagation: Propagation | None = None,
        grace: int | None = None,
        dry_run: bool = False,
    ) -> Objects:
        """Delete every object that matches; the answer is the objects as they were."""
        found = self.list(key, namespace, labels=labels, fields=fields)
        for obj in found:
            metadata = obj["metadata"]
            self.delete(
                key,
                metadata.get("namespace", ""),
                metadata["name"],
                propagation=propagation,
                grace=grace,
                dry_run=dry_run,
            )
        return found

    def record_event(
        self,
        involved: dict[str, Any],
        reason: str,
        message: str,
        type: str = "Normal",
        component: str = "kubelet",
    ) -> dict[str, Any]:
        """Tell about an object in a core/v1 Event; the same words again raise the count of the first."""
        now = self.clock()
        metadata = involved["metadata"]
        namespace = metadata.get("namespace") or "default"
        name = f"{metadata['name']}.{int(now.timestamp() * 1e9):x}"
        event = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": namespace},
            "involvedObject": {
                "kind": involved["kind"],
                "namespace": metadata.get("namespace", ""),
                "name": metadata["name"],
                "uid": metadata.get("uid", ""),
                "apiVersion": involved["apiVersion"],
                "resourceVersion": metadata.get("resourceVersion", ""),
            },
            "reason": reason,
            "message": message,
            "source": {"component": component},
            "firstTimestamp": timestamp(now),
            "lastTimestamp": timestamp(now),
            "count": 1,
            "type": type,
        }
        return self.create("events", namespace, event, manager=component)

    # parts

    def _admit_metadata(self, resource: Resource, namespace: str, obj: dict[str, Any]) -> dict[str, Any]:
        obj.setdefault("kind", resource.kind)
        obj.setdefault("apiVersion", resource.api_version)
        metadata: dict[str, Any] = obj.setdefault("metadata", {})
        if resource.namespaced:
            if metadata.get("namespace") and metadata["namespace"] != namespace:
                raise status.bad_request(
                    "the namespace of the provided object does not match the namespace sent on the request"
                )
            metadata["namespace"] = namespace
        return metadata

    def _admit_namespace(self, resource: Resource, namespace: str, name: str) -> None:
        """New content needs a namespace that is there to stay (admission plugin NamespaceLifecycle)."""
        if not resource.namespaced:
            return
        found = self.store.get("namespaces", "", namespace)
        if found is None:
            raise status.not_found("namespaces", namespace)
        if found.object["metadata"].get("deletionTimestamp") is not None:
            raise status.forbidden(
                resource.key,
                name,
                f"unable to create new content in namespace {namespace} because it is being terminated",
                [
                    {
                        "reason": "NamespaceTerminating",
                        "message": f"namespace {namespace} is being terminated",
                        "field": "metadata.namespace",
                    }
                ],
            )

    def _name(self, resource: Resource, namespace: str, metadata: dict[str, Any]) -> None:
        base = metadata.get("generateName", "")
        if metadata.get("name"):
            return
        if not base:
            required = FieldError(
                "FieldValueRequired", "metadata.name", "Required value: name or generateName is required"
            )
            raise status.invalid(resource.kind, resource.group, "", [required])
        for _ in range(_GENERATE_ATTEMPTS):
            metadata["name"] = generated_name(base)
            if not self.exists(resource.key, namespace, metadata["name"]):
                return

    def _replace(
        self,
        resource: Resource,
        namespace: str,
        old: dict[str, Any],
        new: dict[str, Any],
        subresource: str,
        manager: str,
        dry_run: bool,
    ) -> dict[str, Any]:
        name = old["metadata"]["name"]
        stated = new["metadata"].get("resourceVersion")
        if stated and stated != old["metadata"]["resourceVersion"]:
            raise status.modified(resource.key, name)
        new["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"]
        if subresource == "status":
            new = {**old, "metadata": dict(old["metadata"]), "status": new.get("status")}
        if dry_run or new == old:
            return new
        if deletion.finished(resource.key, new):
            self.store.delete(resource.key, namespace, name, new)
            return new
        return self.store.put(resource.key, namespace, name, new).object


def generated_name(base: str) -> str:
    """A name from `generateName`: five random characters behind the base, which is cut to leave them room."""
    return base[:_GENERATED_BASE] + "".join(secrets.choice(_SUFFIX) for _ in range(5))


def _merge(target: Any, patch: Any) -> Any:
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = _merge(merged.get(name), value)
    return merged
