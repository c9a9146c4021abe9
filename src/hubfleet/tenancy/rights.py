"""The rights that hubfleet works with, verb by verb, each with its reason: data for RBAC, tests and people.

Three ClusterRoles. `hubfleet` is our own account's, and the only one that is bound for a whole cluster.
`hubfleet-user` is what a user may do in their own namespace, `hubfleet-impersonator` lets our account act as
the user's: both are bound by RoleBindings, inside users' namespaces only, so that exactly one account of
exactly these namespaces can be impersonated. Roles in each namespace would say the same, but to write a Role
one needs every right in it, or `escalate`; to bind these two ClusterRoles, only `bind` on their two names.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

OWN_ROLE = "hubfleet"
USER_ROLE = "hubfleet-user"
IMPERSONATOR_ROLE = "hubfleet-impersonator"
LEASE_ROLE = "hubfleet-lease"

USER_ACCOUNT = "hubfleet-user"
"""The ServiceAccount in each user's namespace: the user's identity on the cluster. It has no token."""

RBAC = "rbac.authorization.k8s.io"


class Rule(msgspec.Struct, frozen=True):
    """One PolicyRule; `group` is "" for the core API, `names` are resourceNames, () is all."""

    why: str
    group: str
    resources: tuple[str, ...]
    verbs: tuple[str, ...]
    names: tuple[str, ...] = ()

    @property
    def manifest(self) -> dict[str, Any]:
        rule = {"apiGroups": [self.group], "resources": list(self.resources), "verbs": list(self.verbs)}
        return {**rule, "resourceNames": list(self.names)} if self.names else rule


Rules = tuple[Rule, ...]

_READ = ("get", "list", "watch")

OWN: Rules = (
    Rule(
        "Users' namespaces: get, list and watch, to see whose one is before each use; create and patch, to "
        "make and to label one",
        "",
        ("namespaces",),
        (*_READ, "create", "patch"),
    ),
    Rule(
        "What users' lists are answered from, without asking the API server each time",
        "batch",
        ("jobs", "cronjobs"),
        ("list", "watch"),
    ),
    Rule("As above. (Not their logs, and no Secret and no ConfigMap.)", "", ("pods",), ("list", "watch")),
    Rule(
        "In each user's namespace: the user's identity, and `default` without a token",
        "",
        ("serviceaccounts",),
        ("create", "patch"),
    ),
    Rule(
        "In each user's namespace: the user's rights there, and ours to act as the user",
        RBAC,
        ("rolebindings",),
        ("create", "patch"),
    ),
    Rule(
        "These two and no other can be bound; it spares us the rights that they give",
        RBAC,
        ("clusterroles",),
        ("bind",),
        (USER_ROLE, IMPERSONATOR_ROLE),
    ),
    Rule(
        "In each user's namespace: tenancy.quota, quotas of 0 pods for what nobody may have, tenancy.limits; "
        "delete, when the settings have none any more",
        "",
        ("resourcequotas", "limitranges"),
        ("create", "patch", "delete"),
    ),
    Rule(
        "In each user's namespace: who may speak with whom; delete, when the settings switch it off",
        "networking.k8s.io",
        ("networkpolicies",),
        ("create", "patch", "delete"),
    ),
    Rule(
        "Which one is the cluster's default: every pod has that, so the quota must let it pass",
        "scheduling.k8s.io",
        ("priorityclasses",),
        ("list",),
    ),
)
"""Our own account's, cluster-wide, for users' namespaces come and go."""

QUEUES: Rules = (
    Rule(
        "In each user's namespace: tenancy.local_queue",
        "kueue.x-k8s.io",
        ("localqueues",),
        ("create", "patch", "delete"),
    ),
)
"""Our own account's, where `tenancy.local_queue` is used."""

USER: Rules = (
    Rule(
        "Batch jobs: submit, delete, and look at one that our own account has not heard of yet",
        "batch",
        ("jobs", "cronjobs"),
        ("get", "create", "delete"),
    ),
    Rule("As above, for a job's pods; none is made but by a job", "", ("pods",), ("get",)),
    Rule("Logs", "", ("pods/log",), ("get",)),
    Rule("Why a job has no pod, such as a full quota", "", ("events",), ("list",)),
    Rule(
        "A job's environment and code. patch gives them to the job that they are for; get and delete take "
        "them back when it could not be made; with list, the controller finds those of submissions that died",
        "",
        ("secrets", "configmaps"),
        ("get", "list", "create", "patch", "delete"),
    ),
)
"""A user's, in their own namespace. Nothing that the tenancy rests on: no quota, policy, account or right."""

IMPERSONATOR: Rules = (
    Rule(
        "To act as the user of the namespace in which this is bound, and as nobody else",
        "",
        ("serviceaccounts",),
        ("impersonate",),
        (USER_ACCOUNT,),
    ),
)

LEASE: Rules = (
    Rule(
        "`hubfleet controller`: of several, one works at a time",
        "coordination.k8s.io",
        ("leases",),
        ("get", "create", "patch"),
    ),
)
"""Our own account's, in the namespace that it lives in."""


def rights(rules: Sequence[Rule]) -> Iterator[tuple[str, str, str]]:
    """Every single right: (verb, group, resource)."""
    for rule in rules:
        for resource in rule.resources:
            for verb in rule.verbs:
                yield verb, rule.group, resource


def without(rules: Sequence[Rule], verb: str, group: str, resource: str) -> Rules:
    """The rules with that one right taken away."""
    left: list[Rule] = []
    for rule in rules:
        if rule.group != group or resource not in rule.resources or verb not in rule.verbs:
            left.append(rule)
            continue
        others = tuple(r for r in rule.resources if r != resource)
        verbs = tuple(v for v in rule.verbs if v != verb)
        if others:
            left.append(msgspec.structs.replace(rule, resources=others))
        if verbs:
            left.append(msgspec.structs.replace(rule, resources=(resource,), verbs=verbs))
    return tuple(left)


def cluster_role(name: str, rules: Sequence[Rule]) -> dict[str, Any]:
    return {
        "apiVersion": f"{RBAC}/v1",
        "kind": "ClusterRole",
        "metadata": {"name": name},
        "rules": [rule.manifest for rule in rules],
    }


def role(namespace: str, name: str, rules: Sequence[Rule]) -> dict[str, Any]:
    return {
        "apiVersion": f"{RBAC}/v1",
        "kind": "Role",
        "metadata": {"name": name, "namespace": namespace},
        "rules": [rule.manifest for rule in rules],
    }


def binding(
    name: str, subject: dict[str, Any], role: str, *, namespace: str = "", role_kind: str = "ClusterRole"
) -> dict[str, Any]:
    """A RoleBinding in `namespace`; without one, a ClusterRoleBinding."""
    return {
        "apiVersion": f"{RBAC}/v1",
        "kind": "RoleBinding" if namespace else "ClusterRoleBinding",
        "metadata": {"name": name, **({"namespace": namespace} if namespace else {})},
        "roleRef": {"apiGroup": RBAC, "kind": role_kind, "name": role},
        "subjects": [subject],
    }


def subject(username: str) -> dict[str, Any]:
    """The subject of a binding for an account as the API server calls it."""
    prefix, _, account = username.rpartition("system:serviceaccount:")
    namespace, colon, name = account.partition(":")
    if username.startswith("system:serviceaccount:") and not prefix and colon:
        return {"kind": "ServiceAccount", "namespace": namespace, "name": name}
    return {"kind": "User", "apiGroup": RBAC, "name": username}


def guessed_plural(kind: str) -> str:
    """The resource of a kind by Kubernetes' own rule of thumb (`meta.UnsafeGuessKindToResource`)."""
    word = kind.lower()
    if word.endswith("s"):
        return f"{word}es"
    return f"{word[:-1]}ies" if word.endswith("y") else f"{word}s"
