"""The verbs of the Kubernetes API for one cluster: a request is prepared, sent, and its answer decoded.

What is sent is decided in `request`, what comes back in `response`, how it travels in `transport`; nothing
here knows of sockets. Decoding is as narrow as the caller's `type`: msgspec skips what a struct does not
name, and `msgspec.Raw` keeps the bytes as they came.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any

import msgspec

from hubfleet.kube.budget import Budget
from hubfleet.kube.errors import KubeError
from hubfleet.kube.impersonation import Impersonation
from hubfleet.kube.request import FIELD_MANAGER, METADATA_ONLY, PatchType, prepare
from hubfleet.kube.resources import PODS, Resource
from hubfleet.kube.response import Lines, Page, decode, decode_event
from hubfleet.kube.transport import Transport

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    T = TypeVar("T", default=dict[str, Any])
else:
    from typing import TypeVar

    T = TypeVar("T")


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
        on_behalf_of: Impersonation | None = None,
        budget: Budget | None = None,
    ) -> T:
        """One object; NotFound where there is none."""
        request = prepare("GET", resource.object_path(namespace, name), on_behalf_of=on_behalf_of)
        return decode(self.name, await self.transport.send(request, budget), type)

    async def pages(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        labels: str = "",
        fields: str = "",
        page: int = 500,
        metadata_only: bool = False,
        type: type[T] = dict,  # type: ignore[assignment]
        on_behalf_of: Impersonation | None = None,
        budget: Budget | None = None,
    ) -> AsyncGenerator[Page[T]]:
        """The pages of a list, all of one snapshot, `page` objects each; Gone where the snapshot expired.

        With `metadata_only` objects come without spec, data and status: a page of Secrets may be 500 MiB.
        """
        path = resource.path(namespace)
        accept = METADATA_ONLY if metadata_only else ""
        token = ""
        while True:
            query = {"labelSelector": labels, "fieldSelector": fields, "limit": page, "continue": token}
            request = prepare("GET", path, query=query, accept=accept, on_behalf_of=on_behalf_of)
            body = await self.transport.send(request, budget)
            answer = decode(self.name, body, Page[type])  # type: ignore[valid-type]
            yield answer
            token = answer.metadata.continue_
            if not token:
                return

    async def list(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        labels: str = "",
        fields: str = "",
        page: int = 500,
        metadata_only: bool = False,
        type: type[T] = dict,  # type: ignore[assignment]
        on_behalf_of: Impersonation | None = None,
        budget: Budget | None = None,
    ) -> AsyncGenerator[T]:
        """The objects of a list, asked for page by page; of all namespaces where none is named."""
        async for answer in self.pages(
            resource,
            namespace,
            labels=labels,
            fields=fields,
            page=page,
            metadata_only=metadata_only,
            type=type,
            on_behalf_of=on_behalf_of,
            budget=budget,
        ):
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
        on_behalf_of: Impersonation | None = None,
        budget: Budget | None = None,
    ) -> T:
        """The object as the API server stored it; AlreadyExists where the name is taken. Never sent twice."""
        query = {"fieldManager": FIELD_MANAGER, "dryRun": "All" if dry_run else ""}
        path = resource.path(namespace)
        request = prepare("POST", path, query=query, body=obj, on_behalf_of=on_behalf_of)
        return decode(self.name, await self.transport.send(request, budget), type)

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
        on_behalf_of: Impersonation | None = None,
        budget: Budget | None = None,
    ) -> T:
        """Server-side apply as manager "hubfleet": made if it is missing, our fields set, others' left alone.

        `obj` needs apiVersion, kind and metadata.name. Without `force`, Conflict where others own a field.
        """
        query = {"fieldManager": FIELD_MANAGER, "force": force, "dryRun": "All" if dry_run else ""}
        request = prepare(
            "PATCH",
            resource.object_path(namespace, str(obj["metadata"]["name"]), subresource),
            query=query,
            body=obj,
            content_type=PatchType.APPLY,
            on_behalf_of=on_behalf_of,
            idempotent=True,
        )
        return decode(self.name, await self.transport.send(request, budget), type)

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
        on_behalf_of: Impersonation | None = None,
        budget: Budget | None = None,
    ) -> T:
        """A patch of `kind`; with metadata.resourceVersion in a merge patch, a stale one is a Conflict."""
        query = {"fieldManager": FIELD_MANAGER, "dryRun": "All" if dry_run else ""}
        request = prepare(
            "PATCH",
            resource.object_path(namespace, name, subresource),
            query=query,
            body=patch,
            content_type=kind,
            on_behalf_of=on_behalf_of,
        )
        return decode(self.name, await self.transport.send(request, budget), type)

    async def delete(
        self,
        resource: Resource,
        namespace: str | None,
        name: str,
        *,
        propagation: str = "Background",
        grace_seconds: int | None = None,
        uid: str | None = None,
        dry_run: bool = False,
        on_behalf_of: Impersonation | None = None,
        budget: Budget | None = None,
    ) -> dict[str, Any]:
        """The API server's answer: a `Status` where the object is gone, the object where it goes later.

        Later is: a grace period, a finalizer, propagation Foreground. With `uid`, Conflict where the name now
        belongs to another object. NotFound may mean that we deleted it: a broken connection is tried again.
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
        if dry_run:
            options["dryRun"] = ["All"]
        path = resource.object_path(namespace, name)
        request = prepare("DELETE", path, body=options, on_behalf_of=on_behalf_of)
        return decode(self.name, await self.transport.send(request, budget), dict[str, Any])

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
        on_behalf_of: Impersonation | None = None,
        budget: Budget | None = None,
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
        request = prepare("GET", resource.path(namespace), query=query, on_behalf_of=on_behalf_of)
        async with self.transport.stream(request, budget, idle=idle) as chunks:
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
        on_behalf_of: Impersonation | None = None,
        budget: Budget | None = None,
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
        request = prepare("GET", path, query=query, on_behalf_of=on_behalf_of)
        idle = None if follow else self.transport.seconds
        return self.transport.stream(request, budget, idle=idle, lean=True)

    async def raw(
        self, path: str, *, on_behalf_of: Impersonation | None = None, budget: Budget | None = None
    ) -> bytes:
        """The body of a GET of any path: `/version`, `/readyz`, discovery."""
        return await self.transport.send(prepare("GET", path, on_behalf_of=on_behalf_of), budget)


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
