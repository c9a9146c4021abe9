"""hubfleet's own account with exactly the rights that a test gives it, and a kubeconfig that logs it in."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import yaml

from hubfleet.kube.client import Client
from hubfleet.kube.resources import CLUSTERROLES, NAMESPACES, ROLEBINDINGS, SERVICEACCOUNTS, Resource
from hubfleet.tenancy import rights
from hubfleet.tenancy.rights import Rule

CLUSTERROLEBINDINGS = Resource(
    "rbac.authorization.k8s.io", "v1", "clusterrolebindings", "ClusterRoleBinding", namespaced=False
)
ROLES = Resource("rbac.authorization.k8s.io", "v1", "roles", "Role")


Run = Callable[[Callable[[Client], Awaitable[Any]]], Any]
"""Runs a coroutine function of an administrator's client: what is made for several tests outlives a loop."""


class Account(msgspec.Struct, frozen=True):
    """`hubfleet` in a namespace of its own; what it needs in the cluster bears that namespace's name."""

    namespace: str
    kubeconfig: Path

    @property
    def username(self) -> str:
        return f"system:serviceaccount:{self.namespace}:hubfleet"


async def make(
    client: Client,
    kubeconfig: Path,
    context: str,
    directory: Path,
    *,
    own: Sequence[Rule] = rights.OWN,
    user: Sequence[Rule] = rights.USER,
    impersonator: Sequence[Rule] = rights.IMPERSONATOR,
    lease: Sequence[Rule] = rights.LEASE,
) -> Account:
    """As an administrator with the output of `hubfleet rbac --account`, and a token of the account.

    The ClusterRoles for users bear fixed names: what differs from the usual is for whoever uses them next.
    """
    name = f"hubfleet-test-{secrets.token_hex(4)}"
    subject = {"kind": "ServiceAccount", "namespace": name, "name": "hubfleet"}
    await client.create(
        NAMESPACES, None, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
    )
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "hubfleet"}}
    lease_binding = rights.binding("lease", subject, "lease", namespace=name, role_kind="Role")
    writes: list[tuple[Resource, str | None, dict[str, Any]]] = [
        (SERVICEACCOUNTS, name, account),
        (CLUSTERROLES, None, rights.cluster_role(name, own)),
        (CLUSTERROLES, None, rights.cluster_role(rights.USER_ROLE, user)),
        (CLUSTERROLES, None, rights.cluster_role(rights.IMPERSONATOR_ROLE, impersonator)),
        (CLUSTERROLEBINDINGS, None, rights.binding(name, subject, name)),
        (ROLES, name, rights.role(name, "lease", lease)),
        (ROLEBINDINGS, name, lease_binding),
    ]
    for resource, place, manifest in writes:
        await client.apply(resource, place, manifest)
    return Account(name, await _log_in(client, name, kubeconfig, context, directory))


async def remove(client: Client, account: Account) -> None:
    """All but the users' ClusterRoles, which others bind."""
    await client.delete(CLUSTERROLEBINDINGS, None, account.namespace)
    await client.delete(CLUSTERROLES, None, account.namespace)
    await client.delete(NAMESPACES, None, account.namespace)


async def _log_in(client: Client, namespace: str, kubeconfig: Path, context: str, directory: Path) -> Path:
    """The same cluster, with a token of the account."""
    tokens = Resource("", "v1", "serviceaccounts/hubfleet/token", "TokenRequest")
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    token = (await client.create(tokens, namespace, request))["status"]["token"]
    config = await asyncio.to_thread(lambda: yaml.safe_load(kubeconfig.read_text()))
    context = context or config["current-context"]
    (chosen,) = [each["context"] for each in config["contexts"] if each["name"] == context]
    (cluster,) = [each["cluster"] for each in config["clusters"] if each["name"] == chosen["cluster"]]
    path = directory / f"{namespace}.kubeconfig"
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "clusters": [{"name": "test", "cluster": cluster}],
        "users": [{"name": "test", "user": {"token": token}}],
        "contexts": [
            {"name": "test", "context": {"cluster": "test", "user": "test", "namespace": namespace}}
        ],
    }
    path.write_text(yaml.safe_dump(document))
    return path
