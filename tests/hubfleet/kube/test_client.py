"""The verbs against a Kubernetes API: localkube's or, with --kubeconfig, any other."""

import asyncio
from contextlib import aclosing
from typing import Any

import msgspec
import pytest

from hubfleet.kube.client import Client
from hubfleet.kube.errors import AlreadyExists, Conflict, Gone, Invalid, NotFound
from hubfleet.kube.request import FIELD_MANAGER, PatchType
from hubfleet.kube.resources import CONFIGMAPS, JOBS, NAMESPACES, PODS, Resource
from hubfleet.kube.response import Page


def config_map(name: str, labels: dict[str, str] | None = None, **data: str) -> dict[str, Any]:
    metadata = {"name": name, "labels": labels or {}}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


class Narrow(msgspec.Struct):
    data: dict[str, str] = {}


async def test_create_get_delete(client: Client, namespace: str) -> None:
    made = await client.create(CONFIGMAPS, namespace, config_map("a", k="v"))
    assert made["metadata"]["uid"]
    assert (await client.get(CONFIGMAPS, namespace, "a", type=Narrow)).data == {"k": "v"}
    raw = await client.get(CONFIGMAPS, namespace, "a", type=msgspec.Raw)
    assert msgspec.json.decode(raw)["kind"] == "ConfigMap"
    gone = await client.delete(CONFIGMAPS, namespace, "a", uid=made["metadata"]["uid"])
    assert (gone["kind"], gone["status"]) == ("Status", "Success")
    with pytest.raises(NotFound, match=r'configmaps "a" not found'):
        await client.get(CONFIGMAPS, namespace, "a")


async def test_a_taken_name(client: Client, namespace: str) -> None:
    await client.create(CONFIGMAPS, namespace, config_map("a"))
    with pytest.raises(AlreadyExists, match=r'configmaps "a" already exists'):
        await client.create(CONFIGMAPS, namespace, config_map("a"))


async def test_a_broken_rule_names_its_field(client: Client, namespace: str) -> None:
    with pytest.raises(Invalid) as caught:
        await client.create(CONFIGMAPS, namespace, config_map("A_B"))
    assert [cause["field"] for cause in caught.value.causes] == ["metadata.name"]


async def test_a_dry_run_leaves_nothing(client: Client, namespace: str) -> None:
    await client.create(CONFIGMAPS, namespace, config_map("a"), dry_run=True)
    await client.apply(CONFIGMAPS, namespace, config_map("b"), dry_run=True)
    for name in ("a", "b"):
        with pytest.raises(NotFound):
            await client.get(CONFIGMAPS, namespace, name)


async def test_a_delete_spares_another_object_of_that_name(client: Client, namespace: str) -> None:
    await client.create(CONFIGMAPS, namespace, config_map("a"))
    with pytest.raises(Conflict):
        await client.delete(CONFIGMAPS, namespace, "a", uid="00000000-0000-0000-0000-000000000000")
    await client.get(CONFIGMAPS, namespace, "a")


async def test_apply_makes_and_changes_and_leaves_others_fields(client: Client, namespace: str) -> None:
    await client.apply(CONFIGMAPS, namespace, config_map("a", ours="1", dropped="1"))
    await client.patch(CONFIGMAPS, namespace, "a", {"data": {"theirs": "1"}})
    made = await client.apply(CONFIGMAPS, namespace, config_map("a", ours="2"))
    assert made["data"] == {"ours": "2", "theirs": "1"}
    assert FIELD_MANAGER in {entry["manager"] for entry in made["metadata"]["managedFields"]}


async def test_patches_of_each_kind(client: Client, namespace: str) -> None:
    await client.create(CONFIGMAPS, namespace, config_map("a", k="v"))
    await client.patch(CONFIGMAPS, namespace, "a", {"data": {"m": "1"}})
    await client.patch(CONFIGMAPS, namespace, "a", {"data": {"s": "1"}}, kind=PatchType.STRATEGIC)
    operations = [{"op": "remove", "path": "/data/k"}]
    made = await client.patch(CONFIGMAPS, namespace, "a", operations, kind=PatchType.JSON, type=Narrow)
    assert made.data == {"m": "1", "s": "1"}


async def test_a_stale_merge_patch_is_a_conflict(client: Client, namespace: str) -> None:
    made = await client.create(CONFIGMAPS, namespace, config_map("a"))
    stale = {"metadata": {"resourceVersion": made["metadata"]["resourceVersion"]}, "data": {"x": "1"}}
    await client.patch(CONFIGMAPS, namespace, "a", stale)
    with pytest.raises(Conflict, match="the object has been modified"):
        await client.patch(CONFIGMAPS, namespace, "a", {**stale, "data": {"x": "2"}})


async def test_a_list_of_metadata_holds_nothing_else(client: Client, namespace: str) -> None:
    for name in ("a", "b", "c"):
        await client.create(CONFIGMAPS, namespace, {**config_map(name, {"test": "meta"}), "data": {"k": "v"}})
    listed = [
        o async for o in client.list(CONFIGMAPS, namespace, labels="test=meta", page=2, metadata_only=True)
    ]
    assert [o["metadata"]["name"] for o in listed] == ["a", "b", "c"]
    assert all(o["metadata"]["uid"] and "data" not in o for o in listed)


async def test_a_list_comes_in_pages(client: Client, namespace: str) -> None:
    names = [f"c{i:02}" for i in range(25)]
    await asyncio.gather(
        *(client.create(CONFIGMAPS, namespace, config_map(n, {"test": "pages"})) for n in names)
    )
    pages: list[Page[dict[str, Any]]] = [
        page async for page in client.pages(CONFIGMAPS, namespace, labels="test=pages", page=10)
    ]
    assert [len(page.items) for page in pages] == [10, 10, 5]
    assert len({page.metadata.resource_version for page in pages}) == 1
    listed = [
        o["metadata"]["name"] async for o in client.list(CONFIGMAPS, namespace, labels="test=pages", page=7)
    ]
    assert listed == names
    one = [o async for o in client.list(CONFIGMAPS, namespace, fields="metadata.name=c03", type=Narrow)]
    assert len(one) == 1


async def test_a_watch_tells_what_happens(client: Client, namespace: str) -> None:
    page = await anext(client.pages(CONFIGMAPS, namespace))
    seen: list[tuple[str, str]] = []
    watch = client.watch(CONFIGMAPS, namespace, resource_version=page.metadata.resource_version, labels="w=1")
    async with asyncio.timeout(20), aclosing(watch) as batches:
        assert await anext(batches) == ()
        await client.create(CONFIGMAPS, namespace, config_map("a", {"w": "1"}))
        await client.create(CONFIGMAPS, namespace, config_map("other"))
        await client.patch(CONFIGMAPS, namespace, "a", {"data": {"k": "v"}})
        await client.delete(CONFIGMAPS, namespace, "a")
        async for batch in batches:
            seen += [(kind, msgspec.json.decode(raw)["metadata"].get("name")) for kind, raw in batch]
            if len(seen) >= 3:
                break
    assert seen == [("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "a")]


async def test_a_watch_ends_when_its_time_is_over(client: Client, namespace: str) -> None:
    page = await anext(client.pages(CONFIGMAPS, namespace))
    version = page.metadata.resource_version
    async with asyncio.timeout(20):
        async for batch in client.watch(CONFIGMAPS, namespace, resource_version=version, seconds=1):
            assert all(kind == "BOOKMARK" for kind, _ in batch)


async def test_a_watch_from_the_distant_past_is_gone(client: Client, namespace: str) -> None:
    with pytest.raises(Gone):
        async for _ in client.watch(CONFIGMAPS, namespace, resource_version="1", seconds=5):
            pass


async def test_a_job_and_the_log_of_no_pod(client: Client, namespace: str) -> None:
    pod = {"restartPolicy": "Never", "containers": [{"name": "c", "image": "busybox"}]}
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"generateName": "j-"},
        "spec": {"suspend": True, "template": {"spec": pod}},
    }
    made = await client.create(JOBS, namespace, job)
    name = made["metadata"]["name"]
    assert name.startswith("j-") and len(name) > 2
    with pytest.raises(NotFound, match=r'pods "nope" not found'):
        async with client.log(namespace, "nope", follow=True):
            pytest.fail("entered")
    going = await client.delete(JOBS, namespace, name, propagation="Foreground")
    assert going["kind"] == "Job" and going["metadata"]["deletionTimestamp"]


async def test_the_version_is_there(client: Client) -> None:
    assert msgspec.json.decode(await client.raw("/version"))["major"] == "1"


async def test_what_the_server_does_not_know(client: Client, namespace: str) -> None:
    with pytest.raises(NotFound):
        await client.get(Resource("no.such.group", "v1", "things", "Thing"), namespace, "x")
    with pytest.raises(NotFound):
        await client.get(PODS, namespace, "x")
    with pytest.raises(NotFound):
        await client.get(NAMESPACES, None, "no-such-namespace")
