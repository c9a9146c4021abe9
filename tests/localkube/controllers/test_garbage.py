"""Garbage collection, with all controllers running."""

from typing import Any

import pytest

from localkube.controllers.garbage import describe

pytestmark = pytest.mark.usefixtures("controllers")

Object = dict[str, Any]


def owned_by(*owners: Object, block: bool = False, uid: str = "") -> list[Object]:
    return [
        {
            "apiVersion": owner["apiVersion"],
            "kind": owner["kind"],
            "name": owner["metadata"]["name"],
            "uid": uid or owner["metadata"]["uid"],
            "blockOwnerDeletion": block,
        }
        for owner in owners
    ]


def delete(world, name: str, propagation: str = "Background") -> None:
    world.registry.delete("configmaps", "ns", name, propagation=propagation)


def gone(world, *names: str) -> bool:
    return all(world.get("configmaps", name) is None for name in names)


async def test_dependents_go_after_their_owner(world, eventually) -> None:
    owner = world.config_map("o")
    child = world.config_map("d", ownerReferences=owned_by(owner))
    world.config_map("dd", ownerReferences=owned_by(child))
    world.config_map("other")
    delete(world, "o")
    await eventually(lambda: gone(world, "o", "d", "dd"))
    assert not gone(world, "other")


async def test_one_living_owner_is_enough(world, eventually) -> None:
    a, b = world.config_map("a"), world.config_map("b")
    world.config_map("d", ownerReferences=owned_by(a, b))
    delete(world, "a")
    await eventually(lambda: world.get("configmaps", "d")["metadata"]["ownerReferences"] == owned_by(b))
    delete(world, "b")
    await eventually(lambda: gone(world, "d"))


async def test_an_owner_that_never_was(world, eventually) -> None:
    owner = world.config_map("o")
    world.config_map("d", ownerReferences=owned_by(owner, uid="11111111-1111-1111-1111-111111111111"))
    await eventually(lambda: gone(world, "d"))
    assert not gone(world, "o")


async def test_a_foreground_deletion_waits_for_those_that_block(world, eventually) -> None:
    owner = world.config_map("o")
    world.config_map("free", ownerReferences=owned_by(owner), finalizers=["x.y/z"])
    world.config_map("d", ownerReferences=owned_by(owner, block=True), finalizers=["x.y/z"])
    delete(world, "o", "Foreground")
    await eventually(lambda: "deletionTimestamp" in world.get("configmaps", "d")["metadata"])
    await eventually(lambda: "deletionTimestamp" in world.get("configmaps", "free")["metadata"])
    assert world.get("configmaps", "o")["metadata"]["finalizers"] == ["foregroundDeletion"]
    world.registry.patch("configmaps", "ns", "d", {"metadata": {"finalizers": None}})
    await eventually(lambda: gone(world, "o", "d"))
    assert not gone(world, "free")


async def test_a_circle_does_not_wait_for_itself(world, eventually) -> None:
    a = world.config_map("a")
    b = world.config_map("b", ownerReferences=owned_by(a, block=True))
    patch = {"metadata": {"ownerReferences": owned_by(b, block=True)}}
    world.registry.patch("configmaps", "ns", "a", patch)
    delete(world, "a", "Foreground")
    await eventually(lambda: gone(world, "a", "b"))


async def test_orphans_forget_their_owner(world, eventually) -> None:
    owner = world.config_map("o")
    world.config_map("d", ownerReferences=owned_by(owner))
    delete(world, "o", "Orphan")
    await eventually(lambda: gone(world, "o"))
    assert "ownerReferences" not in world.get("configmaps", "d")["metadata"]


async def test_an_owner_in_another_namespace_is_no_owner(world, eventually) -> None:
    world.add_namespace("elsewhere")
    owner = world.config_map("o", namespace="elsewhere")
    references = owned_by(owner)
    world.config_map("d", ownerReferences=references)
    await eventually(lambda: gone(world, "d"))
    expected = f'ownerRef {describe(references[0], "ns")} does not exist in namespace "ns"'
    assert world.events("OwnerRefInvalidNamespace") == [expected]
    assert world.get("configmaps", "o", "elsewhere") is not None


async def test_cluster_wide_owners_own_in_every_namespace(world, eventually) -> None:
    node = world.node()
    world.config_map("d", ownerReferences=owned_by(node))
    world.config_map("e", ownerReferences=owned_by(node, uid="11111111-1111-1111-1111-111111111111"))
    await eventually(lambda: gone(world, "e"))
    assert not gone(world, "d")
    world.registry.delete("nodes", "", "n")
    await eventually(lambda: gone(world, "d"))


async def test_owners_of_a_kind_that_is_not_served_are_not_judged(world, eventually) -> None:
    stranger = {"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "t", "uid": "u-1"}}
    world.config_map("d", ownerReferences=owned_by(stranger))
    world.config_map("e", ownerReferences=owned_by(world.config_map("o"), uid="u-2"))
    await eventually(lambda: gone(world, "e"))
    assert not gone(world, "d")


async def test_jobs_take_their_pods_with_them(world, eventually) -> None:
    world.job(parallelism=2, completions=2)
    await eventually(lambda: len(world.registry.list("pods", "ns")) == 2)
    world.registry.delete("jobs.batch", "ns", "j", propagation="Background")
    await eventually(lambda: not world.registry.list("pods", "ns"))


async def test_orphaned_pods_of_a_job_are_free(world, eventually) -> None:
    world.job()
    await eventually(lambda: world.registry.list("pods", "ns"))
    world.registry.delete("jobs.batch", "ns", "j", propagation="Orphan")
    await eventually(lambda: world.get("jobs.batch", "j") is None)
    await eventually(lambda: "finalizers" not in world.registry.list("pods", "ns")[0]["metadata"])
    assert "ownerReferences" not in world.registry.list("pods", "ns")[0]["metadata"]


async def test_a_job_deleted_in_the_foreground_outlives_its_pods(world, eventually) -> None:
    world.node()
    world.job()
    bound = await eventually(
        lambda: [p for p in world.registry.list("pods", "ns") if p["spec"].get("nodeName")]
    )
    world.registry.delete("jobs.batch", "ns", "j", propagation="Foreground")
    name = bound[0]["metadata"]["name"]
    await eventually(lambda: "deletionTimestamp" in world.get("pods", name)["metadata"])
    await eventually(lambda: "finalizers" not in world.get("pods", name)["metadata"])
    assert world.get("jobs.batch", "j") is not None
    world.registry.delete("pods", "ns", name, grace=0)
    await eventually(lambda: world.get("jobs.batch", "j") is None)
