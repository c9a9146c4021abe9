"""What a hostile user submits: refused by our policy, and without it by what stands behind it."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from tests.hubfleet.account import Run
from tests.hubfleet.attacks.catalogue import (
    ATTACKS,
    OWN_UID,
    VICTIM_NAMESPACE,
    VICTIM_UID,
    VICTIM_USER,
    Attack,
)
from tests.hubfleet.attacks.conftest import Server, World, everything, sent

from hubfleet.kube.client import Client
from hubfleet.kube.errors import ApiError, Forbidden, NotFound
from hubfleet.kube.resources import CRONJOBS, JOBS, NAMESPACES, PODS
from hubfleet.tenancy.refusals import missing_right

attacks = pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.id)


def manifest(attack: Attack, world: World) -> dict[str, Any]:
    words = {
        VICTIM_NAMESPACE: world.victim.namespace,
        VICTIM_USER: world.victim.name,
        VICTIM_UID: world.precious_uid,
        OWN_UID: world.mine_uid,
    }
    return attack.manifest(f"attack-{attack.id}"[:50].rstrip("-"), words)


@attacks
def test_our_policy_refuses_it(
    attack: Attack, server: Server, world: World, as_administrator: Run, untouched: None
) -> None:
    obj = manifest(attack, world)
    what = "jobs/" if obj["kind"] == "Job" else "cronjobs/"
    status, _, answer = server.call("POST", what, world.attacker.token, sent(obj))
    assert status == 422, answer
    errors = json.loads(answer).get("errors", ())
    places = [".".join(map(str, each["loc"])) for each in errors]
    # What no API server takes from anybody, the policy leaves to it.
    assert any(attack.where in place for place in places) or attack.backstop == "validation", answer
    landed = as_administrator(lambda client: everything(client, world.attacker.namespace))
    assert not [name for name in landed if obj["metadata"]["name"] in name]


@pytest.fixture(scope="session")
def restricted(as_administrator: Run, world: World) -> Iterator[str]:
    """A namespace that is held to the level `restricted`."""
    name = f"{world.attacker.namespace}-restricted"
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    metadata = {"name": name, "labels": labels}
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}
    as_administrator(lambda client: client.apply(NAMESPACES, None, namespace))
    yield name
    as_administrator(lambda client: client.delete(NAMESPACES, None, name))


@attacks
async def test_without_our_policy_the_backstop_holds(
    attack: Attack, world: World, client: Client, untouched: None, restricted: str
) -> None:
    """Straight to the API server, as the attacker's account: what a hole in our policy would let through."""
    obj = manifest(attack, world)
    resource = JOBS if obj["kind"] == "Job" else CRONJOBS
    own = world.attacker.namespace
    try:
        made = await client.create(resource, own, obj, on_behalf_of=world.identity)
    except ApiError as e:
        assert wall(e) in (attack.backstop, "validation"), e.message  # noqa: PT017
        return
    assert made["metadata"]["namespace"] == own
    job = made if obj["kind"] == "Job" else made["spec"]["jobTemplate"]
    template = job["spec"]["template"]
    metadata = {**template.get("metadata", {}), "name": obj["metadata"]["name"]}
    metadata.pop("namespace", None)  # the Job controller makes pods in the Job's own, whatever stands here
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}
    try:
        found = await refused(client, own, pod)
        if attack.backstop == "restricted":
            assert found in (None, "admission")
            assert await refused(client, restricted, pod) == "pod-security"
        elif attack.backstop in ("namespace", "none"):
            assert found in (None, "admission")
        else:
            assert found == attack.backstop
    finally:
        await remove(client, resource, own, made)


async def refused(client: Client, namespace: str, pod: dict[str, Any]) -> str | None:
    """Which wall stops a pod when the Job controller makes it; an administrator stands in for that."""
    try:
        made = await client.create(PODS, namespace, pod, dry_run=True)
    except ApiError as e:
        return wall(e)
    assert made["metadata"]["namespace"] == namespace
    return None


def wall(error: ApiError) -> str:
    if not isinstance(error, Forbidden):
        assert error.code in (400, 422), error
        return "validation"
    if "violates PodSecurity" in error.message:
        return "pod-security"
    if "hubfleet-priority" in error.message or "hubfleet-affinity" in error.message:
        return "quota"
    return "rbac" if missing_right(error) else "admission"


async def remove(client: Client, resource: Any, namespace: str, obj: dict[str, Any]) -> None:
    name = obj["metadata"]["name"]
    try:
        await client.patch(resource, namespace, name, {"metadata": {"finalizers": None}})
        await client.delete(resource, namespace, name)
    except NotFound:
        pass  # the garbage collector was faster
