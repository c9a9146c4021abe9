"""Requests as values: what is sent for each verb, decided without sending anything."""

from collections.abc import Mapping
from enum import StrEnum
from functools import lru_cache
from typing import Any
from urllib.parse import urlencode

import msgspec

from hubfleet.kube.impersonation import Impersonation

FIELD_MANAGER = "hubfleet"
"""Our name in `managedFields`: server-side apply owns the fields that it sets under this name."""


METADATA_OF_ONE = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json"
METADATA_ONLY = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"
"""The Accept header of a list without specs and data; a server that does not know it sends all."""


class PatchType(StrEnum):
    """The content types of a patch."""

    JSON = "application/json-patch+json"
    MERGE = "application/merge-patch+json"
    STRATEGIC = "application/strategic-merge-patch+json"
    APPLY = "application/apply-patch+yaml"


class Request(msgspec.Struct, frozen=True):
    """One HTTP request to an API server, without what the connection adds (host, authorization).

    `idempotent` requests may be sent a second time when the connection breaks before their answer came.
    """

    method: str
    path: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None
    idempotent: bool = False

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


def prepare(
    method: str,
    path: str,
    *,
    query: Mapping[str, object] | None = None,
    body: Any = None,
    content_type: str = "application/json",
    accept: str = "",
    on_behalf_of: Impersonation | None = None,
    idempotent: bool | None = None,
) -> Request:
    """A request; query values that are None, False or "" are left out, `body` is encoded unless it is bytes.

    GET and DELETE may be repeated; a POST never, a patch only where `idempotent` says so.
    """
    if query:
        pairs = tuple(
            (key, "true" if value is True else str(value))
            for key, value in query.items()
            if value is not None and value is not False and value != ""
        )
        if pairs:
            path = f"{path}?{_encoded(pairs)}"
    headers: tuple[tuple[str, str], ...] = ()
    encoded: bytes | None = None
    if body is not None:
        headers = (("Content-Type", content_type),)
        encoded = body if isinstance(body, bytes) else msgspec.json.encode(body)
    if accept:
        headers += (("Accept", accept),)
    if on_behalf_of is not None:
        headers += on_behalf_of.headers()
    if idempotent is None:
        idempotent = method in ("GET", "DELETE")
    return Request(method, path, headers, encoded, idempotent)


@lru_cache(maxsize=256)
def _encoded(pairs: tuple[tuple[str, str], ...]) -> str:
    return urlencode(pairs)  # the same few for nearly all requests
