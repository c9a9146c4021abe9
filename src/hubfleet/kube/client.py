"""The verbs of the Kubernetes API for one cluster: a request is prepared, sent, and its answer decoded.

What is sent is decided in `request`, what comes back in `response`, how it travels in `transport`; nothing
here knows of sockets. Decoding is as narrow as the caller's `type`: msgspec skips what a struct does not
name, and `msgspec.Raw` keeps the bytes as they came.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

import msgspec

from hubfleet.kube.budget import Budget
from hubfleet.kube.errors import KubeError
from hubfleet.kube.impersonation import Impersonation
from hubfleet.kube.request import FIELD_MANAGER, METADATA_OF_ONE, METADATA_ONLY, PatchType, prepare
from hubfleet.kube.resources import PODS, Resource
from hubfleet.kube.response import Lines, Page, decode, decode_event
from hubfleet.kube.transport import Transport

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    T = TypeVar("T", default=dict[str, Any])
else:
    from typing import TypeVar

    T = TypeVar("T")


class Call(TypedDict, total=False):
    """What every verb takes: whom a request is made for, and the time that the whole operation has left.

    With `metadata_only` the answer comes without spec, data and status: a ConfigMap may be a MiB.
    """

    on_behalf_of: Impersonation | None
    budget: Budget | None
    metadata_only: bool


class Listing(Call, total=False):
    """What is listed, and how; see `Client.pages`."""

    labels: str
    fields: str
    page: int


class Client:
    """Speaks with the cluster `name`.

    Every method raises ApiError where the API server refuses, and ClusterUnreachable where nobody answers
    within the cluster's own time for a request or the operation's `budget`, whichever is less.
    """

    def __init__(self, name: str, transport: Transport):
        self.name = name
        self.transport = transport

    async def get(
        self,
        resource: Resource,
        namespace: str | None,
        name: str,
        *,
        type: type[T] = dict,  # type: ignore[assignment]
        **call: Unpack[Call],
    ) -> T:
        """One object; NotFound where there is none."""
        return await self._ask("GET", resource.object_path(namespace, name), type, call)

    async def pages(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        labels: str = "",
        fields: str = "",
        page: int = 500,
        type: type[T] = dict,  # type: ignore[assignment]
        **call: Unpack[Call],
    ) -> AsyncGenerator[Page[T]]:
        """The pages of a list, all of one snapshot, `page` objects each; Gone where the snapshot expired.

        With `metadata_only` objects come without spec, data and status: a page of Secrets may be 500 MiB.
        """
        path = resource.path(namespace)
        accept = METADATA_ONLY if call.pop("metadata_only", False) else ""
        token = ""
        while True:
            query = {"labelSelector": labels, "fieldSelector": fields, "limit": page, "continue": token}
            whole = Page[type]  # type: ignore[valid-type]
            answer = await self._ask("GET", path, whole, call, query=query, accept=accept)
            yield answer
            token = answer.metadata.continue_
            if not token:
                return

    async def list(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        type: type[T] = dict,  # type: ignore[assignment]
        **listing: Unpack[Listing],
    ) -> AsyncGenerator[T]:
        """The objects of a list, asked for page by page; of all namespaces where none is named."""
        async for answer in self.pages(resource, namespace, type=type, **listing):
            for item in answer.items:
                yield item

    async def create(
        self,
        resource: Resource,
        namespace: str | None,
        obj: Mapping[str, Any] | bytes,
        *,
        type: type[T] = dict,  # type: ignore[assignment]
        dry_run: bool = False,
        **call: Unpack[Call],
    ) -> T:
        """The object as the API server stored it; AlreadyExists where the name is taken. Never sent twice."""
        query = {"fieldManager": FIELD_MANAGER, "dryRun": "All" if dry_run else ""}
        path = resource.path(namespace)
        return await self._ask("POST", path, type, call, query=query, body=obj)

    async def apply(
        self,
        resource: Resource,
        namespace: str | None,
        obj: Mapping[str, Any],
        *,
        force: bool = True,
        subresource: str = "",
        type: type[T] = dict,  # type: ignore[assignment]
        dry_run: bool = False,
        **call: Unpack[Call],
    ) -> T:
        """Server-side apply as manager "hubfleet": made if it is missing, our fields set, others' left alone.

        `obj` needs apiVersion, kind and metadata.name. Without `force`, Conflict where others own a field.
        """
        query = {"fieldManager": FIELD_MANAGER, "force": force, "dryRun": "All" if dry_run else ""}
        path = resource.object_path(namespace, str(obj["metadata"]["name"]), subresource)
        how = {"content_type": PatchType.APPLY, "idempotent": True}
        return await self._ask("PATCH", path, type, call, query=query, body=obj, **how)

    async def patch(
        self,
        resource: Resource,
        namespace: str | None,
        name: str,
        patch: Any,
        *,
        kind: PatchType = PatchType.MERGE,
        subresource: str = "",
        type: type[T] = dict,  # type: ignore[assignment]
        dry_run: bool = False,
        **call: Unpack[Call],
    ) -> T:
        """A patch of `kind`; with metadata.resourceVersion in a merge patch, a stale one is a Conflict."""
        query = {"fieldManager": FIELD_MANAGER, "dryRun": "All" if dry_run else ""}
        path = resource.object_path(namespace, name, subresource)
        return await self._ask("PATCH", path, type, call, query=query, body=patch, content_type=kind)

    async def delete(
        self,
        resource: Resource,
        namespace: str | None,
        name: str,
        *,
        propagation: str = "Background",
        grace_seconds: int | None = None,
        uid: str | None = None,
        resource_version: int | None = None,
        dry_run: bool = False,
        **call: Unpack[Call],
    ) -> dict[str, Any]:
        """The API server's answer: a `Status` where the object is gone, the object where it goes later.

        Later is: a grace period, a finalizer, propagation Foreground. With `uid`, Conflict where the name now
        belongs to another object; with `resource_version`, where the object was written since. NotFound may
        mean that we deleted it: a broken connection is tried again.
        """
        options: dict[str, Any] = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": propagation,
        }
        if grace_seconds is not None:
            options["gracePeriodSeconds"] = grace_seconds
        if uid is not None:
            options["preconditions"] = {"uid": uid}
        if resource_version is not None:
            options.setdefault("preconditions", {})["resourceVersion"] = str(resource_version)
        if dry_run:
            options["dryRun"] = ["All"]
        path = resource.object_path(namespace, name)
        return await self._ask("DELETE", path, dict[str, Any], call, body=options)

    async def watch(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        resource_version: str,
        labels: str = "",
        fields: str = "",
        seconds: int = 300,
        idle: float = 90.0,
        **call: Unpack[Call],
    ) -> AsyncGenerator[Sequence[tuple[str, msgspec.Raw]]]:
        """What happens after `resource_version`, in order: batches of (type, object); an empty one at first.

        Types are ADDED, MODIFIED, DELETED and BOOKMARK. Ends when the API server ends it (after `seconds`);
        Gone where the version is too old; ClusterUnreachable where nothing came for `idle` seconds. The
        objects are slices of what was received: copy() the ones to keep.
        """
        query = {
            "watch": True,
            "allowWatchBookmarks": True,
            "resourceVersion": resource_version,
            "timeoutSeconds": seconds,
            "labelSelector": labels,
            "fieldSelector": fields,
        }
        request = prepare("GET", resource.path(namespace), query=query, on_behalf_of=call.get("on_behalf_of"))
        async with self.transport.stream(request, call.get("budget"), idle=idle) as chunks:
            yield ()
            lines = Lines()
            async for chunk in chunks:
                events, error = _events(self.name, lines.feed(chunk))
                if events:
                    yield events
                if error is not None:
                    raise error  # after what came before it: that did happen

    def log(
        self,
        namespace: str,
        pod: str,
        *,
        container: str | None = None,
        follow: bool = False,
        tail_lines: int | None = None,
        since_seconds: int | None = None,
        timestamps: bool = False,
        previous: bool = False,
        limit_bytes: int | None = None,
        **call: Unpack[Call],
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """A container's log: `async with client.log(...) as chunks: async for chunk in chunks: ...`.

        Chunks come as they arrive and are not cut at lines. Entering waits for the API server's answer (in
        the budget; raises its ApiError); a followed log then may be quiet for as long as it likes. Leaving
        closes the connection at once.
        """
        query = {
            "container": container,
            "follow": follow,
            "tailLines": tail_lines,
            "sinceSeconds": since_seconds,
            "timestamps": timestamps,
            "previous": previous,
            "limitBytes": limit_bytes,
        }
        path = PODS.object_path(namespace, pod, "log")
        request = prepare("GET", path, query=query, on_behalf_of=call.get("on_behalf_of"))
        idle = None if follow else self.transport.seconds
        return self.transport.stream(request, call.get("budget"), idle=idle, lean=True)

    async def raw(self, path: str, **call: Unpack[Call]) -> bytes:
        """The body of a GET of any path: `/version`, `/readyz`, discovery."""
        request = prepare("GET", path, on_behalf_of=call.get("on_behalf_of"))
        return await self.transport.send(request, call.get("budget"))

    async def _ask(self, method: str, path: str, type: type[T], call: Call, **prepared: Any) -> T:
        if call.get("metadata_only"):
            prepared["accept"] = METADATA_OF_ONE
        request = prepare(method, path, on_behalf_of=call.get("on_behalf_of"), **prepared)
        return decode(self.name, await self.transport.send(request, call.get("budget")), type)


def _events(
    cluster: str, lines: Sequence[bytes]
) -> tuple[Sequence[tuple[str, msgspec.Raw]], KubeError | None]:
    """What the lines of a watch say, up to the first one that is an error."""
    events: list[tuple[str, msgspec.Raw]] = []
    for line in lines:
        try:
            event = decode_event(cluster, line)
        except KubeError as e:
            return events, e
        events.append((event.type, event.object))
    return events, None
