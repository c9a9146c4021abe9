"""Logs of a pod, or of all pods of a job; as a whole, or followed until the job ends.

The clients print what they get. A followed log is one chunk for each line, without the newline, for they
print every chunk as a line. A line names its pod (`[POD] ...`) only where a job has more than one. Lines of
our own begin with `kbatch: `: what a pod waits for, why it failed before it could say anything.

A stream costs one task for each pod and about two reads of its log: one is sent, one is waiting.
"""

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing

import msgspec
import structlog

from hubfleet.batch import podless, podview
from hubfleet.batch.changes import JOB_NAME, Changes, within
from hubfleet.batch.logreader import Reader
from hubfleet.batch.manifests import USERNAME
from hubfleet.batch.podless import ASKING
from hubfleet.batch.podlog import PodLogs, Target
from hubfleet.batch.podview import InitFailed, Job, Pod
from hubfleet.batch.waiting import Waiting
from hubfleet.batch.workloads import Workloads
from hubfleet.errors import UserError
from hubfleet.following import INVALID, Following
from hubfleet.kube.budget import Budget
from hubfleet.kube.client import Client
from hubfleet.kube.errors import KubeError, NotFound
from hubfleet.kube.impersonation import Impersonation
from hubfleet.kube.resources import JOBS, PODS

log = structlog.get_logger(__name__)

CATCHING_UP = 10.0
"""Seconds to ask for the pods of a job that ended."""


class Logs:
    """Reads logs in one cluster. `wait` is how many seconds a followed one waits for a pod to start."""

    def __init__(self, client: Client, jobs: Workloads, pods: Workloads, *, wait: float):
        self._client = client
        self._jobs = jobs.informer
        self._pods = pods.informer
        self._wait = wait
        self._changes = Changes()
        self._each = PodLogs(client, self._pods, self._changes, wait=wait)
        self._jobs.subscribe(self._changes.tell_job)
        self._pods.subscribe(self._changes.tell_pod)

    async def find(
        self,
        namespace: str,
        name: str,
        budget: Budget,
        *,
        pods_only: bool = False,
        on_behalf_of: Impersonation | None = None,
    ) -> Target:
        """The job of that name, else the pod: kbatch 0.4.2 asks for a pod's log where 0.5 asks for a job's.

        Raises NotFound, with the name of what is missing.
        """
        if not pods_only and (job := self._jobs.get(namespace, name)) is not None:
            return Target(namespace, job=job.seen_as(podview.job), on_behalf_of=on_behalf_of)
        if (pod := self._pods.get(namespace, name)) is not None:
            return Target(namespace, pod=pod.seen_as(podview.pod), on_behalf_of=on_behalf_of)
        if not pods_only:
            try:
                found = await self._client.get(
                    JOBS, namespace, name, type=Job, on_behalf_of=on_behalf_of, budget=budget
                )
                listed = None
                if USERNAME not in (found.metadata.labels or {}):
                    listed = await self._list(namespace, name, budget)
                return Target(namespace, job=found, listed=listed, on_behalf_of=on_behalf_of)
            except NotFound as e:
                missing = e
        try:
            return Target(
                namespace,
                pod=await self._client.get(
                    PODS, namespace, name, type=Pod, on_behalf_of=on_behalf_of, budget=budget
                ),
                on_behalf_of=on_behalf_of,
            )
        except NotFound:
            if pods_only:
                raise
            raise missing from None

    async def read(self, target: Target, budget: Budget) -> AsyncGenerator[bytes]:
        """What has been written so far. Raises before the first byte: NotFound, or 400 while nothing runs."""
        pods = self._known(target)
        if target.job is not None:
            if not pods:
                raise _no_pods(target.job, await self._refusal(target, budget))
            pods = [pod for pod in pods if pod.started or pod.failed_init] or pods[:1]
        first_pod = pods[0]
        watched = self._each.now(target, first_pod.name, first_pod.metadata.uid) is not None
        if watched and not (first_pod.started or first_pod.ended):
            # The API server says this of a pod that has a node, and of one that has none says nothing at all.
            raise UserError(
                400,
                f'container "{first_pod.container}" in pod "{first_pod.name}" is waiting to start: '
                f"{first_pod.why_waiting()}",
            )
        chunks = self._read_all(target, pods, budget)
        try:
            first = await anext(chunks)
        except StopAsyncIteration:
            first = b""

        async def body() -> AsyncGenerator[bytes]:
            async with aclosing(chunks):
                if first:
                    yield first
                async for chunk in chunks:
                    yield chunk

        return body()

    async def follow(self, target: Target, following: Following) -> AsyncGenerator[bytes]:
        """One line at a time, without newlines, until the job (or the pod) has ended.

        Raises NotFound before the first one: for a job that ended, and whose pods are gone.
        """
        ended = target.job is not None and (target.job.end is not None or target.listed is not None)
        if target.job is not None and ended and not self._known(target):
            raise _no_pods(target.job, await self._refusal(target, Budget(ASKING)))
        return self._follow(target, following)

    async def _follow(self, target: Target, following: Following) -> AsyncGenerator[bytes]:
        # This lives long, and so does every local variable of it: decoded pods and jobs are kept in none.
        wake = following.wake
        deadline = time.monotonic() + self._wait
        readers: dict[str, Reader] = {}
        several = target.job is not None and target.job.has_several_pods
        lacking: list[str] = []  # pods without a turn
        told: set[str] = set()
        seen = over = asked = False
        waiting = Waiting(time.monotonic())
        with self._changes.telling(target.subject, wake) as news:
            try:
                while True:
                    wake.clear()
                    if not following.may_read():
                        yield INVALID
                        return
                    if news.changed or (lacking and following.free):
                        if not asked and self._has_ended(target):
                            asked = True
                            await self._catch_up(target)
                        news.changed = False
                        lacking = self._start_readers(target, readers, following)
                        here = self._job_is_here(target)
                        seen = seen or here
                        watched = target.job is not None and target.listed is None
                        over = asked or not watched or (seen and not here)
                    for pod in lacking:
                        if pod not in told:
                            told.add(pod)
                            yield _named(pod, _TURNLESS % pod.encode())
                    for reader in readers.values():
                        for line in reader.take():
                            if not following.may_read():
                                break
                            yield _named(reader.name, line) if several or len(readers) > 1 else line or b" "
                    if (
                        over
                        and not (lacking or news.changed)
                        and following.may_read()
                        and all(reader.done for reader in readers.values())
                    ):
                        break
                    if readers:
                        await wake.wait()
                        continue
                    now, why = time.monotonic(), self._why_no_pod(target)
                    if now > deadline:
                        break
                    if waiting.is_due(why, now):
                        refused = await self._refusal(target, Budget(ASKING))
                        yield f"kbatch: waiting for a pod: {refused or why}".encode()
                        now = time.monotonic()
                    await within(min(waiting.pause(why, now), deadline - now), wake)
                if not readers:
                    refused = await self._refusal(target, Budget(ASKING))
                    yield _without_a_pod(self._job_now(target), refused).encode()
            finally:
                for reader in readers.values():
                    await reader.close()

    def _start_readers(self, target: Target, readers: dict[str, Reader], following: Following) -> list[str]:
        """Reads the pods that are not read yet, as far as there are turns; the names of the others."""
        new = [pod for pod in self._known(target) if pod.metadata.uid not in readers]
        new.sort(key=lambda pod: not (pod.started or pod.ended))  # first those that have something to say
        for i, pod in enumerate(new):
            if not following.take():
                return [pod.name for pod in new[i:]]
            uid = pod.metadata.uid
            source = self._each.follow(target, pod.name, uid, pod.container)
            readers[uid] = Reader(pod.name, source, following.wake, following.give_back)
        following.settle()
        return []

    async def _catch_up(self, target: Target) -> None:
        """Learn of the pods of a job that ended: its end may be told before the pod that ended it."""
        assert target.job is not None
        labels = f"{JOB_NAME}={target.job.metadata.name}"
        budget = Budget(CATCHING_UP)
        try:
            listed = self._client.list(PODS, target.namespace, labels=labels, type=msgspec.Raw, budget=budget)
            async for raw in listed:
                self._pods.learn(raw)
        except KubeError:
            # What the watch told is all there is, then.
            log.warning("the pods of a job that ended are not known", cluster=self._client.name)

    async def _list(self, namespace: str, job: str, budget: Budget) -> tuple[Pod, ...]:
        """The pods of a job, asked for as ourselves, as those that we watch are."""
        listed = self._client.list(PODS, namespace, labels=f"{JOB_NAME}={job}", type=Pod, budget=budget)
        return tuple(sorted([pod async for pod in listed], key=lambda pod: pod.age_order))

    def _job_is_here(self, target: Target) -> bool:
        return self._job_now(target) is not None

    def _has_ended(self, target: Target) -> bool:
        job = self._job_now(target)
        return job is not None and job.end is not None

    def _why_no_pod(self, target: Target) -> str:
        job = self._job_now(target)
        return "the job is queued" if job is not None and job.queued else "none was made yet"

    async def _refusal(self, target: Target, budget: Budget) -> str:
        """Why the cluster makes no pod of the job; "" where it would, or where it is queued."""
        job = self._job_now(target) or target.job
        if job is None or job.queued:
            return ""
        uid, whom = job.metadata.uid, target.on_behalf_of
        return await podless.refusal(self._client, target.namespace, uid, whom, budget)

    def _known(self, target: Target) -> list[Pod]:
        if target.listed is not None:
            return list(target.listed)
        if target.job is None:
            assert target.pod is not None
            return [self._each.now(target, target.pod.name, target.pod.metadata.uid) or target.pod]
        name = target.job.metadata.name
        found = [
            item.seen_as(podview.pod)
            for item in self._pods.items(target.namespace)
            if item.labels.get(JOB_NAME) == name
        ]
        return sorted(found, key=lambda pod: pod.age_order)

    def _job_now(self, target: Target) -> Job | None:
        """The job as we last heard of it; None where it is gone, or where we have not heard of it yet."""
        if target.job is None:
            return None
        item = self._jobs.get(target.namespace, target.job.metadata.name)
        return item.seen_as(podview.job) if item is not None and item.uid == target.job.metadata.uid else None

    async def _read_all(self, target: Target, pods: list[Pod], budget: Budget) -> AsyncGenerator[bytes]:
        for pod in pods:
            if pod.failed_init is not None:
                lines = await self._each.init_failure(target, pod.name, InitFailed(*pod.failed_init))
                yield b"".join((_named(pod.name, line) if len(pods) > 1 else line) + b"\n" for line in lines)
            elif len(pods) > 1:
                async for lines in self._each.lines(target, pod.name, pod.container, follow=False):
                    yield b"".join(_named(pod.name, line) + b"\n" for line in lines)
            else:
                async with self._client.log(
                    target.namespace,
                    pod.name,
                    container=pod.container,
                    on_behalf_of=target.on_behalf_of,
                    budget=budget,
                ) as chunks:
                    async for chunk in chunks:
                        yield chunk


_TURNLESS = (
    b"kbatch: pod %b is waiting: as many logs are followed as limits.followed_logs_per_user or "
    b"limits.followed_logs allow; its log comes when another one ends"
)


def _no_pods(job: Job, refused: str) -> UserError:
    why = "it is queued" if job.queued else refused
    return UserError(404, f"No pods found for job {job.metadata.name}" + (f" ({why})" if why else ""))


def _without_a_pod(job: Job | None, refused: str) -> str:
    end = job.end if job is not None else None
    if end is not None and end.type == "Failed":
        return f"kbatch: the job failed without a pod: {end.reason}: {end.message}"
    if job is None:
        return "kbatch: the job is gone"
    return "kbatch: there is no pod whose log could be shown" + (f": {refused}" if refused else "")


def _named(pod: str, line: bytes) -> bytes:
    return b"[" + pod.encode() + b"] " + line
