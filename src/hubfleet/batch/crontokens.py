"""The token of a cron job: one of its own, that ends with it.

A job runs now, with the token that its submitter came with. A cron job runs for months, when that one has
long expired, or been revoked with the server that it belonged to. So the Hub is asked for a token for each
cron job (`identity.tokens` says with whose right), whose note names the cron job; the CronJob's annotation
`hubfleet.dev/token` has the token's id, or says why it has none of its own. It is revoked when the cron job
is deleted through us, when its submission fails, and by the controller when the cron job is gone for any
other reason: the Hub's list of a user's tokens is all that is needed to know.
"""

import asyncio
import re
import time
from collections.abc import Callable
from typing import Any

import msgspec
import structlog

from hubfleet.batch.manifests import SUBMISSION_LABEL, TOKEN_ANNOTATION
from hubfleet.identity.tokens import HubTokens, Issued, Token
from hubfleet.identity.user import User
from hubfleet.kube.budget import Budget
from hubfleet.kube.client import Client
from hubfleet.kube.errors import KubeError
from hubfleet.kube.resources import CRONJOBS, NAMESPACES
from hubfleet.tenancy import marks

INTERVAL = 300.0
"""Seconds between two rounds of the controller."""

PACE = 10.0
"""Namespaces a second, each with one request to the Hub."""

ROUND_BUDGET = 60.0
"""Seconds for reading a cluster's namespaces and cron jobs."""

_ID = re.compile(r"a[0-9]+")  # as JupyterHub's APIToken.api_id
_NOTE = re.compile(
    r"hubfleet: cron job (?P<namespace>[^ /]+)/(?P<name>[^ /]+) on (?P<cluster>[^ ]+) "
    r"\((?P<submission>[0-9a-f]+) by (?P<service>.*)\)"
)

log = structlog.get_logger(__name__)


class CronToken(msgspec.Struct, frozen=True):
    """What a cron job runs with; `mark` is its annotation. `secret` is not in the repr."""

    secret: str
    mark: str

    def __repr__(self) -> str:
        return f"CronToken({self.mark!r})"


class CronTokens:
    """The tokens of one cluster's cron jobs, which expire after `seconds`; 0 leaves that to the Hub."""

    def __init__(self, tokens: HubTokens, *, cluster: str, seconds: int = 0):
        self._tokens = tokens
        self._cluster = cluster
        self._seconds = seconds

    async def issue(self, user: User, namespace: str, name: str, submission: str) -> CronToken:
        """A token for a cron job that is about to be made; the submitter's where the Hub issues none."""
        cron_job = f"{namespace}/{name} on {self._cluster}"
        note = f"hubfleet: cron job {cron_job} ({submission} by {self._tokens.service})"
        answer = await self._tokens.issue(user, note, seconds=self._seconds)
        if isinstance(answer, Issued):
            return CronToken(answer.secret, answer.id)
        log.warning(
            "a cron job keeps the token that it was submitted with",
            cron_job=cron_job,
            reason=answer.reason,
        )
        return CronToken(user.token, f"as submitted: {answer.reason}")

    async def revoke(self, user: User, mark: str) -> None:
        """For a cron job with this mark, in the name of the user who had it deleted, or submitted it."""
        if _ID.fullmatch(mark):
            await self._tokens.revoke(user.name, mark, user)


class _Metadata(msgspec.Struct, frozen=True):
    name: str = ""
    namespace: str = ""
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class _Object(msgspec.Struct, frozen=True):
    metadata: _Metadata


_decode = msgspec.json.Decoder(_Object).decode


def mark_of(cron_job: bytes | msgspec.Raw) -> str:
    """What TOKEN_ANNOTATION says; "" where it is not there."""
    return _decode(cron_job).metadata.annotations.get(TOKEN_ANNOTATION, "")


def is_orphan(
    token: Token,
    *,
    cluster: str,
    service: str,
    namespace: str,
    submissions: frozenset[str],
    before: float,
) -> bool:
    """Whether a user's token is that of a cron job that is gone.

    `submissions` are those of the cron jobs in the user's namespace. One that was issued after `before` (Unix
    time) may be for a cron job that is still being made.
    """
    found = _NOTE.fullmatch(token.note)
    return (
        found is not None
        and (found["cluster"], found["service"], found["namespace"]) == (cluster, service, namespace)
        and found["submission"] not in submissions
        and token.created is not None
        and token.created.timestamp() < before
    )


class Sweeper:
    """Revokes, for one cluster, the tokens whose cron jobs are gone; `hubfleet controller` runs it.

    Only where our own token may list and revoke users' tokens. `clock` gives Unix time.
    """

    def __init__(
        self,
        client: Client,
        tokens: HubTokens,
        *,
        hub: str,
        grace: float,
        interval: float = INTERVAL,
        pace: float = PACE,
        clock: Callable[[], float] = time.time,
    ):
        self._client = client
        self._tokens = tokens
        self._hub = hub
        self._grace = grace
        self._interval = interval
        self._pace = pace
        self._clock = clock

    async def run(self) -> None:
        """Until cancelled. A cluster that does not answer is asked again in the next round."""
        while True:
            try:
                await self.sweep()
            except KubeError as e:
                log.warning("cannot look for cron jobs' tokens", cluster=self._client.name, error=str(e))
            await asyncio.sleep(self._interval)

    async def sweep(self) -> int:
        """One round: how many tokens were revoked. Raises KubeError, and then revokes none."""
        before = self._clock() - self._grace
        budget = Budget(ROUND_BUDGET)
        users = await self._users(budget)
        submissions = await self._submissions(budget)
        revoked = 0
        for namespace, username in users:
            tokens = await self._tokens.of(username)
            if tokens is None:
                continue
            for token in tokens:
                if is_orphan(
                    token,
                    cluster=self._client.name,
                    service=self._tokens.service,
                    namespace=namespace,
                    submissions=frozenset(submissions.get(namespace, ())),
                    before=before,
                ) and await self._tokens.revoke(username, token.id):
                    log.info("revoked a cron job's token", namespace=namespace, id=token.id)
                    revoked += 1
            await asyncio.sleep(1 / self._pace)
        return revoked

    async def _users(self, budget: Budget) -> list[tuple[str, str]]:
        labels = f"{marks.HUB}={self._hub},{marks.KIND}=user"
        found = self._client.list(NAMESPACES, labels=labels, metadata_only=True, budget=budget)
        return [
            (each["metadata"]["name"], username)
            async for each in found
            if (username := each["metadata"].get("annotations", {}).get(marks.USERNAME))
        ]

    async def _submissions(self, budget: Budget) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        async for each in self._client.list(CRONJOBS, metadata_only=True, budget=budget):
            metadata: dict[str, Any] = each["metadata"]
            if submission := metadata.get("labels", {}).get(SUBMISSION_LABEL):
                found.setdefault(metadata["namespace"], set()).add(submission)
        return found
