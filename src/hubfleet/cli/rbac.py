"""`hubfleet rbac`: the rights that hubfleet needs on a cluster, as YAML for `kubectl apply -f -`."""

import textwrap
from collections.abc import Iterable, Mapping
from typing import Any

import click
import yaml

from hubfleet.cli.settings import config_option, readable_errors
from hubfleet.settings import Settings, read
from hubfleet.tenancy import rights
from hubfleet.tenancy.rights import Rule

COMMENT_WIDTH = 100

_ESCALATING = ("Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding")


@click.command()
@config_option
@click.option(
    "--account",
    metavar="NAMESPACE/NAME",
    help="The ServiceAccount that hubfleet runs as: it is made, and gets the rights.",
)
def rbac(*, config: str | None, account: str | None) -> None:
    """Print the rights that hubfleet needs on each cluster, as YAML for kubectl."""
    namespace, slash, name = (account or "").partition("/")
    if account is not None and not (namespace and slash and name and "/" not in name):
        raise click.BadParameter("expected NAMESPACE/NAME", param_hint="--account")
    with readable_errors():
        settings = read(config)
    click.echo(document(settings, namespace, name), nl=False)


def document(settings: Settings, namespace: str = "", name: str = "") -> str:
    """The YAML documents; with an account, the account and its bindings too."""
    parts = [
        _commented(rights.cluster_role(rights.OWN_ROLE, ()), own_rules(settings), OWN_INTRODUCTION),
        _commented(rights.cluster_role(rights.USER_ROLE, ()), rights.USER, USER_INTRODUCTION),
    ]
    if settings.tenancy.impersonation != "off":
        role = rights.cluster_role(rights.IMPERSONATOR_ROLE, ())
        parts.append(_commented(role, rights.IMPERSONATOR, IMPERSONATOR_INTRODUCTION))
    if name:
        subject = {"kind": "ServiceAccount", "namespace": namespace, "name": name}
        account = {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": name, "namespace": namespace},
        }
        lease = rights.role(namespace, rights.LEASE_ROLE, ())
        bindings = [rights.binding(rights.OWN_ROLE, subject, rights.OWN_ROLE)]
        if settings.tenancy.impersonation == "off":
            bindings.append(rights.binding(f"{rights.OWN_ROLE}-as-users", subject, rights.USER_ROLE))
        parts += [_yaml(account), *map(_yaml, bindings), _commented(lease, rights.LEASE, "")]
        parts.append(
            _yaml(
                rights.binding(
                    rights.LEASE_ROLE, subject, rights.LEASE_ROLE, namespace=namespace, role_kind="Role"
                )
            )
        )
    return "---\n".join(parts)


def own_rules(settings: Settings) -> tuple[Rule, ...]:
    """Our own account's rules with these settings: what is not used is not asked for."""
    rules = list(rights.OWN)
    if settings.tenancy.impersonation == "off":
        acting = ("rolebindings", "clusterroles")
        rules = [rule for rule in rules if not set(rule.resources) & set(acting)]
    if settings.tenancy.local_queue.cluster_queue:
        rules += rights.QUEUES
    return (*rules, *manifest_rules(settings.tenancy.manifests))


def manifest_rules(manifests: Iterable[Mapping[str, Any]]) -> tuple[Rule, ...]:
    """For `tenancy.manifests`: one rule for each kind. The plural is a guess by Kubernetes' own rule."""
    rules: dict[tuple[str, str], Rule] = {}
    for manifest in manifests:
        kind, group = manifest["kind"], manifest["apiVersion"].rpartition("/")[0]
        plural = rights.guessed_plural(kind)
        why = f"tenancy.manifests: {kind}"
        verbs: tuple[str, ...] = ("create", "patch")
        if group == rights.RBAC and kind in _ESCALATING:
            escalation = "bind" if kind.endswith("Binding") else "escalate"
            why += (
                ". Kubernetes lets nobody grant what they lack: give hubfleet's account the rights in it, "
                f"too, or the verb {escalation} on the role, with its resourceNames"
            )
        rules[group, plural] = Rule(why, group, (plural,), verbs)
    return tuple(rules.values())


OWN_INTRODUCTION = (
    "hubfleet's own account, on the whole cluster: users' namespaces come and go, and RBAC knows no pattern "
    "for their names. So whoever steals this account can give themselves the rights of hubfleet-user in any "
    "namespace, and relabel it: guard its token as an administrator's."
)
USER_INTRODUCTION = "What a user may do in their own namespace; bound there, to the account hubfleet-user."
IMPERSONATOR_INTRODUCTION = (
    "What lets hubfleet act as a user; bound to its own account inside each user's namespace, so that it can "
    "be the account hubfleet-user of that namespace, and nobody else anywhere."
)


def _commented(role: dict[str, Any], rules: Iterable[Rule], introduction: str) -> str:
    head = {key: value for key, value in role.items() if key != "rules"}
    body = "".join(_rule(rule) for rule in rules)
    return f"{_comment(introduction, '')}{_yaml(head)}rules:\n{body}"


def _rule(rule: Rule) -> str:
    lines = [f"{key}: {_flow(value)}" for key, value in rule.manifest.items()]
    indented = "\n    ".join(lines)
    return f"{_comment(rule.why, '  ')}  - {indented}\n"


def _flow(values: Any) -> str:
    return str(yaml.safe_dump(values, default_flow_style=True, width=10_000)).strip()


def _comment(text: str, indent: str) -> str:
    lines = textwrap.wrap(text, COMMENT_WIDTH - len(indent))
    return "".join(f"{indent}# {line}\n" for line in lines)


def _yaml(document: Mapping[str, Any]) -> str:
    return str(yaml.safe_dump(dict(document), sort_keys=False))
