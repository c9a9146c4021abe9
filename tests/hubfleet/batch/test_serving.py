"""`hubfleet serve` and `hubfleet controller` with the rights that `hubfleet rbac` prints, and no others.

Both unmodified clients do all that they can, and nothing is refused.
"""

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.hubfleet.account import Account
from tests.hubfleet.batch.conftest import Clients, Kbatch, Person, Server, StartServer, objects, until
from tests.hubfleet.batch.test_clients import IMAGE, finished, shell, submit

from hubfleet.kube.client import Client
from hubfleet.kube.resources import CRONJOBS, JOBS, SECRETS

HUB = f"serving-{secrets.token_hex(3)}"
REFUSALS = ("cannot", "forbidden", "hubfleet rbac", "may not")


@pytest.fixture(scope="module")
def server(start_server: StartServer, own_account: Account) -> Iterator[Server]:
    clusters = [{"name": "test", "kubeconfig": str(own_account.kubeconfig)}]
    started = start_server(clusters=clusters, hub={"name": HUB})
    yield started
    started.stop()


@contextmanager
def controlling(own_account: Account, directory: Path) -> Iterator[Path]:
    """A running controller; gives the file with its log."""
    settings, log = directory / "controller.yaml", directory / "controller.log"
    clusters = [{"name": "test", "kubeconfig": str(own_account.kubeconfig)}]
    settings.write_bytes(msgspec.yaml.encode({"hub": {"name": HUB}, "clusters": clusters}))
    command = [str(Path(sys.executable).with_name("hubfleet")), "controller", "--config", str(settings)]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stderr=output, stdout=output, env=os.environ)
    try:
        yield log
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture(params=["0.4.2", "0.5"])
def kbatch(
    request: pytest.FixtureRequest, clients: Clients, tmp_path: Path, server: Server, person: Person
) -> Kbatch:
    return Kbatch(clients, request.param, tmp_path, server.url, person.token)


def check(log: str) -> None:
    """Nothing in it was refused."""
    for line in log.splitlines():
        assert not any(word in line for word in REFUSALS), line
    assert "Traceback" not in log


@pytest.mark.kubelet
async def test_the_clients_do_everything(
    kbatch: Kbatch, server: Server, person: Person, client: Client, tmp_path: Path
) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (project / "main.py").write_text("print('hello from the code')\n")
    code = ("--command", '["python3", "main.py"]', "-c", str(project), "-e", '{"A": "1"}')
    name = submit(kbatch, "job", "-n", "code", *IMAGE, *code)
    assert (await finished(server, person, name))["succeeded"] == 1
    assert name in kbatch.run("job", "list", "-o", "table")
    assert kbatch.json("job", "show", name)["metadata"]["name"] == name
    (pod,) = kbatch.run("pod", "list", "--job-name", name, "-o", "name").split()[-1:]
    assert "hello from the code" in kbatch.run("pod", "logs", pod)
    assert "hello from the code" in kbatch.run("pod", "logs", pod, "--stream")
    if kbatch.version == "0.5":
        assert "hello from the code" in kbatch.run("job", "logs", name)
    assert kbatch.json("job", "delete", name)["status"] == "Success"
    cron = submit(kbatch, "cronjob", "-n", "tick", *shell("true"), "--schedule", "0 0 1 1 *")
    assert cron in kbatch.run("cronjob", "list", "-o", "table")
    assert kbatch.json("cronjob", "show", cron)["metadata"]["name"] == cron
    assert kbatch.json("cronjob", "delete", cron)["status"] == "Success"

    async def nothing_left() -> bool:
        found = [await objects(client, each, person.namespace) for each in (JOBS, CRONJOBS, SECRETS)]
        return not any(found)

    await until(nothing_left)
    check(server.log)


async def test_what_is_not_there_is_a_404_and_what_is_wrong_leaves_nothing(
    server: Server, person: Person, client: Client
) -> None:
    status, _, answer = server.call("POST", "jobs/", person.token, body("Never"))
    assert status == 200, answer
    for path in ("jobs/nosuch", "cronjobs/nosuch", "pods/nosuch", "jobs/logs/nosuch/", "pods/logs/nosuch/"):
        assert server.call("GET", path, person.token)[0] == 404
    status, _, answer = server.call("POST", "jobs/", person.token, body("Perhaps"))
    assert status == 422
    assert b"restartPolicy" in answer
    assert len(await objects(client, SECRETS, person.namespace)) == 1
    check(server.log)


async def test_the_controller_collects(
    server: Server, own_account: Account, person: Person, client: Client, tmp_path: Path
) -> None:
    assert server.call("POST", "jobs/", person.token, body("Never"))[0] == 200
    labels = {"hubfleet.dev/expires": "1", "hubfleet.dev/submission": "dead"}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "left", "labels": labels}}
    await client.create(SECRETS, person.namespace, secret)

    async def collected() -> bool:
        expiring = client.list(SECRETS, person.namespace, labels="hubfleet.dev/expires")
        return not [each async for each in expiring]

    with controlling(own_account, tmp_path) as log:
        await until(collected)
        check(log.read_text())


def body(restart_policy: str) -> bytes:
    container = {"name": "main", "image": "python:3.13", "command": ["true"]}
    pod: dict[str, Any] = {"restartPolicy": restart_policy, "containers": [container]}
    spec = {"suspend": True, "template": {"spec": pod}}
    return json.dumps({"job": {"metadata": {"generateName": "serving-"}, "spec": spec}}).encode()
