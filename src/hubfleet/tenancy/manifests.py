"""What a user's namespace holds, as values: settings and user in, Kubernetes objects out. No I/O.

Everything is written by server-side apply, so a field that somebody else added stays. What settings can do
without (quota, limits, ...) is listed in an annotation of the namespace, so that it can be taken away again.
"""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

import msgspec

from hubfleet.kube.resources import (
    LIMITRANGES,
    NETWORKPOLICIES,
    RESOURCEQUOTAS,
    ROLEBINDINGS,
    SERVICEACCOUNTS,
    Resource,
)
from hubfleet.settings import QuotaSettings, TenancySettings
from hubfleet.tenancy.marks import OBJECTS, POD_SECURITY, USERNAME, Owner, marks
from hubfleet.tenancy.policy.rules import Policy
from hubfleet.tenancy.rights import IMPERSONATOR_ROLE, USER_ACCOUNT, USER_ROLE, binding, subject

NAME = "hubfleet"
"""Of the objects of which there is one in a namespace."""

PRIORITY_QUOTA = "hubfleet-priority"
AFFINITY_QUOTA = "hubfleet-affinity"

QUEUE_GROUP = "kueue.x-k8s.io"
QUEUE_VERSIONS = ("v1beta2", "v1beta1")
"""Kueue's, the newest first; a LocalQueue is the same in both."""

PRIVATE = (
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "100.64.0.0/10",
    "169.254.0.0/16",
    "168.63.129.16/32",
)
"""RFC 1918 as zero-to-jupyterhub has it, RFC 6598 (pods and nodes of several clouds), and link-local whole:
169.254.169.254 gives away the node's own credentials in most clouds, and some have more addresses there. The
last one is Azure's host, which has the nodes' configuration."""

PRIVATE_IPV6 = ("fc00::/7", "fe80::/10", "64:ff9b::/96")
"""RFC 4193, fd00:ec2::254 of AWS included, link-local, and NAT64 (RFC 6052), behind which PRIVATE is."""

_SUFFIX = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {suffix: 10 * (n + 1) for n, suffix in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi", "Ei"))}

Manifest = dict[str, Any]


class Entitlement(msgspec.Struct, frozen=True):
    """What of the settings depends on the user's groups."""

    quota: dict[str, str]
    enforce: str  # the level of pod security that the API server enforces
    priority_classes: tuple[str, ...]
    affinity_abroad: bool = False  # to pods of other namespaces


class Item(msgspec.Struct, frozen=True):
    """One object of a namespace; `optional` names it in the annotation OBJECTS.

    One that is not `asked` for by the settings is left out, with a warning, where an account may not write it
    and the deployment is one that worked without.
    """

    resource: Resource
    manifest: Manifest
    optional: str = ""
    asked: bool = False


def entitlement(
    settings: TenancySettings,
    policy: Policy,
    groups: Iterable[str],
    operators: Iterable[str] = (),
    *,
    affinity_abroad: bool = False,
) -> Entitlement:
    """What a user in these groups, with that policy, gets.

    `operators` are templates' priority classes; `affinity_abroad` is whether a template's pods want to be
    near (or far from) those of other namespaces.
    """
    return Entitlement(
        quota_for(settings.quota, groups),
        policy.level if settings.policy.enforce == "auto" else settings.policy.enforce,
        tuple(sorted({*operators, *policy.names["priority_classes"]})),
        affinity_abroad,
    )


def quota_for(settings: QuotaSettings, groups: Iterable[str]) -> dict[str, str]:
    """The `hard` of a user in these groups: theirs go before everybody's, and the largest of theirs wins."""
    best: dict[str, str] = {}
    for group in sorted(groups):  # of 1 and 1000m, the same one every time
        for resource, value in settings.groups.get(group, {}).items():
            if resource not in best or amount(str(value)) > amount(best[resource]):
                best[resource] = str(value)
    hard = {resource: str(value) for resource, value in settings.hard.items()} | best
    return dict(sorted(hard.items()))


def amount(quantity: str) -> Decimal:
    """The number that a quantity of Kubernetes is; the settings have checked its form."""
    if quantity[-2:] in _BINARY:
        return Decimal(quantity[:-2]) * Decimal(2) ** _BINARY[quantity[-2:]]
    if quantity[-1] in _SUFFIX:
        return Decimal(quantity[:-1]).scaleb(_SUFFIX[quantity[-1]])
    return Decimal(quantity)


def namespace(
    name: str,
    owner: Owner,
    level: str,
    *,
    labels: Mapping[str, str],
    hub: str,
    optional: Iterable[str],
) -> Manifest:
    """The Namespace, with the marks and the API server's own policy for the pods in it."""
    security = {
        f"{POD_SECURITY}/enforce": level,
        f"{POD_SECURITY}/enforce-version": "latest",
        f"{POD_SECURITY}/warn": "restricted",
        f"{POD_SECURITY}/audit": "restricted",
    }
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": name,
            # The operator's may say another level of pod security; whose it is, nobody else says.
            "labels": {**security, **labels, **marks(owner, hub)},
            "annotations": {USERNAME: owner.name, OBJECTS: " ".join(sorted(optional))},
        },
    }


def identity(name: str, account: str) -> tuple[Item, ...]:
    """The user's account in the namespace, its rights, and ours, who are `account`, to act as it."""
    user = {"kind": "ServiceAccount", "namespace": name, "name": USER_ACCOUNT}
    return (
        _item(SERVICEACCOUNTS, USER_ACCOUNT, automountServiceAccountToken=False),
        Item(ROLEBINDINGS, binding(USER_ROLE, user, USER_ROLE, namespace=name)),
        Item(ROLEBINDINGS, binding(IMPERSONATOR_ROLE, subject(account), IMPERSONATOR_ROLE, namespace=name)),
    )


def content(
    settings: TenancySettings, gets: Entitlement, *, default_class: str | None, queue_version: str
) -> tuple[Item, ...]:
    """Everything else in the namespace, the operator's manifests apart.

    `default_class` is the cluster's default priority class, which every pod has; None is that it cannot be
    known, and then there is no quota on priorities. `queue_version` is Kueue's, "" where there is none.
    """
    items = [_item(SERVICEACCOUNTS, "default", automountServiceAccountToken=False)]
    if gets.quota:
        items.append(_item(RESOURCEQUOTAS, NAME, "quota", asked=True, spec={"hard": gets.quota}))
    if default_class is not None:
        allowed = {*gets.priority_classes, default_class} - {""}
        items.append(_item(RESOURCEQUOTAS, PRIORITY_QUOTA, "priority", spec=_no_priorities(sorted(allowed))))
    if not gets.affinity_abroad:
        items.append(_item(RESOURCEQUOTAS, AFFINITY_QUOTA, "affinity", spec=_no_affinity_abroad()))
    if settings.limits:
        limits = list(settings.limits)
        items.append(_item(LIMITRANGES, NAME, "limits", asked=True, spec={"limits": limits}))
    if settings.network_policy.enabled:
        spec = _network(settings.network_policy.gateways, settings.network_policy.egress)
        items.append(_item(NETWORKPOLICIES, NAME, "network-policy", asked=True, spec=spec))
    if settings.local_queue.cluster_queue and queue_version:
        queue = {"clusterQueue": settings.local_queue.cluster_queue}
        resource = local_queues(queue_version)
        items.append(_item(resource, settings.local_queue.name, "local-queue", asked=True, spec=queue))
    return tuple(items)


def removable(settings: TenancySettings, queue_version: str) -> dict[str, tuple[Resource, str]]:
    """What each word of the annotation OBJECTS means: the resource and the object's name."""
    return {
        "quota": (RESOURCEQUOTAS, NAME),
        "priority": (RESOURCEQUOTAS, PRIORITY_QUOTA),
        "affinity": (RESOURCEQUOTAS, AFFINITY_QUOTA),
        "limits": (LIMITRANGES, NAME),
        "network-policy": (NETWORKPOLICIES, NAME),
        "local-queue": (local_queues(queue_version or QUEUE_VERSIONS[-1]), settings.local_queue.name),
    }


def local_queues(version: str) -> Resource:
    return Resource(QUEUE_GROUP, version, "localqueues", "LocalQueue")


def labelled(manifest: Mapping[str, Any], labels: Mapping[str, str], namespace: str) -> Manifest:
    """The manifest with these labels over its own, in `namespace`; "" where its kind is in none."""
    metadata = {
        **manifest["metadata"],
        "labels": {**(manifest["metadata"].get("labels") or {}), **labels},
    }
    if namespace:
        metadata["namespace"] = namespace
    return {**manifest, "metadata": metadata}


def _item(resource: Resource, name: str, optional: str = "", *, asked: bool = False, **fields: Any) -> Item:
    head = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": {"name": name}}
    return Item(resource, {**head, **fields}, optional, asked)


def _no_priorities(allowed: Sequence[str]) -> Manifest:
    """No pod with a priority class, those `allowed` apart: what a policy refuses, the API server refuses."""
    expressions: list[Manifest] = [{"scopeName": "PriorityClass", "operator": "Exists"}]
    if allowed:
        expressions.append({"scopeName": "PriorityClass", "operator": "NotIn", "values": list(allowed)})
    return {"hard": {"pods": "0"}, "scopeSelector": {"matchExpressions": expressions}}


def _no_affinity_abroad() -> Manifest:
    """No pod that names the namespaces, be it its own, whose pods it wants to be near or far from."""
    expressions = [{"scopeName": "CrossNamespacePodAffinity", "operator": "Exists"}]
    return {"hard": {"pods": "0"}, "scopeSelector": {"matchExpressions": expressions}}


def _network(gateways: Sequence[Manifest], egress: Sequence[Manifest]) -> Manifest:
    world = [
        {"ipBlock": {"cidr": "0.0.0.0/0", "except": list(PRIVATE)}},
        {"ipBlock": {"cidr": "::/0", "except": list(PRIVATE_IPV6)}},
    ]
    dns = [{"protocol": protocol, "port": 53} for protocol in ("UDP", "TCP")]
    return {
        "podSelector": {},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"from": [{"podSelector": {}}, *gateways]}],
        # Names are resolved wherever the cluster does that: a service, a node's cache, a cloud's own server.
        "egress": [{"to": [{"podSelector": {}}]}, {"ports": dns}, {"to": world}, *egress],
    }
