"""A node with a kubelet in this process, and the few things that a test does with pods."""

import asyncio
import os
import shutil
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from localkube.apiserver.registry import Registry
from localkube.apiserver.tokens import Signer, Tokens
from localkube.controllers.manager import run_controllers
from localkube.kubelet.kubelet import Kubelet
from localkube.kubelet.settings import Settings

WAIT_SECONDS = 20.0
NAMESPACE = "default"

QUICK = Settings(
    restart_first=0.2, restart_longest=1.0, retry_first=0.1, retry_longest=0.5, isolate_network=False
)


class Node:
    """Pods here run in the namespace `default`, never restart and get two seconds to stop."""

    def __init__(self, data_dir: Path, settings: Settings):
        self.registry = Registry()
        self.tokens = Tokens(self.registry, Signer(data_dir))
        self.issue_token = self.tokens.for_pod
        self.kubelet = Kubelet(
            self.registry, data_dir, "node", settings, issue_token=lambda *asked: self.issue_token(*asked)
        )
        self.data_dir = data_dir
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        self._tasks = [
            asyncio.create_task(run_controllers(self.registry)),
            asyncio.create_task(self.kubelet.run()),
        ]
        waiting = asyncio.create_task(self.kubelet.ready.wait())
        await asyncio.wait([*self._tasks, waiting], return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        while not self.registry.exists("serviceaccounts", NAMESPACE, "default"):
            await asyncio.sleep(0.01)

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        results = await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        assert all(isinstance(result, asyncio.CancelledError) for result in results), results

    def create(self, key: str, obj: dict[str, Any]) -> dict[str, Any]:
        return self.registry.create(key, NAMESPACE, obj)

    def pod(self, name: str, *containers: dict[str, Any], **spec: Any) -> None:
        """Make a pod; a container needs a name and a command only."""
        full = [{"image": "busybox", **container} for container in containers]
        inits = [{"image": "busybox", **container} for container in spec.pop("initContainers", ())]
        spec = {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 2,
            "containers": full,
            "initContainers": inits,
            **spec,
        }
        self.create("pods", {"metadata": {"name": name}, "spec": spec})

    def shell(self, name: str, script: str, **container: Any) -> None:
        """Make a pod of one container `c` that runs a script."""
        self.pod(name, {"name": "c", "command": ["/bin/sh", "-c", script], **container})

    def get(self, name: str) -> dict[str, Any]:
        return self.registry.get("pods", NAMESPACE, name)

    async def until(self, name: str, holds: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
        """The pod, as soon as it is so; fails after `WAIT_SECONDS`."""
        deadline = time.monotonic() + WAIT_SECONDS
        while True:
            pod = self.get(name)
            if holds(pod):
                return pod
            if time.monotonic() > deadline:
                pytest.fail(f"not in time: {pod.get('status')}\n{self.events(name)}")
            await asyncio.sleep(0.01)

    async def phase(self, name: str, *phases: str) -> dict[str, Any]:
        return await self.until(name, lambda pod: pod["status"].get("phase") in phases)

    async def ended(self, name: str) -> dict[str, Any]:
        return await self.phase(name, "Succeeded", "Failed")

    async def gone(self, name: str) -> None:
        deadline = time.monotonic() + WAIT_SECONDS
        while self.registry.exists("pods", NAMESPACE, name):
            assert time.monotonic() < deadline, self.get(name)
            await asyncio.sleep(0.01)

    async def log(self, name: str, container: str = "c", **options: Any) -> str:
        stream = await self.kubelet.open_log(self.get(name), container, **options)
        return b"".join([piece async for piece in stream]).decode()

    async def output(self, script: str, *, name: str = "p", **container: Any) -> str:
        """What a pod that runs this script says; the pod has to succeed."""
        self.shell(name, script, **container)
        pod = await self.ended(name)
        said = await self.log(name)
        assert pod["status"]["phase"] == "Succeeded", (said, pod["status"])
        return said

    def events(self, name: str) -> list[tuple[str, str, str]]:
        """(type, reason, message) of the events about a pod."""
        found = self.registry.list("events", NAMESPACE, fields=f"involvedObject.name={name}")
        return [
            (e["type"], e["reason"], e["message"]) for e in found if e["source"]["component"] == "kubelet"
        ]

    def state(self, name: str, container: str = "c") -> dict[str, Any]:
        """The status of a container, as good as empty as long as there is none."""
        status = self.get(name)["status"]
        entries = [*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())]
        nothing: dict[str, Any] = {"state": {}, "restartCount": 0, "ready": False}
        return next((e for e in entries if e["name"] == container), nothing)


@pytest.fixture
def settings() -> Settings:
    return QUICK


@pytest.fixture
async def node(tmp_path: Path, settings: Settings) -> AsyncIterator[Node]:
    if shutil.which("bwrap") is None:
        pytest.skip("needs bubblewrap")
    made = Node(tmp_path / "data", settings)
    await made.start()
    yield made
    await made.stop()


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
