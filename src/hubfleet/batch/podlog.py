"""One pod's log: of every run of its container, or of the init container that ended it.

Lines of our own begin with `kbatch: `: what the pod waits for, why it failed before it could say anything.
"""

import asyncio
import time
from collections.abc import AsyncGenerator

import msgspec
import structlog

from hubfleet.batch import podview
from hubfleet.batch.changes import Changes, Subject, within
from hubfleet.batch.podview import Follow, InitFailed, Job, Over, Pod, next_step
from hubfleet.batch.waiting import Waiting
from hubfleet.kube.client import Client
from hubfleet.kube.errors import ApiError, KubeError
from hubfleet.kube.impersonation import Impersonation
from hubfleet.kube.informer import Informer

log = structlog.get_logger(__name__)

LINE_LIMIT = 32 * 1024
"""Bytes: a longer line is sent in pieces, for it has to be held until its end comes."""

INIT_LINES = 50
"""How much of a failed init container's log is shown."""


class Target(msgspec.Struct, frozen=True):
    """Whose log is asked for: a job (then `pod` is None) or a pod, as they were found.

    `listed` are the pods of a job that is not of the kind that we watch: all that will ever be known of them.
    """

    namespace: str
    job: Job | None = None
    pod: Pod | None = None
    listed: tuple[Pod, ...] | None = None
    on_behalf_of: Impersonation | None = None

    @property
    def subject(self) -> Subject:
        """Whose changes matter to it."""
        if self.job is not None:
            return self.namespace, "job", self.job.metadata.name
        assert self.pod is not None
        return self.namespace, "pod", self.pod.name

    def seen_by(self, whom: Impersonation | None) -> "Target":
        """The same one, read as `whom`."""
        return msgspec.structs.replace(self, on_behalf_of=whom)


class PodLogs:
    """Reads them. `wait` is how many seconds a followed one waits for its pod to start."""

    def __init__(self, client: Client, pods: Informer[bytes], changes: Changes, *, wait: float):
        self._client = client
        self._pods = pods
        self._changes = changes
        self._wait = wait

    def now(self, target: Target, name: str, uid: str) -> Pod | None:
        """The pod as we last heard of it; None where it is gone."""
        item = self._pods.get(target.namespace, name)
        return item.seen_as(podview.pod) if item is not None and item.uid == uid else None

    async def follow(
        self, target: Target, name: str, uid: str, container: str
    ) -> AsyncGenerator[list[bytes]]:
        """One pod's lines: of every run of its container, from its start to the pod's end."""
        deadline = time.monotonic() + self._wait
        followed = -1  # which run: 0 is the first one, each restart counts one more
        wake = asyncio.Event()
        watched = target.pod is None and target.listed is None
        if not watched and self.now(target, name, uid) is None:
            # The API server says what there is to say.
            async for found in self.lines(target, name, container, follow=True):
                yield found
            return
        waiting = Waiting(time.monotonic())
        with self._changes.telling((target.namespace, "pod", name), wake):
            while True:
                wake.clear()
                step = next_step(self.now(target, name, uid), followed)
                if isinstance(step, Follow):
                    followed = step.run
                    async for found in self.lines(target, name, step.container, follow=True):
                        yield found
                elif isinstance(step, InitFailed):
                    yield await self.init_failure(target, name, step)
                    return
                elif isinstance(step, Over):
                    if step.message:
                        yield [step.message.encode()]
                    return
                elif followed >= 0:
                    await wake.wait()
                elif (now := time.monotonic()) > deadline:
                    yield [f"kbatch: pod {name} did not start within {self._wait:.0f} s".encode()]
                    return
                elif waiting.is_due(step.why, now):
                    yield [f"kbatch: pod {name} is waiting: {step.why}".encode()]
                else:
                    await within(min(waiting.pause(step.why, now), deadline - now), wake)

    async def lines(
        self, target: Target, pod: str, container: str, *, follow: bool
    ) -> AsyncGenerator[list[bytes]]:
        """Those of one container."""
        try:
            async with self._client.log(
                target.namespace,
                pod,
                container=container,
                follow=follow,
                on_behalf_of=target.on_behalf_of,
            ) as chunks:
                rest = b""
                async for chunk in chunks:
                    *lines, rest = (rest + chunk).split(b"\n")
                    if len(rest) > LINE_LIMIT:
                        lines.append(rest)
                        rest = b""
                    if lines:
                        yield lines
                if rest:
                    yield [rest]
        except KubeError as e:
            # The answer began long ago: all that is left are words, without the address.
            log.warning("a log broke off", namespace=target.namespace, pod=pod, error=str(e))
            why = e.message if isinstance(e, ApiError) else f"cluster {e.cluster} does not answer"
            yield [f"kbatch: the log of {pod} broke off: {why}".encode()]

    async def init_failure(self, target: Target, pod: str, failed: InitFailed) -> list[bytes]:
        """The last lines of the init container that ended the pod, and how it ended."""
        lines: list[bytes] = []
        try:
            async with self._client.log(
                target.namespace,
                pod,
                container=failed.container,
                tail_lines=INIT_LINES,
                on_behalf_of=target.on_behalf_of,
            ) as chunks:
                lines = b"".join([chunk async for chunk in chunks]).splitlines()
        except KubeError:
            lines = failed.end.message.encode().splitlines()
        code = f"exit code {failed.end.exit_code}" + (f" ({failed.end.reason})" if failed.end.reason else "")
        message = f"kbatch: pod {pod} failed in init container {failed.container}: {code}"
        return [*lines, message.encode()]
