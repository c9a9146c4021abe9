"""What dead submissions left behind is collected in the namespaces of one hub's users, and nowhere else."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any

import pytest
from structlog.testing import capture_logs
from tests.hubfleet.batch.conftest import leftovers

from hubfleet.batch import collector
from hubfleet.batch.collector import Collector
from hubfleet.batch.manifests import EXPIRES_LABEL, OWNER_ANNOTATION, SUBMISSION_LABEL
from hubfleet.errors import UserError
from hubfleet.identity.user import User
from hubfleet.kube.client import Client
from hubfleet.kube.clusters import Cluster
from hubfleet.kube.errors import ApiError, ClusterUnreachable, NotFound, from_status
from hubfleet.kube.impersonation import Impersonation
from hubfleet.kube.resources import JOBS, NAMESPACES, ROLEBINDINGS, SECRETS
from hubfleet.settings import TenancySettings
from hubfleet.tenancy.provisioning import Namespaces
from hubfleet.tenancy.rights import IMPERSONATOR_ROLE

HUB = f"hub-{secrets.token_hex(3)}"  # of these tests alone: nobody else's namespaces are looked at
MakeNamespace = Callable[..., Awaitable[str]]


async def ourselves(_: str) -> None:
    """As whom the collector acts: as the administrator that the tests are."""


@pytest.fixture
async def make(client: Client) -> AsyncIterator[MakeNamespace]:
    """Makes a user's namespace, of this hub or of another one."""
    made = []

    async def make(hub: str = HUB) -> str:
        name = f"test-{secrets.token_hex(4)}"
        labels = {"hubfleet.dev/hub": hub, "hubfleet.dev/user": "ada"}
        metadata = {"name": name, "labels": labels}
        await client.create(NAMESPACES, None, {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
        made.append(name)
        return name

    yield make
    for name in made:
        with suppress(NotFound):
            await client.delete(NAMESPACES, None, name)


async def leave_part(client: Client, namespace: str, name: str = "a", expires: str = "1") -> None:
    """A Secret of a submission that died long ago."""
    labels = {EXPIRES_LABEL: expires, SUBMISSION_LABEL: "dead"}
    metadata = {"name": name, "labels": labels, "annotations": {OWNER_ANNOTATION: "Job/a"}}
    await client.create(SECRETS, namespace, {"apiVersion": "v1", "kind": "Secret", "metadata": metadata})


async def test_it_gives_nothing_to_a_namesake(client: Client, make: MakeNamespace) -> None:
    """A Job of that name, but of another submission, does not take over a dead one's parts."""
    namespace = await make()
    template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "a", "image": "b"}]}}
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "a"}, "spec": {"template": template}}
    await client.create(JOBS, namespace, job)
    await leave_part(client, namespace)
    assert await Collector(client, ourselves, hub=HUB).collect() == 1
    assert await leftovers(client, namespace) == ["jobs/a"]


@pytest.mark.parametrize("owner", ["Job/../../other/jobs/a", "Job/", "Secret/a", ""])
async def test_an_owner_that_is_none_keeps_nothing_alive(
    client: Client, make: MakeNamespace, owner: str
) -> None:
    """Users can write these labels and annotations on Secrets of their own."""
    namespace = await make()
    await leave_part(client, namespace)
    annotations = {OWNER_ANNOTATION: owner}
    await client.patch(SECRETS, namespace, "a", {"metadata": {"annotations": annotations}})
    await leave_part(client, namespace, "b")
    assert await Collector(client, ourselves, hub=HUB).collect() >= 1
    assert set(await leftovers(client, namespace)) <= {"secrets/a"}


async def test_it_leaves_what_it_does_not_understand(client: Client, make: MakeNamespace) -> None:
    namespace = await make()
    await leave_part(client, namespace, expires="soon")
    await leave_part(client, namespace, "b", expires=str(int(time.time()) + 600))
    assert await Collector(client, ourselves, hub=HUB).collect() == 0
    assert await leftovers(client, namespace) == ["secrets/a", "secrets/b"]


async def test_it_acts_as_the_account_of_each_namespace_and_looks_nowhere_else(
    client: Client, make: MakeNamespace, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs, mine, others = await make("another-hub"), await make(), namespace
    for each in (theirs, mine, others):
        await leave_part(client, each)
    asked: list[tuple[str, Impersonation | None]] = []
    for verb in ("pages", "get", "delete"):
        real = getattr(Client, verb)

        def record(
            self: Client, resource: Any, place: str | None, *args: Any, _real: Any = real, **more: Any
        ) -> Any:
            if resource != NAMESPACES:
                asked.append((place or "", more.pop("on_behalf_of")))
            return _real(self, resource, place, *args, **more)

        monkeypatch.setattr(Client, verb, record)

    async def identity(namespace: str) -> Impersonation:
        return Impersonation.for_service_account(namespace, "hubfleet-user")

    assert await Collector(client, identity, hub=HUB).collect() == 1
    monkeypatch.undo()
    whom = Impersonation.for_service_account(mine, "hubfleet-user")
    assert asked == [(mine, whom)] * 4  # two lists, the owner that is not there, the Secret that goes
    assert await leftovers(client, theirs) == await leftovers(client, others) == ["secrets/a"]


def refusal(namespace: str) -> ApiError:
    message = f'User "x" cannot impersonate resource "serviceaccounts" in the namespace "{namespace}"'
    return from_status("test", {"kind": "Status", "code": 403, "reason": "Forbidden", "message": message})


@pytest.mark.parametrize("words", ["the API server's", "ours"])
async def test_where_it_may_not_act_it_says_so_in_one_line_and_goes_on(
    client: Client, make: MakeNamespace, words: str
) -> None:
    mine, *closed = [await make() for _ in range(4)]
    for each in (mine, *closed):
        await leave_part(client, each)

    async def identity(namespace: str) -> None:
        if namespace in closed:
            error = refusal(namespace)
            raise error if words == "the API server's" else UserError(503, error.message)

    with capture_logs() as logs:
        assert await Collector(client, identity, hub=HUB).collect() == 1
    (line,) = [each for each in logs if each["log_level"] == "warning"]
    assert "hubfleet rbac" in line["event"]
    assert (line["namespaces"], line["of"]) == (3, 4)
    assert line["one"] in closed
    assert "cannot impersonate" in line["error"]


async def test_where_it_may_act_nowhere_it_soon_ends(client: Client, make: MakeNamespace) -> None:
    asked = []
    for _ in range(collector.NOWHERE + 3):
        await make()

    async def identity(namespace: str) -> None:
        asked.append(namespace)
        raise refusal(namespace)

    with capture_logs() as logs:
        assert await Collector(client, identity, hub=HUB).collect() == 0
    assert len(asked) == collector.NOWHERE
    assert len([each for each in logs if each["log_level"] == "warning"]) == 1


async def test_it_acts_as_real_users(client: Client) -> None:
    """Their namespaces provided as for any user, and one of them bereft of what lets us act there."""
    cluster = Cluster(client.name, client, "default")
    namespaces = Namespaces(TenancySettings(), hub=HUB)
    people = [User(name=f"{name}-{HUB}") for name in ("ada", "bob")]
    theirs = [await namespaces.ensure(cluster, each) for each in people]
    try:
        for namespace in theirs:
            await leave_part(client, namespace)
        await client.delete(ROLEBINDINGS, theirs[0], IMPERSONATOR_ROLE)
        identity = partial(Namespaces(TenancySettings(), hub=HUB).identity, cluster)
        assert await Collector(client, identity, hub=HUB).collect() == 2
        assert [await leftovers(client, namespace) for namespace in theirs] == [[], []]
    finally:
        for namespace in theirs:
            await client.delete(NAMESPACES, None, namespace)


async def test_a_namespace_that_goes_meanwhile_is_no_fault(client: Client, make: MakeNamespace) -> None:
    going, mine = await make(), await make()
    await leave_part(client, mine)

    async def identity(namespace: str) -> None:
        if namespace == going:
            await client.delete(NAMESPACES, None, going)
            raise refusal(namespace)  # its RoleBinding went first

    with capture_logs() as logs:
        assert await Collector(client, identity, hub=HUB).collect() == 1
    assert not [each for each in logs if each["log_level"] == "warning"]


async def test_whoever_fills_theirs_takes_nothing_from_the_others(
    client: Client, make: MakeNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    full, mine = await make(), await make()
    for i in range(3):
        await leave_part(client, full, f"a{i}")
    await leave_part(client, mine)
    monkeypatch.setattr(collector, "NAMESPACE_BUDGET", 0.5)
    real = Client.delete

    async def slowly(self: Client, resource: Any, namespace: str | None, *args: Any, **more: Any) -> Any:
        if namespace == full:
            await asyncio.sleep(0.6)
        return await real(self, resource, namespace, *args, **more)

    monkeypatch.setattr(Client, "delete", slowly)
    with capture_logs() as logs:
        assert await Collector(client, ourselves, hub=HUB).collect() == 1
    assert await leftovers(client, mine) == []
    assert [each["one"] for each in logs if each["log_level"] == "warning"] == [full]


async def test_a_cluster_that_is_away_ends_the_round(client: Client, make: MakeNamespace) -> None:
    visited = []
    for _ in range(2):
        await make()

    async def identity(namespace: str) -> None:
        visited.append(namespace)
        raise ClusterUnreachable("test", "refused")

    with pytest.raises(ClusterUnreachable):
        await Collector(client, identity, hub=HUB).collect()
    assert len(visited) == 1


async def test_many_namespaces_are_looked_at_at_its_pace(
    client: Client, make: MakeNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three at once, then one each 50 ms."""
    for _ in range(8):
        await make()
    monkeypatch.setattr(collector, "AT_ONCE", 3)
    times: list[float] = []

    async def identity(_: str) -> None:
        times.append(time.monotonic())

    await Collector(client, identity, hub=HUB, pace=20.0).collect()
    since = [each - times[0] for each in times]
    assert len(since) == 8
    for i, each in enumerate(since):
        assert each >= (i - 3) / 20 - 0.02
