"""A localkube process for the tests of localkube itself, and requests to it without any client library."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

START_SECONDS = 30.0


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.localkube)


class Answer(NamedTuple):
    code: int
    headers: Any
    content: bytes

    @property
    def body(self) -> Any:
        return json.loads(self.content)


class Localkube:
    """A running localkube: `url`, `token`, `kubeconfig` (a path), `process`."""

    def __init__(self, process: "subprocess.Popen[bytes]", kubeconfig: Path, output: Path):
        self.process = process
        self.kubeconfig = kubeconfig
        self.output = output
        config = yaml.safe_load(kubeconfig.read_text())
        self.url: str = config["clusters"][0]["cluster"]["server"]
        self.token: str = config["users"][0]["user"]["token"]

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        content_type: str = "application/json",
        headers: dict[str, str] | None = None,
        token: str | None = None,
    ) -> Answer:
        """One request; a body that is no bytes is sent as JSON."""
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, method=method)
        request.add_header("Authorization", f"Bearer {self.token if token is None else token}")
        if data is not None:
            request.add_header("Content-Type", content_type)
        for name, value in (headers or {}).items():
            request.add_header(name, value)
        try:
            with urllib.request.urlopen(request, timeout=20) as response:
                return Answer(response.status, response.headers, response.read())
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, error.headers, error.read())

    def stream(self, path: str, *, headers: dict[str, str] | None = None) -> Iterator[bytes]:
        """The lines of an answer as they come."""
        request = urllib.request.Request(self.url + path)
        request.add_header("Authorization", f"Bearer {self.token}")
        for name, value in (headers or {}).items():
            request.add_header(name, value)
        with urllib.request.urlopen(request, timeout=20) as response:
            yield from response

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(15)


def start(directory: Path, *arguments: str) -> Localkube:
    """Start a localkube that serves plain HTTP on a port of its own; the caller stops it."""
    kubeconfig, output = directory / "kubeconfig", directory / "output"
    kubeconfig.unlink(missing_ok=True)
    command = [
        str(Path(sys.executable).with_name("localkube")),
        "--listen=127.0.0.1:0",
        "--no-tls",
        f"--kubeconfig={kubeconfig}",
        *arguments,
    ]
    with output.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, cwd=directory)
    deadline = time.monotonic() + START_SECONDS
    while b"localkube: serving" not in output.read_bytes():
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            process.wait()
            pytest.fail(f"localkube does not start:\n{output.read_text()[-3000:]}")
        time.sleep(0.02)
    return Localkube(process, kubeconfig, output)


@pytest.fixture(scope="session")
def localkube_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Localkube]:
    """One localkube without a kubelet for all tests of the API; each makes its own namespace."""
    server = start(tmp_path_factory.mktemp("localkube"), "--no-kubelet")
    yield server
    try:
        assert server.stop() == 0, server.output.read_text()[-3000:]
    finally:
        server.process.kill()


@pytest.fixture
def localkube_starter(tmp_path: Path) -> Iterator[Callable[..., Localkube]]:
    """Starts localkubes in a directory of the test's own, and kills what is left of them."""
    started: list[Localkube] = []

    def begin(*arguments: str) -> Localkube:
        started.append(start(tmp_path, *arguments))
        return started[-1]

    yield begin
    for server in started:
        if server.process.poll() is None:
            server.process.kill()
            server.process.wait()


@pytest.fixture
def namespace(localkube_process: Localkube) -> Iterator[str]:
    """A namespace of the test's own."""
    name = f"t-{os.urandom(4).hex()}"
    made = localkube_process.call("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
    assert made.code == 201
    yield name
    localkube_process.call("DELETE", f"/api/v1/namespaces/{name}")
