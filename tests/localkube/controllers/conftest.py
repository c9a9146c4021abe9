"""A cluster without a clock of its own, for controllers that are stepped or run by a test."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from localkube.apiserver.registry import Registry
from localkube.apiserver.status import StatusError
from localkube.controllers import namespace
from localkube.controllers.feed import Feed
from localkube.controllers.manager import run_controllers
from localkube.controllers.serviceaccount import ServiceAccountController

Object = dict[str, Any]


class World:
    """A registry in virtual time, and what the other components of a cluster would do to its objects."""

    def __init__(self) -> None:
        self.now = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
        self.registry = Registry(clock=self._clock)
        namespace.bootstrap(self.registry)
        self.add_namespace("ns")

    def _clock(self) -> datetime:
        # no two moments are the same: the names of Events are made from them
        self.now += timedelta(microseconds=1)
        return self.now

    def add_namespace(self, name: str) -> None:
        self.registry.create(
            "namespaces", "", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        )
        ServiceAccountController(self.registry, Feed(self.registry), "PEM").sync(name)

    def sleep(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def get(self, key: str, name: str, namespace: str = "ns") -> Object | None:
        try:
            return self.registry.get(key, namespace, name)
        except StatusError:
            return None

    def config_map(self, name: str, namespace: str = "ns", **metadata: Any) -> Object:
        meta = {"name": name, **metadata}
        obj = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"k": "v"}}
        return self.registry.create("configmaps", namespace, obj)

    def job(self, name: str = "j", *, pod: Object | None = None, **spec: Any) -> Object:
        container = {"name": "c", "image": "busybox"}
        template = {"spec": {"restartPolicy": "Never", "containers": [container], **(pod or {})}}
        meta = {"name": name}
        obj = {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": meta,
            # what the API server's defaults add
            "spec": {"parallelism": 1, "completions": 1, "backoffLimit": 6, "template": template, **spec},
        }
        return self.registry.create("jobs.batch", "ns", obj)

    def pod(self, name: str = "p", **spec: Any) -> Object:
        spec = {"containers": [{"name": "c", "image": "busybox"}], **spec}
        obj = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}
        return self.registry.create("pods", "ns", obj)

    def node(self, name: str = "n", *, ready: bool = True, **spec: Any) -> Object:
        status = {
            "allocatable": {"cpu": "4", "memory": "8Gi", "pods": "10"},
            "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
        }
        meta = {"name": name, "labels": {"kubernetes.io/hostname": name, "disk": "ssd"}}
        obj = {"apiVersion": "v1", "kind": "Node", "metadata": meta, "spec": spec}
        node = self.registry.create("nodes", "", obj)
        return self.registry.update("nodes", "", {**node, "status": status}, subresource="status")

    def events(self, reason: str) -> list[str]:
        return [e["message"] for e in self.registry.list("events") if e["reason"] == reason]


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
async def controllers(world: World) -> AsyncIterator[None]:
    """All controllers, running on the world's registry."""
    task = asyncio.create_task(run_controllers(world.registry, ca="PEM", backoff_first=0.0))
    await asyncio.sleep(0)
    yield
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


@pytest.fixture
def eventually() -> Callable[[Callable[[], Any]], Any]:
    """Waits until a condition holds (or 10 seconds are over), while the controllers run."""

    async def wait(condition: Callable[[], Any]) -> Any:
        end = time.monotonic() + 10
        while not (value := condition()):
            assert time.monotonic() < end, "waited for too long"
            await asyncio.sleep(0.005)
        return value

    return wait
