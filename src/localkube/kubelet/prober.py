"""Startup, readiness and liveness probes of one run of a container."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Literal

from localkube.kubelet.action import Outcome

Kind = Literal["startup", "readiness", "liveness"]

Attempt = Callable[[dict[str, Any], float], Awaitable[Outcome]]
"""Carries out a probe's action within so many seconds."""


class Judge:
    """Counts outcomes against the thresholds of a probe; `verdict` is None until the first is reached."""

    def __init__(self, probe: dict[str, Any]):
        self._success = int(probe.get("successThreshold") or 1)
        self._failure = int(probe.get("failureThreshold") or 3)
        self._run = 0
        self._latest: bool | None = None
        self.verdict: bool | None = None

    def add(self, ok: bool) -> bool:
        """Count one outcome; whether that changed the verdict, or confirmed a failure."""
        self._run = self._run + 1 if ok is self._latest else 1
        self._latest = ok
        if self._run < (self._success if ok else self._failure):
            return False
        before, self.verdict = self.verdict, ok
        return before is not ok


async def run(
    probe: dict[str, Any],
    attempt: Attempt,
    verdict: Callable[[bool, Outcome], None],
    failed: Callable[[Outcome], None],
    *,
    until_success: bool = False,
) -> None:
    """Probe until cancelled (or, with `until_success`, until it once succeeds).

    `verdict` is told each change of it, `failed` each single failure.
    """
    period = float(probe.get("periodSeconds") or 10)
    timeout = float(probe.get("timeoutSeconds") or 1)
    judge = Judge(probe)
    await asyncio.sleep(float(probe.get("initialDelaySeconds") or 0))
    while True:
        outcome = await attempt(probe, timeout)
        if not outcome.ok:
            failed(outcome)
        if judge.add(outcome.ok):
            verdict(outcome.ok, outcome)
            if outcome.ok and until_success:
                return
        await asyncio.sleep(period)
