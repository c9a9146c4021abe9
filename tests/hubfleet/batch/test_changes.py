"""Who is woken by which change."""

import asyncio
import json

from hubfleet.batch.changes import JOB_NAME, Changes, within
from hubfleet.kube.view import Change, Item, View


def decode(raw: bytes) -> bytes:
    return raw


def item(name: str, job: str = "", namespace: str = "ada") -> Item[bytes]:
    labels = {JOB_NAME: job} if job else {}
    metadata = {"name": name, "namespace": namespace, "resourceVersion": "1", "uid": "u", "labels": labels}
    return View(decode).read(json.dumps({"metadata": metadata}).encode())


async def test_only_those_who_follow_the_job_or_the_pod_are_woken() -> None:
    changes = Changes()
    job, other, pod = asyncio.Event(), asyncio.Event(), asyncio.Event()
    with (
        changes.telling(("ada", "job", "a"), job) as of_job,
        changes.telling(("ada", "job", "b"), other) as of_other,
        changes.telling(("ada", "pod", "a-1"), pod) as of_pod,
    ):
        assert of_job.changed
        for news in (of_job, of_other, of_pod):
            news.changed = False
        changes.tell_pod(Change(None, item("a-2", "a")))
        changes.tell_pod(Change(None, item("a-3", "a")))
        changes.tell_pod(Change(None, item("b-1", "b", namespace="bob")))
        assert of_job.changed
        assert not job.is_set()  # a moment later, once for both
        assert await within(5, job)
        assert not (other.is_set() or pod.is_set() or of_other.changed or of_pod.changed)
        changes.tell_pod(Change(item("a-1", "a"), None))
        assert pod.is_set() and of_pod.changed
        changes.tell_job(Change(None, item("b")))
        assert await within(5, other)
    assert not (changes._news or changes._namespaces)
    changes.tell_pod(Change(None, item("a-1", "a")))
    changes.tell_job(Change(None, item("a")))
    assert not changes._due
