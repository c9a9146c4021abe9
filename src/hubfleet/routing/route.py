"""A route as a value, and how the objects that carry it tell of it.

The objects are the only truth: every one that carries routes holds them whole in an annotation, so that any
process reads back what the Hub said. A seal over the annotation tells whether somebody edited it; whether the
spec was edited is seen by making it again.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from hubfleet.routing.routespec import Routespec
from hubfleet.routing.target import Target

Object = dict[str, Any]
"""A Kubernetes object."""

ROUTES = "hubfleet.dev/routes"
"""Annotation: a JSON list of the routes that the object carries."""

SEAL = "hubfleet.dev/seal"
"""Annotation: the shape's version and a digest of the routes, as hubfleet wrote them."""

SHAPE = 1
"""Grows when the objects for the same routes change: an older replica then leaves a newer one's alone."""

REMOVED = "hubfleet.dev/removed"
"""Annotation: the Hub took the route away; the object is about to be deleted."""

HUB = "hubfleet.dev/hub"
WORKLOAD = "hubfleet.dev/workload"
PART_OF = "hubfleet.dev/route"
"""Label of what a route leans on (a Service, a ServiceEntry): the name of the route's carrier."""

MANAGED_BY = "app.kubernetes.io/managed-by"

IDENTITY_HEADER = "hubfleet-route"
"""Of each response that comes through a route, where the gateway can set one: which route and target."""

_UNSAFE = re.compile(r"[^a-z0-9]+")


class Route(msgspec.Struct, frozen=True):
    """`url` is the target as the Hub named it, `data` whatever it sent beside it."""

    spec: Routespec
    target: Target
    url: str
    data: dict[str, Any]

    @property
    def identity(self) -> str:
        """Another one for another target: what the gateway shows once it serves exactly this route."""
        told = f"{self.spec.host}\0{self.spec.path}\0{self.url}"
        return hashlib.sha256(told.encode()).hexdigest()[:24]

    def answer(self) -> dict[str, Any]:
        """As CHP's API tells of it."""
        return {**self.data, "target": self.url}


class Carried(msgspec.Struct, frozen=True, omit_defaults=True):
    """A route in the annotation."""

    path: str
    target: str
    data: dict[str, Any]
    host: str = ""


class Naming(msgspec.Struct, frozen=True):
    """What all objects of one Hub's routes have in common."""

    hub: str
    namespace: str
    prefix: str = "route"

    def name(self, spec: Routespec) -> str:
        """A DNS label that says something to people; the digest makes it the only one.

        At most 61 characters: two are left for the name of a successor.
        """
        return self.join(f"{spec.host} {spec.path}", spec.digest)

    def join(self, text: str, digest: str) -> str:
        """`prefix-text-digest`, where `text` is shortened to what a DNS label allows."""
        digest = hashlib.sha256(f"{self.hub}\0{digest}".encode()).hexdigest()[:16]
        readable = _UNSAFE.sub("-", text.lower()).strip("-")
        room = 61 - len(self.prefix) - len(digest) - 2
        readable = readable[:room].strip("-")
        return "-".join(part for part in (self.prefix, readable, digest) if part)

    def labels(self, workload: str = "route") -> dict[str, str]:
        return {MANAGED_BY: "hubfleet", HUB: self.hub, WORKLOAD: workload}

    @property
    def selector(self) -> str:
        """Of everything that `labels` are on."""
        return f"{MANAGED_BY}=hubfleet,{HUB}={self.hub}"


def carried(routes: Sequence[Route]) -> bytes:
    """The value of the annotation."""
    return msgspec.json.encode(
        [Carried(route.spec.path, route.url, route.data, route.spec.host) for route in routes]
    )


def sealed(obj: Object, routes: Sequence[Route] = ()) -> Object:
    """The object with its annotations: what it carries, and the seal."""
    text = carried(routes).decode()
    metadata = obj["metadata"]
    annotations = {**metadata.get("annotations", {}), ROUTES: text, SEAL: seal(text)}
    return {**obj, "metadata": {**metadata, "annotations": annotations}}


def seal(text: str) -> str:
    """Of the annotation's text; begins with the version of the shape that we give to objects."""
    return f"{SHAPE}.{hashlib.sha256(text.encode()).hexdigest()[:32]}"


def shape_of(seal: str) -> int:
    """The shape's version in a seal; 0 where there is none."""
    version = seal.partition(".")[0]
    return int(version) if version.isdecimal() else 0


def covers(stored: Any, ours: Any) -> bool:
    """Whether what is stored has all that we wrote: defaults and others' fields may be there, too.

    Lists are ours whole, for the API server takes those of routes as one value.
    """
    if isinstance(ours, Mapping):
        return isinstance(stored, Mapping) and all(
            key in stored and covers(stored[key], value) for key, value in ours.items()
        )
    if isinstance(ours, list | tuple):
        return (
            isinstance(stored, list | tuple)
            and len(stored) == len(ours)
            and all(covers(one, other) for one, other in zip(stored, ours, strict=True))
        )
    return bool(stored == ours)
