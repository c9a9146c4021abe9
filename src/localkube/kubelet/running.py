"""One run of a container while it lasts: its process, its probes and hooks, and how it is stopped."""

import asyncio
import signal
import time
from collections.abc import Callable, Coroutine
from typing import Any

from localkube.kubelet import action, prober
from localkube.kubelet.action import Outcome, Place
from localkube.kubelet.logfile import LogFile
from localkube.kubelet.prober import Kind
from localkube.kubelet.process import Process
from localkube.kubelet.runtime import Prepared, Runtime
from localkube.kubelet.state import Container, Run

_POLL = 0.5
"""Seconds between looks at a grace period that may have been shortened."""

_DEFAULT_GRACE = 30.0

Tell = Callable[[str, str, str], None]
"""Records an event about the container: reason, message, type."""


class Running:
    """Lives from the start of a process to its end; `changed` is called whenever the status may differ."""

    def __init__(
        self,
        container: Container,
        run: Run,
        process: Process,
        prepared: Prepared,
        log: LogFile,
        runtime: Runtime,
        ip: str,
        tell: Tell,
        changed: Callable[[], None],
    ):
        self.container = container
        self.run = run
        self.process = process
        self.log = log
        self._tell = tell
        self._changed = changed
        self._group = prepared.group
        self.out_of_memory = False
        """Whether the kernel ended a process of it for that; known at its end."""
        self._place = Place(ip, container.spec, lambda words: runtime.execute(prepared, process, words))
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping: asyncio.Task[None] | None = None

    def begin(self, grace: float) -> None:
        """Start the hook and the probes; `grace` is what a container gets that a probe condemns."""
        spec = self.container.spec
        self.container.started = not spec.get("startupProbe")
        self.container.ready = self.container.started and not spec.get("readinessProbe")
        hook = (spec.get("lifecycle") or {}).get("postStart")
        if hook:
            self._task(self._post_start(hook, grace))
        else:
            self._probe(grace)

    def _task(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _post_start(self, hook: dict[str, Any], grace: float) -> None:
        # a hook has no timeout of its own: it ends with the container at the latest
        outcome = await action.perform(hook, self._place, timeout=float("inf"))
        if outcome.ok:
            self._probe(grace)
            return
        self._tell("FailedPostStartHook", "PostStartHook failed", "Warning")
        self._condemn("Killing", "FailedPostStartHook", grace)

    def _probe(self, grace: float) -> None:
        spec = self.container.spec
        if startup := spec.get("startupProbe"):
            self._task(self._run_probe("startup", startup, grace))
        else:
            self._probe_started(grace)

    def _probe_started(self, grace: float) -> None:
        spec = self.container.spec
        if readiness := spec.get("readinessProbe"):
            self._task(self._run_probe("readiness", readiness, grace))
        if liveness := spec.get("livenessProbe"):
            self._task(self._run_probe("liveness", liveness, grace))

    async def _run_probe(self, kind: Kind, probe: dict[str, Any], grace: float) -> None:
        async def attempt(probe: dict[str, Any], timeout: float) -> Outcome:
            return await action.perform(probe, self._place, timeout)

        def verdict(ok: bool, _: Outcome) -> None:
            if kind == "readiness":
                self.container.ready = ok
                self._changed()
            elif kind == "startup" and ok:
                self.container.started = True
                self.container.ready = not self.container.spec.get("readinessProbe")
                self._probe_started(grace)
                self._changed()
            elif not ok:
                given = probe.get("terminationGracePeriodSeconds")
                message = f"Container {self.container.name} failed {kind} probe, will be restarted"
                self._condemn("Killing", message, grace if given is None else float(given))

        def failed(outcome: Outcome) -> None:
            self._tell("Unhealthy", f"{kind.capitalize()} probe failed: {outcome.output}", "Warning")

        await prober.run(probe, attempt, verdict, failed, until_success=kind == "startup")

    def _condemn(self, reason: str, message: str, grace: float) -> None:
        if self._stopping is None:
            self._tell(reason, message, "Normal")
            end = time.monotonic() + grace
            self._stopping = asyncio.create_task(self._terminate(lambda: end))

    async def stop(self, end: Callable[[], float]) -> None:
        """End the container, with force at `end()` on the monotonic clock, which may come closer."""
        if self._stopping is not None:
            self._stopping.cancel()
        else:
            self._tell("Killing", f"Stopping container {self.container.name}", "Normal")
        self._stopping = asyncio.create_task(self._terminate(end))
        await asyncio.shield(self._stopping)

    async def _terminate(self, end: Callable[[], float]) -> None:
        lifecycle = self.container.spec.get("lifecycle") or {}
        exited = asyncio.ensure_future(self.process.wait())
        if hook := lifecycle.get("preStop"):
            left = max(0.0, end() - time.monotonic())
            outcome = await action.perform(hook, self._place, left)
            if not outcome.ok and self.process.alive:
                self._tell("FailedPreStopHook", "PreStopHook failed", "Warning")
        name = str(lifecycle.get("stopSignal") or "SIGTERM")
        self.process.kill(signal.Signals.__members__.get(name, signal.SIGTERM))
        while not exited.done() and (left := end() - time.monotonic()) > 0:
            await asyncio.wait({exited}, timeout=min(left, _POLL))
        self.process.kill(signal.SIGKILL)
        await exited

    def kill(self) -> None:
        """End the container at once."""
        self.process.kill(signal.SIGKILL)

    async def finish(self) -> int:
        """Wait for the end of the process and of its log; the exit code."""
        code = await self.process.wait()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.container.started = self.container.ready = False
        self.log.close()
        if self._group is not None:
            self.out_of_memory = self._group.has_killed()
            self._group.remove()
        return code
