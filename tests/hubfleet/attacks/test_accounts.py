"""What a hole in our code would be worth: the accounts that it acts as, straight at the API server.

A user's account reaches nothing but a few kinds in their own namespace. hubfleet's own account can act as the
users that it serves, and neither as anybody else, nor read what is theirs without that.
"""

import os
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from tests.hubfleet.account import Account
from tests.hubfleet.attacks.conftest import World, harmless

from hubfleet.kube.client import Client
from hubfleet.kube.clusters import Clusters
from hubfleet.kube.errors import Forbidden
from hubfleet.kube.impersonation import Impersonation
from hubfleet.kube.request import prepare
from hubfleet.settings import ClusterSettings
from hubfleet.tenancy.refusals import missing_right

RBAC = "/apis/rbac.authorization.k8s.io/v1"
OWN = "/api/v1/namespaces/OWN"
THEIRS = "/api/v1/namespaces/THEIRS"
JOBS = "/apis/batch/v1/namespaces/{}/jobs"

POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "x"},
    "spec": harmless("x", "x")["spec"]["template"]["spec"],
}
JOB = {"apiVersion": "batch/v1", "kind": "Job", **harmless("x", "x")}
NOBODYS_LABELS = {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "privileged"}}}


def _binding(kind: str, role: str) -> dict[str, Any]:
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": kind,
        "metadata": {"name": "x"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [{"kind": "ServiceAccount", "namespace": "OWN", "name": "hubfleet-user"}],
    }


ADMIN = "cluster-admin"

OF_A_USER: dict[str, tuple[str, str, Any]] = {
    "create-a-job-of-anothers": ("POST", JOBS.format("THEIRS"), JOB),
    "read-anothers-job": ("GET", f"{JOBS.format('THEIRS')}/precious", None),
    "list-anothers-jobs": ("GET", JOBS.format("THEIRS"), None),
    "watch-anothers-jobs": ("GET", f"{JOBS.format('THEIRS')}?watch=true", None),
    "delete-anothers-job": ("DELETE", f"{JOBS.format('THEIRS')}/precious", {}),
    "delete-all-of-anothers-jobs": ("DELETE", JOBS.format("THEIRS"), {}),
    "delete-anothers-cron-job": ("DELETE", "/apis/batch/v1/namespaces/THEIRS/cronjobs/nightly", {}),
    "read-anothers-log": ("GET", f"{THEIRS}/pods/precious/log", None),
    "read-anothers-secret": ("GET", f"{THEIRS}/secrets/precious", None),
    "list-anothers-secrets": ("GET", f"{THEIRS}/secrets", None),
    "change-anothers-secret": ("PATCH", f"{THEIRS}/secrets/precious", {"metadata": {"labels": {"a": "b"}}}),
    "read-anothers-config-map": ("GET", f"{THEIRS}/configmaps/precious", None),
    "run-in-anothers-pod": ("POST", f"{THEIRS}/pods/precious/exec?command=sh", None),
    "list-everybodys-secrets": ("GET", "/api/v1/secrets", None),
    "list-everybodys-jobs": ("GET", "/apis/batch/v1/jobs", None),
    "list-everybody": ("GET", "/api/v1/namespaces", None),
    "create-a-job-of-the-system": ("POST", JOBS.format("kube-system"), JOB),
    "read-a-secret-of-the-system": ("GET", "/api/v1/namespaces/kube-system/secrets", None),
    "a-pod-without-a-job": ("POST", f"{OWN}/pods", POD),
    "a-debugger-in-a-pod": (
        "PATCH",
        f"{OWN}/pods/x/ephemeralcontainers",
        {"spec": {"ephemeralContainers": [{"name": "x", "image": "y"}]}},
    ),
    "a-shell-in-a-pod": ("POST", f"{OWN}/pods/x/exec?command=sh", None),
    "a-port-of-a-pod": ("POST", f"{OWN}/pods/x/portforward", None),
    "a-pod-on-a-node-by-binding": (
        "POST",
        f"{OWN}/pods/x/binding",
        {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": "x"},
            "target": {"kind": "Node", "name": "n"},
        },
    ),
    "rights-by-a-role-binding": (
        "POST",
        f"{RBAC}/namespaces/OWN/rolebindings",
        _binding("RoleBinding", ADMIN),
    ),
    "rights-by-a-cluster-role-binding": (
        "POST",
        f"{RBAC}/clusterrolebindings",
        _binding("ClusterRoleBinding", ADMIN),
    ),
    "rights-by-a-role": (
        "POST",
        f"{RBAC}/namespaces/OWN/roles",
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "Role",
            "metadata": {"name": "x"},
            "rules": [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}],
        },
    ),
    "a-token-of-ones-account": (
        "POST",
        f"{OWN}/serviceaccounts/hubfleet-user/token",
        {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}},
    ),
    "another-account": (
        "POST",
        f"{OWN}/serviceaccounts",
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "x"}},
    ),
    "no-quota-any-more": ("DELETE", f"{OWN}/resourcequotas/hubfleet-priority", {}),
    "no-network-policy-any-more": (
        "DELETE",
        "/apis/networking.k8s.io/v1/namespaces/OWN/networkpolicies/hubfleet",
        {},
    ),
    "no-pod-security-any-more": ("PATCH", "/api/v1/namespaces/OWN", NOBODYS_LABELS),
    "another-namespace": (
        "POST",
        "/api/v1/namespaces",
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "x"}},
    ),
    "no-namespace-any-more": ("DELETE", "/api/v1/namespaces/THEIRS", {}),
    "a-volume-of-the-node": (
        "POST",
        "/api/v1/persistentvolumes",
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": "x"},
            "spec": {
                "hostPath": {"path": "/"},
                "capacity": {"storage": "1Gi"},
                "accessModes": ["ReadWriteOnce"],
            },
        },
    ),
    "a-node": ("GET", "/api/v1/nodes", None),
    "a-priority-class": (
        "POST",
        "/apis/scheduling.k8s.io/v1/priorityclasses",
        {
            "apiVersion": "scheduling.k8s.io/v1",
            "kind": "PriorityClass",
            "metadata": {"name": "x"},
            "value": 1,
        },
    ),
    "leases-of-the-controller": ("GET", "/apis/coordination.k8s.io/v1/namespaces/default/leases", None),
}
"""Method, path and body, which a user's account may not send."""

OF_OURS: dict[str, tuple[str, str, Any]] = {
    "list-everybodys-secrets": ("GET", "/api/v1/secrets", None),
    "list-everybodys-config-maps": ("GET", "/api/v1/configmaps", None),
    "read-a-users-secret": ("GET", f"{THEIRS}/secrets/precious", None),
    "read-a-users-log": ("GET", f"{THEIRS}/pods/precious/log", None),
    "read-a-secret-of-the-system": ("GET", "/api/v1/namespaces/kube-system/secrets", None),
    "create-a-job": ("POST", JOBS.format("THEIRS"), JOB),
    "delete-a-job": ("DELETE", f"{JOBS.format('THEIRS')}/precious", {}),
    "create-a-pod": ("POST", f"{OWN}/pods", POD),
    "run-in-a-pod": ("POST", f"{THEIRS}/pods/precious/exec?command=sh", None),
    "delete-a-namespace": ("DELETE", "/api/v1/namespaces/THEIRS", {}),
    "a-token-of-a-user": (
        "POST",
        f"{THEIRS}/serviceaccounts/hubfleet-user/token",
        {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}},
    ),
    "rights-by-a-role-binding": (
        "POST",
        f"{RBAC}/namespaces/OWN/rolebindings",
        _binding("RoleBinding", ADMIN),
    ),
    "rights-by-a-cluster-role-binding": (
        "POST",
        f"{RBAC}/clusterrolebindings",
        _binding("ClusterRoleBinding", "hubfleet-user"),
    ),
    "more-rights-for-users": (
        "PATCH",
        f"{RBAC}/clusterroles/hubfleet-user",
        {"rules": [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]},
    ),
    "a-node": ("GET", "/api/v1/nodes", None),
}
"""The same of hubfleet's own account, where it acts as itself."""

OTHERS: dict[str, Impersonation] = {
    "an-administrator": Impersonation("system:admin"),
    "a-user": Impersonation("kubernetes-admin"),
    "the-masters": Impersonation("system:serviceaccount:OWN:hubfleet-user", groups=("system:masters",)),
    "all-accounts": Impersonation(
        "system:serviceaccount:OWN:hubfleet-user", groups=("system:serviceaccounts",)
    ),
    "nobody": Impersonation("system:anonymous"),
    "a-controller": Impersonation.for_service_account("kube-system", "clusterrole-aggregation-controller"),
    "a-user-of-the-system": Impersonation.for_service_account("kube-system", "hubfleet-user"),
    "a-user-of-a-namespace-that-is-nobodys": Impersonation.for_service_account("default", "hubfleet-user"),
    "another-account-of-a-user": Impersonation.for_service_account("OWN", "default"),
    "an-account-that-the-operator-made": Impersonation.for_service_account("OWN", "builder"),
    "a-node": Impersonation("system:node:n", groups=("system:nodes",)),
    "an-account-with-more": Impersonation(
        "system:serviceaccount:OWN:hubfleet-user", extra={"scopes": ("everything",)}
    ),
    "an-account-with-another-uid": Impersonation("system:serviceaccount:OWN:hubfleet-user", uid="0"),
}
"""As whom hubfleet's own account may not act."""


def filled(value: Any, world: World) -> Any:
    text = msgspec.json.encode(value).decode()
    text = text.replace("OWN", world.attacker.namespace).replace("THEIRS", world.victim.namespace)
    return msgspec.json.decode(text)


async def try_it(
    client: Client, what: tuple[str, str, Any], world: World, whom: Impersonation | None
) -> Forbidden:
    method, path, body = filled(what, world)
    kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
    with pytest.raises(Forbidden) as caught:
        await client.transport.send(prepare(method, path, body=body, content_type=kind, on_behalf_of=whom))
    return caught.value


@pytest.mark.parametrize("escape", OF_A_USER)
async def test_a_users_account_may_not(escape: str, client: Client, world: World, untouched: None) -> None:
    error = await try_it(client, OF_A_USER[escape], world, world.identity)
    assert missing_right(error) is not None, error.message
    assert world.identity.user in error.message


@pytest.fixture
async def own(own_account: Account) -> AsyncIterator[Client]:
    """A client with the rights of hubfleet itself."""
    settings = ClusterSettings(name="test", kubeconfig=str(own_account.kubeconfig))
    async with Clusters((settings,), environ=os.environ) as clusters:
        yield clusters.default.client


@pytest.mark.parametrize("escape", OF_OURS)
async def test_our_own_account_may_not(
    escape: str, own: Client, own_account: Account, world: World, untouched: None
) -> None:
    error = await try_it(own, OF_OURS[escape], world, None)
    assert missing_right(error) is not None, error.message
    assert own_account.username in error.message


@pytest.mark.parametrize("whom", OTHERS)
async def test_our_own_account_cannot_be(
    whom: str, own: Client, own_account: Account, world: World, untouched: None
) -> None:
    other = msgspec.convert(filled(OTHERS[whom], world), Impersonation)
    error = await try_it(own, ("GET", "/api/v1/namespaces", None), world, other)
    right = missing_right(error)
    assert right is not None and right.verb == "impersonate", error.message
    assert own_account.username in error.message


async def test_it_can_be_the_users_that_it_serves(own: Client, world: World) -> None:
    """What all of the above would hide, if nothing worked at all."""
    path = filled(f"{JOBS.format('OWN')}/mine", world)
    body = await own.transport.send(prepare("GET", path, on_behalf_of=world.identity))
    assert b'"mine"' in body
