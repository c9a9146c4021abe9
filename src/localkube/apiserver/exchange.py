"""One request on its way through the server: what was asked, by whom, and how to encode the answer."""

from typing import Any

import msgspec

from localkube.apiserver import bodies, status, tables
from localkube.apiserver.access import Access
from localkube.apiserver.crd.views import seen
from localkube.apiserver.negotiation import Representation, negotiate
from localkube.apiserver.rbac.attributes import Attributes
from localkube.apiserver.registry import Registry
from localkube.apiserver.requests import Query, Target, User
from localkube.apiserver.resources import Resource
from localkube.apiserver.responses import Receive, Response, to_yaml, warning_headers
from localkube.apiserver.store import Version, key_of

DRAIN_LIMIT = 32 * 2**20
"""Bytes of a body that are read although they are too many: a client that still sends does not read, and
would see its connection break off instead of the 413."""


class Exchange:
    """`resource`, `target` and what was allowed are set once the path is known to lead to objects (`aim`)."""

    resource: Resource
    target: Target
    allowed: Attributes

    def __init__(
        self,
        registry: Registry,
        access: Access,
        method: str,
        path: str,
        query: Query,
        headers: list[tuple[bytes, bytes]],
        user: User,
        receive: Receive,
    ):
        self.registry = registry
        self.access = access
        self.method = method
        self.path = path
        self.query = query
        self.headers = headers
        self.user = user
        self.warnings: list[str] = []
        self._receive = receive
        self._representation: Representation | None = None

    def aim(self, resource: Resource, target: Target, allowed: Attributes) -> None:
        self.resource = resource
        self.target = target
        self.allowed = allowed

    @property
    def namespace(self) -> str:
        """The namespace as the store knows it: "" for cluster-wide kinds."""
        return self.target.namespace or ""

    def header(self, name: str) -> str:
        wanted = name.encode()
        return ", ".join(value.decode("latin-1") for n, value in self.headers if n == wanted)

    @property
    def representation(self) -> Representation:
        """The form of the answer that the client asks for. Raises StatusError 406."""
        if self._representation is None:
            self._representation = negotiate(self.header("accept"))
        return self._representation

    def warn(self, text: str) -> None:
        self.warnings.append(text)

    async def body(self) -> bytes:
        """The whole body. Raises StatusError 413 beyond the limit."""
        length = self.header("content-length")
        size = int(length) if length.isdigit() else 0
        if size > DRAIN_LIMIT:
            raise status.too_large()
        chunks: list[bytes] = []
        size = 0
        while size <= DRAIN_LIMIT:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise status.bad_request("the client went away before the end of the body")
            chunk = message.get("body", b"")
            size += len(chunk)
            if size <= bodies.LIMIT:
                chunks.append(chunk)
            if not message.get("more_body"):
                break
        if size > bodies.LIMIT:
            raise status.too_large()
        return b"".join(chunks)

    async def objects(self, encoded: bytes, code: int = 200) -> Response:
        """An answer that tells of the store's state: it waits until that state is durable."""
        await self.registry.store.durable()
        representation = self.representation
        if representation.media == "application/yaml":
            encoded = to_yaml(encoded)
        elif self.query.flag("pretty"):
            encoded = msgspec.json.format(encoded, indent=2)
        return Response(code, encoded, representation.media, warning_headers(self.warnings))

    async def one(self, obj: dict[str, Any], code: int = 200) -> Response:
        """One object in the form asked for; what is stored is not encoded a second time."""
        version = self._stored(obj)
        if not self.representation.form or obj.get("kind") == "Status":
            encoded = version.encoded if version is not None else msgspec.json.encode(obj)
            return await self.objects(encoded, code)
        if version is None:
            version = Version("", obj, 0)
        return await self.objects(msgspec.json.encode(self.transform(version)), code)

    def transform(self, version: Version) -> dict[str, Any]:
        """One object as a Table or as its metadata."""
        representation = self.representation
        version = seen(self.resource, version)
        if representation.form == "PartialObjectMetadata":
            return partial(version.object, representation.version)
        return tables.table(
            self.resource,
            [version.object],
            {"resourceVersion": version.object["metadata"].get("resourceVersion", "")},
            now=self.registry.clock(),
            version=representation.version,
            include=self.query.get("includeObject"),
        )

    def _stored(self, obj: dict[str, Any]) -> Version | None:
        metadata = obj.get("metadata") or {}
        key = key_of(metadata.get("namespace", ""), metadata.get("name", ""))
        version = self.registry.store.table(self.resource.key).items.get(key)
        if version is not None:
            version = seen(self.resource, version)
        return version if version is not None and version.object is obj else None


def partial(obj: dict[str, Any], version: str) -> dict[str, Any]:
    """PartialObjectMetadata: what every object has."""
    return {
        "kind": "PartialObjectMetadata",
        "apiVersion": f"meta.k8s.io/{version}",
        "metadata": obj["metadata"],
    }
