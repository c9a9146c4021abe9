"""The controller holds the Lease of its cluster while it runs, and lets it go when it is told to stop."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from hubfleet.cli import controller
from hubfleet.kube.client import Client
from hubfleet.kube.clusters import Cluster
from hubfleet.kube.errors import NotFound
from hubfleet.kube.resources import LEASES


@pytest.fixture
async def holder(client: Client) -> AsyncIterator[Callable[[], Any]]:
    """Who holds the Lease: an awaitable string, "" for nobody."""

    async def read() -> str:
        try:
            lease = await client.get(LEASES, "default", controller.LEASE)
        except NotFound:
            return ""
        return str(lease["spec"].get("holderIdentity") or "")

    yield read
    try:
        await client.delete(LEASES, "default", controller.LEASE)
    except NotFound:
        return


@asynccontextmanager
async def running(kubeconfig: Path, context: str, directory: Path) -> AsyncIterator[subprocess.Popen[bytes]]:
    settings = directory / "hubfleet.yaml"
    settings.write_text(f"clusters: [{{name: a, kubeconfig: {kubeconfig}, context: '{context}'}}]\n")
    command = [sys.executable, "-c", "from hubfleet.cli.main import main; main()", "controller"]
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen([*command, "--config", str(settings)], stderr=log, env=os.environ)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


async def until(condition: Callable[[], Any], seconds: float = 30) -> None:
    async with asyncio.timeout(seconds):
        while not await condition():
            await asyncio.sleep(0.05)


async def test_it_holds_the_lease_until_it_is_told_to_stop(
    kubeconfig: Path, kube_context: str, holder: Callable[[], Any], tmp_path: Path
) -> None:
    async with running(kubeconfig, kube_context, tmp_path) as process:
        await until(holder)
        assert str(process.pid) in await holder()
        process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(process.wait, 15) == 0, (tmp_path / "log").read_text()
    assert await holder() == ""
    assert "Traceback" not in (tmp_path / "log").read_text()


async def test_a_fault_in_one_round_does_not_end_the_work(
    client: Client, holder: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    rounds = 0
    done = asyncio.Event()

    async def work() -> None:
        nonlocal rounds
        rounds += 1
        if rounds == 1:
            raise RuntimeError("a fault")
        done.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(controller, "PAUSE", 0.0)
    working = asyncio.create_task(controller.control(Cluster("a", client, "default"), "me", [work]))
    async with asyncio.timeout(10):
        await done.wait()
    assert await holder() == "me"
    working.cancel()
    await asyncio.wait([working])
    assert await holder() == ""
