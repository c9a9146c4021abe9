from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from localkube.controllers import times
from localkube.controllers.feed import Feed
from localkube.controllers.ttl import TTLController, expires

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)


def make_job(ended: str = "Complete", **spec: Any) -> dict[str, Any]:
    condition = {"type": ended, "status": "True", "lastTransitionTime": times.text(NOW)}
    return {"metadata": {}, "spec": spec, "status": {"conditions": [condition]}}


def test_expires() -> None:
    assert expires(make_job(ttlSecondsAfterFinished=30)) == NOW + timedelta(seconds=30)
    assert expires(make_job("Failed", ttlSecondsAfterFinished=0)) == NOW
    assert expires(make_job()) is None
    assert expires(make_job("FailureTarget", ttlSecondsAfterFinished=0)) is None


@pytest.mark.parametrize("ended", ["Complete", "Failed"])
def test_a_finished_job_is_deleted_in_the_foreground_when_its_time_has_come(world, ended: str) -> None:
    feed = Feed(world.registry)
    controller = TTLController(world.registry, feed)
    feed.start()
    job = world.job(ttlSecondsAfterFinished=60)
    now = times.text(world.now)
    condition = {"type": ended, "status": "True", "lastProbeTime": now, "lastTransitionTime": now}
    status = {"conditions": [condition], "startTime": now}
    if ended == "Complete":
        status["completionTime"] = now
    world.registry.update("jobs.batch", "ns", {**job, "status": status}, subresource="status")
    world.sleep(59)
    assert controller.sync(("ns", "j")) == pytest.approx(1, abs=0.01)
    world.sleep(1)
    assert controller.sync(("ns", "j")) is None
    assert world.get("jobs.batch", "j")["metadata"]["finalizers"] == ["foregroundDeletion"]
