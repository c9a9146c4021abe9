"""What our policy accepts, the API server's own Pod Security admission accepts at the same level."""

import asyncio
import json
import time
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest
from tests.hubfleet.tenancy.specs import NAMES, STROKES, painted
from tests.hubfleet.tenancy.test_fuzz import CASES, Case, pod_of

from hubfleet.kube.client import Client
from hubfleet.kube.errors import ApiError, NotFound
from hubfleet.kube.resources import NAMESPACES, PODS, SERVICEACCOUNTS

EACH = 25
"""Bodies for each of the four cases."""


def landed(case: Case, seed: int) -> Iterator[dict[str, Any]]:
    """The pod templates of what is accepted of an endless row of bodies."""
    random = Random(seed)
    while True:
        strokes = random.choices(STROKES, k=random.randint(0, 3))
        owner = case.landed(painted(random.choice(NAMES), strokes, 0))
        if owner is not None:
            yield pod_of(owner)


async def accounts_are_there(client: Client, namespace: str) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            await client.get(SERVICEACCOUNTS, namespace, "default")
            return
        except NotFound:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)


async def admitted(client: Client, namespace: str, template: dict[str, Any]) -> str:
    """ "" for a pod that may be created, else what the API server says."""
    pod = {"apiVersion": "v1", "kind": "Pod", **template}
    pod["metadata"] = {**template["metadata"], "name": "p"}
    try:
        await client.create(PODS, namespace, pod, dry_run=True)
    except ApiError as e:
        return str(e)
    return ""


@pytest.mark.parametrize(
    "case", CASES, ids=["baseline", "baseline-template", "restricted", "restricted-template"]
)
async def test_what_we_accept_is_admitted(client: Client, namespace: str, case: Case) -> None:
    label = {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": case.level}}}
    await client.patch(NAMESPACES, None, namespace, label)
    await accounts_are_there(client, namespace)
    bodies = landed(case, seed=36)
    refusals = []
    for _ in range(EACH):
        template = next(bodies)
        if said := await admitted(client, namespace, template):
            assert "PodSecurity" not in said, json.dumps(template["spec"])
            refusals.append(said)  # nonsense: a mount of a volume that is not there, a profile without a name
    assert len(refusals) < EACH / 2, refusals
    hostile = {"metadata": {}, "spec": {"containers": [{"name": "a", "image": "i"}], "hostNetwork": True}}
    assert "PodSecurity" in await admitted(client, namespace, hostile)
