"""Whether a pod fits on a node, and the words in which the scheduler says why not."""

from decimal import Decimal
from typing import Any

import pytest

from localkube.controllers import fit

Object = dict[str, Any]


def make_node(*, ready: bool = True, labels: Object | None = None, **spec: Any) -> Object:
    return {
        "metadata": {"name": "n", "labels": {"disk": "ssd", "size": "10", **(labels or {})}},
        "spec": spec,
        "status": {
            "allocatable": {"cpu": "2", "memory": "1Gi", "pods": "3"},
            "conditions": [{"type": "Ready", "status": "True" if ready else "Unknown"}],
        },
    }


def make_pod(cpu: str = "", memory: str = "", **spec: Any) -> Object:
    requests = {name: text for name, text in (("cpu", cpu), ("memory", memory)) if text}
    return {"spec": {"containers": [{"name": "c", "resources": {"requests": requests}}], **spec}}


def reasons(pod: Object, node: Object, **used: str) -> tuple[str, ...]:
    refused = fit.refusal(pod, node, {name: Decimal(text) for name, text in used.items()})
    return refused.reasons if refused is not None else ()


def affinity(*expressions: Object, **term: Any) -> Object:
    required = {"nodeSelectorTerms": [{"matchExpressions": list(expressions), **term}]}
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}


TAINTED = "node(s) had untolerated taint(s)"
UNMATCHED = "node(s) didn't match Pod's node affinity/selector"


def test_a_plain_pod_fits() -> None:
    assert reasons(make_pod(), make_node()) == ()


def test_node_selector() -> None:
    assert reasons(make_pod(nodeSelector={"disk": "ssd"}), make_node()) == ()
    assert reasons(make_pod(nodeSelector={"disk": "hdd"}), make_node()) == (UNMATCHED,)


@pytest.mark.parametrize(
    ("expression", "fits"),
    [
        ({"key": "disk", "operator": "In", "values": ["ssd", "nvme"]}, True),
        ({"key": "disk", "operator": "In", "values": ["hdd"]}, False),
        ({"key": "disk", "operator": "NotIn", "values": ["ssd"]}, False),
        ({"key": "gpu", "operator": "NotIn", "values": ["a"]}, True),
        ({"key": "disk", "operator": "Exists"}, True),
        ({"key": "disk", "operator": "DoesNotExist"}, False),
        ({"key": "size", "operator": "Gt", "values": ["9"]}, True),
        ({"key": "size", "operator": "Lt", "values": ["9"]}, False),
        ({"key": "disk", "operator": "Gt", "values": ["9"]}, False),
    ],
)
def test_node_affinity(expression: Object, fits: bool) -> None:
    assert reasons(make_pod(affinity=affinity(expression)), make_node()) == (() if fits else (UNMATCHED,))


def test_an_empty_affinity_term_matches_nothing() -> None:
    assert reasons(make_pod(affinity=affinity()), make_node()) == (UNMATCHED,)


def test_affinity_to_a_nodes_name() -> None:
    field = {"key": "metadata.name", "operator": "In", "values": ["other"]}
    assert reasons(make_pod(affinity=affinity(matchFields=[field])), make_node()) == (UNMATCHED,)


@pytest.mark.parametrize(
    ("toleration", "fits"),
    [
        ({"operator": "Exists"}, True),
        ({"key": "dedicated", "operator": "Exists"}, True),
        ({"key": "dedicated", "value": "batch"}, True),
        ({"key": "dedicated", "value": "batch", "effect": "NoSchedule"}, True),
        ({"key": "dedicated", "value": "batch", "effect": "NoExecute"}, False),
        ({"key": "dedicated", "value": "web"}, False),
        ({"key": "other", "operator": "Exists"}, False),
    ],
)
def test_taints(toleration: Object, fits: bool) -> None:
    node = make_node(taints=[{"key": "dedicated", "value": "batch", "effect": "NoSchedule"}])
    assert reasons(make_pod(), node) == (TAINTED,)
    assert reasons(make_pod(tolerations=[toleration]), node) == (() if fits else (TAINTED,))


def test_a_preference_is_no_obstacle() -> None:
    assert reasons(make_pod(), make_node(taints=[{"key": "a", "effect": "PreferNoSchedule"}])) == ()


def test_a_node_that_is_not_ready_is_tainted() -> None:
    assert reasons(make_pod(), make_node(ready=False)) == (TAINTED,)


def test_a_cordoned_node() -> None:
    assert reasons(make_pod(), make_node(unschedulable=True)) == ("node(s) were unschedulable",)


def test_resources() -> None:
    assert reasons(make_pod("1500m", "512Mi"), make_node(), cpu="0.5", memory="0") == ()
    assert reasons(make_pod("1501m"), make_node(), cpu="0.5") == ("Insufficient cpu",)
    assert reasons(make_pod("3", "2Gi"), make_node()) == ("Insufficient cpu", "Insufficient memory")
    assert reasons(make_pod(), make_node(), pods="3") == ("Too many pods",)


def test_init_containers_ask_for_their_largest_and_sidecars_for_their_sum() -> None:
    def container(cpu: str, **more: str) -> Object:
        return {"resources": {"requests": {"cpu": cpu}}, **more}

    pod = make_pod(
        "1", initContainers=[container("200m", restartPolicy="Always"), container("3"), container("1")]
    )
    assert fit.requests(pod)["cpu"] == Decimal("3.2")
    pod = make_pod("4", initContainers=[container("200m", restartPolicy="Always"), container("3")])
    assert fit.requests(pod)["cpu"] == Decimal("4.2")


def test_messages() -> None:
    never = fit.refusal(make_pod("4000"), make_node(), {})
    assert never is not None
    assert fit.message([never]) == (
        "0/1 nodes are available: 1 Insufficient cpu. no new claims to deallocate, preemption: 0/1 nodes are "
        "available: 1 Preemption is not helpful for scheduling."
    )
    crowded = fit.refusal(make_pod("1"), make_node(), {"cpu": Decimal(2)})
    assert crowded is not None
    assert fit.message([crowded, never]) == (
        "0/2 nodes are available: 2 Insufficient cpu. no new claims to deallocate, preemption: 0/2 nodes "
        "are available: 1 No preemption victims found for incoming pod, 1 Preemption is not helpful for "
        "scheduling."
    )
    assert fit.message([]) == "no nodes available to schedule pods"
