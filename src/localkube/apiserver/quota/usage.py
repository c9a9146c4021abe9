"""How much of what a ResourceQuota counts an object takes, and which quantities are counted for its kind.

The rules are those of Kubernetes' quota evaluators. Every kind is counted by number
(`count/jobs.batch`); pods, services and claims are also measured.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from functools import cache
from typing import Any, NamedTuple

from localkube.apiserver import podresources, quantity
from localkube.apiserver.podresources import Amounts

Object = dict[str, Any]

IGNORED = frozenset({"events", "events.events.k8s.io"})
"""Kinds that are not counted: what the cluster says of itself must not use up what users have."""

_ALIASES = frozenset({"configmaps", "replicationcontrollers", "resourcequotas", "secrets"})
"""Kinds whose number is also counted under their plain name."""
_COMPUTE = ("cpu", "memory", "ephemeral-storage")
_POD_NAMES = frozenset(
    {
        "pods",
        "count/pods",
        *_COMPUTE,
        *(f"{kind}.{name}" for kind in ("requests", "limits") for name in _COMPUTE),
    }
)
_SERVICE_NAMES = frozenset({"services", "count/services", "services.nodeports", "services.loadbalancers"})
_CLAIM_NAMES = ("persistentvolumeclaims", "requests.storage")
_STORAGE_CLASS = ".storageclass.storage.k8s.io/"
_DEMANDED = frozenset({"cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"})
"""Where a quota has one of these, every container has to say how much of it it wants."""


class Evaluator(NamedTuple):
    """`counts` tells whether a name in a quota is counted for the kind; `usage` what an object takes."""

    counts: Callable[[str], bool]
    usage: Callable[[Object, datetime], Amounts]
    on_update: bool = False
    """Whether a change of an object can take more, too."""


@cache
def evaluator(key: str) -> Evaluator:
    """The evaluator of a resource, by its key (`jobs.batch`)."""
    return _EVALUATORS.get(key) or _by_number(key)


def _by_number(key: str) -> Evaluator:
    names = {f"count/{key}", *({key} & _ALIASES)}
    amounts = dict.fromkeys(names, "1")
    return Evaluator(names.__contains__, lambda obj, now: amounts)


def _counts_pods(name: str) -> bool:
    if name in _POD_NAMES or name.startswith(("hugepages-", "requests.hugepages-")):
        return True
    # extended resources, which are counted by what is requested
    return name.startswith("requests.") and "/" in name and "kubernetes.io/" not in name


def of_pod(pod: Object, now: datetime) -> Amounts:
    """A pod that has ended takes its place in the list, and nothing else any more."""
    if not is_running(pod, now):
        return {"count/pods": "1"}
    spec = pod["spec"]
    return {"count/pods": "1", **_compute(podresources.requests(spec), podresources.limits(spec))}


def is_running(pod: Object, now: datetime) -> bool:
    """Whether a pod has not ended, and is not overdue to be gone (its node may be lost)."""
    if (pod.get("status") or {}).get("phase") in ("Failed", "Succeeded"):
        return False
    deleted = pod["metadata"].get("deletionTimestamp")
    grace = pod["metadata"].get("deletionGracePeriodSeconds")
    if deleted is None or grace is None:
        return True
    return now <= datetime.fromisoformat(deleted) + timedelta(seconds=grace)


def _compute(requests: Amounts, limits: Amounts) -> Amounts:
    found: Amounts = {"pods": "1"}
    for name in _COMPUTE:
        if name in requests:
            found[name] = found[f"requests.{name}"] = requests[name]
        if name in limits:
            found[f"limits.{name}"] = limits[name]
    for name, text in requests.items():
        if name.startswith("hugepages-"):
            found[name] = found[f"requests.{name}"] = text
        elif "/" in name and "kubernetes.io/" not in name:
            found[f"requests.{name}"] = text
    return found


def missing(pod: Object, names: list[str]) -> str:
    """What the containers of a pod leave open although a quota counts it (`names`); "" for nothing.

    `must specify limits.cpu for: a,b; limits.memory for: a`
    """
    spec = pod["spec"]
    demanded = _DEMANDED.intersection(names) - _stated(spec).keys()
    open_: dict[str, set[str]] = {}
    for kind in ("containers", "initContainers"):
        for container in spec.get(kind) or ():
            for name in demanded - _stated(container).keys():
                open_.setdefault(name, set()).add(container.get("name", ""))
    if not open_:
        return ""
    return "must specify " + "; ".join(
        f"{name} for: {','.join(sorted(found))}" for name, found in sorted(open_.items())
    )


def _stated(part: Object) -> Amounts:
    resources = part.get("resources") or {}
    return _compute(resources.get("requests") or {}, resources.get("limits") or {})


def _of_service(service: Object, _: datetime) -> Amounts:
    spec = service.get("spec") or {}
    kind, ports = spec.get("type"), spec.get("ports") or ()
    node_ports = 0
    if kind == "NodePort" or (kind == "LoadBalancer" and spec.get("allocateLoadBalancerNodePorts", True)):
        node_ports = len(ports)
    elif kind == "LoadBalancer":
        node_ports = sum(1 for port in ports if port.get("nodePort"))
    return {
        "count/services": "1",
        "services": "1",
        "services.nodeports": str(node_ports),
        "services.loadbalancers": "1" if kind == "LoadBalancer" else "0",
    }


def _counts_claims(name: str) -> bool:
    if name in _CLAIM_NAMES or name == "count/persistentvolumeclaims":
        return True
    return name.endswith(tuple(_STORAGE_CLASS + counted for counted in _CLAIM_NAMES))


def _of_claim(claim: Object, _: datetime) -> Amounts:
    found: Amounts = {"persistentvolumeclaims": "1", "count/persistentvolumeclaims": "1"}
    spec = claim.get("spec") or {}
    annotations = claim["metadata"].get("annotations") or {}
    storage_class = annotations.get(
        "volume.beta.kubernetes.io/storage-class", spec.get("storageClassName", "")
    )
    wanted = ((spec.get("resources") or {}).get("requests") or {}).get("storage")
    granted = ((claim.get("status") or {}).get("allocatedResources") or {}).get("storage")
    if wanted is not None and granted is not None and quantity.value_of(granted) > quantity.value_of(wanted):
        wanted = granted
    if wanted is not None:
        found["requests.storage"] = wanted
    if storage_class:
        found |= {
            f"{storage_class}{_STORAGE_CLASS}{name}": found[name] for name in _CLAIM_NAMES if name in found
        }
    return found


_EVALUATORS = {
    "pods": Evaluator(_counts_pods, of_pod),
    "services": Evaluator(_SERVICE_NAMES.__contains__, _of_service, on_update=True),
    "persistentvolumeclaims": Evaluator(_counts_claims, _of_claim, on_update=True),
}
