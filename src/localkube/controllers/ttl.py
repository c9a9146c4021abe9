"""Deletes finished Jobs, with their pods, `ttlSecondsAfterFinished` after they have ended."""

from datetime import datetime, timedelta
from typing import Any

from localkube.apiserver.registry import Registry
from localkube.controllers import jobstatus, times
from localkube.controllers.feed import Feed
from localkube.controllers.owners import Key, key_of
from localkube.controllers.workqueue import WorkQueue

Object = dict[str, Any]

JOBS = "jobs.batch"


def expires(job: Object) -> datetime | None:
    """When a Job is to be deleted; None if it is not (yet)."""
    ttl = job["spec"].get("ttlSecondsAfterFinished")
    ended = jobstatus.finished(job)
    if ttl is None or not ended or "deletionTimestamp" in job["metadata"]:
        return None
    condition = next(c for c in job["status"]["conditions"] if c["type"] == ended)
    return times.parse(condition["lastTransitionTime"]) + timedelta(seconds=ttl)


class TTLController:
    """The loop around `expires`."""

    def __init__(self, registry: Registry, feed: Feed) -> None:
        self._registry = registry
        self._queue: WorkQueue[Key] = WorkQueue("ttl")
        feed.on(JOBS, self._observe)

    async def run(self) -> None:
        await self._queue.run(self.sync)

    def _observe(self, _: str, __: Object | None, now: Object | None) -> None:
        if now is not None and expires(now) is not None:
            self._queue.add(key_of(now))

    def sync(self, key: Key) -> float | None:
        """Delete the Job if its time has come; answers the seconds until then."""
        version = self._registry.store.get(JOBS, *key)
        when = expires(version.object) if version is not None else None
        if version is None or when is None:
            return None
        left = (when - self._registry.clock()).total_seconds()
        if left > 0:
            return left
        uid = version.object["metadata"]["uid"]
        self._registry.delete(JOBS, *key, uid=uid, propagation="Foreground")
        return None
