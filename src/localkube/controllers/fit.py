"""Whether a pod fits on a node, and why not: the scheduler's filters, as pure functions.

The reasons are those of kube-scheduler 1.36's plugins, in the order in which they are asked
(NodeUnschedulable, NodeName, TaintToleration, NodeAffinity, NodeResourcesFit); the first that refuses
speaks for the node.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import msgspec

from localkube.apiserver import podresources, quantity

Object = dict[str, Any]
Amounts = Mapping[str, Decimal]
"""Resource name (cpu in cores, memory in bytes, pods) to amount."""

NOT_READY = {"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}
UNSCHEDULABLE = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}
PODS_DEFAULT = Decimal(110)
"""Pods per node where it does not say (the kubelet's default)."""


class Refusal(msgspec.Struct, frozen=True):
    """Why a node cannot take a pod."""

    reasons: tuple[str, ...]
    """Each is counted in the message that the user reads."""
    preemptible: bool = False
    """Whether it could if other pods made room."""


def requests(pod: Object) -> dict[str, Decimal]:
    """What a pod asks for."""
    return _amounts(podresources.requests(pod["spec"]))


def allocatable(node: Object) -> dict[str, Decimal]:
    status = node.get("status", {})
    found = _amounts(status.get("allocatable") or status.get("capacity") or {})
    found.setdefault("pods", PODS_DEFAULT)
    return found


def refusal(pod: Object, node: Object, used: Amounts) -> Refusal | None:
    """Why `node`, on which `used` is taken (pods included), cannot take `pod`; None if it can."""
    spec = pod["spec"]
    tolerations = spec.get("tolerations") or []
    if node["spec"].get("unschedulable") and not _tolerated(UNSCHEDULABLE, tolerations):
        return Refusal(("node(s) were unschedulable",))
    taints = [t for t in taints_of(node) if t["effect"] in ("NoSchedule", "NoExecute")]
    if not all(_tolerated(taint, tolerations) for taint in taints):
        return Refusal(("node(s) had untolerated taint(s)",))
    if not _selected(spec, node):
        return Refusal(("node(s) didn't match Pod's node affinity/selector",))
    available = allocatable(node)
    wanted = {**requests(pod), "pods": Decimal(1)}
    short = [
        name
        for name, amount in wanted.items()
        if amount > 0 and used.get(name, Decimal(0)) + amount > available.get(name, Decimal(0))
    ]
    if not short:
        return None
    short.sort(key=lambda name: name != "pods")
    words = tuple("Too many pods" if name == "pods" else f"Insufficient {name}" for name in short)
    never = any(wanted[name] > available.get(name, Decimal(0)) for name in short)
    return Refusal(words, preemptible=not never)


def message(refusals: Sequence[Refusal]) -> str:
    """The message of the pod's PodScheduled condition when every node has refused it."""
    if not refusals:
        return "no nodes available to schedule pods"
    nodes = f"0/{len(refusals)} nodes are available"
    counts: dict[str, int] = {}
    preemption: dict[str, int] = {}
    for refused in refusals:
        for reason in refused.reasons:
            counts[reason] = counts.get(reason, 0) + 1
        outcome = (
            "No preemption victims found for incoming pod"
            if refused.preemptible
            else "Preemption is not helpful for scheduling"
        )
        preemption[outcome] = preemption.get(outcome, 0) + 1
    return (
        f"{nodes}: {_counted(counts)}. no new claims to deallocate, "
        f"preemption: {nodes}: {_counted(preemption)}."
    )


def taints_of(node: Object) -> list[Object]:
    """The node's taints; one that is not ready has `not-ready`, which Kubernetes' node controller adds."""
    taints = list(node["spec"].get("taints") or ())
    if not is_ready(node):
        taints.append(NOT_READY)
    return taints


def is_ready(node: Object) -> bool:
    conditions = node.get("status", {}).get("conditions") or ()
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(sorted(f"{count} {reason}" for reason, count in counts.items()))


def _amounts(texts: Mapping[str, str]) -> dict[str, Decimal]:
    return {name: quantity.parse(str(text)).value for name, text in texts.items()}


def _tolerated(taint: Object, tolerations: Sequence[Object]) -> bool:
    return any(_tolerates(toleration, taint) for toleration in tolerations)


def _tolerates(toleration: Object, taint: Object) -> bool:
    if toleration.get("effect") and toleration["effect"] != taint["effect"]:
        return False
    if toleration.get("key") and toleration["key"] != taint["key"]:
        return False
    if toleration.get("operator") == "Exists":
        return True
    return bool(toleration.get("key")) and toleration.get("value", "") == taint.get("value", "")


def _selected(spec: Object, node: Object) -> bool:
    labels = node["metadata"].get("labels") or {}
    if any(labels.get(key) != value for key, value in (spec.get("nodeSelector") or {}).items()):
        return False
    affinity = ((spec.get("affinity") or {}).get("nodeAffinity") or {}).get(
        "requiredDuringSchedulingIgnoredDuringExecution"
    )
    if affinity is None:
        return True
    return any(_term_matches(term, node, labels) for term in affinity.get("nodeSelectorTerms") or ())


def _term_matches(term: Object, node: Object, labels: Mapping[str, str]) -> bool:
    expressions = term.get("matchExpressions") or []
    fields = term.get("matchFields") or []
    if not expressions and not fields:
        # an empty term selects nothing
        return False
    names = {"metadata.name": node["metadata"]["name"]}
    return all(_matches(e, labels) for e in expressions) and all(_matches(e, names) for e in fields)


def _matches(expression: Object, labels: Mapping[str, str]) -> bool:
    value = labels.get(expression["key"])
    values = expression.get("values") or []
    match expression["operator"]:
        case "In":
            return value in values
        case "NotIn":
            return value not in values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case operator:
            if value is None or not value.lstrip("-").isdigit() or not values[0].lstrip("-").isdigit():
                return False
            return int(value) > int(values[0]) if operator == "Gt" else int(value) < int(values[0])
