"""As whom we act: our own account on each cluster, and in each user's namespace the user's.

The API server is asked, not our own bookkeeping: whether we may act as a user is tried out, by a review that
is itself made as that user. It also waits for RBAC to take hold, which reads new bindings from a cache of its
own: what is asked in the moment after they were written may still be refused.
"""

import asyncio
import time
from collections.abc import Callable

import msgspec
import structlog

from hubfleet.environment import ImpersonationMode
from hubfleet.errors import UserError
from hubfleet.kube.budget import Budget
from hubfleet.kube.clusters import Cluster
from hubfleet.kube.errors import ApiError, Forbidden
from hubfleet.kube.impersonation import Impersonation
from hubfleet.kube.resources import CLUSTERROLES, SELFSUBJECTACCESSREVIEWS, SELFSUBJECTREVIEWS
from hubfleet.tenancy.refusals import missing_right
from hubfleet.tenancy.rights import (
    IMPERSONATOR,
    IMPERSONATOR_ROLE,
    USER,
    USER_ACCOUNT,
    USER_ROLE,
    cluster_role,
)

PATIENCE = 3.0
"""Seconds that new bindings may take to be known to RBAC; mostly it is a hundredth of one."""

POLL = 0.02
"""Seconds until the first time that we ask again, then twice that each time."""

DOUBT_SECONDS = 60.0
"""How long a namespace in which we may not act as the user is believed to stay like that."""

REFUSED_SECONDS = 5.0
"""How often we try again to act as a user whom we may not act as: how soon rights that came are noticed."""

log = structlog.get_logger(__name__)


class _UserInfo(msgspec.Struct, frozen=True):
    username: str


class _SelfStatus(msgspec.Struct, frozen=True, rename="camel"):
    user_info: _UserInfo


class _SelfSubjectReview(msgspec.Struct, frozen=True):
    status: _SelfStatus


class _AccessStatus(msgspec.Struct, frozen=True):
    allowed: bool


class _AccessReview(msgspec.Struct, frozen=True):
    status: _AccessStatus


class Accounts:
    """Who we are on each cluster, and whether we may act as its users. Remembers, for the process."""

    def __init__(self, mode: ImpersonationMode, *, clock: Callable[[], float] = time.monotonic):
        self.mode = mode
        self._clock = clock
        self._own: dict[str, str] = {}
        self._roles: set[str] = set()  # clusters whose two ClusterRoles we wrote, or may not write
        self._known: dict[tuple[str, str], tuple[Impersonation | None, float | None]] = {}
        self._refused: dict[tuple[str, str], float] = {}  # until when, where impersonation is required

    async def own(self, cluster: Cluster, budget: Budget) -> str:
        """Our own account as this cluster calls it: `system:serviceaccount:NAMESPACE:NAME`, or a user's name.

        Raises KubeError; NotFound from a Kubernetes before 1.28.
        """
        if cluster.name not in self._own:
            review = {"apiVersion": SELFSUBJECTREVIEWS.api_version, "kind": SELFSUBJECTREVIEWS.kind}
            answer = await cluster.client.create(
                SELFSUBJECTREVIEWS, None, review, type=_SelfSubjectReview, budget=budget
            )
            self._own[cluster.name] = answer.status.user_info.username
        return self._own[cluster.name]

    async def provide_roles(self, cluster: Cluster, budget: Budget) -> None:
        """The two ClusterRoles that are bound in namespaces, where our account may write such: else nothing.

        An administrator's account may, and then nobody has to; one with the least rights that do may not,
        and there `hubfleet rbac` printed the two with it.
        """
        if cluster.name in self._roles:
            return
        try:
            for role in (cluster_role(USER_ROLE, USER), cluster_role(IMPERSONATOR_ROLE, IMPERSONATOR)):
                await cluster.client.apply(CLUSTERROLES, None, role, budget=budget)
        except Forbidden as e:
            log.debug("the ClusterRoles are left as they are", cluster=cluster.name, error=e.message)
        self._roles.add(cluster.name)

    def known(self, cluster: Cluster, namespace: str) -> tuple[Impersonation | None] | None:
        """What was found out before, in a tuple; None is that it was not."""
        if self.mode == "off":
            return (None,)
        whom, until = self._known.get((cluster.name, namespace), (None, 0.0))
        return (whom,) if until is None or self._clock() < until else None

    def forget(self, cluster: Cluster, namespace: str) -> None:
        self._known.pop((cluster.name, namespace), None)

    def check(self, cluster: Cluster, namespace: str) -> None:
        """Before it is tried out. Raises UserError where we were refused a moment ago, and need not ask.

        When the moment is over, one caller gets past; the others do not wait for what comes of it.
        """
        until, now = self._refused.get((cluster.name, namespace)), self._clock()
        if until is None:
            return
        if now < until:
            raise _may_not(cluster, until - now)
        self._refused[cluster.name, namespace] = now + REFUSED_SECONDS

    def refused(self, cluster: Cluster, namespace: str) -> None:
        """We may not act as the user, as far as can be told: `check` says so for some seconds."""
        if self.mode == "required":
            self._refused[cluster.name, namespace] = self._clock() + REFUSED_SECONDS

    async def prove(
        self, cluster: Cluster, namespace: str, budget: Budget, *, patience: float = 0.0
    ) -> Impersonation:
        """The user's account in the namespace, as which we may act.

        Raises Forbidden where we may not, or where it has no rights there, `patience` seconds from now; where
        there was patience, that is remembered.
        """
        whom = Impersonation.for_service_account(namespace, USER_ACCOUNT)
        patient = Budget(min(patience, budget.left()))
        pause = POLL
        while True:
            try:
                await self._try(cluster, namespace, whom, budget)
            except Forbidden:
                if patient.left() < pause:
                    if patience:
                        self.refused(cluster, namespace)
                    raise
            else:
                self._known[cluster.name, namespace] = whom, None
                self._refused.pop((cluster.name, namespace), None)
                return whom
            await asyncio.sleep(pause)
            pause *= 2

    def without(self, cluster: Cluster, namespace: str, why: ApiError) -> None:
        """We may not act as the user: go on as ourselves where that is allowed, loudly.

        Raises UserError where impersonation is required.
        """
        right = missing_right(why)
        fields = {
            "cluster": cluster.name,
            "namespace": namespace,
            "right": str(right or ""),
            "error": why.message,
        }
        if self.mode == "required":
            log.error("the rights to act as users are missing: see `hubfleet rbac`", **fields)
            raise _may_not(cluster, REFUSED_SECONDS)
        log.warning(
            "users' objects are written with this server's own account, for the rights to act as users are "
            "missing: see `hubfleet rbac`, then set tenancy.impersonation to required",
            **fields,
        )
        self._known[cluster.name, namespace] = None, self._clock() + DOUBT_SECONDS

    async def _try(self, cluster: Cluster, namespace: str, whom: Impersonation, budget: Budget) -> None:
        """Raises Forbidden where `whom` may not even look at their jobs, or we may not be `whom`."""
        asked = {"namespace": namespace, "verb": "get", "group": "batch", "resource": "jobs"}
        review = {
            "apiVersion": SELFSUBJECTACCESSREVIEWS.api_version,
            "kind": SELFSUBJECTACCESSREVIEWS.kind,
            "spec": {"resourceAttributes": asked},
        }
        answer = await cluster.client.create(
            SELFSUBJECTACCESSREVIEWS, None, review, type=_AccessReview, on_behalf_of=whom, budget=budget
        )
        if not answer.status.allowed:
            message = (
                f'jobs.batch is forbidden: User "{whom.user}" cannot get resource "jobs" in API group '
                f'"batch" in the namespace "{namespace}"'
            )
            raise Forbidden(cluster.name, 403, "Forbidden", message)


def _may_not(cluster: Cluster, retry_after: float) -> UserError:
    return UserError(
        503,
        f"This server may not act for you on cluster {cluster.name}: an administrator has to give its "
        "account the rights for that",
        retry_after=retry_after,
    )
