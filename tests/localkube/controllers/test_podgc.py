import pytest

from localkube.controllers import podgc
from localkube.controllers.feed import Feed
from localkube.controllers.podgc import PodGC


@pytest.fixture
def short_quarantine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(podgc, "QUARANTINE", 0.0)


def finish(world, name: str) -> None:
    pod = world.get("pods", name)
    status = {**(pod.get("status") or {}), "phase": "Succeeded"}
    world.registry.update("pods", "ns", {**pod, "status": status}, subresource="status")


@pytest.mark.usefixtures("short_quarantine", "controllers")
async def test_pods_of_a_node_that_is_gone_fail_and_go(world, eventually) -> None:
    world.node()
    world.job(backoffLimit=0)
    await eventually(lambda: [p for p in world.registry.list("pods", "ns") if p["spec"].get("nodeName")])
    world.registry.delete("nodes", "", "n")
    await eventually(lambda: not world.registry.list("pods", "ns"))
    status = await eventually(lambda: world.get("jobs.batch", "j").get("status"))
    await eventually(lambda: world.get("jobs.batch", "j")["status"].get("failed") == 1)
    assert status is not None


def test_only_so_many_finished_pods_are_kept_and_the_oldest_go_first(world) -> None:
    feed = Feed(world.registry)
    controller = PodGC(world.registry, feed, finished_most=2)
    feed.start()
    for name in ("c", "a", "b"):
        world.pod(name)
        finish(world, name)
    controller.sync(("ns", "c"))
    controller.sync(("ns", "a"))
    assert [pod["metadata"]["name"] for pod in world.registry.list("pods", "ns")] == ["a", "b"]
