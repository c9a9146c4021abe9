"""Where a pod runs: node selectors, node affinity and tolerations are a profile's, or allowed.

Nodes are what separates tenants of different sorts (GPUs, paid pools, the cluster's own), so a user chooses
them by a profile. The unmodified clients put what their profile says into the job themselves: tolerations and
affinity that are together those of one profile pass, and no part of one with a part of another.
"""

from typing import Any

from hubfleet.tenancy.policy.rules import Placement, Review
from hubfleet.tenancy.policy.violation import Path

REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"

_TOLERATIONS = "tolerations"
_NODES = "nodes to run on"


def terms(node_affinity: Any) -> list[dict[str, Any]]:
    """The terms of the required node affinity, without the empty lists that the clients put into them."""
    required = (node_affinity or {}).get(REQUIRED) or {}
    found = required.get("nodeSelectorTerms") or []
    return [{k: v for k, v in term.items() if v} for term in found if isinstance(term, dict)]


def check_tolerations(value: Any, path: Path, review: Review) -> None:
    """Tolerations and required node affinity, for they belong together; in a pod that has tolerations."""
    foreign = [i for i, each in enumerate(value or ()) if each not in review.policy.tolerations]
    if not foreign:
        return
    own = terms((review.pod.get("affinity") or {}).get("nodeAffinity"))
    for placement in review.operator.placements:
        if list(placement.tolerations) == value and _same_nodes(placement, own, review):
            return
    for i in foreign:
        review.refuse((*path, i), _TOLERATIONS, _offered(review))


def check_node_selector(value: Any, path: Path, review: Review) -> None:
    labels = review.policy.names["node_labels"]
    for key in value or ():
        if key not in labels:
            review.refuse((*path, key), _NODES, _labels(review))


def check_node_affinity(value: Any, path: Path, review: Review) -> None:
    if not isinstance(value, dict):
        return
    for key in value.keys() - {REQUIRED, PREFERRED}:
        review.refuse((*path, key), "fields that the policy does not know", "nothing")
    own = terms(value)
    if not any(list(placement.terms) == own for placement in review.operator.placements):
        at: Path = (*path, REQUIRED, "nodeSelectorTerms")
        for i, term in enumerate(((value.get(REQUIRED) or {}).get("nodeSelectorTerms")) or ()):
            _check_term(term, (*at, i), review)
    for i, preferred in enumerate(value.get(PREFERRED) or ()):
        _check_term(preferred.get("preference"), (*path, PREFERRED, i, "preference"), review)


def _same_nodes(placement: Placement, own: list[dict[str, Any]], review: Review) -> bool:
    """Whether a job whose required node affinity is `own` runs on nodes of the placement only.

    What a named profile says is filled in later, where the job says nothing.
    """
    if list(placement.terms) == own:
        return True
    return not own and placement.profile == review.profile


def _check_term(term: Any, path: Path, review: Review) -> None:
    if not isinstance(term, dict):
        return
    for key, expressions in term.items():
        for i, expression in enumerate(expressions or ()):
            where = (*path, key, i)
            if key != "matchExpressions":
                review.refuse(where, _NODES, "matchExpressions")
            elif expression.get("key") not in review.policy.names["node_labels"]:
                review.refuse((*where, "key"), _NODES, _labels(review))


def _labels(review: Review) -> str:
    labels = ", ".join(sorted(review.policy.names["node_labels"]))
    return f"the labels {labels}, or what a profile says" if labels else "what a profile says"


def _offered(review: Review) -> str:
    offered = ", ".join(p.profile for p in review.operator.placements if p.tolerations)
    return f"all that a profile says, with its nodes: {offered}" if offered else "none"
