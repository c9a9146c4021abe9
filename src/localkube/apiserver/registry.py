"""The API in process: what controllers and the kubelet call, and what the HTTP server answers from.

Every method is synchronous and atomic (it runs on the event loop's thread without awaiting), so a
read-modify-write inside one is never interleaved with another. Objects that are returned are SHARED with the
store and with other readers: copy before changing.
"""

import uuid
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any, Protocol

from localkube.apiserver import (
    binding,
    content,
    defaults,
    deletion,
    events,
    jsonpatch,
    managedfields,
    mergepatch,
    selectors,
    serviceaddresses,
    status,
    strategicmerge,
    strategy,
    watches,
)
from localkube.apiserver.crd import definitions
from localkube.apiserver.crd.views import seen
from localkube.apiserver.deletion import Propagation, timestamp
from localkube.apiserver.incoming import check_identity, decode, decode_patched, generated_name, tracked
from localkube.apiserver.keeper import Keeper
from localkube.apiserver.plugins import Plugins, unheard
from localkube.apiserver.quota.ledger import Ledger
from localkube.apiserver.resources import Resource, Resources
from localkube.apiserver.status import FieldError
from localkube.apiserver.store import Store, Version
from localkube.apiserver.validation.objects import validate, validate_update
from localkube.apiserver.watches import Event, Watch

__all__ = ["Event", "LogSource", "Registry", "Watch"]

_GENERATE_ATTEMPTS = 8
APPLY = "application/apply-patch+yaml"
STRATEGIC = "application/strategic-merge-patch+json"
_NEEDS_REVISION = frozenset({"leases.coordination.k8s.io", "serviceaccounts", definitions.KEY})
"""Kinds that are not replaced without saying which version (`AllowUnconditionalUpdate` is false)."""


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


Guard = Callable[[Resource, dict[str, Any] | None, dict[str, Any]], None]
"""Told of (resource, old object or None, new object), decoded and defaulted, before anything is checked:
raises StatusError for what the one who asks may not do."""


def _trust(resource: Resource, old: dict[str, Any] | None, new: dict[str, Any]) -> None:
    """The guard of what acts in this process."""


class Registry:
    """`key` is a `Resource.key` such as "pods" or "jobs.batch"; `namespace` is "" for cluster-wide kinds.

    A custom resource is read and written in its preferred version, or in that of a key like "things.x.io/v2".
    """

    def __init__(
        self,
        store: Store | None = None,
        resources: Resources | None = None,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        service_cidr: str = serviceaddresses.CIDR,
    ):
        self.store = store if store is not None else Store()
        self.resources = resources if resources is not None else Resources()
        self.clock = clock
        self.log_source: LogSource | None = None
        self.caveats: dict[str, str] = {}
        """By key: what to warn of whoever creates such an object."""
        self.requests = 0
        """How many requests have come over HTTP: whoever works in this process beside them gives way."""
        self.ledger = Ledger(self.store, self.resources)
        self._plugins = Plugins(self.store, self.ledger, service_cidr)
        self._keeper = Keeper(self.store, self.resources, lambda: self.clock())
        self._events = events.Recorder(self)

    # reading

    def read(self, key: str, namespace: str, name: str) -> Version:
        """The current version of an object, with its encoded bytes. Raises 404."""
        resource = self.resources[key]
        version = self.store.get(resource.key, namespace, name)
        if version is None:
            raise status.not_found(resource.key, name)
        return seen(resource, version)

    def get(self, key: str, namespace: str, name: str) -> dict[str, Any]:
        return self.read(key, namespace, name).object

    def list(self, key: str, namespace: str | None = None, *, labels: str = "", fields: str = "") -> Objects:
        """The objects in key order; namespace None is all namespaces."""
        resource = self.resources[key]
        selector = selectors.of_resource(resource, labels, fields)
        versions = self.store.list(resource.key, namespace)
        if resource.custom is not None:
            versions = [seen(resource, version) for version in versions]
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
        resource = self.resources[key]
        return Watch(
            self.store,
            resource.key,
            namespace,
            since=since,
            initial=initial,
            selector=selectors.of_resource(resource, labels, fields),
            bookmark=watches.bookmark(resource, self.store.revision, initial_end=True) if bookmark else None,
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
        unknown: str = "Ignore",
        warn: Callable[[str], None] = unheard,
        guard: Guard = _trust,
    ) -> dict[str, Any]:
        """Add an object (`obj` itself is not touched). Raises 400, 403 and 404 about the namespace, 409, 422.

        `unknown` says what happens with unknown fields (Ignore, Warn, Strict); `warn` is told of them.
        """
        resource = self.resources[key]
        new = decode(resource, obj, unknown, warn)
        now = timestamp(self.clock())
        metadata = new["metadata"]
        if resource.namespaced:
            if metadata.get("namespace", namespace) != namespace:
                raise status.bad_request(
                    "the namespace of the provided object does not match the namespace sent on the request"
                )
            metadata["namespace"] = namespace
        else:
            metadata.pop("namespace", None)
        content.admit(self.store, resource, namespace, metadata.get("name", ""))
        if metadata.pop("resourceVersion", ""):
            raise status.unclassified("resourceVersion should not be set on objects to be created")
        metadata["uid"] = str(uuid.uuid4())
        metadata["creationTimestamp"] = now
        # a missing name is told by validation, and until then it is an empty one
        metadata.setdefault("name", "")
        self._generate_name(resource, namespace, metadata)
        defaults.apply(resource, new)
        guard(resource, None, new)
        new = tracked(resource, None, new, manager, now, "")
        return self._insert(resource, namespace, new, dry_run, warn)

    def _insert(
        self,
        resource: Resource,
        namespace: str,
        new: dict[str, Any],
        dry_run: bool,
        warn: Callable[[str], None],
    ) -> dict[str, Any]:
        self._plugins.mutate(resource, new)
        strategy.prepare_create(resource, new, self._lookup)
        name: str = new["metadata"].get("name", "")
        errors = validate(resource, new)
        if errors:
            raise status.invalid(resource.kind, resource.group, name, errors)
        self._plugins.allocate(resource, new)
        charges = self._plugins.admit(resource, new, None, "", self.clock(), warn)
        if resource.key in self.caveats:
            warn(self.caveats[resource.key])
        if self.exists(resource.key, namespace, name):
            raise status.already_exists(resource.key, name)
        if dry_run:
            return new
        self.ledger.charge(charges)
        return self._keeper.put(resource, namespace, name, new)

    def update(
        self,
        key: str,
        namespace: str,
        obj: dict[str, Any],
        *,
        subresource: str = "",
        manager: str = "localkube",
        dry_run: bool = False,
        unknown: str = "Ignore",
        warn: Callable[[str], None] = unheard,
        guard: Guard = _trust,
    ) -> dict[str, Any]:
        """Replace an object (or its status). Raises 400, 404, 409 on a stale resourceVersion, 422."""
        resource = self.resources[key]
        new = decode(resource, obj, unknown, warn)
        old = self.read(key, namespace, new["metadata"].get("name", "")).object
        return self._replace(resource, old, new, subresource, manager, dry_run, warn, guard)

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
        unknown: str = "Ignore",
        warn: Callable[[str], None] = unheard,
        guard: Guard = _trust,
    ) -> dict[str, Any]:
        """Change an object by a patch (decoded JSON); an apply patch creates it where it is missing."""
        resource = self.resources[key]
        if content_type == APPLY:
            return self._apply(
                resource, namespace, name, patch, subresource, manager, force, dry_run, unknown, warn, guard
            )
        old = self.read(key, namespace, name).object
        if content_type == "application/json-patch+json":
            patched = jsonpatch.apply(old, patch)
        elif content_type == STRATEGIC:
            patched = strategicmerge.apply(old, patch, resource.schema)
        else:
            patched = mergepatch.apply(old, patch)
        new = decode_patched(resource, patched, unknown, warn)
        check_identity(resource, old, new)
        return self._replace(resource, old, new, subresource, manager, dry_run, warn, guard)

    def _apply(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        config: Any,
        subresource: str,
        manager: str,
        force: bool,
        dry_run: bool,
        unknown: str,
        warn: Callable[[str], None],
        guard: Guard,
    ) -> dict[str, Any]:
        live = self.store.get(resource.key, namespace, name)
        now = timestamp(self.clock())
        if live is None and subresource:
            raise status.not_found(resource.key, name)
        if live is None:
            content.admit(self.store, resource, namespace, name)
        old = seen(resource, live).object if live is not None else None
        merged = managedfields.apply(
            resource, old, config, manager=manager, now=now, force=force, subresource=subresource
        )
        if old is not None:
            if merged is old:
                return old
            new = decode_patched(resource, merged, unknown, warn)
            defaults.apply(resource, new)
            new = managedfields.restore_times(new, old)
            return self._replace(resource, old, new, subresource, None, dry_run, warn, guard)
        new = decode(resource, merged, unknown, warn)
        metadata = new["metadata"]
        metadata["name"] = name
        if resource.namespaced:
            metadata["namespace"] = namespace
        if metadata.pop("resourceVersion", ""):
            raise status.modified(resource.key, name)
        metadata["uid"] = str(uuid.uuid4())
        metadata["creationTimestamp"] = now
        defaults.apply(resource, new)
        guard(resource, None, new)
        return self._insert(resource, namespace, new, dry_run, warn)

    def _replace(
        self,
        resource: Resource,
        old: dict[str, Any],
        new: dict[str, Any],
        subresource: str,
        manager: str | None,
        dry_run: bool,
        warn: Callable[[str], None],
        guard: Guard,
    ) -> dict[str, Any]:
        """Make `new` of `old`; `manager` None means that the managed fields are right already."""
        metadata, before = new["metadata"], old["metadata"]
        name = before["name"]
        stated = metadata.get("resourceVersion", "")
        if stated and not (stated.isascii() and stated.isdigit()):
            raise status.unclassified(f'strconv.ParseUint: parsing "{stated}": invalid syntax')
        if stated and stated != "0" and stated != before["resourceVersion"]:
            raise status.modified(resource.key, name)
        if metadata.get("uid", before["uid"]) != before["uid"]:
            raise status.conflict(
                resource.key,
                name,
                f"Precondition failed: UID in precondition: {metadata['uid']}, "
                f"UID in object meta: {before['uid']}",
            )
        if not stated and (resource.custom is not None or resource.key in _NEEDS_REVISION):
            missing = FieldError(
                "FieldValueInvalid",
                "metadata.resourceVersion",
                "Invalid value: 0x0: must be specified for an update",
            )
            raise status.invalid(resource.kind, resource.group, name, [missing])
        metadata["resourceVersion"] = before["resourceVersion"]
        defaults.apply(resource, new)
        guard(resource, old, new)
        if manager is not None:
            now = timestamp(self.clock())
            new = tracked(resource, old, new, manager, now, subresource)
        strategy.prepare_update(resource, new, old, subresource)
        errors = validate_update(resource, new, old, subresource)
        if errors:
            raise status.invalid(resource.kind, resource.group, name, errors)
        if not subresource:
            self._plugins.allocate(resource, new)
        charges = self._plugins.admit(resource, new, old, subresource, self.clock(), warn)
        namespace = before.get("namespace", "")
        if deletion.finished(resource.key, new):
            if not dry_run:
                self._keeper.delete(resource, namespace, name, new)
            return new
        if new == old:
            return old
        if dry_run:
            return new
        self.ledger.charge(charges)
        return self._keeper.put(resource, namespace, name, new)

    def bind(self, namespace: str, name: str, node: str, *, dry_run: bool = False) -> dict[str, Any]:
        """Give a pod its node (the `binding` subresource). Raises 404, 409 when it has one."""
        pod = self.get("pods", namespace, name)
        bound = binding.bound(pod, node, timestamp(self.clock()))
        return self.update(
            "pods", namespace, bound, subresource="binding", manager="kube-scheduler", dry_run=dry_run
        )

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
        options = deletion.Options(propagation, grace, uid, resource_version, dry_run)
        return self.remove(key, namespace, name, options)[0]

    def remove(
        self, key: str, namespace: str, name: str, options: deletion.Options
    ) -> tuple[dict[str, Any], bool]:
        """As `delete`, telling also whether the object is gone."""
        resource = self.resources[key]
        obj = self.read(key, namespace, name).object
        deletion.check_preconditions(resource.kind, resource.group, obj, options)
        update, gone = deletion.plan(resource.key, obj, options, self.clock())
        if options.dry_run:
            return update or obj, gone
        if update is not None:
            obj = self._keeper.put(resource, namespace, name, update)
        if gone:
            obj = self._keeper.delete(resource, namespace, name)
        return obj, gone

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
        """Tell about an object in a core/v1 Event; the same words again raise the count of the first.

        A key `fieldPath` of `involved` (`spec.containers{main}`) says which part is meant. Raises StatusError
        where no Event can be.
        """
        return self._events.record(involved, reason, message, type, component)

    # parts

    def _lookup(self, key: str, namespace: str, name: str) -> dict[str, Any] | None:
        version = self.store.get(key, namespace, name)
        return version.object if version is not None else None

    def _generate_name(self, resource: Resource, namespace: str, metadata: dict[str, Any]) -> None:
        base = metadata.get("generateName", "")
        if metadata.get("name") or not base:
            return
        for _ in range(_GENERATE_ATTEMPTS):
            metadata["name"] = generated_name(base)
            if not self.exists(resource.key, namespace, metadata["name"]):
                return
