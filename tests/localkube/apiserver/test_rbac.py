"""Who may do what, over HTTP: roles, bindings, what nobody may give away."""

import itertools
import time
from collections.abc import Iterator
from typing import Any

import pytest
from tests.localkube.apiserver.access import (
    RBAC,
    Cluster,
    account,
    binding_of,
    group,
    refused,
    role_of,
    rule,
    user,
)

ALICE = "alice"
CONFIGMAPS = "/api/v1/namespaces/{}/configmaps"


@pytest.fixture
def cleanup(cluster: Cluster) -> Iterator[None]:
    """Takes away what a test gave cluster-wide."""
    yield
    for plural in ("clusterroles", "clusterrolebindings"):
        for found in cluster.api.call("GET", f"{RBAC}/{plural}").body["items"]:
            name = found["metadata"]["name"]
            if name.startswith(cluster.name):
                cluster.api.call("DELETE", f"{RBAC}/{plural}/{name}")


# what a role allows


def test_verbs_are_told_apart(cluster: Cluster) -> None:
    cluster.grant("r", rule("get list", "configmaps"), to=user(ALICE))
    assert cluster.as_user(ALICE, "GET", CONFIGMAPS).code == 200
    assert cluster.as_user(ALICE, "GET", f"{CONFIGMAPS}/a").code == 404
    for method, path, verb in (
        ("GET", f"{CONFIGMAPS}?watch=1", "watch"),
        ("GET", f"{CONFIGMAPS}/a?watch=1", "watch"),
        ("POST", CONFIGMAPS, "create"),
        ("PUT", f"{CONFIGMAPS}/a", "update"),
        ("PATCH", f"{CONFIGMAPS}/a", "patch"),
        ("DELETE", f"{CONFIGMAPS}/a", "delete"),
        ("DELETE", CONFIGMAPS, "deletecollection"),
    ):
        message = refused(cluster.as_user(ALICE, method, path, {} if method != "GET" else None))
        assert f'User "alice" cannot {verb} resource "configmaps" in API group ""' in message


def test_a_role_ends_at_its_namespace(cluster: Cluster) -> None:
    cluster.grant("r", rule("get list", "configmaps"), to=user(ALICE))
    assert refused(cluster.as_user(ALICE, "GET", "/api/v1/namespaces/default/configmaps")) == (
        'configmaps is forbidden: User "alice" cannot list resource "configmaps" in API group "" in the '
        'namespace "default"'
    )
    assert refused(cluster.as_user(ALICE, "GET", "/api/v1/configmaps")).endswith("at the cluster scope")


def test_a_cluster_role_bound_in_a_namespace_counts_there_only(cluster: Cluster, cleanup: None) -> None:
    name = f"{cluster.name}-reader"
    cluster.post(f"{RBAC}/clusterroles", role_of(name, rule("list", "configmaps nodes")))
    cluster.bind("b", name, user(ALICE), kind="ClusterRole")
    assert cluster.as_user(ALICE, "GET", CONFIGMAPS).code == 200
    refused(cluster.as_user(ALICE, "GET", "/api/v1/namespaces/default/configmaps"))
    refused(cluster.as_user(ALICE, "GET", "/api/v1/nodes"))


def test_a_cluster_role_binding_counts_everywhere(cluster: Cluster, cleanup: None) -> None:
    cluster.grant_everywhere("reader", rule("list", "configmaps nodes"), to=user(f"{cluster.name}-u"))
    who = f"{cluster.name}-u"
    for path in (CONFIGMAPS, "/api/v1/configmaps", "/api/v1/nodes", "/api/v1/namespaces/default/configmaps"):
        assert cluster.as_user(who, "GET", path).code == 200
    refused(cluster.as_user(who, "GET", "/api/v1/namespaces/{}/secrets"))


def test_a_namespace_lies_in_itself(cluster: Cluster) -> None:
    cluster.grant("r", rule("get", "namespaces"), to=user(ALICE))
    assert cluster.as_user(ALICE, "GET", "/api/v1/namespaces/{}").code == 200
    assert refused(cluster.as_user(ALICE, "GET", "/api/v1/namespaces/default")) == (
        'namespaces "default" is forbidden: User "alice" cannot get resource "namespaces" in API group "" '
        'in the namespace "default"'
    )
    refused(cluster.as_user(ALICE, "GET", "/api/v1/namespaces"))


def test_names_that_a_field_selector_asks_for_are_names(cluster: Cluster) -> None:
    cluster.grant("r", rule("list watch", "configmaps", "", "one"), to=user(ALICE))
    selector = "?fieldSelector=metadata.name%3D"
    assert cluster.as_user(ALICE, "GET", f"{CONFIGMAPS}{selector}one").code == 200
    for query in ("", f"{selector}two", "?fieldSelector=metadata.name!%3Done", "?fieldSelector=nonsense"):
        refused(cluster.as_user(ALICE, "GET", f"{CONFIGMAPS}{query}"))
    found = cluster.as_user(ALICE, "GET", f"{CONFIGMAPS}{selector}one,metadata.name%3Dkube-root-ca.crt")
    assert found.body["items"] == []


def test_subresources_are_not_their_resource(cluster: Cluster) -> None:
    cluster.grant("r", rule("get patch update", "jobs", "batch"), rule("create", "*/token"), to=user(ALICE))
    cluster.account("bot")
    jobs = "/apis/batch/v1/namespaces/{}/jobs/j"
    assert cluster.as_user(ALICE, "GET", jobs).code == 404
    assert refused(cluster.as_user(ALICE, "GET", f"{jobs}/status")) == (
        'jobs.batch "j" is forbidden: User "alice" cannot get resource "jobs/status" in API group "batch" '
        f'in the namespace "{cluster.name}"'
    )
    token = "/api/v1/namespaces/{}/serviceaccounts/bot/token"
    assert cluster.as_user(ALICE, "POST", token, {}).code == 201
    refused(cluster.as_user(ALICE, "GET", "/api/v1/namespaces/{}/serviceaccounts/bot"))


def test_a_subresource_belongs_to_one_resource(cluster: Cluster) -> None:
    """Whoever may do everything with jobs cannot evict a pod by calling it one."""
    cluster.grant("r", rule("*", "*", "batch"), to=user(ALICE))
    pod = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    cluster.post(f"/api/v1/namespaces/{cluster.name}/pods", pod)
    for subresource in ("eviction", "binding", "token", "finalize"):
        path = f"/apis/batch/v1/namespaces/{{}}/jobs/p/{subresource}"
        assert cluster.as_user(ALICE, "POST", path, {}).code == 404
    refused(cluster.as_user(ALICE, "POST", "/api/v1/namespaces/{}/pods/p/eviction", {}))
    assert cluster.api.call("GET", f"/api/v1/namespaces/{cluster.name}/pods/p").code == 200


def test_a_namespace_is_made_at_the_cluster_scope(cluster: Cluster) -> None:
    cluster.grant("r", rule("create patch", "namespaces"), to=user(ALICE))
    kind = {"content_type": "application/apply-patch+yaml"}
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": cluster.name, "labels": {"a": "b"}}}
    path = "/api/v1/namespaces/{}?fieldManager=me"
    assert cluster.as_user(ALICE, "PATCH", path, body, **kind).code == 200
    refused(cluster.as_user(ALICE, "POST", "/api/v1/namespaces", body))


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/namespaces/{}/unicorns",
        "/apis/example.com/v1/things",
        "/api/v1/namespaces/{}/pods/p/exec",
        "/apis/apps/v1/deployments",
    ],
)
def test_nobody_learns_what_there_is_before_being_let_in(cluster: Cluster, path: str) -> None:
    refused(cluster.as_user(ALICE, "GET", path))


def test_paths_are_allowed_by_rules_of_their_own(cluster: Cluster, cleanup: None) -> None:
    who = f"{cluster.name}-u"
    assert cluster.as_user(who, "GET", "/api/v1").code == 200
    assert refused(cluster.as_user(who, "GET", "/metrics/<slis>")) == (
        f'forbidden: User "{who}" cannot get path "/metrics/&lt;slis&gt;"'
    )
    urls = {"verbs": ["get"], "nonResourceURLs": ["/metrics/*"]}
    cluster.grant_everywhere("urls", urls, to=user(who))
    assert cluster.as_user(who, "GET", "/metrics/x").code == 404
    refused(cluster.as_user(who, "GET", "/metrics"))


# whom a binding means


def test_service_accounts_are_meant_by_name_and_namespace(cluster: Cluster) -> None:
    cluster.role("r", rule("list", "configmaps"))
    cluster.bind("here", "r", account("bot"))
    cluster.bind("there", "r", account("guest", "default"))
    me = f"system:serviceaccount:{cluster.name}"
    assert cluster.as_user(f"{me}:bot", "GET", CONFIGMAPS).code == 200
    assert cluster.as_user("system:serviceaccount:default:guest", "GET", CONFIGMAPS).code == 200
    for other in (f"{me}:guest", "system:serviceaccount:default:bot", "bot"):
        refused(cluster.as_user(other, "GET", CONFIGMAPS))


def test_all_accounts_of_a_namespace_are_a_group(cluster: Cluster) -> None:
    cluster.grant("r", rule("list", "configmaps"), to=group(f"system:serviceaccounts:{cluster.name}"))
    assert cluster.as_user(f"system:serviceaccount:{cluster.name}:x", "GET", CONFIGMAPS).code == 200
    refused(cluster.as_user("system:serviceaccount:default:x", "GET", CONFIGMAPS))
    refused(cluster.as_user(ALICE, "GET", CONFIGMAPS))


def test_a_user_is_no_group(cluster: Cluster) -> None:
    cluster.grant("r", rule("list", "configmaps"), to=user("team"))
    refused(cluster.as_user(ALICE, "GET", CONFIGMAPS, groups="team"))
    cluster.grant("g", rule("list", "configmaps"), to=group("gang"))
    refused(cluster.as_user("gang", "GET", CONFIGMAPS))
    assert cluster.as_user(ALICE, "GET", CONFIGMAPS, groups="gang").code == 200


def test_a_role_that_is_missing_is_said(cluster: Cluster) -> None:
    cluster.bind("b", "lost", user(ALICE))
    cluster.bind("c", "lost-too", user(ALICE), kind="ClusterRole")
    assert refused(cluster.as_user(ALICE, "GET", CONFIGMAPS)).endswith(
        f'in the namespace "{cluster.name}": RBAC: [role.rbac.authorization.k8s.io "lost" not found, '
        'clusterrole.rbac.authorization.k8s.io "lost-too" not found]'
    )


# how it changes


def test_rights_come_and_go_at_once(cluster: Cluster) -> None:
    roles, bindings = (f"{RBAC}/namespaces/{cluster.name}/{plural}" for plural in ("roles", "rolebindings"))

    def may() -> bool:
        return cluster.as_user(ALICE, "GET", CONFIGMAPS).code == 200

    cluster.bind("b", "r", user(ALICE))
    assert not may()
    cluster.role("r", rule("list", "configmaps"))
    assert may()
    cluster.api.call("PUT", f"{roles}/r", role_of("r", rule("get", "configmaps")))
    assert not may()
    cluster.api.call("PUT", f"{roles}/r", role_of("r", rule("*", "*", "*")))
    assert may()
    cluster.api.call("PUT", f"{bindings}/b", binding_of("b", "r", user("bob")))
    assert not may()
    cluster.api.call("PUT", f"{bindings}/b", binding_of("b", "r", user("bob"), user(ALICE)))
    assert may()
    cluster.api.call("DELETE", f"{bindings}/b")
    assert not may()


def test_rights_end_with_their_namespace(cluster: Cluster) -> None:
    name = f"{cluster.name}-gone"
    cluster.post("/api/v1/namespaces", {"metadata": {"name": name}})
    cluster.role("r", rule("list", "configmaps"), namespace=name)
    cluster.bind("b", "r", user(ALICE), namespace=name)
    path = f"/api/v1/namespaces/{name}/configmaps"
    assert cluster.as_user(ALICE, "GET", path).code == 200
    cluster.api.call("DELETE", f"/api/v1/namespaces/{name}")
    deadline = time.monotonic() + 10
    while cluster.api.call("GET", f"/api/v1/namespaces/{name}").code != 404:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    refused(cluster.as_user(ALICE, "GET", path))


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_what_would_create_needs_the_right_to_create(cluster: Cluster, method: str) -> None:
    """An apply, or a PUT where that creates, asks for both rights; for what is there, for one."""
    leases = "/apis/coordination.k8s.io/v1/namespaces/{}/leases"
    body = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "l"}}
    path = f"{leases}/l" + ("?fieldManager=me" if method == "PATCH" else "")
    kind = {"content_type": "application/apply-patch+yaml"} if method == "PATCH" else {}
    cluster.grant("r", rule("update patch", "leases", "coordination.k8s.io"), to=user(ALICE))
    assert refused(cluster.as_user(ALICE, method, path, body, **kind)) == (
        'leases.coordination.k8s.io "l" is forbidden: User "alice" cannot create resource "leases" in API '
        f'group "coordination.k8s.io" in the namespace "{cluster.name}"'
    )
    cluster.grant("c", rule("create", "leases", "coordination.k8s.io"), to=user(ALICE))
    made = cluster.as_user(ALICE, method, path, body, **kind)
    assert made.code == 201
    cluster.api.call("DELETE", f"{RBAC}/namespaces/{cluster.name}/rolebindings/c")
    metadata = made.body["metadata"] if method == "PUT" else body["metadata"]
    body = {**body, "metadata": metadata, "spec": {"holderIdentity": "x"}}
    assert cluster.as_user(ALICE, method, path, body, **kind).code == 200


# nobody gives away what they do not have

WRITES_ROLES = rule("create update patch get", "roles rolebindings", "rbac.authorization.k8s.io")
ROLES = RBAC + "/namespaces/{}/roles"
BINDINGS = RBAC + "/namespaces/{}/rolebindings"


def test_a_role_needs_its_own_rights(cluster: Cluster) -> None:
    cluster.grant("writer", WRITES_ROLES, rule("get", "secrets", "", "one"), to=user(ALICE))
    wanted = role_of("r", rule("get list", "secrets"), rule("get", "secrets", "", "one"))
    assert refused(cluster.as_user(ALICE, "POST", ROLES, wanted)) == (
        'roles.rbac.authorization.k8s.io "r" is forbidden: user "alice" (groups=["system:authenticated"]) is '
        "attempting to grant RBAC permissions not currently held:\n"
        '{APIGroups:[""], Resources:["secrets"], Verbs:["get" "list"]}'
    )
    held = role_of("r", rule("get", "secrets", "", "one"))
    assert cluster.as_user(ALICE, "POST", ROLES, held).code == 201
    more = role_of("r", rule("get", "secrets", "", "one", "two"))
    refused(cluster.as_user(ALICE, "PUT", f"{ROLES}/r", more))
    patch: dict[str, Any] = {"rules": [rule("*", "*", "*")]}
    kind = {"content_type": "application/merge-patch+json"}
    refused(cluster.as_user(ALICE, "PATCH", f"{ROLES}/r", patch, **kind))
    applied = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", **patch}
    for name in ("r", "new"):
        body = {**applied, "metadata": {"name": name}}
        kind = {"content_type": "application/apply-patch+yaml"}
        refused(cluster.as_user(ALICE, "PATCH", f"{ROLES}/{name}?fieldManager=me&force=1", body, **kind))
    # what only lets the garbage collector work is no grant
    cluster.api.call("PUT", ROLES.format(cluster.name) + "/r", more)
    patch = {"metadata": {"finalizers": ["example.com/x"]}}
    kind = {"content_type": "application/merge-patch+json"}
    assert cluster.as_user(ALICE, "PATCH", f"{ROLES}/r", patch, **kind).code == 200
    patch = {"metadata": {"finalizers": None, "labels": {"a": "b"}}}
    refused(cluster.as_user(ALICE, "PATCH", f"{ROLES}/r", patch, **kind))
    cluster.api.call("PATCH", ROLES.format(cluster.name) + "/r", {"metadata": {"finalizers": None}}, **kind)


def test_escalate_allows_any_role(cluster: Cluster) -> None:
    cluster.grant("writer", WRITES_ROLES, to=user(ALICE))
    cluster.grant("e", rule("escalate", "roles", "rbac.authorization.k8s.io"), to=user(ALICE))
    assert cluster.as_user(ALICE, "POST", ROLES, role_of("r", rule("*", "*", "*"))).code == 201


def test_escalate_with_a_name_is_for_updates(cluster: Cluster) -> None:
    cluster.grant("writer", WRITES_ROLES, to=user(ALICE))
    cluster.grant("e", rule("escalate", "roles", "rbac.authorization.k8s.io", "r"), to=user(ALICE))
    refused(cluster.as_user(ALICE, "POST", ROLES, role_of("r", rule("*", "*", "*"))))
    cluster.role("r")
    assert cluster.as_user(ALICE, "PUT", f"{ROLES}/r", role_of("r", rule("*", "*", "*"))).code == 200


def test_a_binding_needs_the_rights_of_its_role(cluster: Cluster) -> None:
    cluster.grant("writer", WRITES_ROLES, to=user(ALICE))
    cluster.role("strong", rule("get", "secrets"))
    body = binding_of("b", "strong", user(ALICE))
    assert refused(cluster.as_user(ALICE, "POST", BINDINGS, body)) == (
        'rolebindings.rbac.authorization.k8s.io "b" is forbidden: user "alice" '
        '(groups=["system:authenticated"]) is attempting to grant RBAC permissions not currently held:\n'
        '{APIGroups:[""], Resources:["secrets"], Verbs:["get"]}'
    )
    cluster.grant("held", rule("get", "*"), to=user(ALICE))
    assert cluster.as_user(ALICE, "POST", BINDINGS, body).code == 201
    lost = cluster.as_user(ALICE, "POST", BINDINGS, binding_of("c", "lost", user(ALICE)))
    assert (lost.code, lost.body["message"]) == (404, 'roles.rbac.authorization.k8s.io "lost" not found')


def test_bind_allows_to_bind_the_roles_that_it_names(cluster: Cluster) -> None:
    cluster.grant("writer", WRITES_ROLES, to=user(ALICE))
    cluster.grant("b", rule("bind", "clusterroles", "rbac.authorization.k8s.io", "edit"), to=user(ALICE))
    made = binding_of("mine", "edit", user(ALICE), kind="ClusterRole")
    assert cluster.as_user(ALICE, "POST", BINDINGS, made).code == 201
    refused(
        cluster.as_user(ALICE, "POST", BINDINGS, binding_of("x", "admin", user(ALICE), kind="ClusterRole"))
    )
    cluster.role("edit", rule("*", "*", "*"))
    refused(cluster.as_user(ALICE, "POST", BINDINGS, binding_of("x", "edit", user(ALICE))))
    elsewhere = f"{RBAC}/clusterrolebindings"
    refused(cluster.as_user(ALICE, "POST", elsewhere, {**made, "metadata": {"name": cluster.name}}))


def test_aggregation_is_for_cluster_admins(cluster: Cluster, cleanup: None) -> None:
    who = f"{cluster.name}-u"
    mine = rule("*", "clusterroles", "rbac.authorization.k8s.io")
    mine["verbs"] = ["create", "update"]
    cluster.grant_everywhere("writer", mine, to=user(who))
    body = {
        "metadata": {"name": f"{cluster.name}-agg"},
        "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"a": "b"}}]},
    }
    assert refused(cluster.as_user(who, "POST", f"{RBAC}/clusterroles", body)) == (
        f'clusterroles.rbac.authorization.k8s.io "{cluster.name}-agg" is forbidden: must have cluster-admin '
        "privileges to use an aggregationRule"
    )


# objects


def test_aggregated_roles_take_rules_in(cluster: Cluster, cleanup: None) -> None:
    label = {f"example.com/{cluster.name}": "true"}
    path = f"{RBAC}/clusterroles"
    cluster.post(
        path,
        {
            "metadata": {"name": f"{cluster.name}-all"},
            "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": label}]},
        },
    )
    names = [f"{cluster.name}-{number}" for number in range(2)]
    for name, verb in zip(names, ("get", "list"), strict=True):
        body = role_of(name, rule(verb, "things", "example.com"))
        cluster.post(path, {**body, "metadata": {"name": name, "labels": label}})

    def until(verbs: list[str]) -> None:
        deadline = time.monotonic() + 10
        while True:
            rules = cluster.api.call("GET", f"{path}/{cluster.name}-all").body["rules"] or []
            if list(itertools.chain(*(r["verbs"] for r in rules))) == verbs:
                return
            assert time.monotonic() < deadline, rules
            time.sleep(0.02)

    until(["get", "list"])
    cluster.api.call("DELETE", f"{path}/{names[0]}")
    until(["list"])


def test_the_usual_roles_are_there(cluster: Cluster) -> None:
    found = {r["metadata"]["name"]: r for r in cluster.api.call("GET", f"{RBAC}/clusterroles").body["items"]}
    assert {"cluster-admin", "admin", "edit", "view", "system:discovery", "system:basic-user"} <= set(found)
    for role in found.values():
        if not role["metadata"]["name"].startswith("t-"):
            assert role["metadata"]["labels"]["kubernetes.io/bootstrapping"] == "rbac-defaults"
    cluster.bind("b", "edit", user("editor"), kind="ClusterRole")
    cluster.bind("v", "view", user("viewer"), kind="ClusterRole")
    assert cluster.as_user("editor", "POST", CONFIGMAPS, {"metadata": {"name": "a"}}).code == 201
    assert cluster.as_user("editor", "GET", "/api/v1/namespaces/{}/secrets").code == 200
    refused(cluster.as_user("editor", "GET", ROLES))
    assert cluster.as_user("viewer", "GET", CONFIGMAPS).code == 200
    refused(cluster.as_user("viewer", "GET", "/api/v1/namespaces/{}/secrets"))
    refused(cluster.as_user("viewer", "DELETE", f"{CONFIGMAPS}/a"))


def test_bindings_are_shown_as_kubectl_shows_them(cluster: Cluster) -> None:
    cluster.bind("b", "r", user("u"), user("v"), group("g"), account("s", "n"))
    accept = "application/json;as=Table;v=v1;g=meta.k8s.io"
    path = f"{RBAC}/namespaces/{cluster.name}/rolebindings"
    table = cluster.api.call("GET", path, headers={"Accept": accept}).body
    names = [column["name"] for column in table["columnDefinitions"]]
    assert names == ["Name", "Role", "Age", "Users", "Groups", "ServiceAccounts"]
    cells = table["rows"][0]["cells"]
    assert [*cells[:2], *cells[3:]] == ["b", "Role/r", "u, v", "g", "n/s"]


def test_what_is_left_out_is_filled_in(cluster: Cluster) -> None:
    path = f"{RBAC}/namespaces/{cluster.name}"
    made = cluster.post(
        f"{path}/rolebindings",
        {
            "metadata": {"name": "b"},
            "roleRef": {"kind": "Role", "name": "r"},
            "subjects": [{"kind": "User", "name": "u"}, {"kind": "ServiceAccount", "name": "s"}],
        },
    )
    assert made["roleRef"]["apiGroup"] == "rbac.authorization.k8s.io"
    assert made["subjects"] == [
        {"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "u"},
        {"kind": "ServiceAccount", "name": "s"},
    ]
    assert cluster.post(f"{path}/roles", {"metadata": {"name": "r:x"}})["rules"] is None


@pytest.mark.parametrize(
    ("plural", "body", "problems"),
    [
        (
            "roles",
            {"rules": [{}]},
            [
                "rules[0].verbs: Required value: verbs must contain at least one value",
                "rules[0].apiGroups: Required value: resource rules must supply at least one api group",
                "rules[0].resources: Required value: resource rules must supply at least one resource",
            ],
        ),
        (
            "roles",
            {"rules": [{"verbs": ["get"], "nonResourceURLs": ["/x"], "resources": ["y"]}]},
            [
                'rules[0].nonResourceURLs: Invalid value: ["/x"]: namespaced rules cannot apply to '
                "non-resource URLs",
                'rules[0].nonResourceURLs: Invalid value: ["/x"]: rules cannot apply to both regular '
                "resources and non-resource URLs",
            ],
        ),
        (
            "rolebindings",
            {"roleRef": {"apiGroup": "x", "kind": "Group", "name": "a/b"}},
            [
                'roleRef.apiGroup: Unsupported value: "x": supported values: "rbac.authorization.k8s.io"',
                'roleRef.kind: Unsupported value: "Group": supported values: "Role", "ClusterRole"',
                "roleRef.name: Invalid value: \"a/b\": may not contain '/'",
            ],
        ),
        (
            "rolebindings",
            {
                "roleRef": {"kind": "Role", "name": "r"},
                "subjects": [
                    {"kind": "User", "name": "", "apiGroup": "x"},
                    {"kind": "ServiceAccount", "name": "Bot", "apiGroup": "x"},
                    {"kind": "Robot", "name": "r"},
                ],
            },
            [
                "subjects[0].name: Required value",
                'subjects[0].apiGroup: Unsupported value: "x": supported values: "rbac.authorization.k8s.io"',
                'subjects[1].name: Invalid value: "Bot": a lowercase RFC 1123 subdomain must consist of '
                "lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric "
                "character (e.g. 'example.com', regex used for validation is "
                "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
                'subjects[1].apiGroup: Unsupported value: "x": supported values: ""',
                'subjects[2].kind: Unsupported value: "Robot": supported values: "ServiceAccount", "User", '
                '"Group"',
            ],
        ),
        (
            "clusterrolebindings",
            {
                "roleRef": {"kind": "Role", "name": "r"},
                "subjects": [{"kind": "ServiceAccount", "name": "bot"}],
            },
            [
                'roleRef.kind: Unsupported value: "Role": supported values: "ClusterRole"',
                "subjects[0].namespace: Required value",
            ],
        ),
        (
            "clusterroles",
            {"aggregationRule": {}},
            [
                "aggregationRule.clusterRoleSelectors: Required value: at least one clusterRoleSelector "
                "required if aggregationRule is non-nil"
            ],
        ),
    ],
)
def test_bad_objects_are_refused(
    cluster: Cluster, plural: str, body: dict[str, Any], problems: list[str]
) -> None:
    scope = "" if plural.startswith("cluster") else f"/namespaces/{cluster.name}"
    answer = cluster.api.call("POST", f"{RBAC}{scope}/{plural}", {**body, "metadata": {"name": "bad"}})
    assert answer.code == 422
    assert [f"{c['field']}: {c['message']}" for c in answer.body["details"]["causes"]] == problems
