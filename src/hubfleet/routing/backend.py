"""What every gateway has in common: routes in, objects out. Pure, as are all who implement it.

Three sorts of objects, written in this order and deleted in the opposite one:

- *parts*: what a route leans on. A target that is no Service of the cluster needs something that stands for
  it. A part is of one route and one target and never changes: its name tells both. So two writers who
  disagree about a target cannot mix their halves, and a route switches with the one write of its carrier.
- *carriers*: what the gateway reads the routes from, and we too. Routes with the same `bucket` are in one.
- *heads*: what binds carriers together, one set for each host; not every gateway needs them.
"""

import hashlib
from collections.abc import Sequence
from typing import Protocol

import msgspec

from hubfleet.kube.resources import Resource
from hubfleet.routing.route import PART_OF, Naming, Object, Route
from hubfleet.routing.routespec import Routespec
from hubfleet.routing.target import Target


class Bucket(msgspec.Struct, frozen=True, order=True):
    """A carrier as heads see it: its routes have this host, and paths of this many segments."""

    depth: int
    name: str


class SniRoute(msgspec.Struct, frozen=True):
    """TLS connections for `hostname` go to a Service, unopened; `name` is the object's."""

    name: str
    hostname: str
    service: str
    namespace: str
    port: int


class Backend(Protocol):
    """One gateway's way to say it. Every method raises ValueError for what that gateway cannot do."""

    naming: Naming
    kind: Resource  # of carriers and heads
    part_kinds: tuple[Resource, ...]
    identifies: bool  # whether responses carry IDENTITY_HEADER
    has_conditions: bool  # whether the gateway says in the carrier's status that it serves it
    shared: bool  # whether a carrier has routes that know nothing of each other

    def bucket(self, spec: Routespec) -> Bucket:
        """The carrier in which the route belongs."""

    def carrier(self, bucket: str, routes: Sequence[Route]) -> Object:
        """The carrier of all routes of a bucket: at least one."""

    def parts(self, route: Route) -> list[Object]:
        """What the route leans on."""

    def has_heads(self, host: str) -> bool:
        """Whether there are heads for a host at all: then they depend on which buckets there are."""

    def head_names(self, host: str) -> list[str]:
        """The names of all heads that a host may have."""

    def heads(self, host: str, buckets: Sequence[Bucket], default: Route | None) -> list[Object]:
        """The heads of a host; `default` is the route of every host and path, where there is one."""

    def sni(self, route: SniRoute) -> list[Object]:
        """The objects of a TLS route."""


def metadata(naming: Naming, name: str, workload: str = "route") -> Object:
    """The metadata of an object of ours."""
    return {"name": name, "namespace": naming.namespace, "labels": naming.labels(workload)}


def part_name(naming: Naming, route: Route) -> str:
    """Of the parts of a route with this very target."""
    digest = hashlib.sha256(f"{route.spec.digest}\0{route.url}".encode()).hexdigest()
    return naming.join(route.spec.path, digest)


def part(naming: Naming, resource: Resource, name: str, bucket: str, **fields: object) -> Object:
    """An object that a route leans on, marked with its carrier's name."""
    meta = metadata(naming, name, "route-part")
    meta["labels"][PART_OF] = bucket
    return {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": meta, **fields}


def port_name(target: Target) -> str:
    """Of the one port of what stands for a target; gateways take the protocol from it."""
    return target.scheme


def longest_first(routes: Sequence[Route]) -> list[Route]:
    """In the order in which a list that is read from its top finds the longest prefix."""
    return sorted(routes, key=lambda route: (-route.spec.depth, route.spec.host, route.spec.path))
