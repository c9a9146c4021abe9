"""What the API server's refusals mean to the person who reads them: a full quota, a missing right, an end.

Its messages are its only word on numbers and rights; what is not understood is passed on as it is.
"""

import re

import msgspec
import structlog

from hubfleet.errors import UserError
from hubfleet.kube.errors import ApiError, Forbidden
from hubfleet.kube.impersonation import Impersonation
from hubfleet.tenancy.manifests import AFFINITY_QUOTA, PRIORITY_QUOTA
from hubfleet.tenancy.rights import IMPERSONATOR_ROLE, USER_ROLE

DELETION_SECONDS = 10.0
"""How long a client is asked to wait while a namespace goes away."""

log = structlog.get_logger(__name__)

_QUOTA = re.compile(
    r"exceeded quota: (?P<quota>[^,]+), requested: (?P<requested>.*?), used: (?P<used>.*?), "
    r"limited: (?P<limited>[^\s]*)"
)
_UNSAID = re.compile(r"failed quota: (?P<quota>[^:]+): must specify (?P<what>.*)", re.S)
_RIGHT = re.compile(
    r'User "(?P<user>[^"]*)" cannot (?P<verb>\S+) resource "(?P<resource>[^"]*)" in API group '
    r'"(?P<group>[^"]*)"(?: in the namespace "(?P<namespace>[^"]*)")?'
)


class Right(msgspec.Struct, frozen=True):
    """A right that somebody lacks: "create" on "networkpolicies.networking.k8s.io"."""

    verb: str
    resource: str
    namespace: str = ""

    def __str__(self) -> str:
        return f"{self.verb} {self.resource}"


def missing_right(error: ApiError) -> Right | None:
    """The right for want of which RBAC refused; None where that is not the reason."""
    if not isinstance(error, Forbidden):
        return None
    if "attempting to grant RBAC permissions not currently held" in error.message:
        return Right("bind", f"clusterroles.rbac.authorization.k8s.io {USER_ROLE}, {IMPERSONATOR_ROLE}")
    found = _RIGHT.search(error.message)
    if found is None:
        return None
    group = found["group"]
    resource = f"{found['resource']}.{group}" if group else found["resource"]
    return Right(found["verb"], resource, found["namespace"] or "")


def explained(error: ApiError, namespace: str) -> UserError | None:
    """The user's own words for a refusal in their namespace; None where the API server's own are as good."""
    if is_going(error):
        return going(error.cluster, namespace)
    if not isinstance(error, Forbidden):
        return None
    if found := _QUOTA.search(error.message):
        return UserError(403, _full(error.cluster, found))
    if found := _UNSAID.search(error.message):
        return UserError(
            403,
            f"Your quota on cluster {error.cluster} counts what every container asks for, so each must say "
            f"it: {found['what'].strip()}",
        )
    return None


def for_user(error: ApiError, namespace: str, whom: Impersonation | None) -> UserError | None:
    """The words for a refusal of what was done for a user, as `whom` (None: as ourselves); as `explained`.

    What RBAC refuses us is nothing that the user can help: 503. What it refuses the user's account is a 403:
    an administrator decided it.
    """
    if (words := explained(error, namespace)) is not None:
        return words
    right = missing_right(error)
    if right is None:
        return None
    place = (
        f"in namespace {namespace} on cluster {error.cluster}" if namespace else f"on cluster {error.cluster}"
    )
    if whom is not None and f'User "{whom.user}"' in error.message:
        log.warning("users lack a right: see `hubfleet rbac`", right=str(right), error=error.message)
        return UserError(
            403,
            f"Users may not {right} {place}: an administrator decides that, by the ClusterRole {USER_ROLE}",
        )
    log.error(
        "this server's account lacks a right: see `hubfleet rbac`", right=str(right), error=error.message
    )
    return UserError(
        503,
        f"This server may not {right} {place}: an administrator has to give its account that right",
    )


def of_a_pod(message: str) -> str:
    """In a line, why a pod could not be made, from the event that says so of its job."""
    if found := _QUOTA.search(message):
        return f"exceeded quota {found['quota']}: {_blocked(found)}"
    return " ".join(message.removeprefix("Error creating: ").split())


def is_going(error: ApiError) -> bool:
    """Whether the namespace is being deleted, and takes nothing any more."""
    if any(cause.get("reason") == "NamespaceTerminating" for cause in error.causes):
        return True
    return isinstance(error, Forbidden) and "because it is being terminated" in error.message


def going(cluster: str, namespace: str) -> UserError:
    return UserError(
        409,
        f"Namespace {namespace} on cluster {cluster} is being deleted; try again when it is gone",
        retry_after=DELETION_SECONDS,
    )


def _full(cluster: str, found: re.Match[str]) -> str:
    if found["quota"] == PRIORITY_QUOTA:
        return f"Pods with a priority class are not allowed on cluster {cluster}"
    if found["quota"] == AFFINITY_QUOTA:
        return f"Affinity to pods of other namespaces is not allowed on cluster {cluster}"
    return f"This would exceed your quota on cluster {cluster}: {_blocked(found)}"


def _blocked(found: re.Match[str]) -> str:
    used, limited = _amounts(found["used"]), _amounts(found["limited"])
    blocked = [
        f"{resource}: {used.get(resource, '0')} of {limited.get(resource, '?')} used, {asked} more asked for"
        for resource, asked in _amounts(found["requested"]).items()
    ]
    return "; ".join(blocked)


def _amounts(text: str) -> dict[str, str]:
    """`a=1,b=2` as a dict."""
    return {key: value for pair in text.split(",") for key, _, value in [pair.partition("=")]}
