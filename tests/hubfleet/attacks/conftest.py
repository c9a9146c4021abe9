"""A server with the least rights that work, a hostile user, and somebody else who has something to lose."""

import asyncio
import json
import secrets
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from tests.hubfleet.account import Account, Run
from tests.hubfleet.batch.conftest import (  # noqa: F401 (fixtures)
    Person,
    Server,
    StartServer,
    gate,
    start_server,
)

from hubfleet.kube.client import Client
from hubfleet.kube.impersonation import Impersonation
from hubfleet.kube.resources import (
    CONFIGMAPS,
    CRONJOBS,
    JOBS,
    LIMITRANGES,
    NAMESPACES,
    NETWORKPOLICIES,
    PODS,
    RESOURCEQUOTAS,
    ROLEBINDINGS,
    SECRETS,
    SERVICEACCOUNTS,
    Resource,
)
from hubfleet.tenancy.naming import namespace_for
from hubfleet.tenancy.rights import USER_ACCOUNT

KINDS = (
    JOBS,
    CRONJOBS,
    PODS,
    SECRETS,
    CONFIGMAPS,
    SERVICEACCOUNTS,
    ROLEBINDINGS,
    RESOURCEQUOTAS,
    LIMITRANGES,
    NETWORKPOLICIES,
)
SECRET = f"secret-{secrets.token_hex(8)}"
"""What nobody but the victim may read; it is in everything that they have."""


class World(msgspec.Struct, frozen=True):
    """Who is there. The victim has a Job `precious`, a CronJob `nightly`, and a pod, Secret and ConfigMap
    `precious`; the attacker a Job `mine` and a ServiceAccount `builder`."""

    attacker: Person
    victim: Person
    precious_uid: str
    mine_uid: str

    @property
    def identity(self) -> Impersonation:
        """The attacker's on the cluster."""
        return Impersonation.for_service_account(self.attacker.namespace, USER_ACCOUNT)


@pytest.fixture(scope="session")
def server(start_server: StartServer, own_account: Account) -> Server:  # noqa: F811
    return start_server(
        clusters=[{"name": "test", "kubeconfig": str(own_account.kubeconfig)}],
        hub={"name": f"attacks-{secrets.token_hex(3)}"},
    )


def sent(job: dict[str, Any]) -> bytes:
    return json.dumps({"job": job}).encode()


def harmless(name: str, word: str) -> dict[str, Any]:
    container = {
        "name": "main",
        "image": "python:3.13",
        "command": ["echo", word],
        "env": [{"name": "WORD", "value": word}],
    }
    pod = {"restartPolicy": "Never", "containers": [container]}
    return {"metadata": {"name": name}, "spec": {"suspend": True, "template": {"spec": pod}}}


def _submit(server: Server, person: Person, what: str, job: dict[str, Any]) -> dict[str, Any]:
    status, _, answer = server.call("POST", what, person.token, sent(job))
    assert status == 200, answer
    made: dict[str, Any] = json.loads(answer)
    return made


@pytest.fixture(scope="session")
def world(server: Server, jupyterhub: Any, as_administrator: Run) -> Iterator[World]:
    suffix = secrets.token_hex(3)
    people = [
        Person(f"{name}-{suffix}", jupyterhub.user(f"{name}-{suffix}")) for name in ("mallory", "alice")
    ]
    attacker, victim = people
    mine = _submit(server, attacker, "jobs/", harmless("mine", "mine"))
    precious = _submit(server, victim, "jobs/", harmless("precious", SECRET))
    job = harmless("nightly", SECRET)
    cron = {"schedule": "0 0 1 1 *", "suspend": True, "jobTemplate": {"spec": job["spec"]}}
    _submit(server, victim, "cronjobs/", job | {"spec": cron})
    made = World(attacker, victim, precious["metadata"]["uid"], mine["metadata"]["uid"])

    async def furnish(client: Client) -> None:
        builder = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "builder"}}
        await client.create(SERVICEACCOUNTS, attacker.namespace, builder)
        for resource in (SECRETS, CONFIGMAPS):
            labels = {"hubfleet.dev/expires": "1"} if resource == SECRETS else {}
            metadata = {"name": "precious", "labels": labels}
            head = {"apiVersion": "v1", "kind": resource.kind, "metadata": metadata}
            data = {"stringData" if resource == SECRETS else "data": {"word": SECRET}}
            await client.create(resource, victim.namespace, {**head, **data})
        labels = {"kbatch.jupyter.org/username": victim.name, "job-name": "precious"}
        container = {"name": "main", "image": "python:3.13", "command": ["echo", SECRET]}
        spec = {"schedulerName": "nobody", "containers": [container]}
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "precious", "labels": labels},
            "spec": spec,
        }
        await client.create(PODS, victim.namespace, pod)

    as_administrator(furnish)
    yield made

    async def end(client: Client) -> None:
        for person in people:
            await client.delete(NAMESPACES, None, namespace_for(person.name))

    as_administrator(end)


async def everything(client: Client, namespace: str) -> dict[str, Any]:
    """What is in a namespace, without what changes by itself."""

    async def listed(resource: Resource) -> dict[str, Any]:
        return {
            f"{resource.plural}/{each['metadata']['name']}": _lasting(each)
            async for each in client.list(resource, namespace)
        }

    of_all, *lists = await asyncio.gather(
        client.get(NAMESPACES, None, namespace), *(listed(each) for each in KINDS)
    )
    marks = {key: of_all["metadata"].get(key) for key in ("uid", "labels", "annotations")}
    return {"namespace": marks} | {name: each for found in lists for name, each in found.items()}


def _lasting(obj: dict[str, Any]) -> dict[str, Any]:
    metadata = obj["metadata"]
    keys = ("uid", "labels", "annotations", "ownerReferences", "finalizers", "deletionTimestamp")
    kept = {key: metadata.get(key) for key in keys}
    rest = {key: value for key, value in obj.items() if key not in ("metadata", "status")}
    return {**rest, **kept}


@pytest.fixture(scope="session")
def victims_things(world: World, as_administrator: Run) -> dict[str, Any]:
    """All that the victim has, before the first attack."""
    found: dict[str, Any] = as_administrator(lambda client: everything(client, world.victim.namespace))
    assert {"jobs/precious", "cronjobs/nightly", "secrets/precious", "pods/precious"} <= found.keys()
    return found


@pytest.fixture
def untouched(as_administrator: Run, world: World, victims_things: dict[str, Any]) -> Iterator[None]:
    """After the attack, all that the victim has is as it was."""
    yield
    assert as_administrator(lambda client: everything(client, world.victim.namespace)) == victims_things
