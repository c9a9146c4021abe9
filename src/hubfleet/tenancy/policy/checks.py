"""Checks of single fields that need more than a list of words."""

from typing import Any

from hubfleet.tenancy.policy import quantity
from hubfleet.tenancy.policy.rules import Review
from hubfleet.tenancy.policy.violation import Path

PROFILE_LABEL = "hubfleet.dev/profile"  # the one name of ours that users write: the documented channel

DEFAULT_ACCOUNT = "default"  # of every namespace; in users' namespaces it has no rights and no token

OVERRIDES = (
    "runAsUser",
    "runAsGroup",
    "runAsNonRoot",
    "seccompProfile",
    "appArmorProfile",
    "seLinuxOptions",
)
"""What a container's securityContext can say against its pod's."""


def check_labels(value: Any, path: Path, review: Review) -> None:
    for key in review.policy.labels.refused(value or ()):
        if key != PROFILE_LABEL or len(path) > len(("metadata", "labels")):
            review.refuse((*path, key), "labels that are not the user's own", str(review.policy.labels))


def check_annotations(value: Any, path: Path, review: Review) -> None:
    for key in review.policy.annotations.refused(value or ()):
        review.refuse((*path, key), "annotations that are not the user's own", str(review.policy.annotations))


def check_namespace(value: Any, path: Path, review: Review) -> None:
    if value and value != review.namespace:
        review.refuse(path, "namespaces", review.namespace or "nothing")


def check_containers(count: int, path: Path, review: Review) -> None:
    """How many a pod has, init containers included."""
    limit = review.policy.limits["containers"]
    if limit is not None and count > limit:
        review.refuse(path, "number of containers", f"at most {limit}, init containers included")


_TOKENS = "they are for accounts that the operator allows in tenancy.policy.allow.service_accounts"


def check_automount(value: Any, path: Path, review: Review) -> None:
    if value and not has_account(review):
        review.refuse(path, "tokens of service accounts", f"false ({_TOKENS})")


def check_token_projection(value: Any, path: Path, review: Review) -> None:
    if value is not None and not has_account(review):
        review.refuse(path, "tokens of service accounts", f"nothing ({_TOKENS})")


def has_account(review: Review) -> bool:
    """Whether the pod runs as an account that the operator allowed by name: its token is its purpose."""
    accounts = {review.pod.get(key) for key in ("serviceAccountName", "serviceAccount")} - {None, ""}
    return bool(accounts) and accounts <= review.policy.names["service_accounts"]


def check_volume_kind(value: Any, path: Path, review: Review) -> None:
    kinds = review.policy.names["volumes"]
    if value is not None and path[-1] not in kinds:
        also = "".join(f", {kind}" for kind in sorted(kinds))
        allowed = "configMap, downwardAPI, emptyDir, ephemeral, persistentVolumeClaim, projected, secret"
        review.refuse(path, "volumes that may hold other people's data", allowed + also)


def check_csi(value: Any, path: Path, review: Review) -> None:
    drivers = review.policy.names["csi_drivers"]
    driver = value.get("driver") if isinstance(value, dict) else None
    if value is not None and driver not in drivers:
        allowed = ", ".join(sorted(drivers)) or "none"
        review.refuse((*path, "driver"), "CSI drivers of volumes in a pod", allowed)


def check_size_limit(value: Any, path: Path, review: Review) -> None:
    limit = review.policy.empty_dir
    if limit is None or value is None:
        return
    amount = quantity.parse(str(value))
    # 0 is no limit at all.
    if amount is None or not 0 < amount.value <= limit.value:
        review.refuse(path, "size of an emptyDir", f"at most {limit.text}")


def check_mounted_volume(value: Any, path: Path, review: Review) -> None:
    """The operator's volumes may be what no user may have, and are in one pod with the user's containers."""
    allowed = review.policy.names["template_volumes"]
    if value not in review.operator.volumes or value in allowed:
        return
    names = "".join(f", {name}" for name in sorted(review.operator.volumes & allowed))
    review.refuse(path, "volumes of the operator's job template", f"the job's own volumes{names}")


_OPERATORS_CONTEXT = "security context of the operator's job template"


def check_overrides(context: Any, path: Path, review: Review) -> None:
    """A container's securityContext goes before its pod's: not where the operator's template says one."""
    if not isinstance(context, dict):
        return
    theirs = review.operator.context
    for key in OVERRIDES:
        if key in theirs and key in context and context[key] != theirs[key]:
            review.refuse((*path, key), _OPERATORS_CONTEXT, "nothing")


def check_groups(context: Any, path: Path, review: Review) -> None:
    """A pod's groups, beside the securityContext of the operator's template: none but the operator's.

    Merged, lists would be joined, and what the template leaves open would be the user's.
    """
    theirs = review.operator.context
    if not theirs or not isinstance(context, dict):
        return
    for key in ("fsGroup", "supplementalGroupsPolicy"):
        if context.get(key) is not None and context[key] != theirs.get(key):
            review.refuse((*path, key), _OPERATORS_CONTEXT, str(theirs.get(key, "nothing")))
    groups = context.get("supplementalGroups") or []
    allowed = theirs.get("supplementalGroups") or []
    if not isinstance(groups, list) or any(group not in allowed for group in groups):
        shown = ", ".join(map(str, allowed)) or "nothing"
        review.refuse((*path, "supplementalGroups"), _OPERATORS_CONTEXT, shown)


def check_namespaces(value: Any, path: Path, review: Review) -> None:
    """Of pod affinity, which would tell of others' pods, or keep them from a node."""
    # Its own is meant where none is named; where it is, the API server's quota takes it for another.
    for i, _ in enumerate(value or ()):
        review.refuse((*path, i), "namespaces", "nothing")


def check_namespace_selector(value: Any, path: Path, review: Review) -> None:
    # {} selects every namespace.
    if value is not None:
        review.refuse(path, "namespaces", "nothing")
