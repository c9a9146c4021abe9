"""A name that leads to a namespace opens nothing there: it is looked at whose the namespace is."""

import json
import secrets
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest
from tests.hubfleet.batch.conftest import Person, Server, StartServer, body

from hubfleet.kube.client import Client
from hubfleet.kube.errors import NotFound
from hubfleet.kube.resources import JOBS, NAMESPACES

PATHS = [
    ("GET", "jobs/"),
    ("GET", "jobs/{}"),
    ("DELETE", "jobs/{}"),
    ("GET", "jobs/logs/{}/"),
    ("GET", "jobs/logs/{}/?stream=true"),
    ("GET", "cronjobs/"),
    ("DELETE", "cronjobs/{}"),
    ("GET", "pods/"),
    ("GET", "pods/?job_name={}"),
    ("GET", "pods/{}"),
    ("GET", "pods/logs/{}/"),
]


@pytest.fixture(scope="session")
def other_hub(start_server: StartServer) -> Server:
    return start_server(hub={"name": "other-hub"}, tenancy={"adopt_unmarked": False})


async def test_a_user_of_another_hub_of_that_name_gets_nothing(
    server: Server, other_hub: Server, person: Person, client: Client
) -> None:
    assert server.call("GET", "jobs/", person.token)[0] == 200  # a user who had nothing when first seen
    assert json.loads(other_hub.call("GET", "jobs/", person.token)[2])["items"] == []
    status, _, made = server.call("POST", "jobs/", person.token, body("job-0.5"))
    assert status == 200
    name = json.loads(made)["metadata"]["name"]
    for method, path in PATHS:
        status, _, answer = other_hub.call(method, path.format(name), person.token)
        assert status == 403, path
        assert "belongs to a user of another hub, jupyterhub" in json.loads(answer)["detail"]
    assert (await client.get(JOBS, person.namespace, name))["metadata"]["name"] == name
    assert server.call("GET", f"jobs/{name}", person.token)[0] == 200


@pytest.fixture
async def found(person: Person, client: Client) -> AsyncIterator[dict[str, Any]]:
    """The person's namespace, which somebody made before us, with a Job in it; label it as need be."""
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": person.namespace}}
    await client.create(NAMESPACES, None, namespace)
    template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "a", "image": "b"}]}}
    labels = {"kbatch.jupyter.org/username": "x"}
    metadata = {"name": f"job-{secrets.token_hex(3)}", "labels": labels}
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": {"template": template}}
    yield await client.create(JOBS, person.namespace, job)
    with suppress(NotFound):
        await client.delete(NAMESPACES, None, person.namespace)


async def test_what_the_platform_made_is_no_users_where_the_operator_says_so(
    other_hub: Server, person: Person, found: dict[str, Any]
) -> None:
    for method, path in [*PATHS, ("POST", "jobs/")]:
        sent = body("job-0.5") if method == "POST" else None
        answer = other_hub.call(method, path.format(found["metadata"]["name"]), person.token, sent)
        assert answer[0] == 403, path
        assert "kubectl annotate namespace" in json.loads(answer[2])["detail"]


async def test_what_kbatch_proxy_made_is_its_users_as_before(
    server: Server, person: Person, client: Client, found: dict[str, Any]
) -> None:
    labels = {"app.kubernetes.io/managed-by": "kbatch"}
    await client.patch(NAMESPACES, None, person.namespace, {"metadata": {"labels": labels}})
    name = found["metadata"]["name"]
    assert server.call("GET", "jobs/", person.token)[0] == 200
    assert json.loads(server.call("GET", f"jobs/{name}", person.token)[2])["metadata"]["name"] == name
    assert server.call("DELETE", f"jobs/{name}", person.token)[0] == 200
