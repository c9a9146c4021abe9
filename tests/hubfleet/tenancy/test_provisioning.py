"""A user's namespace: made once, shared by simultaneous callers, and never somebody else's.

Against a transport that remembers what was sent; `test_namespaces` does it against an API server.
"""

import asyncio
from collections.abc import Callable
from typing import Any, cast

import msgspec
import pytest

from hubfleet.errors import UserError
from hubfleet.identity.user import User
from hubfleet.kube.budget import Budget
from hubfleet.kube.client import Client
from hubfleet.kube.clusters import Cluster
from hubfleet.kube.errors import ApiError, ClusterUnreachable, from_status
from hubfleet.kube.request import Request
from hubfleet.kube.transport import Transport
from hubfleet.settings import TenancySettings
from hubfleet.tenancy import manifests
from hubfleet.tenancy.provisioning import Namespaces

ADA = User(name="ada")
QUOTA = {
    "apiVersion": "v1",
    "kind": "ResourceQuota",
    "metadata": {"name": "q"},
    "spec": {"hard": {"pods": "9"}},
}
ROLE = {
    "apiVersion": "rbac.authorization.k8s.io/v1",
    "kind": "ClusterRoleBinding",
    "metadata": {"name": "all", "labels": {"a": "b"}},
}
DISCOVERY = {
    "/api/v1": {"resources": [{"name": "resourcequotas", "kind": "ResourceQuota", "namespaced": True}]},
    "/apis/rbac.authorization.k8s.io/v1": {
        "resources": [{"name": "clusterrolebindings", "kind": "ClusterRoleBinding", "namespaced": False}]
    },
}


class FakeTransport:
    """An API server that knows namespaces, and counts."""

    def __init__(self) -> None:
        self.objects: dict[str, Any] = {}
        self.all_sent: list[str] = []
        self.bodies: list[Any] = []
        self.allowed = True
        self.whom: list[str] = []
        self.budgets: list[Budget | None] = []
        self.fail: Callable[[Request], Exception | None] = lambda _: None
        self.gate = asyncio.Event()
        self.gate.set()

    async def send(self, request: Request, budget: Budget | None = None) -> bytes:
        path = request.path.partition("?")[0]
        self.all_sent.append(f"{request.method} {path}")
        self.budgets.append(budget)
        await self.gate.wait()
        if (error := self.fail(request)) is not None:
            raise error
        if request.method == "GET":
            if path.endswith("/priorityclasses"):
                return b'{"metadata": {}, "items": [{"metadata": {"name": "low"}}]}'
            found = DISCOVERY.get(path) or self.objects.get(path)
            if found is None:
                raise refusal(404)
            return msgspec.json.encode(found)
        body = msgspec.json.decode(request.body or b"")
        if path.endswith("/selfsubjectreviews"):
            return b'{"status": {"userInfo": {"username": "system:serviceaccount:hubfleet:server"}}}'
        if path.endswith("/selfsubjectaccessreviews"):
            self.whom += [value for name, value in request.headers if name == "Impersonate-User"]
            return msgspec.json.encode({"status": {"allowed": self.allowed}})
        self.bodies.append(body)
        if request.method == "DELETE":
            if self.objects.pop(path, None) is None:
                raise refusal(404)
            return b"{}"
        if request.method == "POST":
            path = f"{path}/{body['metadata']['name']}"
            if path in self.objects:
                raise refusal(409, "AlreadyExists")
        self.objects[path] = body
        return msgspec.json.encode(body)

    @property
    def sent(self) -> list[str]:
        """What was asked of namespaces themselves; what is in them is the business of `test_manifests`."""
        return [line for line in self.all_sent if line.split()[1].count("/") <= 4 and "/api/v1/n" in line]

    @property
    def namespaces(self) -> set[str]:
        return {path.split("/")[4] for path in self.objects if path.startswith("/api/v1/namespaces/")}

    @property
    def cluster(self) -> Cluster:
        return Cluster("west", Client("west", cast("Transport", self)), "default")


def refusal(code: int, reason: str = "") -> ApiError:
    return from_status("west", {"kind": "Status", "code": code, "reason": reason, "message": f"said {code}"})


@pytest.fixture
async def api() -> FakeTransport:
    return FakeTransport()


PATH = "/api/v1/namespaces/hubfleet-ada"


def marked(owner: User, hub: str = "") -> dict[str, Any]:
    return manifests.namespace("hubfleet-ada", owner, "baseline", labels={}, hub=hub, optional=())


async def test_the_first_write_makes_it_and_the_second_asks_nobody(api: FakeTransport) -> None:
    namespaces = Namespaces(TenancySettings(), labels={"team": "a"}, hub="hub")
    assert await namespaces.ensure(api.cluster, ADA) == "hubfleet-ada"
    assert await namespaces.ensure(api.cluster, ADA) == "hubfleet-ada"
    assert api.sent == [f"GET {PATH}", "POST /api/v1/namespaces"]
    assert api.objects[PATH]["metadata"]["annotations"]["hubfleet.dev/username"] == "ada"
    assert api.objects[PATH]["metadata"]["labels"]["team"] == "a"
    assert api.objects[f"{PATH}/serviceaccounts/hubfleet-user"]["metadata"]["labels"] == {
        "team": "a",
        "hubfleet.dev/hub": "hub",
        "hubfleet.dev/user": "ada",
        "hubfleet.dev/kind": "user",
    }
    assert api.whom == ["system:serviceaccount:hubfleet-ada:hubfleet-user"]


async def test_one_that_stands_as_it_should_is_not_written_again(api: FakeTransport) -> None:
    await Namespaces(TenancySettings(), hub="hub").ensure(api.cluster, ADA)
    api.all_sent.clear()
    await Namespaces(TenancySettings(), hub="hub").ensure(api.cluster, ADA)  # another process
    assert api.sent == [f"GET {PATH}"]


async def test_one_of_kbatch_proxy_is_taken_over(api: FakeTransport) -> None:
    api.objects[PATH] = {
        "metadata": {"name": "hubfleet-ada", "labels": {"app.kubernetes.io/managed-by": "kbatch"}}
    }
    await Namespaces(TenancySettings()).ensure(api.cluster, ADA)
    assert api.sent == [f"GET {PATH}", f"PATCH {PATH}"]


@pytest.mark.parametrize(
    ("labels", "settings", "adopted"),
    [
        ({}, TenancySettings(adopt_unmarked=False), False),
        ({"app.kubernetes.io/managed-by": "Helm"}, TenancySettings(adopt_unmarked=False), False),
        ({"team": "b"}, TenancySettings(adopt_unmarked=False), False),
        ({"team": "a", "more": "x"}, TenancySettings(adopt_unmarked=False), False),  # batch.labels
        ({"team": "k", "more": "x"}, TenancySettings(namespace="kbatch", kbatch_labels={"team": "k"}), True),
        ({"team": "a"}, TenancySettings(namespace="kbatch", kbatch_labels={"team": "k"}), False),
        ({"team": "k"}, TenancySettings(kbatch_labels={"team": "k"}), False),  # not named as kbatch's
        ({"app.kubernetes.io/managed-by": "kbatch"}, TenancySettings(adopt_unmarked=False), True),
        ({}, TenancySettings(adopt_unmarked=True), True),
        ({}, TenancySettings(create_namespaces=False), True),
    ],
)
async def test_one_that_somebody_else_made_is_no_users_because_of_its_name(
    api: FakeTransport, labels: dict[str, str], settings: TenancySettings, adopted: bool
) -> None:
    name = f"{settings.namespace}-ada"
    api.objects[f"/api/v1/namespaces/{name}"] = {"metadata": {"name": name, "labels": labels}}
    for call in ("ensure", "owned"):
        namespaces = Namespaces(settings, labels={"team": "a"}, hub="hub")
        if adopted:
            assert await getattr(namespaces, call)(api.cluster, ADA) == name
        else:
            with pytest.raises(UserError, match=f"kubectl annotate namespace {name} hubfleet") as caught:
                await getattr(namespaces, call)(api.cluster, ADA)
            assert caught.value.status == 403
            assert not api.bodies


async def test_our_own_namespace_is_nobodys(api: FakeTransport) -> None:
    here = Cluster("west", api.cluster.client, "hubfleet-ada")
    namespace = await Namespaces(TenancySettings(adopt_unmarked=True)).ensure(here, ADA)
    assert namespace.startswith("hubfleet-ada--")
    assert PATH not in api.objects


async def test_whose_it_is_is_asked_once(api: FakeTransport) -> None:
    namespaces = Namespaces(TenancySettings(), hub="hub")
    assert await namespaces.owned(api.cluster, ADA) is None
    assert await namespaces.owned(api.cluster, ADA) is None  # another replica may make it
    await namespaces.ensure(api.cluster, ADA)
    api.all_sent.clear()
    assert await namespaces.owned(api.cluster, ADA) == "hubfleet-ada"
    assert not api.sent
    other = Namespaces(TenancySettings(), hub="hub")
    for _ in range(3):
        assert await other.owned(api.cluster, ADA) == "hubfleet-ada"
    assert api.sent == [f"GET {PATH}"]
    other.forget(api.cluster, ADA)
    api.objects.clear()
    assert await other.owned(api.cluster, ADA) is None


async def test_an_outage_takes_nothing_from_who_was_verified_and_lets_nobody_else_in(
    api: FakeTransport,
) -> None:
    now = 0.0
    namespaces = Namespaces(TenancySettings(adopt_unmarked=True), hub="ours", clock=lambda: now)
    api.objects[PATH] = {"metadata": {"name": "hubfleet-ada"}}
    assert await namespaces.owned(api.cluster, ADA) == "hubfleet-ada"
    now = 3600.0
    api.fail = lambda _: ClusterUnreachable("west", "refused")
    assert await namespaces.owned(api.cluster, ADA) == "hubfleet-ada"
    with pytest.raises(ClusterUnreachable):
        await namespaces.owned(api.cluster, User(name="bob"))
    # Nobody had marked it: by now another hub has.
    now = 3700.0
    api.fail = lambda _: None
    api.objects[PATH] = marked(ADA, "theirs")
    with pytest.raises(UserError, match="another hub, theirs"):
        await namespaces.owned(api.cluster, ADA)


async def test_who_comes_first_with_little_time_takes_none_from_the_others(api: FakeTransport) -> None:
    namespaces = Namespaces(TenancySettings())
    api.gate.clear()
    first = asyncio.create_task(namespaces.ensure(api.cluster, ADA, budget=Budget(0.05)))
    second = asyncio.create_task(namespaces.ensure(api.cluster, ADA, budget=Budget(10)))
    with pytest.raises(ClusterUnreachable, match="did not come in time"):
        await first
    assert api.budgets[0] is not None and api.budgets[0].left() > 1
    api.gate.set()
    assert await second == "hubfleet-ada"


async def test_simultaneous_callers_share_one_attempt(api: FakeTransport) -> None:
    namespaces = Namespaces(TenancySettings())
    await asyncio.gather(*(namespaces.ensure(api.cluster, ADA) for _ in range(50)))
    assert len(api.sent) == 2


async def test_a_failure_is_everybodys_who_waited_and_nobodys_after(api: FakeTransport) -> None:
    namespaces = Namespaces(TenancySettings())
    api.fail = lambda _: ClusterUnreachable("west", "refused")
    results = await asyncio.gather(
        *(namespaces.ensure(api.cluster, ADA) for _ in range(5)), return_exceptions=True
    )
    assert [type(result) for result in results] == [ClusterUnreachable] * 5
    assert len(api.all_sent) == 1
    api.fail = lambda _: None
    assert await namespaces.ensure(api.cluster, ADA) == "hubfleet-ada"


async def test_a_caller_that_goes_away_leaves_it_to_the_others(api: FakeTransport) -> None:
    namespaces = Namespaces(TenancySettings())
    api.gate.clear()
    first = asyncio.create_task(namespaces.ensure(api.cluster, ADA))
    second = asyncio.create_task(namespaces.ensure(api.cluster, ADA))
    while not api.all_sent:
        await asyncio.sleep(0)
    first.cancel()
    api.gate.set()
    assert await second == "hubfleet-ada"
    assert first.cancelled()
    assert len(api.sent) == 2


async def test_each_cluster_and_user_has_its_own(api: FakeTransport) -> None:
    other = FakeTransport()
    east = Cluster("east", Client("east", cast("Transport", other)), "default")
    namespaces = Namespaces(TenancySettings())
    await namespaces.ensure(api.cluster, ADA)
    await namespaces.ensure(east, ADA)
    await namespaces.ensure(api.cluster, User(name="bob"))
    assert {"hubfleet-ada", "hubfleet-bob"} == api.namespaces
    assert {"hubfleet-ada"} == other.namespaces


async def test_manifests_are_applied_once_in_their_order_with_our_labels(api: FakeTransport) -> None:
    settings = TenancySettings(manifests=(QUOTA, ROLE))
    namespaces = Namespaces(settings, labels={"team": "a"})
    for user in (ADA, ADA, User(name="bob")):
        await namespaces.ensure(api.cluster, user)
    theirs = [line for line in api.all_sent if line.endswith(("/v1", "/q", "/all"))]
    assert theirs == [
        "GET /api/v1",
        f"PATCH {PATH}/resourcequotas/q",
        "GET /apis/rbac.authorization.k8s.io/v1",
        "PATCH /apis/rbac.authorization.k8s.io/v1/clusterrolebindings/all",
        "PATCH /api/v1/namespaces/hubfleet-bob/resourcequotas/q",  # the kinds are known by now
        "PATCH /apis/rbac.authorization.k8s.io/v1/clusterrolebindings/all",
    ]
    marks = {"team": "a", "hubfleet.dev/user": "ada", "hubfleet.dev/kind": "user"}
    assert api.objects[f"{PATH}/resourcequotas/q"] == {
        **QUOTA,
        "metadata": {"name": "q", "namespace": "hubfleet-ada", "labels": marks},
    }
    everybodys = api.objects["/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/all"]["metadata"]
    assert everybodys == {"name": "all", "labels": {"a": "b", "team": "a"}}
    assert QUOTA["metadata"] == {"name": "q"}


async def test_a_manifest_that_fails_is_tried_again_at_the_next_write(api: FakeTransport) -> None:
    namespaces = Namespaces(TenancySettings(manifests=(QUOTA,)))
    api.fail = lambda request: refusal(422) if "resourcequotas/q" in request.path else None
    with pytest.raises(
        UserError, match=r"does not take what this server's settings .* \(said 422\)"
    ) as caught:
        await namespaces.ensure(api.cluster, ADA)
    assert caught.value.status == 503
    api.fail = lambda _: None
    await namespaces.ensure(api.cluster, ADA)
    assert f"{PATH}/resourcequotas/q" in api.objects


async def test_a_kind_that_the_cluster_does_not_have(api: FakeTransport) -> None:
    namespaces = Namespaces(TenancySettings(manifests=({**QUOTA, "kind": "Quota"},)))
    with pytest.raises(UserError, match="for the cluster has no Quota of v1: ask an administrator") as caught:
        await namespaces.ensure(api.cluster, ADA)
    assert caught.value.status == 503


async def test_one_that_is_being_deleted(api: FakeTransport) -> None:
    api.objects[PATH] = {"metadata": {"name": "hubfleet-ada", "deletionTimestamp": "2026-11-21T00:00:00Z"}}
    with pytest.raises(UserError, match="hubfleet-ada on cluster west is being deleted") as caught:
        await Namespaces(TenancySettings()).ensure(api.cluster, ADA)
    assert caught.value.status == 409
    assert caught.value.retry_after


async def test_one_of_another_user(api: FakeTransport) -> None:
    api.objects[PATH] = marked(User(name="ADA"))
    with pytest.raises(UserError, match="belongs to another user") as caught:
        await Namespaces(TenancySettings()).ensure(api.cluster, ADA)
    assert caught.value.status == 403
    assert len(api.sent) == 1


async def test_one_of_another_hub(api: FakeTransport) -> None:
    api.objects[PATH] = marked(ADA, "theirs")
    with pytest.raises(UserError, match="another hub, theirs"):
        await Namespaces(TenancySettings(), hub="ours").ensure(api.cluster, ADA)


async def test_two_users_whose_names_meet_do_not_share_it(
    api: FakeTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Names that collide in 28 bits of hash can be found; here every name does.
    monkeypatch.setattr("hubfleet.tenancy.provisioning.namespace_for", lambda *_, **__: "hubfleet-ada")
    namespaces = Namespaces(TenancySettings())
    results = await asyncio.gather(
        *(namespaces.ensure(api.cluster, User(name=name)) for name in ("one", "two", "one", "two")),
        return_exceptions=True,
    )
    assert results[0] == results[2] == "hubfleet-ada"
    assert isinstance(results[1], UserError) and isinstance(results[3], UserError)


async def test_none_is_made_where_that_is_switched_off(api: FakeTransport) -> None:
    namespaces = Namespaces(TenancySettings(create_namespaces=False))
    with pytest.raises(UserError, match="no namespace hubfleet-ada on cluster west, and this server"):
        await namespaces.ensure(api.cluster, ADA)
    api.objects[PATH] = {"metadata": {"name": "hubfleet-ada"}}
    assert await namespaces.ensure(api.cluster, ADA) == "hubfleet-ada"
    assert not [line for line in api.sent if not line.startswith("GET")]  # and it is left as it is


async def test_an_account_that_may_create_and_not_read(api: FakeTransport) -> None:
    api.fail = lambda request: refusal(403) if request.method == "GET" else None
    settings = TenancySettings(impersonation="preferred")  # as where kbatch-proxy's variables configure us
    await Namespaces(settings).ensure(api.cluster, ADA)
    await Namespaces(settings).ensure(api.cluster, ADA)  # another process: it exists by now
    assert api.sent.count("POST /api/v1/namespaces") == 2
    assert PATH in api.objects
    for call in ("ensure", "owned"):
        with pytest.raises(UserError, match=r"this server may not (list priority|get namespaces)") as caught:
            await getattr(Namespaces(TenancySettings()), call)(api.cluster, ADA)
        assert caught.value.status == 503


async def test_one_that_somebody_deleted_is_made_again_when_told(api: FakeTransport) -> None:
    namespaces = Namespaces(TenancySettings())
    await namespaces.ensure(api.cluster, ADA)
    api.objects.clear()
    namespaces.forget(api.cluster, ADA)
    await namespaces.ensure(api.cluster, ADA)
    assert PATH in api.objects
