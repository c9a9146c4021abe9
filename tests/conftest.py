"""The cluster that the tests run against: a localkube of their own, or any real one by its kubeconfig."""

import os
import secrets
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from hubfleet.kube.client import Client
from hubfleet.kube.clusters import Clusters
from hubfleet.kube.errors import KubeError
from hubfleet.kube.resources import NAMESPACES
from hubfleet.settings import ClusterSettings

START_SECONDS = 30.0
"""How long localkube may take to serve, on a busy machine."""


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("cluster")
    group.addoption("--kubeconfig", metavar="FILE", help="run against this cluster instead of a localkube")
    group.addoption("--kube-context", metavar="NAME", default="", help="the context of that kubeconfig")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--kubeconfig"):
        return
    skip = pytest.mark.skip(reason="about localkube itself; --kubeconfig names another cluster")
    for item in items:
        if item.get_closest_marker("localkube"):
            item.add_marker(skip)


@pytest.fixture(scope="session")
def kube_context(pytestconfig: pytest.Config) -> str:
    """The context to use; "" is the current one."""
    return str(pytestconfig.getoption("--kube-context"))


@pytest.fixture(scope="session")
def kubeconfig(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A kubeconfig that reaches the cluster under test."""
    if given := pytestconfig.getoption("--kubeconfig"):
        yield Path(given).expanduser().resolve()
        return
    directory = tmp_path_factory.mktemp("localkube")
    path, log = directory / "kubeconfig", directory / "log"
    command = [str(Path(sys.executable).with_name("localkube")), "--listen", "127.0.0.1:0"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "--kubeconfig", str(path)], stdout=output, stderr=subprocess.STDOUT, cwd=directory
        )
    try:
        deadline = time.monotonic() + START_SECONDS
        while not (path.exists() and path.stat().st_size):
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"localkube does not start:\n{log.read_text()[-3000:]}")
            time.sleep(0.02)
        yield path
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@pytest.fixture
async def client(kubeconfig: Path, kube_context: str) -> AsyncIterator[Client]:
    """A client with the rights of the kubeconfig's user."""
    settings = ClusterSettings(name="test", kubeconfig=str(kubeconfig), context=kube_context)
    async with Clusters((settings,), environ=os.environ) as clusters:
        yield clusters.default.client


@pytest.fixture
async def namespace(client: Client) -> AsyncIterator[str]:
    """A fresh namespace, deleted at the end."""
    name = f"test-{secrets.token_hex(4)}"
    await client.create(
        NAMESPACES, None, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
    )
    yield name
    try:
        await client.delete(NAMESPACES, None, name)
    except KubeError as e:
        pytest.fail(f"namespace {name} is left behind: {e}")
