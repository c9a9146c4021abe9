"""Users' namespaces on a cluster: what is in them, who gets them, and as whom hubfleet acts there."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
import structlog
import yaml

from hubfleet.cli.rbac import document
from hubfleet.errors import UserError
from hubfleet.identity.user import User
from hubfleet.kube.client import Client
from hubfleet.kube.clusters import Cluster, Clusters
from hubfleet.kube.discovery import discover
from hubfleet.kube.errors import ApiError, Forbidden, NotFound
from hubfleet.kube.request import prepare
from hubfleet.kube.resources import (
    CONFIGMAPS,
    JOBS,
    LIMITRANGES,
    NAMESPACES,
    NETWORKPOLICIES,
    PODS,
    PRIORITYCLASSES,
    RESOURCEQUOTAS,
    ROLEBINDINGS,
    SECRETS,
    SERVICEACCOUNTS,
    Resource,
)
from hubfleet.policysettings import PolicyAllow, PolicySettings
from hubfleet.settings import (
    ClusterSettings,
    LocalQueueSettings,
    NetworkPolicySettings,
    QuotaSettings,
    Settings,
    TenancySettings,
    load,
)
from hubfleet.tenancy import rights
from hubfleet.tenancy.provisioning import Namespaces
from hubfleet.tenancy.refusals import explained
from hubfleet.tenancy.rights import USER_ACCOUNT


@pytest.fixture
def cluster(client: Client) -> Cluster:
    return Cluster(client.name, client, "default")


@pytest.fixture
async def owner(cluster: Cluster) -> AsyncIterator[User]:
    """Somebody whose namespace is removed in the end, by whatever scheme it was named."""
    user = User(name=f"Ada {secrets.token_hex(3)}", groups=("staff",))
    yield user
    for scheme in ("hubfleet", "kbatch"):
        name = Namespaces(TenancySettings(namespace=scheme)).name_of(cluster, user)
        with suppress(NotFound):
            await cluster.client.delete(NAMESPACES, None, name)


JOB = {
    "apiVersion": "batch/v1",
    "kind": "Job",
    "metadata": {"name": "a"},
    "spec": {
        "suspend": True,
        "template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "busybox"}]}},
    },
}


def pod(name: str, **spec: Any) -> dict[str, Any]:
    container = {
        "name": "c",
        "image": "busybox",
        "resources": {"requests": {"cpu": "1m"}, "limits": {"cpu": "1m"}},
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        # Never scheduled: it is about who lets it in.
        "spec": {"containers": [container], "nodeSelector": {"never": "there"}, **spec},
    }


async def names(client: Client, resource: Resource, namespace: str) -> set[str]:
    return {found["metadata"]["name"] async for found in client.list(resource, namespace)}


async def refused(call: Awaitable[Any]) -> ApiError:
    with pytest.raises(ApiError) as caught:
        await call
    return caught.value


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(20):
        while not await condition():
            await asyncio.sleep(0.05)


# What is in it


async def test_a_namespace_holds_what_belongs_in_it(cluster: Cluster, owner: User) -> None:
    client = cluster.client
    extra = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "extra"}, "data": {"a": "b"}}
    settings = TenancySettings(
        quota=QuotaSettings(hard={"count/jobs.batch": 5}, groups={"staff": {"pods": 7}}),
        limits=({"type": "Container", "default": {"cpu": "1"}},),
        manifests=(extra,),
    )
    namespaces = Namespaces(settings, labels={"team": "a"}, hub="hub")
    namespace = await namespaces.ensure(cluster, owner)
    found = await client.get(NAMESPACES, None, namespace)
    assert found["metadata"]["annotations"]["hubfleet.dev/username"] == owner.name
    assert found["metadata"]["labels"]["team"] == "a"
    assert found["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "baseline"
    assert await names(client, RESOURCEQUOTAS, namespace) == {
        "hubfleet",
        "hubfleet-priority",
        "hubfleet-affinity",
    }
    assert await names(client, LIMITRANGES, namespace) == {"hubfleet"}
    assert await names(client, NETWORKPOLICIES, namespace) == {"hubfleet"}
    assert await names(client, ROLEBINDINGS, namespace) == {"hubfleet-user", "hubfleet-impersonator"}
    assert "extra" in await names(client, CONFIGMAPS, namespace)
    quota = await client.get(RESOURCEQUOTAS, namespace, "hubfleet")
    assert quota["spec"]["hard"] == {"count/jobs.batch": "5", "pods": "7"}
    assert quota["metadata"]["labels"]["hubfleet.dev/user"]
    for account in ("default", USER_ACCOUNT):
        account = await client.get(SERVICEACCOUNTS, namespace, account)
        assert account["automountServiceAccountToken"] is False


async def test_another_process_changes_nothing_and_mends_what_is_gone(cluster: Cluster, owner: User) -> None:
    client = cluster.client
    namespace = await Namespaces(TenancySettings(), hub="hub").ensure(cluster, owner)

    async def versions() -> dict[str, str]:
        found = {"": (await client.get(NAMESPACES, None, namespace))["metadata"]["resourceVersion"]}
        for resource in (NETWORKPOLICIES, ROLEBINDINGS, SERVICEACCOUNTS):
            async for each in client.list(resource, namespace):
                found[f"{resource.key}/{each['metadata']['name']}"] = each["metadata"]["resourceVersion"]
        return found

    before = await versions()
    await Namespaces(TenancySettings(), hub="hub").ensure(cluster, owner)
    assert await versions() == before
    await client.delete(NETWORKPOLICIES, namespace, "hubfleet")
    await Namespaces(TenancySettings(), hub="hub").ensure(cluster, owner)
    assert await names(client, NETWORKPOLICIES, namespace) == {"hubfleet"}


async def test_new_settings_take_away_what_the_old_ones_had(cluster: Cluster, owner: User) -> None:
    client = cluster.client
    old = TenancySettings(
        quota=QuotaSettings(hard={"pods": 5}), limits=({"type": "Container", "default": {"cpu": "1"}},)
    )
    namespace = await Namespaces(old, hub="hub").ensure(cluster, owner)
    theirs = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "by-hand"},
        "spec": {"hard": {"pods": "9"}},
    }
    await client.create(RESOURCEQUOTAS, namespace, theirs)
    new = TenancySettings(network_policy=NetworkPolicySettings(enabled=False))
    await Namespaces(new, hub="hub", labels={"team": "b"}).ensure(cluster, owner)
    assert await names(client, RESOURCEQUOTAS, namespace) == {
        "hubfleet-priority",
        "hubfleet-affinity",
        "by-hand",
    }
    assert not await names(client, LIMITRANGES, namespace)
    assert not await names(client, NETWORKPOLICIES, namespace)
    metadata = (await client.get(NAMESPACES, None, namespace))["metadata"]
    assert metadata["annotations"]["hubfleet.dev/objects"] == "affinity priority"
    assert metadata["labels"]["team"] == "b"


async def test_other_groups_are_another_quota_at_once(cluster: Cluster, owner: User) -> None:
    settings = TenancySettings(quota=QuotaSettings(hard={"pods": 5}, groups={"gpu": {"pods": 50}}))
    namespaces = Namespaces(settings)

    async def pods() -> str:
        namespace = await namespaces.ensure(cluster, owner)
        return str((await cluster.client.get(RESOURCEQUOTAS, namespace, "hubfleet"))["spec"]["hard"]["pods"])

    assert await pods() == "5"
    owner = msgspec.structs.replace(owner, groups=("staff", "gpu"))
    assert await pods() == "50"
    owner = msgspec.structs.replace(owner, groups=())
    assert await pods() == "5"


# What blocks, and how it is told


async def test_a_full_quota_is_told_with_its_numbers(cluster: Cluster, owner: User) -> None:
    namespaces = Namespaces(TenancySettings(quota=QuotaSettings(hard={"count/jobs.batch": 1})))
    namespace = await namespaces.ensure(cluster, owner)
    whom = await namespaces.identity(cluster, namespace)

    async def quota_is_counted() -> bool:
        quota = await cluster.client.get(RESOURCEQUOTAS, namespace, "hubfleet")
        return "used" in quota.get("status", {})

    await until(quota_is_counted)
    await cluster.client.create(JOBS, namespace, JOB, on_behalf_of=whom)
    again = {**JOB, "metadata": {"name": "b"}}
    error = await refused(cluster.client.create(JOBS, namespace, again, on_behalf_of=whom))
    words = explained(error, namespace)
    assert words is not None
    assert words.detail == (
        f"This would exceed your quota on cluster {cluster.name}: count/jobs.batch: 1 of 1 used, "
        "1 more asked for"
    )


async def test_the_api_server_refuses_priority_classes_that_nobody_allowed(
    cluster: Cluster, owner: User
) -> None:
    client = cluster.client
    allowed, other = (f"test-{secrets.token_hex(3)}" for _ in range(2))
    for name in (allowed, other):
        body = {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name}}
        await client.create(PRIORITYCLASSES, None, {**body, "value": 5})
    try:
        policy = PolicySettings(allow=PolicyAllow(priority_classes=(allowed,)))
        namespace = await Namespaces(TenancySettings(policy=policy)).ensure(cluster, owner)
        error = await refused(client.create(PODS, namespace, pod("a", priorityClassName=other)))
        words = explained(error, namespace)
        assert words is not None and "priority class" in str(words.detail)
        await client.create(PODS, namespace, pod("b", priorityClassName=allowed))
        await client.create(PODS, namespace, pod("c"))
    finally:
        for name in (allowed, other):
            await client.delete(PRIORITYCLASSES, None, name)


async def test_the_api_server_refuses_affinity_to_pods_of_other_namespaces(
    cluster: Cluster, owner: User
) -> None:
    client = cluster.client

    def near(**term: Any) -> dict[str, Any]:
        term = {"topologyKey": "kubernetes.io/hostname", "labelSelector": {}, **term}
        affinity = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
        return pod(f"near-{secrets.token_hex(3)}", affinity=affinity)

    namespace = await Namespaces(TenancySettings(), hub="hub").ensure(cluster, owner)
    for term in ({"namespaces": ["kube-system"]}, {"namespaceSelector": {}}, {"namespaces": [namespace]}):
        words = explained(await refused(client.create(PODS, namespace, near(**term))), namespace)
        assert words is not None
        assert "pods of other namespaces" in words.detail
    await client.create(PODS, namespace, near())
    # The operator's own jobs may, and then the user's are held back by the policy alone.
    operators = Namespaces(TenancySettings(), hub="hub", affinity_abroad=True)
    await operators.ensure(cluster, owner)
    await client.create(PODS, namespace, near(namespaces=["kube-system"]))


async def test_a_namespace_that_is_being_deleted(cluster: Cluster, owner: User) -> None:
    client = cluster.client
    namespaces = Namespaces(TenancySettings())
    namespace = await namespaces.ensure(cluster, owner)
    pinned = {"name": "pinned", "finalizers": ["hubfleet.dev/test"]}
    await client.create(CONFIGMAPS, namespace, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": pinned})
    await client.delete(NAMESPACES, None, namespace)
    try:
        # This process believes it to be there and goes on, another one looks first.
        assert await namespaces.ensure(cluster, owner) == namespace
        words = explained(await refused(client.create(JOBS, namespace, JOB)), namespace)
        with pytest.raises(UserError) as caught:
            await Namespaces(TenancySettings()).ensure(cluster, owner)
        for told in (words, caught.value):
            assert told is not None
            assert told.status == 409
            assert f"Namespace {namespace} on cluster {cluster.name} is being deleted" in str(told.detail)
    finally:
        await client.patch(CONFIGMAPS, namespace, "pinned", {"metadata": {"finalizers": None}})


async def test_a_kind_that_the_cluster_lacks(cluster: Cluster, owner: User) -> None:
    thing = {"apiVersion": "v1", "kind": "Nothing", "metadata": {"name": "x"}}
    with pytest.raises(UserError, match="the cluster has no Nothing of v1") as caught:
        await Namespaces(TenancySettings(manifests=(thing,))).ensure(cluster, owner)
    assert caught.value.status == 503


async def test_a_cluster_without_kueue_goes_without_its_queue(cluster: Cluster, owner: User) -> None:
    try:
        await discover(cluster.client, "kueue.x-k8s.io/v1beta1", "LocalQueue")
    except NotFound:
        pass
    else:
        pytest.skip("this cluster has Kueue")
    settings = TenancySettings(local_queue=LocalQueueSettings(cluster_queue="batch"))
    with structlog.testing.capture_logs() as logs:
        assert await Namespaces(settings).ensure(cluster, owner)
    assert "there is no Kueue: namespaces get no LocalQueue" in [entry["event"] for entry in logs]


async def test_settings_that_the_cluster_does_not_take(cluster: Cluster, owner: User) -> None:
    settings = TenancySettings(limits=({"type": "Container", "max": {"cpu": "much"}},))
    with structlog.testing.capture_logs() as logs, pytest.raises(UserError, match="ask an admin") as caught:
        await Namespaces(settings).ensure(cluster, owner)
    assert caught.value.status == 503
    assert "a cluster refuses what the settings say: tenancy" in [entry["event"] for entry in logs]


# Who gets it


async def test_of_two_hubs_at_once_one_gets_it(cluster: Cluster) -> None:
    for _ in range(10):
        user = User(name=f"race-{secrets.token_hex(3)}")
        hubs = [Namespaces(TenancySettings(), hub=hub) for hub in ("one", "two", "three")]
        try:
            results = await asyncio.gather(
                *(hub.ensure(cluster, user) for hub in hubs), return_exceptions=True
            )
            got = [
                hub
                for hub, result in zip(("one", "two", "three"), results, strict=True)
                if result == f"hubfleet-{user.name}"
            ]
            assert len(got) == 1, results
            refusals = [result for result in results if isinstance(result, UserError)]
            assert len(refusals) == 2
            assert all(f"a user of another hub, {got[0]}" in str(refusal) for refusal in refusals)
            found = await cluster.client.get(NAMESPACES, None, f"hubfleet-{user.name}")
            assert found["metadata"]["labels"]["hubfleet.dev/hub"] == got[0]
        finally:
            with suppress(NotFound):
                await cluster.client.delete(NAMESPACES, None, f"hubfleet-{user.name}")


async def test_of_two_hubs_that_adopt_at_once_one_gets_it(cluster: Cluster) -> None:
    for _ in range(10):
        user = User(name=f"race-{secrets.token_hex(3)}")
        name = f"hubfleet-{user.name}"
        await cluster.client.create(
            NAMESPACES, None, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        )
        settings = TenancySettings(adopt_unmarked=True)
        try:
            results = await asyncio.gather(
                *(Namespaces(settings, hub=hub).ensure(cluster, user) for hub in ("one", "two")),
                return_exceptions=True,
            )
            assert sorted(type(result).__name__ for result in results) == ["UserError", "str"], results
        finally:
            await cluster.client.delete(NAMESPACES, None, name)


async def test_two_processes_of_one_hub_make_one_namespace(cluster: Cluster, owner: User) -> None:
    processes = [Namespaces(TenancySettings(), hub="hub") for _ in range(4)]
    made = await asyncio.gather(*(each.ensure(cluster, owner) for each in processes))
    assert len(set(made)) == 1


async def is_gone(client: Client, namespace: str) -> bool:
    try:
        await client.get(NAMESPACES, None, namespace)
    except NotFound:
        return True
    return False


async def test_one_that_was_deleted_and_made_by_another_hub_is_noticed_after_a_minute(
    cluster: Cluster, owner: User
) -> None:
    now = 0.0
    ours = Namespaces(TenancySettings(), hub="ours", clock=lambda: now)
    namespace = await ours.ensure(cluster, owner)
    await cluster.client.delete(NAMESPACES, None, namespace)
    await until(lambda: is_gone(cluster.client, namespace))
    await Namespaces(TenancySettings(), hub="theirs").ensure(cluster, owner)
    now = 61.0
    for call in (ours.owned, ours.ensure):
        with pytest.raises(UserError, match="another hub, theirs"):
            await call(cluster, owner)


MARKS_OF_OTHERS = {
    "another user": {"annotations": {"hubfleet.dev/username": "eve"}},
    "another hub": {"labels": {"hubfleet.dev/hub": "theirs"}},
    "a service": {"labels": {"hubfleet.dev/kind": "service"}},
}


@pytest.mark.parametrize("whose", MARKS_OF_OTHERS)
async def test_where_it_is_watched_it_is_noticed_before_the_next_use(
    cluster: Cluster, owner: User, whose: str
) -> None:
    stopped = 0.0  # no minute passes
    ours = Namespaces(TenancySettings(), hub="ours", clock=lambda: stopped)
    async with ours.watching(cluster):
        namespace = await ours.ensure(cluster, owner)
        assert await ours.owned(cluster, owner) == namespace
        await cluster.client.patch(NAMESPACES, None, namespace, {"metadata": MARKS_OF_OTHERS[whose]})
        for call in (ours.owned, ours.ensure):

            async def is_refused(call: Any = call) -> bool:
                try:
                    await call(cluster, owner)
                except UserError as e:
                    return e.status == 403
                return False

            await until(is_refused)


async def test_where_it_is_watched_it_is_made_again_when_it_is_gone(cluster: Cluster, owner: User) -> None:
    ours = Namespaces(TenancySettings(), hub="ours", clock=lambda: 0.0)
    async with ours.watching(cluster):
        namespace = await ours.ensure(cluster, owner)
        await cluster.client.delete(NAMESPACES, None, namespace)
        await until(lambda: is_gone(cluster.client, namespace))

        async def is_noticed() -> bool:
            return await ours.owned(cluster, owner) is None

        await until(is_noticed)
        assert await ours.ensure(cluster, owner) == namespace
        assert await names(cluster.client, NETWORKPOLICIES, namespace) == {"hubfleet"}


async def test_what_is_watched_costs_no_request(cluster: Cluster, owner: User) -> None:
    now = 0.0
    ours = Namespaces(TenancySettings(), hub="ours", clock=lambda: now)
    async with ours.watching(cluster):
        namespace = await ours.ensure(cluster, owner)
        client = cluster.client

        async def is_known() -> bool:
            return bool(ours._informers[cluster.name].get("", namespace))

        await until(is_known)
        now = 3600.0

        async def nobody_asks(*_: Any) -> bytes:
            raise AssertionError("the cluster is asked")

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(client.transport, "send", nobody_asks)
            assert await ours.owned(cluster, owner) == namespace
            assert await ours.ensure(cluster, owner) == namespace


# As whom we act


async def test_the_identity_may_do_what_it_should_there_and_nothing_elsewhere(
    cluster: Cluster, owner: User, namespace: str
) -> None:
    client = cluster.client
    namespaces = Namespaces(TenancySettings())
    theirs = await namespaces.ensure(cluster, owner)
    whom = await namespaces.identity(cluster, theirs)
    assert whom is not None
    assert whom.user == f"system:serviceaccount:{theirs}:{USER_ACCOUNT}"
    await client.create(JOBS, theirs, JOB, on_behalf_of=whom)
    await client.delete(JOBS, theirs, "a", on_behalf_of=whom)
    assert isinstance(await refused(client.create(JOBS, namespace, JOB, on_behalf_of=whom)), Forbidden)
    assert isinstance(await refused(client.create(PODS, theirs, pod("a"), on_behalf_of=whom)), Forbidden)
    for resource in (NETWORKPOLICIES, RESOURCEQUOTAS, ROLEBINDINGS):
        for name in await names(client, resource, theirs):
            error = await refused(client.delete(resource, theirs, name, on_behalf_of=whom))
            assert isinstance(error, Forbidden)
    assert isinstance(
        await refused(client.patch(NAMESPACES, None, theirs, {"metadata": {}}, on_behalf_of=whom)), Forbidden
    )


async def test_an_adopted_namespace_gets_its_account_when_it_is_first_read_in(
    cluster: Cluster, owner: User
) -> None:
    namespaces = Namespaces(TenancySettings(adopt_unmarked=True))
    name = namespaces.name_of(cluster, owner)
    await cluster.client.create(
        NAMESPACES, None, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
    )
    assert await namespaces.owned(cluster, owner) == name
    whom = await namespaces.identity(cluster, name)
    assert [found async for found in cluster.client.list(SECRETS, name, on_behalf_of=whom)] == []


async def test_switched_off_we_are_ourselves(cluster: Cluster, owner: User) -> None:
    namespaces = Namespaces(TenancySettings(impersonation="off"))
    namespace = await namespaces.ensure(cluster, owner)
    assert await namespaces.identity(cluster, namespace) is None
    assert not await names(cluster.client, ROLEBINDINGS, namespace)


# With an account of our own that has no more than it needs


class Operator:
    """Gives accounts to hubfleet: each in a namespace of its own, with the rights that it is given."""

    def __init__(self, client: Client, kubeconfig: Path, context: str, namespace: str, directory: Path):
        self.client = client
        self.namespace = namespace
        self._kubeconfig = kubeconfig
        self._context = context
        self._directory = directory
        self.stack = AsyncExitStack()

    async def apply(self, text: str) -> None:
        for each in yaml.safe_load_all(text):
            resource = await discover(self.client, each["apiVersion"], each["kind"])
            namespace = each["metadata"].get("namespace") if resource.namespaced else None
            await self.client.apply(resource, namespace, each)
            # Those of users are bound in the namespaces of other tests, and are the same for all.
            if not namespace and each["metadata"]["name"] not in (rights.USER_ROLE, rights.IMPERSONATOR_ROLE):
                self.stack.push_async_callback(self._delete, resource, each["metadata"]["name"])

    async def _delete(self, resource: Resource, name: str) -> None:
        with suppress(NotFound):
            await self.client.delete(resource, None, name)

    async def account(self, name: str) -> Cluster:
        """The cluster, as that account of ours reaches it."""
        request = prepare(
            "POST",
            SERVICEACCOUNTS.object_path(self.namespace, name, "token"),
            body={"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}},
        )
        answer = msgspec.json.decode(await self.client.transport.send(request))
        config = yaml.safe_load(self._kubeconfig.read_text())
        wanted = self._context or config["current-context"]
        (context,) = (each["context"] for each in config["contexts"] if each["name"] == wanted)
        user = {"name": "us", "user": {"token": answer["status"]["token"]}}
        here = {"name": "here", "context": {**context, "user": "us", "namespace": self.namespace}}
        path = self._directory / f"{name}.yaml"
        path.write_text(
            yaml.safe_dump({**config, "users": [user], "contexts": [here], "current-context": "here"})
        )
        settings = ClusterSettings(name="test", kubeconfig=str(path))
        clusters = await self.stack.enter_async_context(Clusters((settings,)))
        return clusters.default


@pytest.fixture
async def operator(
    client: Client, kubeconfig: Path, kube_context: str, namespace: str, tmp_path: Path
) -> AsyncIterator[Operator]:
    operator = Operator(client, kubeconfig, kube_context, namespace, tmp_path)
    async with operator.stack:
        yield operator


async def test_the_rights_that_are_printed_are_enough(operator: Operator, owner: User) -> None:
    settings = Settings(
        tenancy=TenancySettings(
            quota=QuotaSettings(hard={"pods": 5}), limits=({"type": "Container", "default": {"cpu": "1"}},)
        )
    )
    await operator.apply(document(settings, operator.namespace, "server"))
    cluster = await operator.account("server")
    namespaces = Namespaces(settings.tenancy, hub="hub")
    namespace = await namespaces.ensure(cluster, owner)
    whom = await namespaces.identity(cluster, namespace)
    assert whom is not None
    await cluster.client.create(JOBS, namespace, JOB, on_behalf_of=whom)
    # As ourselves we may neither read there nor write.
    assert isinstance(await refused(cluster.client.create(JOBS, namespace, JOB)), Forbidden)
    assert isinstance(await refused(cluster.client.get(SECRETS, namespace, "x")), Forbidden)
    # And as nobody else.
    elsewhere = msgspec.structs.replace(
        whom, user=f"system:serviceaccount:{operator.namespace}:{USER_ACCOUNT}"
    )
    for other in (
        elsewhere,
        msgspec.structs.replace(whom, user=f"system:serviceaccount:{namespace}:default"),
    ):
        error = await refused(cluster.client.get(JOBS, namespace, "a", on_behalf_of=other))
        assert isinstance(error, Forbidden)
    assert isinstance(
        await refused(
            cluster.client.get(
                JOBS, namespace, "a", on_behalf_of=msgspec.structs.replace(whom, groups=("system:masters",))
            )
        ),
        Forbidden,
    )


async def test_without_the_rights_to_act_as_users(operator: Operator, owner: User) -> None:
    # As kbatch-proxy's account: it may do everything with jobs and namespaces, and nothing about tenancy.
    kbatch = rights.Rule("", "", ("namespaces", "jobs", "secrets", "configmaps", "pods"), ("*",))
    role = rights.cluster_role(f"test-{operator.namespace}", (kbatch,))
    subject = {"kind": "ServiceAccount", "namespace": operator.namespace, "name": "default"}
    binding = rights.binding(f"test-{operator.namespace}", subject, f"test-{operator.namespace}")
    await operator.apply(yaml.safe_dump_all([role, binding]))
    cluster = await operator.account("default")

    def no_file(path: str) -> str:
        raise FileNotFoundError(path)

    swapped = load(None, {"KBATCH_PREFIX": "/services/kbatch"}, no_file).tenancy
    with structlog.testing.capture_logs() as logs:
        preferred = Namespaces(swapped)
        namespace = await preferred.ensure(cluster, owner)
        assert namespace.startswith("kbatch-ada-")
        assert await preferred.identity(cluster, namespace) is None
    (told,) = (entry for entry in logs if "written with this server's own account" in entry["event"])
    assert (told["log_level"], told["right"]) == ("warning", "patch serviceaccounts")
    (told,) = (entry for entry in logs if "lacks what this server's account" in entry["event"])
    assert told["lacks"] == ["resourcequotas", "serviceaccounts"]

    off = NetworkPolicySettings(enabled=False)
    required = Namespaces(TenancySettings(namespace="kbatch", network_policy=off))
    with structlog.testing.capture_logs() as logs:
        with pytest.raises(UserError, match="cannot be provided, for this server may not") as caught:
            await required.ensure(cluster, owner)
        assert caught.value.status == 503
        with pytest.raises(UserError, match="may not act for you on cluster test: an admin") as caught:
            await required.identity(cluster, namespace)
        assert caught.value.status == 503
    errors = [entry for entry in logs if entry["log_level"] == "error"]
    assert [entry["right"] for entry in errors] == [
        "list priorityclasses.scheduling.k8s.io",
        "patch serviceaccounts",
    ]
    assert all("hubfleet rbac" in entry["event"] for entry in errors)
    # What somebody asked for is not left out silently.
    quota = msgspec.structs.replace(swapped, quota=QuotaSettings(hard={"pods": 5}))
    with pytest.raises(UserError, match="may not patch resourcequotas"):
        await Namespaces(quota).ensure(cluster, owner)
