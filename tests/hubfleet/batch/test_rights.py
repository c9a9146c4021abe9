"""Every right that `hubfleet rbac` prints is needed: without it one thing fails, clearly, and nothing else.

With none of them, nothing works and nothing leaks. `test_serving` runs the processes with them all.
"""

import asyncio
import json
import os
import re
import secrets
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs
from tests.hubfleet import account
from tests.hubfleet.account import Account
from tests.hubfleet.batch.conftest import StartServer, leftovers, objects, until
from tests.hubfleet.batch.test_manifests import zipped

from hubfleet.batch.collector import Collector
from hubfleet.batch.manifests import EXPIRES_LABEL, OWNER_ANNOTATION, SUBMISSION_LABEL, USERNAME
from hubfleet.batch.service import BatchService
from hubfleet.batch.workloads import Workloads
from hubfleet.errors import UserError
from hubfleet.identity.tokens import HubTokens
from hubfleet.identity.user import User
from hubfleet.kube.client import Client
from hubfleet.kube.clusters import Cluster, Clusters
from hubfleet.kube.errors import ApiError, Forbidden, KubeError, NotFound
from hubfleet.kube.lease import Elector
from hubfleet.kube.resources import (
    CLUSTERROLES,
    CONFIGMAPS,
    CRONJOBS,
    EVENTS,
    JOBS,
    NAMESPACES,
    PODS,
    SECRETS,
    Resource,
)
from hubfleet.kube.transport import Transport
from hubfleet.settings import (
    BatchSettings,
    ClusterSettings,
    HubSettings,
    NetworkPolicySettings,
    QuotaSettings,
    TenancySettings,
)
from hubfleet.tenancy import rights
from hubfleet.tenancy.naming import namespace_for
from hubfleet.tenancy.provisioning import Namespaces
from hubfleet.tenancy.rights import Rule

STREAM = "?stream=true"
TAG = secrets.token_hex(3)
HUB = f"rights-{TAG}"
FRESH_SECONDS = 1.0
"""How soon what others write is seen; where it is not watched, never."""

FULL = TenancySettings(
    quota=QuotaSettings(hard={"count/jobs.batch": "1000"}),
    limits=({"type": "Container", "max": {"cpu": "64"}},),
)
LESS = TenancySettings(network_policy=NetworkPolicySettings(enabled=False))

SUBJECTACCESSREVIEWS = Resource(
    "authorization.k8s.io", "v1", "subjectaccessreviews", "SubjectAccessReview", namespaced=False
)

Right = tuple[str, str, str]  # verb, group, resource


class Trial:
    """hubfleet under an account, and all that it does, each thing under a name: it raises where it fails."""

    def __init__(self, cluster: Cluster, service: BatchService, namespaces: Namespaces, admin: Client):
        self._cluster = cluster
        self.wing = service.on()
        self._namespaces = namespaces
        self._admin = admin
        self.made: list[User] = []

    @property
    def namespace(self) -> str:
        return namespace_for(OLD.name)

    @property
    def transport(self) -> Transport:
        return self._cluster.client.transport

    async def provide_for(self, user: User) -> str:
        return await self._namespaces.ensure(self._cluster, user)

    def _new(self) -> User:
        user = User(name=f"new-{secrets.token_hex(4)}", token="x")
        self.made.append(user)
        return user

    # -- reading, as ourselves

    async def list_jobs(self) -> None:
        await self._fresh(self.wing.jobs, JOBS)

    async def list_cron_jobs(self) -> None:
        await self._fresh(self.wing.cron_jobs, CRONJOBS)

    async def list_pods(self) -> None:
        await self._fresh(self.wing.pods, PODS)

    async def _fresh(self, what: Workloads, resource: Resource) -> None:
        await self.wing.list(OLD, what)  # once, so that what comes then was not there before
        name = f"fresh-{secrets.token_hex(3)}"
        await self._admin.create(resource, self.namespace, _object(resource, name))
        deadline = time.monotonic() + FRESH_SECONDS
        while True:
            body, headers = await self.wing.list(OLD, what)
            if name in [each["metadata"]["name"] for each in json.loads(body)["items"]]:
                break
            if time.monotonic() > deadline:
                raise AssertionError(f"the list is old: {headers}")
            await asyncio.sleep(0.02)

    async def see_a_new_owner(self) -> None:
        """Of a namespace that its administrator gives away."""
        user = self._new()
        namespace = await self._namespaces.ensure(self._cluster, user)
        given = {"metadata": {"annotations": {"hubfleet.dev/username": "another"}}}
        await self._admin.patch(NAMESPACES, None, namespace, given)
        deadline = time.monotonic() + FRESH_SECONDS
        try:
            while time.monotonic() < deadline:
                await self.wing.list(user, self.wing.jobs)
                await asyncio.sleep(0.02)
        except UserError as e:
            if "belongs to another user" in str(e):
                return
            raise
        raise AssertionError("whose it is is not seen")

    # -- provisioning

    async def provide(self) -> None:
        """All that belongs in a new user's namespace."""
        await self.provide_for(self._new())

    async def take_away(self) -> None:
        """What the settings have no more."""
        user = self._new()
        await self._namespaces.ensure(self._cluster, user)
        namespaces = Namespaces(LESS, hub=HUB)
        await namespaces.ensure(self._cluster, user)

    # -- as the user

    async def submit_a_job(self) -> None:
        await self._submit("Job")

    async def submit_a_cron_job(self) -> None:
        await self._submit("CronJob")

    async def _submit(self, kind: Any) -> None:
        answer = json.loads(await self.wing.submit(OLD, kind, _body(kind)))
        uid = answer["metadata"]["uid"]
        for resource in (SECRETS, CONFIGMAPS):
            owners = [
                owner["uid"]
                for each in await objects(self._admin, resource, self.namespace)
                for owner in each["metadata"].get("ownerReferences", ())
            ]
            if uid not in owners:
                raise AssertionError(f"no {resource.plural} of it")

    async def undo_a_job(self) -> None:
        """One that the API server refuses leaves nothing."""
        before = set(await leftovers(self._admin, self.namespace))
        try:
            await self.wing.submit(OLD, "Job", _body("Job", restartPolicy="Perhaps"))
        except KubeError as e:
            if "restartPolicy" not in str(e):
                raise
        if left := set(await leftovers(self._admin, self.namespace)) - before:
            raise AssertionError(f"left: {left}")

    async def look_for_a_job(self) -> None:
        with pytest.raises(NotFound):
            await self.wing.get(OLD, self.wing.jobs, "nosuch")

    async def look_for_a_cron_job(self) -> None:
        with pytest.raises(NotFound):
            await self.wing.get(OLD, self.wing.cron_jobs, "nosuch")

    async def look_for_a_pod(self) -> None:
        with pytest.raises(NotFound):
            await self.wing.get(OLD, self.wing.pods, "nosuch")

    async def delete_a_job(self) -> None:
        await self._delete(self.wing.jobs, JOBS)

    async def delete_a_cron_job(self) -> None:
        await self._delete(self.wing.cron_jobs, CRONJOBS)

    async def _delete(self, what: Workloads, resource: Resource) -> None:
        name = f"old-{secrets.token_hex(3)}"
        await self._admin.create(resource, self.namespace, _object(resource, name))
        await self.wing.delete(OLD, what, name)

    async def read_a_log(self) -> None:
        """Of a pod that we do not watch, and that runs nowhere: its log is asked for, and there is none."""
        target = await self.wing.find_log(OLD, "logged", pods_only=True)
        try:
            await self.wing.log(OLD, target)
        except ApiError as e:
            if isinstance(e, Forbidden):
                raise

    async def say_why_there_is_no_pod(self) -> None:
        """Of a job whose pods the cluster refuses: it says so in an event, here an administrator's."""
        name = f"podless-{secrets.token_hex(3)}"
        job = _object(JOBS, name)
        job["spec"] |= {"suspend": False, "parallelism": 0}
        made = await self._admin.create(JOBS, self.namespace, job)
        event = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": name},
            "involvedObject": {
                "apiVersion": "batch/v1",
                "kind": "Job",
                "namespace": self.namespace,
                "name": name,
                "uid": made["metadata"]["uid"],
            },
            "type": "Warning",
            "reason": "FailedCreate",
            "message": 'Error creating: pods "a" is forbidden: exceeded quota: q, requested: pods=1, '
            "used: pods=5, limited: pods=5",
        }
        await self._admin.create(EVENTS, self.namespace, event)
        target = await self.wing.find_log(OLD, name)
        with pytest.raises(UserError) as caught:
            await self.wing.log(OLD, target)
        if "exceeded quota q: pods: 5 of 5 used, 1 more asked for" not in caught.value.detail:
            raise caught.value

    # -- the controller

    async def collect_secrets(self) -> None:
        await self._collect(SECRETS)

    async def collect_config_maps(self) -> None:
        await self._collect(CONFIGMAPS)

    async def _collect(self, resource: Resource) -> None:
        """A part whose Job was made, one whose CronJob was, and one without either."""
        dead = secrets.token_hex(4)
        owners = {"Job": JOBS, "CronJob": CRONJOBS}
        for kind, of in owners.items():
            owner = _object(of, f"{dead}-{kind.lower()}")
            owner["metadata"]["labels"] |= {SUBMISSION_LABEL: dead}
            await self._admin.create(of, self.namespace, owner)
        for kind in ("Job", "CronJob", "Nobody"):
            name = f"{dead}-{kind.lower()}"
            metadata = {
                "name": name,
                "labels": {EXPIRES_LABEL: "1", SUBMISSION_LABEL: dead},
                "annotations": {OWNER_ANNOTATION: f"{kind}/{name}"},
            }
            part = {"apiVersion": "v1", "kind": resource.kind, "metadata": metadata}
            await self._admin.create(resource, self.namespace, part)
        identity = partial(self._namespaces.identity, self._cluster)
        try:
            await Collector(self._cluster.client, identity, hub=HUB).collect()
        finally:
            labels = f"{SUBMISSION_LABEL}={dead}"
            found = [each async for each in self._admin.list(resource, self.namespace, labels=labels)]
            for each in found:
                await self._admin.delete(resource, self.namespace, each["metadata"]["name"])
        left = [each for each in found if EXPIRES_LABEL in each["metadata"]["labels"]]
        if left or len(found) != 2:
            raise AssertionError(f"{len(left)} are left, {len(found)} are there")

    async def hold_the_lease(self) -> None:
        """One takes it and lets go of it, then the next one does."""
        name = f"lease-{secrets.token_hex(3)}"

        async def work() -> None:
            return

        for who in ("one", "two"):
            elector = Elector(
                self._cluster.client,
                self._cluster.namespace_of_context,
                name,
                who,
                retry=0.05,
                deadline=0.4,
                duration=30,
            )
            async with asyncio.timeout(0.6):
                await elector.run(work)


FEATURES = [
    name
    for name, each in vars(Trial).items()
    if asyncio.iscoroutinefunction(each) and not name.startswith("_") and name != "provide_for"
]


LISTING = {"list_jobs", "list_cron_jobs", "list_pods"}
PROVIDING = {"provide", "take_away", "see_a_new_owner"}
SUBMITTING = {"submit_a_job", "submit_a_cron_job", "undo_a_job"}
LOOKING = {
    "look_for_a_job",
    "look_for_a_cron_job",
    "look_for_a_pod",
    "read_a_log",
    "say_why_there_is_no_pod",
}
DELETING = {"delete_a_job", "delete_a_cron_job"}
COLLECTING = {"collect_secrets", "collect_config_maps"}
AS_A_USER = SUBMITTING | LOOKING | DELETING


def _each(verbs: str, group: str, resources: str, features: set[str]) -> dict[Right, set[str]]:
    return {(verb, group, each): features for each in resources.split() for verb in verbs.split()}


NEEDED: dict[str, dict[Right, set[str]]] = {
    "own": {
        **_each("get", "", "namespaces", LISTING | PROVIDING | AS_A_USER),
        **_each("list", "", "namespaces", COLLECTING | {"see_a_new_owner"}),
        **_each("watch", "", "namespaces", {"see_a_new_owner"}),
        **_each("create", "", "namespaces", PROVIDING),
        **_each("patch", "", "namespaces", {"take_away"}),
        **_each("list", "batch", "jobs", {"list_jobs", "see_a_new_owner", "say_why_there_is_no_pod"}),
        **_each("watch", "batch", "jobs", {"list_jobs"}),
        **_each("list watch", "batch", "cronjobs", {"list_cron_jobs"}),
        **_each("list", "", "pods", {"list_pods", "read_a_log", "say_why_there_is_no_pod"}),
        **_each("watch", "", "pods", {"list_pods"}),
        **_each("create", "", "serviceaccounts resourcequotas limitranges", PROVIDING),
        **_each("create", rights.RBAC, "rolebindings", PROVIDING),
        **_each("bind", rights.RBAC, "clusterroles", PROVIDING),
        **_each("create", "networking.k8s.io", "networkpolicies", PROVIDING),
        # Every process writes them again, for users that it has not seen.
        **_each("patch", "", "serviceaccounts resourcequotas limitranges", PROVIDING | SUBMITTING),
        **_each("patch", rights.RBAC, "rolebindings", PROVIDING | SUBMITTING),
        **_each("patch", "networking.k8s.io", "networkpolicies", PROVIDING | SUBMITTING),
        **_each("list", "scheduling.k8s.io", "priorityclasses", PROVIDING | SUBMITTING),
        **_each("delete", "", "resourcequotas limitranges", {"take_away"}),
        **_each("delete", "networking.k8s.io", "networkpolicies", {"take_away"}),
    },
    "user": {
        # Also what is asked for to find out whether we may act as the user.
        **_each("get", "batch", "jobs", PROVIDING | AS_A_USER | COLLECTING),
        **_each("create", "batch", "jobs", {"submit_a_job", "undo_a_job"}),
        **_each("delete", "batch", "jobs", {"delete_a_job"}),
        **_each("get", "batch", "cronjobs", COLLECTING | {"look_for_a_cron_job", "delete_a_cron_job"}),
        **_each("create", "batch", "cronjobs", {"submit_a_cron_job"}),
        **_each("delete", "batch", "cronjobs", {"delete_a_cron_job"}),
        **_each("get", "", "pods", {"look_for_a_pod", "read_a_log"}),
        **_each("get", "", "pods/log", {"read_a_log"}),
        **_each("list", "", "events", {"say_why_there_is_no_pod"}),
        **_each("get", "", "secrets configmaps", {"undo_a_job"}),
        **_each("delete", "", "secrets", {"undo_a_job", "collect_secrets"}),
        **_each("delete", "", "configmaps", {"undo_a_job", "collect_config_maps"}),
        **_each("list", "", "secrets", COLLECTING),  # which come first
        **_each("list", "", "configmaps", {"collect_config_maps"}),
        **_each("create", "", "secrets configmaps", SUBMITTING),
        **_each("patch", "", "secrets", {"submit_a_job", "submit_a_cron_job", "collect_secrets"}),
        **_each("patch", "", "configmaps", {"submit_a_job", "submit_a_cron_job", "collect_config_maps"}),
    },
    "impersonator": _each("impersonate", "", "serviceaccounts", PROVIDING | AS_A_USER | COLLECTING),
    "lease": _each("get create patch", "coordination.k8s.io", "leases", {"hold_the_lease"}),
}
"""What fails, and nothing else, without each right of each of the four roles."""

ROLES = {"own": rights.OWN, "user": rights.USER, "impersonator": rights.IMPERSONATOR, "lease": rights.LEASE}
RIGHTS = [(role, right) for role, rules in ROLES.items() for right in rights.rights(rules)]


def _object(resource: Resource, name: str) -> dict[str, Any]:
    labels = {USERNAME: OLD.name}
    pod = {"restartPolicy": "Never", "containers": [{"name": "main", "image": "python:3.13"}]}
    job = {"suspend": True, "template": {"spec": pod}}
    spec: dict[str, Any] = {
        "Job": job,
        "CronJob": {"schedule": "0 0 1 1 *", "suspend": True, "jobTemplate": {"spec": job}},
        "Pod": {**pod, "schedulerName": "nobody"},
    }[resource.kind]
    return {
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "metadata": {"name": name, "labels": labels},
        "spec": spec,
    }


def _body(kind: str, **pod: Any) -> bytes:
    resource = JOBS if kind == "Job" else CRONJOBS
    obj = _object(resource, f"submitted-{secrets.token_hex(3)}")
    del obj["metadata"]["labels"]
    job = obj["spec"] if kind == "Job" else obj["spec"]["jobTemplate"]["spec"]
    job["template"]["spec"] |= pod
    return json.dumps({"job": obj, "code": {"binary_data": {"code": zipped()}}}).encode()


OLD = User(name=f"old-{TAG}", token="x")
"""Who was there before; their namespace has a pod `logged`."""


@asynccontextmanager
async def trial(kubeconfig: Path, admin: Client) -> AsyncIterator[Trial]:
    async with AsyncExitStack() as stack:
        settings = ClusterSettings(name="test", kubeconfig=str(kubeconfig))
        clusters = await stack.enter_async_context(Clusters((settings,), environ=os.environ))
        namespaces = Namespaces(FULL, hub=HUB)
        tokens = await stack.enter_async_context(HubTokens(HubSettings()))
        await stack.enter_async_context(namespaces.watching(clusters.default))
        service = BatchService(BatchSettings(), clusters, namespaces, tokens, hub=HUB)
        await stack.enter_async_context(service)
        trying = Trial(clusters.default, service, namespaces, admin)
        yield trying
    for each in trying.made:
        with suppress(NotFound):
            await admin.delete(NAMESPACES, None, namespace_for(each.name))


async def run(trying: Trial) -> dict[str, str]:
    """What fails, each with what was said of it, to the user or in the log (by an informer, at some time)."""
    failed: dict[str, str] = {}
    said: list[Any] = []
    for feature in FEATURES:
        with capture_logs() as logs:
            try:
                await getattr(trying, feature)()
            except (Exception, BaseExceptionGroup) as e:
                failed[feature] = f"{e!r} {logs}"
        said += [each for each in logs if each.get("event") == "not kept up to date"]
    return {feature: f"{words} {said}" for feature, words in failed.items()}


@pytest.fixture(scope="module")
def own(
    as_administrator: Any, kubeconfig: Path, kube_context: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Account]:
    """An account with all rights, which made the namespace of OLD."""
    directory = tmp_path_factory.mktemp("account")

    async def begin(client: Client) -> Account:
        made = await account.make(client, kubeconfig, kube_context, directory)
        async with trial(made.kubeconfig, client) as trying:
            await trying.provide_for(OLD)
            pod = _object(PODS, "logged")
            del pod["metadata"]["labels"]
            await client.create(PODS, trying.namespace, pod)
        return made

    async def end(client: Client) -> None:
        await client.delete(NAMESPACES, None, namespace_for(OLD.name))
        await account.remove(client, made)

    made = as_administrator(begin)
    yield made
    as_administrator(end)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """RBAC's caches are waited for here, and not for seconds in each call that is refused, each as if it
    were the first.
    """
    monkeypatch.setattr("hubfleet.tenancy.furnishing.PATIENCE", 0.1)
    monkeypatch.setattr("hubfleet.tenancy.accounts.REFUSED_SECONDS", 0.0)


async def grant(client: Client, own: Account, role: str, rules: Sequence[Rule]) -> None:
    if role == "lease":
        await client.apply(account.ROLES, own.namespace, rights.role(own.namespace, "lease", rules))
        return
    names = {"own": own.namespace, "user": rights.USER_ROLE, "impersonator": rights.IMPERSONATOR_ROLE}
    await client.apply(CLUSTERROLES, None, rights.cluster_role(names[role], rules))


async def has(client: Client, own: Account, role: str, right: Right) -> bool:
    """Whether the API server has heard of what the roles say now."""
    verb, group, resource = right
    theirs = namespace_for(OLD.name)
    kind, _, subresource = resource.partition("/")
    places = {"own": "", "user": theirs, "impersonator": theirs, "lease": own.namespace}
    named = rights.USER_ACCOUNT if verb == "impersonate" else rights.USER_ROLE if verb == "bind" else ""
    attributes = {
        "namespace": places[role],
        "verb": verb,
        "group": group,
        "resource": kind,
        "subresource": subresource,
        "name": named,
    }
    user = own.username if role != "user" else f"system:serviceaccount:{theirs}:{rights.USER_ACCOUNT}"
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {"user": user, "resourceAttributes": attributes},
    }
    answer = await client.create(SUBJECTACCESSREVIEWS, None, review)
    return bool(answer["status"]["allowed"])


async def test_with_all_of_them_everything_works(client: Client, own: Account) -> None:
    async with trial(own.kubeconfig, client) as trying:
        assert await run(trying) == {}


async def test_that_we_may_not_act_as_a_user_is_found_out_once_and_noticed_when_it_is_over(
    client: Client, own: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hubfleet.tenancy.furnishing.PATIENCE", 0.5)
    monkeypatch.setattr("hubfleet.tenancy.accounts.REFUSED_SECONDS", 2.0)
    right = ("impersonate", "", "serviceaccounts")
    await grant(client, own, "impersonator", ())
    try:
        await until(partial(_is, False, client, own, "impersonator", right))
        async with trial(own.kubeconfig, client) as trying:
            await trying.wing.list(OLD, trying.wing.jobs)  # whose namespace it is, is known
            sent = 0
            send = trying.transport.send

            async def counting(*arguments: Any, **named: Any) -> bytes:
                nonlocal sent
                sent += 1
                return await send(*arguments, **named)

            monkeypatch.setattr(trying.transport, "send", counting)

            async def refused() -> None:
                with pytest.raises(UserError, match="may not act for you") as caught:
                    await trying.wing.get(OLD, trying.wing.jobs, "nosuch")
                assert caught.value.status == 503
                assert caught.value.retry_after is not None
                assert caught.value.retry_after <= 2.0

            await asyncio.gather(*(refused() for _ in range(50)))
            assert sent < 25, "they found out together"
            sent = 0
            started = time.monotonic()
            await asyncio.gather(*(refused() for _ in range(50)))
            with pytest.raises(UserError, match="may not act for you"):
                await trying.wing.submit(OLD, "Job", _body("Job"))
            assert sent == 0
            assert time.monotonic() - started < 0.5
            await grant(client, own, "impersonator", rights.IMPERSONATOR)

            async def again() -> bool:
                try:
                    await trying.look_for_a_job()
                except UserError:
                    return False
                return True

            await until(again, 5)
    finally:
        await grant(client, own, "impersonator", rights.IMPERSONATOR)
        await until(partial(_is, True, client, own, "impersonator", right))


async def _is(expected: bool, *what: Any) -> bool:
    return await has(*what) is expected


@pytest.mark.parametrize(("role", "right"), RIGHTS, ids=lambda x: x if isinstance(x, str) else " ".join(x))
async def test_each_of_them_is_needed_for_one_thing(
    client: Client, own: Account, role: str, right: Right
) -> None:
    async def granted(expected: bool) -> None:
        await until(partial(_is, expected, client, own, role, right))

    await grant(client, own, role, rights.without(ROLES[role], *right))
    try:
        await granted(False)
        async with trial(own.kubeconfig, client) as trying:
            failed = await run(trying)
    finally:
        await grant(client, own, role, ROLES[role])
        await granted(True)
    assert failed.keys() == NEEDED[role][right]
    verb, _, resource = right
    named = re.compile(rf"(may not|cannot|let this server) {verb} (resource ..?)?{resource}|hubfleet rbac")
    for feature, said in failed.items():
        assert named.search(said), f"{feature}: {said}"


def test_the_table_is_about_rights_that_there_are() -> None:
    assert {(role, right) for role, needed in NEEDED.items() for right in needed} == set(RIGHTS)


async def test_with_none_nothing_works_and_nothing_leaks(
    client: Client, own: Account, kubeconfig: Path, kube_context: str, tmp_path: Path
) -> None:
    nobody = await account.make(client, kubeconfig, kube_context, tmp_path, own=(), lease=())
    secret = f"secret-{secrets.token_hex(8)}"
    job = _object(JOBS, secret)
    made = await client.create(JOBS, namespace_for(OLD.name), job)
    try:
        async with trial(nobody.kubeconfig, client) as trying:
            failed = await run(trying)
            assert failed.keys() == set(FEATURES)
            for said in [*failed.values(), *[str(await told(trying, each)) for each in ("Job", "Pod")]]:
                assert secret not in said
                assert made["metadata"]["uid"] not in said
    finally:
        await client.delete(JOBS, namespace_for(OLD.name), secret)
        await account.remove(client, nobody)


async def test_with_none_no_http_answer_leaks(
    client: Client,
    own: Account,
    kubeconfig: Path,
    kube_context: str,
    tmp_path: Path,
    jupyterhub: Any,
    start_server: StartServer,
) -> None:
    """As above, at the server's own door: every call there is, by somebody who has things there."""
    nobody = await account.make(client, kubeconfig, kube_context, tmp_path, own=(), lease=())
    secret = f"secret-{secrets.token_hex(8)}"
    namespace = namespace_for(OLD.name)
    uids = []
    for resource in (JOBS, CRONJOBS, PODS):
        obj = _object(resource, "private")
        obj["metadata"]["annotations"] = {"word": secret}
        uids.append((await client.create(resource, namespace, obj))["metadata"]["uid"])
    token = jupyterhub.user(OLD.name)
    clusters = [{"name": "test", "kubeconfig": str(nobody.kubeconfig)}]
    server = start_server(clusters=clusters, hub={"name": HUB}, ready=False)
    calls = [
        *(("GET", path, None) for path in ("jobs/", "cronjobs/", "pods/", "pods/?job_name=private")),
        *(("GET", f"{kind}/private", None) for kind in ("jobs", "cronjobs", "pods")),
        *(
            ("GET", f"{kind}/logs/private/{query}", None)
            for kind in ("jobs", "pods")
            for query in ("", STREAM)
        ),
        *(("DELETE", f"{kind}/private", None) for kind in ("jobs", "cronjobs")),
        ("POST", "jobs/", _body("Job")),
        ("POST", "cronjobs/", _body("CronJob")),
    ]
    try:
        for method, path, body in calls:
            for at in ("", "clusters/test/"):
                answer = await asyncio.to_thread(server.call, method, at + path, token, body)
                assert answer[0] == 503, (method, at + path, answer)
                assert b"administrator" in answer[2], (method, at + path, answer)
                _is_silent(str(answer), secret, *uids)
        for path in ("", "authorized", "profiles", "clusters"):
            _is_silent(str(await asyncio.to_thread(server.call, "GET", path, token)), secret, *uids)
        for path in ("/ready", "/metrics"):
            found = await asyncio.to_thread(server.call, "GET", server.origin + path)
            _is_silent(str(found), secret, *uids)
        _is_silent(server.log, secret, *uids)
        assert "Traceback" not in server.log
        for resource in (JOBS, CRONJOBS, PODS):
            assert "private" in [
                each["metadata"]["name"] for each in await objects(client, resource, namespace)
            ]
    finally:
        server.stop()
        for resource in (JOBS, CRONJOBS, PODS):
            await client.delete(resource, namespace, "private")
        await account.remove(client, nobody)


def _is_silent(said: str, *words: str) -> None:
    for word in words:
        assert word not in said


async def told(trying: Trial, kind: str) -> Exception:
    """What a user is told who looks."""
    wing = trying.wing
    with pytest.raises(UserError) as caught:
        await wing.list(OLD, wing.jobs if kind == "Job" else wing.pods)
    assert caught.value.status == 503
    assert "this server may not list" in str(caught.value).lower()
    return caught.value
