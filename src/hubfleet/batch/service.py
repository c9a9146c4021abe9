"""Batch jobs: what happens at each call, in which order, in one cluster or another."""

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial
from typing import TypeVar

import msgspec
import structlog

from hubfleet.batch import creation, crontokens, manifests, submission, workloads
from hubfleet.batch.crontokens import CronToken, CronTokens
from hubfleet.batch.logs import Logs
from hubfleet.batch.manifests import Requester
from hubfleet.batch.podlog import Target
from hubfleet.batch.profiles import Profiles
from hubfleet.batch.review import Reviewer
from hubfleet.batch.submission import NAME_LIMITS, Kind, Submission
from hubfleet.batch.workloads import Answer, Workloads
from hubfleet.errors import UserError
from hubfleet.following import Following
from hubfleet.identity.tokens import HubTokens
from hubfleet.identity.user import User
from hubfleet.kube.budget import Budget
from hubfleet.kube.clusters import Cluster, Clusters
from hubfleet.kube.errors import AlreadyExists, ApiError, Forbidden, NotFound
from hubfleet.kube.impersonation import Impersonation
from hubfleet.policysettings import PolicySettings
from hubfleet.settings import BatchSettings
from hubfleet.tenancy.naming import username_label
from hubfleet.tenancy.policy.policies import Policies
from hubfleet.tenancy.provisioning import Namespaces
from hubfleet.tenancy.refusals import for_user, missing_right

NAME_ATTEMPTS = 3
"""A generated name is taken once in 14 million; three in a row is another fault."""

BIG_CODE = 256 * 1024
"""Bytes from which code is worked on in a thread, so that the others do not wait for it."""

SHUTDOWN_SECONDS = 20.0
"""How long a stopping server waits for submissions under way; the collector sees to the rest."""

NOTHING_SET = PolicySettings()

T = TypeVar("T")

log = structlog.get_logger(__name__)


class BatchService:
    """All clusters' batch jobs. `async with` starts and stops the informers."""

    def __init__(
        self,
        settings: BatchSettings,
        clusters: Clusters,
        namespaces: Namespaces,
        tokens: HubTokens,
        *,
        hub: str,
        policy: PolicySettings = NOTHING_SET,
    ):
        """Raises ValueError where the template or a profile is not what Kubernetes knows."""
        self.settings = settings
        self.profiles = Profiles(settings.profiles, required=settings.profiles_required)
        self.template = manifests.parse_template(settings.job_template)
        self.policies = Policies(policy)
        self.reviewer = Reviewer(self.profiles, self.template)
        self.hub = hub
        self.tokens = tokens
        self._clusters = clusters
        self._namespaces = namespaces
        self.wings: dict[str, ClusterBatch] = {}
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> "BatchService":
        for name, cluster in self._clusters.items():
            wing = ClusterBatch(self, cluster, self._namespaces)
            self.wings[name] = await self._stack.enter_async_context(wing)
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._stack.aclose()

    def on(self, cluster: str = "") -> "ClusterBatch":
        """The batch jobs of one cluster; "" is the default. Raises UserError 404."""
        wing = self.wings.get(cluster or self._clusters.default.name)
        if wing is None:
            known = ", ".join(sorted(self.wings))
            raise UserError(404, f"There is no cluster {cluster[:100]!r}; there is: {known}")
        return wing


class ClusterBatch:
    """The batch jobs of one cluster."""

    def __init__(self, service: BatchService, cluster: Cluster, namespaces: Namespaces):
        self._service = service
        self.settings = service.settings
        self._cluster = cluster
        self._namespaces = namespaces
        self._tokens = CronTokens(
            service.tokens, cluster=cluster.name, seconds=service.settings.cron_token_seconds
        )
        self._stack = AsyncExitStack()
        self._under_way: set[asyncio.Task[bytes]] = set()
        self.jobs = workloads.jobs(cluster.client)
        self.cron_jobs = workloads.cron_jobs(cluster.client)
        self.pods = workloads.pods(cluster.client)
        self._logs = Logs(cluster.client, self.jobs, self.pods, wait=service.settings.log_wait)

    async def __aenter__(self) -> "ClusterBatch":
        for each in (self.jobs, self.cron_jobs, self.pods):
            await self._stack.enter_async_context(each)
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=SHUTDOWN_SECONDS)
        await self._stack.aclose()

    @property
    def reachable(self) -> bool:
        """Whether we hear of what changes there."""
        return all(each.informer.reachable for each in (self.jobs, self.cron_jobs, self.pods))

    async def list(self, user: User, what: Workloads) -> Answer:
        budget = self._budget()
        await self._synced(what, budget)
        namespace = await self._owned(user, budget)
        return what.nothing() if namespace is None else await what.list(namespace, budget)

    async def pods_of(self, user: User, job_name: str) -> Answer:
        """The pods of a job; "" is all, for that is what the clients send where no job is named."""
        if not job_name:
            return await self.list(user, self.pods)
        budget = self._budget()
        await self._synced(self.pods, budget)
        namespace = await self._owned(user, budget)
        if namespace is None:
            return self.pods.nothing()
        return await self.pods.select(namespace, "job-name", job_name, budget)

    async def get(self, user: User, what: Workloads, name: str) -> Answer:
        budget = self._budget()
        namespace = await self._owned(user, budget)
        if namespace is not None and (known := what.known(namespace, name)) is not None:
            return known
        return await self._as_user(
            user, budget, what.missing(name), lambda place, whom: what.get(place, name, budget, whom)
        )

    async def delete(self, user: User, what: Workloads, name: str) -> bytes:
        budget = self._budget()
        mark = ""

        async def call(place: str, whom: Impersonation | None) -> bytes:
            nonlocal mark
            if what is self.cron_jobs:
                mark = crontokens.mark_of(await what.read(place, name, budget, whom))
            return await what.delete(place, name, budget, whom)

        answer = await self._as_user(user, budget, what.missing(name), call)
        await self._tokens.revoke(user, mark)
        return answer

    async def find_log(self, user: User, name: str, *, pods_only: bool = False) -> Target:
        """What `name` is: a job, or a pod. Raises NotFound."""
        budget = self._budget()
        # A job whose pods are not read yet would look like one that has none.
        for what in (self.pods,) if pods_only else (self.jobs, self.pods):
            await self._synced(what, budget)
        return await self._as_user(
            user,
            budget,
            (self.pods if pods_only else self.jobs).missing(name),
            lambda place, whom: self._logs.find(place, name, budget, pods_only=pods_only, on_behalf_of=whom),
        )

    async def log(
        self, user: User, target: Target, following: Following | None = None
    ) -> AsyncGenerator[bytes]:
        """An iterator of bytes; what can go wrong before the first one is raised here."""
        if following is not None:
            return await self._logs.follow(target, following)
        budget = self._budget()
        missing = self.pods.missing(target.pod.name if target.pod is not None else "")
        return await self._as_user(
            user, budget, missing, lambda _, whom: self._logs.read(target.seen_by(whom), budget)
        )

    async def submit(self, user: User, kind: Kind, body: bytes | bytearray) -> bytes:
        """The created Job or CronJob. Raises UserError for what is wrong with it, KubeError for the cluster.

        From the first object on it runs to its end (which is: created, or undone), also where the client or
        the server's patience goes away in between.
        """
        budget = self._budget()
        if submission.is_heavy(body):
            checked = await asyncio.to_thread(self._check, user, body, kind)
        else:
            checked = self._check(user, body, kind)
        task = asyncio.create_task(self._create(user, checked, budget))
        self._under_way.add(task)
        task.add_done_callback(self._finish)
        return await asyncio.shield(task)

    def _check(self, user: User, body: bytes | bytearray, kind: Kind) -> Submission:
        policy = self._service.policies.of(user.groups)
        namespace = self._namespaces.name_of(self._cluster, user)
        review = self._service.reviewer.for_user(policy, namespace)
        return submission.decode(body, kind, self.settings, review)

    def _finish(self, task: asyncio.Task[bytes]) -> None:
        self._under_way.discard(task)
        if not task.cancelled():
            task.exception()  # retrieved, even if nobody waits any more

    async def _create(self, user: User, checked: Submission, budget: Budget) -> bytes:
        again = True
        attempts = NAME_ATTEMPTS if checked.generate_name else 1
        while True:
            namespace = await self._namespaces.ensure(self._cluster, user, budget=budget)
            self._check_room(namespace)
            whom = await self._namespaces.identity(self._cluster, namespace, budget=budget)
            try:
                raw = await self._attempt(user, checked, namespace, whom, budget)
            except AlreadyExists:
                attempts -= 1
                if attempts <= 0:
                    raise
            except ApiError as e:
                # Somebody deleted the namespace that we remember to have made, or what lets us act in it.
                if not again or not (isinstance(e, NotFound) or missing_right(e)):
                    raise for_user(e, namespace, whom) or e from e
                again = False
                self._namespaces.forget(self._cluster, user)
            else:
                what = self.jobs if checked.kind == "Job" else self.cron_jobs
                return what.learn(raw)

    def _check_room(self, namespace: str) -> None:
        """All that a user has is in our memory. Raises UserError 403 where that is enough.

        What is being created at this moment is not in it yet: `limits` say how much that can be.
        """
        size = sum(each.informer.size(namespace) for each in (self.jobs, self.cron_jobs, self.pods))
        if size > self.settings.user_limit:
            raise UserError(
                403,
                f"your jobs, cron jobs and pods take {size} bytes here, and nothing is added beyond "
                f"{self.settings.user_limit} (batch.user_limit): delete some",
            )

    async def _attempt(
        self, user: User, checked: Submission, namespace: str, whom: Impersonation | None, budget: Budget
    ) -> msgspec.Raw:
        name = checked.name or manifests.generated_name(
            checked.generate_name, secrets.randbits(64), NAME_LIMITS[checked.kind]
        )
        submission_id = secrets.token_hex(8)
        token, undo = CronToken(user.token, ""), None
        if checked.kind == "CronJob":
            token = await self._tokens.issue(user, namespace, name, submission_id)
            undo = partial(self._tokens.revoke, user, token.mark)
        try:
            arguments = (user, checked, namespace, name, submission_id, token)
            if checked.code is not None and len(checked.code.data) > BIG_CODE:
                plan = await asyncio.to_thread(self._plan, *arguments)
            else:
                plan = self._plan(*arguments)
        except UserError:
            if undo is not None:
                await undo()
            raise
        return await creation.create(self._cluster.client, plan, budget, whom, undo)

    def _plan(
        self,
        user: User,
        checked: Submission,
        namespace: str,
        name: str,
        submission_id: str,
        token: CronToken,
    ) -> manifests.Plan:
        policy = self._service.policies.of(user.groups)
        plan = manifests.plan(
            checked,
            Requester(
                username=user.name,
                label=username_label(user.name),
                namespace=namespace,
                hub=self._service.hub,
                token=token.secret,
                token_mark=token.mark,
            ),
            self.settings,
            self._service.template,
            name=name,
            submission_id=submission_id,
            expires=int(time.time() + self.settings.part_expiry),
            policy=policy,
        )
        self._service.reviewer.look_again(plan.owner, plan.kind, policy)
        return plan

    async def _as_user(
        self,
        user: User,
        budget: Budget,
        missing: NotFound,
        call: Callable[[str, Impersonation | None], Awaitable[T]],
    ) -> T:
        """What `call` gives for the user's namespace and their account there; `missing` where there is none.

        Both may be deleted and made again behind our back. RBAC then refuses what it allowed before, so what
        we remember is looked at once more.
        """
        again = True
        while True:
            namespace = await self._owned(user, budget)
            if namespace is None:
                raise missing
            whom = await self._namespaces.identity(self._cluster, namespace, budget=budget)
            try:
                return await call(namespace, whom)
            except ApiError as e:
                if not again or missing_right(e) is None:
                    raise for_user(e, namespace, whom) or e from e
                again = False
                self._namespaces.forget(self._cluster, user)

    async def _synced(self, what: Workloads, budget: Budget) -> None:
        """Knows at once of a cluster that is away, or that does not let our own account read."""
        try:
            await what.informer.synced(budget)
        except Forbidden as e:
            raise for_user(e, "", None) or e from e

    async def _owned(self, user: User, budget: Budget) -> str | None:
        return await self._namespaces.owned(self._cluster, user, budget=budget)

    def _budget(self) -> Budget:
        return Budget(self.settings.budget)
