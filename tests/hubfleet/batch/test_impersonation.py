"""What is done for a user is done as their account, which comes again when somebody deletes it."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.hubfleet.batch.conftest import Person, body, objects, opened, until, user

from hubfleet.batch.service import BatchService
from hubfleet.kube.client import Client
from hubfleet.kube.errors import ApiError, Forbidden, NotFound
from hubfleet.kube.impersonation import Impersonation
from hubfleet.kube.request import Request
from hubfleet.kube.resources import JOBS, NAMESPACES, PODS, ROLEBINDINGS, SERVICEACCOUNTS, Resource
from hubfleet.kube.transport import Transport
from hubfleet.tenancy.rights import IMPERSONATOR_ROLE, USER_ACCOUNT, USER_ROLE


@pytest.fixture
async def service(kubeconfig: Path, kube_context: str, person: Person) -> AsyncIterator[BatchService]:
    async with opened(kubeconfig, kube_context) as service:
        await service.on().submit(user(person), "Job", submitted("first"))
        yield service


def submitted(name: str) -> bytes:
    sent = json.loads(body("job-0.5"))
    sent["job"]["metadata"]["name"] = name
    sent["job"]["spec"]["suspend"] = True
    return json.dumps(sent).encode()


async def submit(service: BatchService, person: Person) -> None:
    await service.on().submit(user(person), "Job", submitted("second"))


async def delete(service: BatchService, person: Person) -> None:
    await service.on().delete(user(person), service.on().jobs, "first")


async def look(service: BatchService, person: Person) -> None:
    with pytest.raises(NotFound, match="nosuch"):
        await service.on().get(user(person), service.on().jobs, "nosuch")


async def read(service: BatchService, person: Person) -> None:
    target = await service.on().find_log(user(person), "bare", pods_only=True)
    try:
        await service.on().log(user(person), target)
    except Forbidden:
        raise
    except ApiError:
        pass  # it runs nowhere, so there is no log


CALLS = [submit, delete, look, read]
Call = Callable[[BatchService, Person], Awaitable[None]]


@pytest.fixture
async def bare_pod(service: BatchService, client: Client, person: Person) -> None:
    """One that we do not watch, and that nothing schedules."""
    spec = {"schedulerName": "nobody", "containers": [{"name": "a", "image": "b"}]}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "bare"}, "spec": spec}
    await client.create(PODS, person.namespace, pod)


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.__name__)
async def test_everything_is_asked_for_as_the_user(
    call: Call, service: BatchService, person: Person, bare_pod: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, str | None]] = []

    def note(request: Request) -> None:
        if "/namespaces/" in request.path:
            asked.append((str(request), dict(request.headers).get("Impersonate-User")))

    real_send, real_stream = Transport.send, Transport.stream

    async def send(self: Transport, request: Request, *args: Any, **more: Any) -> bytes:
        note(request)
        return await real_send(self, request, *args, **more)

    def stream(self: Transport, request: Request, *args: Any, **more: Any) -> Any:
        note(request)
        return real_stream(self, request, *args, **more)

    monkeypatch.setattr(Transport, "send", send)
    monkeypatch.setattr(Transport, "stream", stream)
    await call(service, person)
    whom = Impersonation.for_service_account(person.namespace, USER_ACCOUNT).user
    assert asked
    for path, who in asked:
        assert who == whom or path == f"GET /api/v1/namespaces/{person.namespace}", path


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.__name__)
@pytest.mark.parametrize(
    ("resource", "name"),
    [(ROLEBINDINGS, IMPERSONATOR_ROLE), (ROLEBINDINGS, USER_ROLE), (SERVICEACCOUNTS, USER_ACCOUNT)],
    ids=lambda x: x if isinstance(x, str) else x.plural,
)
async def test_what_somebody_deletes_comes_again(
    call: Call,
    resource: Resource,
    name: str,
    service: BatchService,
    person: Person,
    client: Client,
    bare_pod: None,
) -> None:
    await client.delete(resource, person.namespace, name)
    await call(service, person)


async def test_a_namespace_that_is_gone_has_nothing(
    service: BatchService, person: Person, client: Client
) -> None:
    await client.delete(NAMESPACES, None, person.namespace)

    async def gone() -> bool:
        return person.namespace not in [each["metadata"]["name"] async for each in client.list(NAMESPACES)]

    await until(gone)
    await until(lambda: service.on().jobs.known(person.namespace, "first") is None)
    await look(service, person)
    with pytest.raises(NotFound):
        await delete(service, person)
    await submit(service, person)
    (made,) = await objects(client, JOBS, person.namespace)
    assert made["metadata"]["name"] == "second"
