from datetime import UTC, datetime

import pytest

from localkube.apiserver.resources import Resources
from localkube.controllers.namespace import conditions

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
FOUR = ["default", "kube-node-lease", "kube-public", "kube-system"]


def test_conditions_name_what_remains() -> None:
    resources = Resources()
    config_maps, jobs = resources["configmaps"], resources["jobs.batch"]
    held = {"metadata": {"finalizers": ["x.y/z"]}}
    found = conditions([(config_maps, held), (config_maps, held), (jobs, {"metadata": {}})], [], NOW)
    assert [(c["type"], c["status"], c["reason"]) for c in found] == [
        ("NamespaceDeletionDiscoveryFailure", "False", "ResourcesDiscovered"),
        ("NamespaceDeletionGroupVersionParsingFailure", "False", "ParsedGroupVersions"),
        ("NamespaceDeletionContentFailure", "False", "ContentDeleted"),
        ("NamespaceContentRemaining", "True", "SomeResourcesRemain"),
        ("NamespaceFinalizersRemaining", "True", "SomeFinalizersRemain"),
    ]
    assert found[3]["message"] == (
        "Some resources are remaining: configmaps. has 2 resource instances, "
        "jobs.batch has 1 resource instances"
    )
    assert found[4]["message"] == (
        "Some content in the namespace has finalizers remaining: x.y/z in 2 resource instances"
    )


def test_the_time_of_a_condition_is_that_of_its_last_change() -> None:
    before = conditions([], [], NOW)
    held = (Resources()["configmaps"], {"metadata": {}})
    after = conditions([held], before, NOW.replace(hour=13))
    assert [c["lastTransitionTime"][11:13] for c in after] == ["12", "12", "12", "13", "12"]


@pytest.mark.usefixtures("controllers")
async def test_a_deleted_namespace_takes_everything_with_it(world, eventually) -> None:
    world.add_namespace("other")
    world.config_map("kept", namespace="other")
    for name in ("a", "b"):
        world.config_map(name)
    world.job(parallelism=3, completions=3)
    await eventually(lambda: len(world.registry.list("pods", "ns")) == 3)
    world.registry.delete("namespaces", "", "ns")
    await eventually(lambda: world.get("namespaces", "ns", "") is None)
    for resource in world.registry.resources:
        if resource.namespaced:
            assert world.registry.list(resource.key, "ns") == []
    assert world.get("configmaps", "kept", "other") is not None
    names = [namespace["metadata"]["name"] for namespace in world.registry.list("namespaces")]
    assert names == [*FOUR, "other"]


@pytest.mark.usefixtures("controllers")
async def test_a_finalizer_holds_the_namespace_which_says_so(world, eventually) -> None:
    world.config_map("a", finalizers=["x.y/z"])
    world.registry.delete("namespaces", "", "ns")

    def remaining() -> str:
        status = world.get("namespaces", "ns", "")["status"]
        found = [c for c in status.get("conditions", []) if c["type"] == "NamespaceFinalizersRemaining"]
        return found[0]["message"] if found else ""

    await eventually(lambda: "x.y/z in 1 resource instances" in remaining())
    assert world.get("namespaces", "ns", "")["status"]["phase"] == "Terminating"
    world.registry.patch("configmaps", "ns", "a", {"metadata": {"finalizers": None}})
    await eventually(lambda: world.get("namespaces", "ns", "") is None)


@pytest.mark.usefixtures("controllers")
async def test_every_namespace_has_an_account_and_the_ca(world, eventually) -> None:
    world.registry.create("namespaces", "", {"metadata": {"name": "new"}})
    await eventually(lambda: world.get("serviceaccounts", "default", "new"))
    found = await eventually(lambda: world.get("configmaps", "kube-root-ca.crt", "new"))
    assert found["data"] == {"ca.crt": "PEM"}
    world.registry.delete("serviceaccounts", "new", "default")
    world.registry.patch("configmaps", "new", "kube-root-ca.crt", {"data": {"ca.crt": "EVIL"}})
    await eventually(lambda: world.get("serviceaccounts", "default", "new"))
    await eventually(lambda: world.get("configmaps", "kube-root-ca.crt", "new")["data"] == {"ca.crt": "PEM"})
    world.registry.delete("configmaps", "new", "kube-root-ca.crt")
    await eventually(lambda: world.get("configmaps", "kube-root-ca.crt", "new"))
