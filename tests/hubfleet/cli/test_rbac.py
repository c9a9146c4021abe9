"""The rights that are printed: YAML that kubectl takes, each with its reason, and none that is not used."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from hubfleet.cli.rbac import document, own_rules, rbac
from hubfleet.settings import LocalQueueSettings, Settings, TenancySettings
from hubfleet.tenancy import rights
from hubfleet.tenancy.rights import guessed_plural, subject, without


def documents(settings: Settings | None = None, namespace: str = "", name: str = "") -> dict[str, Any]:
    text = document(settings or Settings(), namespace, name)
    return {f"{each['kind']}/{each['metadata']['name']}": each for each in yaml.safe_load_all(text)}


def tenancy(**fields: Any) -> Settings:
    return Settings(tenancy=TenancySettings(**fields))


def test_three_roles_and_nothing_else_without_an_account() -> None:
    assert set(documents()) == {
        "ClusterRole/hubfleet",
        "ClusterRole/hubfleet-user",
        "ClusterRole/hubfleet-impersonator",
    }


def test_what_is_printed_is_the_data() -> None:
    printed = documents()
    for name, rules in (
        ("hubfleet", rights.OWN),
        ("hubfleet-user", rights.USER),
        ("hubfleet-impersonator", rights.IMPERSONATOR),
    ):
        assert printed[f"ClusterRole/{name}"] == rights.cluster_role(name, rules)


def test_with_an_account_its_bindings() -> None:
    printed = documents(None, "hubfleet", "server")
    account = {"kind": "ServiceAccount", "namespace": "hubfleet", "name": "server"}
    assert printed["ServiceAccount/server"]["metadata"]["namespace"] == "hubfleet"
    for binding in ("ClusterRoleBinding/hubfleet", "RoleBinding/hubfleet-lease"):
        assert printed[binding]["subjects"] == [account]
    # Never cluster-wide: bound in users' namespaces, by hubfleet itself.
    bound = [each["roleRef"]["name"] for each in printed.values() if each["kind"] == "ClusterRoleBinding"]
    assert bound == ["hubfleet"]


def test_every_rule_says_why() -> None:
    lines = document(Settings(), "a", "b").splitlines()
    for number, line in enumerate(lines):
        if line.startswith("  - apiGroups"):
            assert lines[number - 1].lstrip().startswith("# ")


def test_no_rule_is_a_wildcard_and_no_secret_is_read_cluster_wide() -> None:
    everything = (*rights.OWN, *rights.QUEUES, *rights.USER, *rights.IMPERSONATOR, *rights.LEASE)
    for rule in everything:
        assert "*" not in (*rule.verbs, *rule.resources, rule.group)
    own = set(rights.rights(rights.OWN))
    assert not {r for r in own if r[2] in ("secrets", "configmaps", "pods/log", "serviceaccounts/token")}
    assert not {r for r in own if r[0] in ("impersonate", "escalate", "get") and r[2] != "namespaces"}


def test_without_impersonation_our_own_account_has_the_users_rights_and_binds_none() -> None:
    printed = documents(tenancy(impersonation="off"), "hubfleet", "server")
    assert "ClusterRole/hubfleet-impersonator" not in printed
    assert printed["ClusterRoleBinding/hubfleet-as-users"]["roleRef"]["name"] == "hubfleet-user"
    verbs = {verb for verb, _, _ in rights.rights(own_rules(tenancy(impersonation="off")))}
    assert "bind" not in verbs


def test_what_the_settings_add_needs_rights_too() -> None:
    kinds = (
        ("v1", "PersistentVolumeClaim"),
        ("networking.k8s.io/v1", "NetworkPolicy"),
        ("rbac.authorization.k8s.io/v1", "Role"),
    )
    manifests = tuple({"apiVersion": v, "kind": k, "metadata": {"name": "x"}} for v, k in kinds)
    settings = tenancy(manifests=manifests, local_queue=LocalQueueSettings(cluster_queue="q"))
    found = set(rights.rights(own_rules(settings))) - set(rights.rights(rights.OWN))
    assert found == {
        *((verb, "kueue.x-k8s.io", "localqueues") for verb in ("create", "patch", "delete")),
        *((verb, "", "persistentvolumeclaims") for verb in ("create", "patch")),
        *((verb, "rbac.authorization.k8s.io", "roles") for verb in ("create", "patch")),
    }
    assert "or the verb escalate on the role" in " ".join(document(settings).replace("#", "").split())


def test_a_right_can_be_taken_away_alone() -> None:
    everything = list(rights.rights(rights.USER))
    for verb, group, resource in everything:
        left = list(rights.rights(without(rights.USER, verb, group, resource)))
        assert sorted([*left, (verb, group, resource)]) == sorted(everything)


@pytest.mark.parametrize(
    ("username", "expected"),
    [
        (
            "system:serviceaccount:hubfleet:server",
            {"kind": "ServiceAccount", "namespace": "hubfleet", "name": "server"},
        ),
        (
            "kubernetes-admin",
            {"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "kubernetes-admin"},
        ),
        (
            "oidc:system:serviceaccount:a:b",
            {
                "kind": "User",
                "apiGroup": "rbac.authorization.k8s.io",
                "name": "oidc:system:serviceaccount:a:b",
            },
        ),
    ],
)
def test_who_a_binding_is_for(username: str, expected: dict[str, str]) -> None:
    assert subject(username) == expected


@pytest.mark.parametrize(
    ("kind", "plural"),
    [("Job", "jobs"), ("NetworkPolicy", "networkpolicies"), ("Ingress", "ingresses"), ("Quota", "quotas")],
)
def test_plurals_as_kubernetes_guesses_them(kind: str, plural: str) -> None:
    assert guessed_plural(kind) == plural


@pytest.mark.parametrize("account", ["server", "/server", "hubfleet/", "a/b/c"])
def test_an_account_needs_a_namespace_and_a_name(account: str) -> None:
    result = CliRunner().invoke(rbac, ["--account", account])
    assert result.exit_code == 2
    assert "expected NAMESPACE/NAME" in result.output


def test_the_command(tmp_path: Path) -> None:
    config = tmp_path / "hubfleet.yaml"
    config.write_text("tenancy: {local_queue: {cluster_queue: q}}\n")
    command = [str(Path(sys.executable).with_name("hubfleet")), "rbac", "--config", str(config)]
    output = subprocess.run([*command, "--account", "a/b"], capture_output=True, text=True, check=True).stdout
    assert output == document(tenancy(local_queue=LocalQueueSettings(cluster_queue="q")), "a", "b")
