"""Definitions that are deleted, while all controllers run."""

import pytest
from tests.localkube.apiserver.crd.test_definitions import changed, definition

from localkube.apiserver.crd.definitions import KEY


@pytest.mark.usefixtures("controllers")
async def test_more_objects_than_one_look_deletes(world, eventually) -> None:
    world.registry.create(KEY, "", definition())
    for i in range(250):
        world.registry.create("things.x.io", "ns", {"metadata": {"name": f"t{i}"}})
    world.registry.delete(KEY, "", "things.x.io")
    await eventually(lambda: world.get(KEY, "things.x.io", "") is None)
    assert world.registry.store.list("things.x.io") == []


@pytest.mark.usefixtures("controllers")
async def test_a_definition_that_is_not_served_any_more_goes_too(world, eventually) -> None:
    made = world.registry.create(KEY, "", definition())
    world.registry.create("things.x.io", "ns", {"metadata": {"name": "t", "finalizers": ["x.io/hold"]}})
    unserved = changed(made, "spec.versions.0.served", False)["spec"]["versions"]
    world.registry.patch(KEY, "", "things.x.io", {"spec": {"versions": unserved}})
    with pytest.raises(KeyError):
        world.registry.list("things.x.io")
    world.registry.delete(KEY, "", "things.x.io")
    await eventually(lambda: world.get(KEY, "things.x.io", "") is None)
    assert world.registry.store.list("things.x.io") == []
