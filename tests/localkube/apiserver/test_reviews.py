"""What the server says when it is asked who one is and what one may do."""

from typing import Any

import pytest
from tests.localkube.apiserver.access import Cluster, account, refused, rule, user

AUTHENTICATION = "/apis/authentication.k8s.io/v1"
AUTHORIZATION = "/apis/authorization.k8s.io/v1"


def may(cluster: Cluster, who: str, **attributes: str) -> Any:
    """The status of a SelfSubjectAccessReview."""
    body = {"spec": {"resourceAttributes": attributes}}
    answer = cluster.as_user(who, "POST", f"{AUTHORIZATION}/selfsubjectaccessreviews", body)
    assert answer.code == 201, answer.content
    return answer.body["status"]


def test_one_may_ask_for_oneself(cluster: Cluster) -> None:
    cluster.grant("r", rule("get", "pods/log"), to=user("alice"))
    pods = {"namespace": cluster.name, "resource": "pods", "verb": "get"}
    assert may(cluster, "alice", **pods, subresource="log") == {
        "allowed": True,
        "reason": f'RBAC: allowed by RoleBinding "r/{cluster.name}" of Role "r" to User "alice"',
    }
    assert may(cluster, "alice", **pods) == {"allowed": False}
    assert may(cluster, "bob", **pods, subresource="log") == {"allowed": False}


def test_one_may_ask_about_paths(cluster: Cluster) -> None:
    body = {"spec": {"nonResourceAttributes": {"path": "/api/v1", "verb": "get"}}}
    answer = cluster.as_user("alice", "POST", f"{AUTHORIZATION}/selfsubjectaccessreviews", body)
    assert answer.body["status"] == {
        "allowed": True,
        "reason": 'RBAC: allowed by ClusterRoleBinding "system:discovery" of ClusterRole "system:discovery" '
        'to Group "system:authenticated"',
    }


def test_a_question_about_no_path_is_not_one_about_objects(cluster: Cluster) -> None:
    cluster.grant("r", rule("*", "*", "*"), to=user("alice"))
    for attributes in ({"verb": "get"}, {"verb": "get", "path": "/metrics"}):
        body = {"spec": {"nonResourceAttributes": attributes}}
        answer = cluster.as_user("alice", "POST", f"{AUTHORIZATION}/selfsubjectaccessreviews", body)
        assert answer.body["status"] == {"allowed": False}


def test_what_cannot_be_evaluated_is_said(cluster: Cluster) -> None:
    cluster.bind("b", "lost", user("alice"))
    found = may(cluster, "alice", namespace=cluster.name, resource="pods", verb="get")
    assert found == {
        "allowed": False,
        "reason": 'RBAC: role.rbac.authorization.k8s.io "lost" not found',
    }


def test_the_admin_may_everything(cluster: Cluster) -> None:
    body = {"spec": {"resourceAttributes": {"verb": "fly", "resource": "pigs"}}}
    made = cluster.post(f"{AUTHORIZATION}/selfsubjectaccessreviews", body)
    assert made["status"]["allowed"] is True


def test_asking_about_others_is_a_right(cluster: Cluster) -> None:
    cluster.grant("r", rule("get", "pods"), to=account("bot"))
    attributes = {"namespace": cluster.name, "resource": "pods", "verb": "get"}
    body = {"spec": {"user": f"system:serviceaccount:{cluster.name}:bot", "resourceAttributes": attributes}}
    path = f"{AUTHORIZATION}/subjectaccessreviews"
    refused(cluster.as_user("alice", "POST", path, body))
    assert cluster.post(path, body)["status"] == {
        "allowed": True,
        "reason": f'RBAC: allowed by RoleBinding "r/{cluster.name}" of Role "r" to ServiceAccount '
        f'"bot/{cluster.name}"',
    }
    other = {"spec": {"user": "bob", "groups": ["system:masters"], "resourceAttributes": attributes}}
    assert cluster.post(path, other)["status"]["allowed"] is True


def test_a_local_review_stays_in_its_namespace(cluster: Cluster) -> None:
    path = f"{AUTHORIZATION}/namespaces/{cluster.name}/localsubjectaccessreviews"
    attributes = {"namespace": cluster.name, "resource": "pods", "verb": "get"}
    cluster.grant("r", rule("create", "localsubjectaccessreviews", "authorization.k8s.io"), to=user("alice"))
    body = {"spec": {"user": "bob", "resourceAttributes": attributes}}
    assert cluster.as_user("alice", "POST", path, body).body["status"] == {"allowed": False}
    body = {"spec": {"user": "bob", "resourceAttributes": {**attributes, "namespace": "default"}}}
    answer = cluster.as_user("alice", "POST", path, body)
    assert (answer.code, answer.body["details"]["causes"][0]["field"]) == (
        422,
        "spec.resourceAttributes.namespace",
    )
    assert cluster.api.call("POST", f"{AUTHORIZATION}/localsubjectaccessreviews", body).code == 405


@pytest.mark.parametrize(
    ("plural", "spec", "message"),
    [
        (
            "selfsubjectaccessreviews",
            {},
            "spec.resourceAttributes: Invalid value: null: exactly one of nonResourceAttributes or "
            "resourceAttributes must be specified",
        ),
        (
            "selfsubjectaccessreviews",
            {"resourceAttributes": {}, "nonResourceAttributes": {"verb": "get"}},
            "spec.nonResourceAttributes: Invalid value: "
            '{"verb":"get"}: cannot be specified in combination with resourceAttributes',
        ),
        (
            "subjectaccessreviews",
            {"resourceAttributes": {}},
            'spec.user: Invalid value: "": at least one of user or group must be specified',
        ),
    ],
)
def test_bad_questions(cluster: Cluster, plural: str, spec: Any, message: str) -> None:
    answer = cluster.api.call("POST", f"{AUTHORIZATION}/{plural}", {"spec": spec})
    assert answer.code == 422
    assert answer.body["message"].endswith(f' "" is invalid: {message}')


def test_all_rules_of_oneself(cluster: Cluster) -> None:
    cluster.grant("r", rule("get", "pods", "", "one"), to=user("alice"))
    path = f"{AUTHORIZATION}/selfsubjectrulesreviews"
    body = {"spec": {"namespace": cluster.name}}
    found = cluster.as_user("alice", "POST", path, body).body["status"]
    assert found["incomplete"] is False
    assert {
        "verbs": ["get"],
        "apiGroups": [""],
        "resources": ["pods"],
        "resourceNames": ["one"],
    } in found["resourceRules"]
    assert any("/healthz" in rule["nonResourceURLs"] for rule in found["nonResourceRules"])
    admin = cluster.post(path, body)["status"]["resourceRules"]
    assert {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]} in admin
    answer = cluster.api.call("POST", path, {"spec": {}})
    assert (answer.code, answer.body["message"]) == (400, "no namespace on request")


# tokens


def test_a_token_is_told_whose_it_is(cluster: Cluster) -> None:
    me = cluster.account("bot")
    path = f"{AUTHENTICATION}/tokenreviews"
    token = cluster.token("bot", audiences=["vault", "other"])
    found = cluster.post(path, {"spec": {"token": token, "audiences": ["vault", "third"]}})["status"]
    assert found["authenticated"] is True
    assert found["audiences"] == ["vault"]
    assert found["user"]["username"] == me
    for spec in ({"token": token}, {"token": token, "audiences": ["third"]}):
        status = cluster.post(path, {"spec": spec})["status"]
        assert "authenticated" not in status
        assert status["error"].startswith("[invalid bearer token, token audiences")
    refused(cluster.as_user("alice", "POST", path, {"spec": {"token": token}}))


def test_a_review_of_no_token(cluster: Cluster) -> None:
    answer = cluster.api.call("POST", f"{AUTHENTICATION}/tokenreviews", {"spec": {"token": ""}})
    assert (answer.code, answer.body["message"]) == (
        400,
        "token is required for TokenReview in authentication",
    )


def test_who_am_i(cluster: Cluster) -> None:
    found = cluster.as_user("alice", "POST", f"{AUTHENTICATION}/selfsubjectreviews", {}, groups="team")
    assert found.code == 201
    assert found.body["status"]["userInfo"] == {
        "username": "alice",
        "groups": ["team", "system:authenticated"],
    }
    assert refused(cluster.api.call("POST", f"{AUTHENTICATION}/selfsubjectreviews", {}, token="")) == (
        'selfsubjectreviews.authentication.k8s.io is forbidden: User "system:anonymous" cannot create '
        'resource "selfsubjectreviews" in API group "authentication.k8s.io" at the cluster scope'
    )


@pytest.mark.parametrize("method", ["GET", "DELETE", "PUT"])
def test_reviews_are_only_asked(cluster: Cluster, method: str) -> None:
    answer = cluster.api.call(method, f"{AUTHENTICATION}/tokenreviews", {} if method != "GET" else None)
    assert answer.code == 405
