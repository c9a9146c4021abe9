"""One pod on this node, from its assignment to its removal: a task that does what `lifecycle` decides.

Everything that happens (the object changed, a process ended, a probe spoke) only sets `_wake`; the loop then
looks at the whole again. Nothing is done in reaction to a particular event, so none can be missed.
"""

import asyncio
import contextlib
import secrets
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from localkube.apiserver.registry import Registry
from localkube.apiserver.status import StatusError
from localkube.kubelet import (
    environment,
    image,
    lifecycle,
    podref,
    podstatus,
    process,
    restore,
    securitycontext,
    state,
)
from localkube.kubelet.firewall import Firewall
from localkube.kubelet.logfile import LogFile
from localkube.kubelet.network import Attachment, Network
from localkube.kubelet.poddir import PodDir
from localkube.kubelet.podvolumes import PodVolumes
from localkube.kubelet.process import START_ERROR, StartFailed
from localkube.kubelet.references import Facts, ReferenceFailed
from localkube.kubelet.running import Running
from localkube.kubelet.runtime import CreateFailed, Prepared, Runtime
from localkube.kubelet.securitycontext import ConfigFailed
from localkube.kubelet.settings import Settings
from localkube.kubelet.state import Container, Run
from localkube.kubelet.tokens import TokenManager
from localkube.kubelet.volumes import Sources, Unsupported

MANAGER = "kubelet"
_MESSAGE_BYTES = 4096
_FALLBACK_BYTES = 2048
_FALLBACK_LINES = 80
"""Limits of a termination message (kubelet: MaxContainerTerminationMessage*)."""

_DEADLINE = ("DeadlineExceeded", "Pod was active on the node longer than the specified deadline")
_OTHER_OS = ("PodOSNotSupported", "Failed to admit pod as the OS field doesn't match node OS")


class Site(msgspec.Struct, frozen=True):
    """What all workers of a node share."""

    registry: Registry
    runtime: Runtime
    network: Network
    firewall: Firewall
    settings: Settings
    node_name: str
    allocatable: Mapping[str, str]
    pods: Path
    tokens: TokenManager
    logs: dict[str, LogFile]
    """Logs that are being written, by container id."""
    starting: asyncio.Semaphore
    """How many processes may be starting at once: more would only keep the event loop from other work."""


class Worker:
    """Runs a pod. `update` and `remove` tell it about the object; `run` ends when the object is gone."""

    def __init__(self, site: Site, pod: dict[str, Any]):
        self._site = site
        self.pod = pod
        self.uid = str(pod["metadata"]["uid"])
        self.files = PodDir(site.pods, self.uid)
        settings = site.settings
        self._containers = state.of_pod(pod, settings.restart_first, settings.restart_longest)
        self._running: dict[str, Running] = {}
        self._watchers: set[asyncio.Task[None]] = set()
        self._attempts: dict[str, int] = {}
        self._wake = asyncio.Event()
        self._gone = False
        self._attached: Attachment | None = None
        self._volumes = PodVolumes(self.files, site.tokens)
        self._verdict: tuple[str, str] | None = None
        self._final = False
        self._kill_by = float("inf")
        self._started = datetime.now(UTC)

    # what the kubelet tells

    def update(self, pod: dict[str, Any]) -> None:
        self.pod = pod
        self._wake.set()

    def remove(self) -> None:
        """The object does not exist any more."""
        self._gone = True
        self._wake.set()

    # the life of a pod

    async def run(self) -> None:
        try:
            await self._live()
            await self._until_gone()
        finally:
            for running in self._running.values():
                running.kill()
            await asyncio.shield(asyncio.gather(*self._watchers, return_exceptions=True))
            await asyncio.shield(self._detach())
        await asyncio.to_thread(self.files.remove)

    async def _live(self) -> None:
        observed = self.pod.get("status") or {}
        if observed.get("phase") in ("Succeeded", "Failed"):
            return
        if observed.get("startTime"):
            self._started = datetime.fromisoformat(observed["startTime"])
        if (self.pod["spec"].get("os") or {}).get("name", "linux") != "linux":
            # Pod Security asks less of such pods, since no Linux node runs them
            reason, message = _OTHER_OS
            self._verdict = (reason, f"Pod was rejected: {message}")
            self._tell(None, reason, message, "Warning")
        restore.restore(self.pod, self._containers, datetime.now(UTC), time.monotonic())
        self.files.make()
        self._publish()
        if await self._set_up():
            await self._sync()
        await self._stop()

    async def _sync(self) -> None:
        policy = self.pod["spec"].get("restartPolicy") or "Always"
        while not self._over():
            self._wake.clear()
            decision = lifecycle.decide(self._containers, policy, time.monotonic())
            for container, delay in decision.held:
                self._hold(container, delay)
            for container in decision.start:
                await self._start(container)
            self._publish()
            if decision.finished:
                return
            if not decision.start:
                await self._sleep(self._earliest(decision.wake))
                self._renew_tokens()

    def _over(self) -> bool:
        """Whether the pod is to stop; notes a deadline that has passed."""
        if self._deadline() <= 0 and self._verdict is None:
            self._verdict = _DEADLINE
            self._tell(None, *_DEADLINE)
        deleted = self.pod["metadata"].get("deletionTimestamp") is not None
        return self._gone or deleted or self._verdict is not None

    def _deadline(self) -> float:
        """Seconds that the pod may still be active."""
        limit = self.pod["spec"].get("activeDeadlineSeconds")
        if limit is None:
            return float("inf")
        return float(limit) - (datetime.now(UTC) - self._started).total_seconds()

    def _earliest(self, wake: float | None) -> float | None:
        """`wake`, or when a token is due, if that is earlier."""
        return min((t for t in (wake, self._volumes.renewal) if t is not None), default=None)

    async def _sleep(self, until: float | None) -> None:
        timeout = self._deadline()
        if until is not None:
            timeout = min(timeout, until - time.monotonic())
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), None if timeout == float("inf") else max(0.0, timeout))

    async def _until_gone(self) -> None:
        """Keep a pod's logs and volumes as long as its object is there; give a deleted one up."""
        while not self._gone:
            self._wake.clear()
            metadata = self.pod["metadata"]
            if (
                metadata.get("deletionTimestamp") is not None
                and metadata.get("deletionGracePeriodSeconds") != 0
            ):
                with contextlib.suppress(StatusError):
                    self._site.registry.delete(
                        "pods", metadata["namespace"], metadata["name"], grace=0, uid=self.uid
                    )
            await self._wake.wait()

    # setting up

    async def _set_up(self) -> bool:
        """Network and volumes, tried until they are there; False when the pod is to stop first."""
        attempt = 0
        while not self._over():
            self._wake.clear()
            try:
                if self._attached is None:
                    self._attached = await self._attach()
                self._volumes.make(self.pod, self._sources())
                return True
            except Unsupported as error:
                self._tell(None, "FailedMount", str(error), "Warning")
                for container in self._containers:
                    container.waiting = ("CreateContainerConfigError", str(error))
                self._publish()
                while not self._over():
                    self._wake.clear()
                    await self._sleep(None)
            except OSError as error:
                self._tell(
                    None, "FailedCreatePodSandBox", f"Failed to create pod sandbox: {error}", "Warning"
                )
            except ReferenceFailed as error:
                self._tell(None, "FailedMount", str(error), "Warning")
            self._publish()
            await self._sleep(time.monotonic() + self._delay(attempt))
            attempt += 1
        return False

    def _delay(self, attempt: int) -> float:
        settings = self._site.settings
        return float(min(settings.retry_first * 2**attempt, settings.retry_longest))

    async def _attach(self) -> Attachment:
        if self.pod["spec"].get("hostNetwork"):
            return Attachment(self._site.network.host_ip)
        place = await self._site.network.attach(self.uid)
        await self._site.firewall.admit(self.pod, place)
        return place

    async def _detach(self) -> None:
        if not self.pod["spec"].get("hostNetwork"):
            self._site.firewall.release(self.uid)
            await self._site.network.detach(self.uid)
        self._attached = None

    def _renew_tokens(self) -> None:
        try:
            self._volumes.renew(self.pod, self._sources())
        except (ReferenceFailed, OSError) as error:
            # the account is gone, or the disk full: the containers keep the token that they have
            self._tell(None, "FailedMount", str(error), "Warning")
            self._volumes.put_off(self._site.settings.retry_longest)

    def _sources(self) -> Sources:
        return Sources(self._lookup, self._facts(), self._site.tokens.get)

    def _lookup(self, kind: str, name: str) -> dict[str, Any] | None:
        try:
            return self._site.registry.get(kind, self.pod["metadata"]["namespace"], name)
        except StatusError:
            return None

    def _facts(self) -> Facts:
        ips = (self._attached.ip,) if self._attached is not None else ()
        return Facts(self._site.node_name, ips, (self._site.network.host_ip,), self._site.allocatable)

    # containers

    async def _start(self, container: Container) -> None:
        attempt = self._attempts.get(container.name, 0)
        refusal = image.refuse(container.spec, self._site.settings.missing_images, attempt)
        if refusal is not None:
            self._tell(container, refusal.event, refusal.event_message, "Warning")
            self._block(container, refusal.reason, refusal.message)
            return
        picture = container.spec.get("image", "")
        self._tell(
            container,
            "Pulled",
            f'Container image "{picture}" already present on machine and can be accessed by the pod',
        )
        container_id = f"localkube://{secrets.token_hex(32)}"
        try:
            prepared = self._prepare(container, container_id)
        except (ConfigFailed, ReferenceFailed) as error:
            self._block(container, "CreateContainerConfigError", str(error))
            return
        except CreateFailed as error:
            self._block(container, "CreateContainerError", str(error))
            return
        self._attempts.pop(container.name, None)
        self._tell(container, "Created", "Container created")
        self._turn(container)
        await self._execute(container, container_id, prepared)

    def _prepare(self, container: Container, container_id: str) -> Prepared:
        assert self._attached is not None
        runtime = self._site.runtime
        who = securitycontext.identity(self.pod, container.spec)
        base = {**runtime.base_environment(self.pod, who), **self._site.settings.service_environment}
        composed = environment.compose(self.pod, container.spec, self._lookup, self._facts(), base)
        for message in composed.skipped:
            self._tell(container, "InvalidEnvironmentVariableNames", message, "Warning")
        return runtime.prepare(
            self.pod, container.spec, container_id, composed, who, self.files, self._attached
        )

    def _block(self, container: Container, reason: str, message: str) -> None:
        """Keep a container waiting, to be tried again later."""
        attempt = self._attempts.get(container.name, 0)
        self._attempts[container.name] = attempt + 1
        container.waiting = (reason, message)
        container.retry = time.monotonic() + self._delay(attempt)
        shown = message if reason.startswith("Create") else reason
        self._tell(container, "Failed", f"Error: {shown}", "Warning")

    def _hold(self, container: Container, delay: float) -> None:
        """Keep a container waiting that ended too often."""
        where = f"failed container={container.name} pod={podref.full_name(self.pod)}"
        waiting = ("CrashLoopBackOff", f"back-off {_go_duration(delay)} restarting {where}")
        if container.waiting != waiting:
            container.waiting = waiting
            text = (
                f"Back-off restarting failed container {container.name} in pod {podref.full_name(self.pod)}"
            )
            self._tell(container, "BackOff", text, "Warning")

    def _turn(self, container: Container) -> None:
        """Make room for a new run; the files of the run before the last go."""
        if container.run is None:
            return
        if container.last is not None:
            self.files.forget_run(container.last.container_id)
        container.last = container.run
        container.restarts += 1
        container.backoff.advance(time.monotonic())

    async def _execute(self, container: Container, container_id: str, prepared: Prepared) -> None:
        log = LogFile(self.files.log(container_id))
        try:
            async with self._site.starting:
                started = await process.start(prepared.command, log.write)
        except StartFailed as error:
            log.close()
            if prepared.group is not None:
                prepared.group.remove()
            now = datetime.now(UTC)
            container.run = Run(
                container_id, None, now, START_ERROR, "StartError", str(error), time.monotonic()
            )
            container.waiting = ("RunContainerError", str(error))
            self._tell(container, "Failed", f"Error: {error}", "Warning")
            return
        run = Run(container_id, datetime.now(UTC))
        container.run, container.waiting = run, None
        self._site.logs[container_id] = log
        running = Running(
            container,
            run,
            started,
            prepared,
            log,
            self._site.runtime,
            self._attached.ip if self._attached is not None else "",
            lambda reason, message, type_: self._tell(container, reason, message, type_),
            self._wake.set,
        )
        self._running[container.name] = running
        watcher = asyncio.create_task(self._watch(running))
        self._watchers.add(watcher)
        watcher.add_done_callback(self._watchers.discard)
        self._tell(container, "Started", "Container started")
        running.begin(float(self.pod["spec"].get("terminationGracePeriodSeconds") or 0))

    async def _watch(self, running: Running) -> None:
        code = await running.finish()
        run = running.run
        run.finished, run.finished_clock = datetime.now(UTC), time.monotonic()
        run.reason = "OOMKilled" if running.out_of_memory else "Error" if code else "Completed"
        run.message = self._last_words(running, code)
        run.exit_code = code
        self._site.logs.pop(run.container_id, None)
        del self._running[running.container.name]
        self._wake.set()

    def _last_words(self, running: Running, code: int) -> str:
        path = self.files.message(running.run.container_id)
        data = b""
        if path.exists():
            with path.open("rb") as file:
                data = file.read(_MESSAGE_BYTES)
        policy = running.container.spec.get("terminationMessagePolicy")
        if not data and code and policy == "FallbackToLogsOnError":
            data = running.log.last(_FALLBACK_BYTES, _FALLBACK_LINES)
        return data.decode(errors="replace")

    # stopping

    async def _stop(self) -> None:
        """End what runs: main containers together, then sidecars from the last to the first."""
        self._kill_by = time.monotonic() + self._grace()

        def end() -> float:
            # a deletion may be shortened while it runs
            self._kill_by = min(self._kill_by, time.monotonic() + self._grace())
            return 0.0 if self._gone else self._kill_by

        mains = [r for r in self._running.values() if r.container.kind != "sidecar"]
        await asyncio.gather(*(running.stop(end) for running in mains))
        for container in reversed(self._containers):
            if container.kind == "sidecar" and container.name in self._running:
                await self._running[container.name].stop(end)
        await asyncio.gather(*self._watchers)
        await self._detach()
        self._final = True
        self._publish()

    def _grace(self) -> float:
        given = self.pod["metadata"].get("deletionGracePeriodSeconds")
        if given is None:
            given = self.pod["spec"].get("terminationGracePeriodSeconds")
        return float(30 if given is None else given)

    # telling

    def _tell(self, container: Container | None, reason: str, message: str, type_: str = "Normal") -> None:
        pod = self.pod
        if container is not None:
            pod = {**pod, "fieldPath": podref.field_path(pod, container.name)}
        # an event is lost with the namespace that it would go to
        with contextlib.suppress(StatusError):
            self._site.registry.record_event(pod, reason, message, type_)

    def _publish(self) -> None:
        """Write the status, if it differs from what is there."""
        metadata = self.pod["metadata"]
        with contextlib.suppress(StatusError):
            current = self._site.registry.get("pods", metadata["namespace"], metadata["name"])
            if current["metadata"]["uid"] != self.uid:
                return
            view = podstatus.View(
                self._containers,
                self._attached.ip if self._attached is not None else "",
                self._site.network.host_ip,
                self._started,
                self._verdict,
                self._final,
            )
            status = podstatus.build(current, view, datetime.now(UTC))
            if status != current.get("status"):
                self.pod = self._site.registry.update(
                    "pods",
                    metadata["namespace"],
                    {**current, "status": status},
                    subresource="status",
                    manager=MANAGER,
                )


def _go_duration(seconds: float) -> str:
    """`10s`, `1m20s`, `5m0s`: as Go prints a duration."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"
