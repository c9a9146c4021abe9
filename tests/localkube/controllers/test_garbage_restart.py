"""What was left to do when the controllers stopped is done when they start again."""

import asyncio
import contextlib

from localkube.controllers.manager import run_controllers


async def test_work_that_was_waiting_is_done_after_a_start(world, eventually) -> None:
    owner = world.config_map("o")
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "o", "uid": owner["metadata"]["uid"]}
    world.config_map("d", ownerReferences=[reference])
    world.config_map("lost", ownerReferences=[{**reference, "uid": "11111111-1111-1111-1111-111111111111"}])
    world.registry.delete("configmaps", "ns", "o", propagation="Orphan")
    world.add_namespace("old")
    world.registry.delete("namespaces", "", "old")
    task = asyncio.create_task(run_controllers(world.registry))
    await eventually(lambda: world.get("configmaps", "o") is None)
    await eventually(lambda: world.get("configmaps", "lost") is None)
    await eventually(lambda: world.get("namespaces", "old", "") is None)
    assert "ownerReferences" not in world.get("configmaps", "d")["metadata"]
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
