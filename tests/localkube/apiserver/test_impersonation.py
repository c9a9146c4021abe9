"""Acting as somebody else, and every way to be somebody whom one must not be."""

import http.client
import json
from typing import Any
from urllib.parse import urlsplit

import pytest
from tests.localkube.apiserver.access import Cluster, account, refused, rule, user

from localkube.apiserver.rbac import impersonation
from localkube.apiserver.rbac.authorizer import Authorizer
from localkube.apiserver.rbac.grants import Grants
from localkube.apiserver.registry import Registry
from localkube.apiserver.requests import User
from localkube.apiserver.status import StatusError

WHOAMI = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
MASTER = User("admin", ("system:masters",))


def impersonated(*headers: tuple[bytes, bytes]) -> User:
    return impersonation.impersonated(MASTER, headers, Authorizer(Grants(Registry().store)))


# what the headers say


def test_nobody_is_impersonated_unasked() -> None:
    assert impersonated((b"accept", b"*/*")) is MASTER
    assert impersonated((b"impersonate-user", b"")) is MASTER
    assert impersonated((b"impersonate_user", b"alice"), (b"x-impersonate-user", b"alice")) is MASTER


def test_an_impersonated_user_is_what_the_headers_say() -> None:
    assert impersonated(
        (b"impersonate-user", "ünal".encode()),
        (b"impersonate-group", b"a"),
        (b"impersonate-group", b" b "),
        (b"impersonate-extra-example.com%2fscopes", b"x"),
        (b"impersonate-extra-example.com%2fscopes", b"y"),
        (b"impersonate-extra-100%", b"z"),
        (b"impersonate-uid", b"7"),
    ) == User(
        "ünal",
        ("a", "b", "system:authenticated"),
        "7",
        {"example.com/scopes": ("x", "y"), "100%": ("z",)},
    )


def test_the_first_user_counts() -> None:
    assert impersonated((b"impersonate-user", b"a"), (b"impersonate-user", b"b")).name == "a"
    assert impersonated((b"impersonate-user", b""), (b"impersonate-user", b"b")) is MASTER


def test_a_service_account_is_in_the_groups_of_its_namespace() -> None:
    user = impersonated((b"impersonate-user", b"system:serviceaccount:ns:bot"))
    assert user.groups == ("system:serviceaccounts", "system:serviceaccounts:ns", "system:authenticated")


@pytest.mark.parametrize(
    ("name", "given", "groups"),
    [
        ("alice", [], ("system:authenticated",)),
        ("alice", ["system:authenticated", "g"], ("system:authenticated", "g")),
        ("alice", ["system:unauthenticated"], ("system:unauthenticated",)),
        ("system:anonymous", [], ("system:unauthenticated",)),
        ("system:anonymous", ["g"], ("g", "system:unauthenticated")),
        ("system:serviceaccount:n:b", ["g"], ("g", "system:authenticated")),
    ],
)
def test_whoever_is_known_is_in_the_group_of_the_known(
    name: str, given: list[str], groups: tuple[str, ...]
) -> None:
    headers = [(b"impersonate-group", group.encode()) for group in given]
    assert impersonated((b"impersonate-user", name.encode()), *headers).groups == groups


@pytest.mark.parametrize(
    ("header", "shown"),
    [
        (b"impersonate-group", "{Group  x    }"),
        (b"impersonate-uid", "{UID  x  authentication.k8s.io/v1  }"),
        (b"impersonate-extra-scopes", "{UserExtra  x  authentication.k8s.io/v1  scopes}"),
    ],
)
def test_there_is_no_group_without_a_user(header: bytes, shown: str) -> None:
    with pytest.raises(StatusError) as refusal:
        impersonated((header, b"x"))
    assert refusal.value.code == 400
    assert refusal.value.message == f"requested [{shown}] without impersonating a user"


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("system:serviceaccount:ns:bot", ("ns", "bot")),
        ("system:serviceaccount:ns:bot.x", ("ns", "bot.x")),
        ("system:serviceaccount:ns", None),
        ("system:serviceaccount:ns:", None),
        ("system:serviceaccount::bot", None),
        ("system:serviceaccount:ns:bot:x", None),
        ("system:serviceaccount:Ns:bot", None),
        ("system:serviceaccount:ns:Bot", None),
        ("System:serviceaccount:ns:bot", None),
        ("system:serviceaccount:ns:bot ", None),
    ],
)
def test_names_of_service_accounts(name: str, found: tuple[str, str] | None) -> None:
    assert impersonation.split_account(name) == found


# what is allowed, over HTTP: a broker that may be one account of one namespace


class Broker:
    """Sends raw headers, with the rights of the service account `broker`."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        cluster.account("broker")
        self._token = cluster.token("broker")

    def ask(self, *headers: tuple[str, str]) -> tuple[int, Any]:
        url = urlsplit(self.cluster.api.url)
        assert url.hostname is not None
        connection = http.client.HTTPConnection(url.hostname, url.port, timeout=20)
        try:
            connection.putrequest("POST", WHOAMI)
            for name, value in (("Authorization", f"Bearer {self._token}"), *headers):
                connection.putheader(name, value.encode())
            connection.putheader("Content-Type", "application/json")
            connection.putheader("Content-Length", "2")
            connection.endheaders(b"{}")
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        finally:
            connection.close()

    def became(self, *headers: tuple[str, str]) -> Any:
        code, body = self.ask(*headers)
        assert code == 201, body
        return body["status"]["userInfo"]

    def refused(self, *headers: tuple[str, str]) -> str:
        code, body = self.ask(*headers)
        assert (code, body["reason"]) == (403, "Forbidden"), body
        return str(body["message"])


@pytest.fixture
def broker(cluster: Cluster) -> Broker:
    made = Broker(cluster)
    cluster.account("hubfleet-user")
    cluster.grant("be", rule("impersonate", "serviceaccounts", "", "hubfleet-user"), to=account("broker"))
    return made


def name_of(broker: Broker, name: str = "hubfleet-user", namespace: str = "") -> str:
    return f"system:serviceaccount:{namespace or broker.cluster.name}:{name}"


def test_one_account_of_one_namespace(broker: Broker) -> None:
    namespace = broker.cluster.name
    info = broker.became(("Impersonate-User", name_of(broker)))
    assert info["username"] == name_of(broker)
    assert info["groups"] == [
        "system:serviceaccounts",
        f"system:serviceaccounts:{namespace}",
        "system:authenticated",
    ]
    assert broker.refused(("Impersonate-User", name_of(broker, "default"))) == (
        f'serviceaccounts "default" is forbidden: User "{name_of(broker, "broker")}" cannot impersonate '
        f'resource "serviceaccounts" in API group "" in the namespace "{namespace}"'
    )
    broker.refused(("Impersonate-User", name_of(broker, namespace="default")))
    assert broker.refused(("Impersonate-User", "alice")) == (
        f'users "alice" is forbidden: User "{name_of(broker, "broker")}" cannot impersonate resource "users" '
        'in API group "" at the cluster scope'
    )


@pytest.mark.parametrize(
    "header", ["Impersonate-User", "impersonate-user", "IMPERSONATE-USER", "iMpErSoNaTe-uSeR"]
)
def test_the_case_of_a_header_changes_nothing(broker: Broker, header: str) -> None:
    assert broker.became((header, name_of(broker)))["username"] == name_of(broker)
    broker.refused((header, "alice"))
    broker.refused((header, "system:admin"))


@pytest.mark.parametrize("group", ["system:masters", "SYSTEM:MASTERS", "team", ""])
def test_groups_are_asked_for_one_by_one(broker: Broker, group: str) -> None:
    message = broker.refused(("Impersonate-User", name_of(broker)), ("Impersonate-Group", group))
    assert 'cannot impersonate resource "groups" in API group "" at the cluster scope' in message


def test_a_group_hides_behind_no_other(broker: Broker) -> None:
    cluster = broker.cluster
    cluster.grant_everywhere(
        "g", rule("impersonate", "groups", "", "team"), to=account("broker", cluster.name)
    )
    me, team = ("Impersonate-User", name_of(broker)), ("Impersonate-Group", "team")
    assert broker.became(me, team)["groups"] == ["team", "system:authenticated"]
    for tricks in (
        (team, ("impersonate-group", "system:masters")),
        (("impersonate-group", "system:masters"), team),
        (team, ("IMPERSONATE-GROUP", "system:masters")),
        (("Impersonate-Group", "team, system:masters"),),
        (("Impersonate-Group", "team\tsystem:masters"),),
    ):
        broker.refused(me, *tricks)


def test_a_user_hides_behind_no_other(broker: Broker) -> None:
    me, admin = ("Impersonate-User", name_of(broker)), ("impersonate-user", "system:admin")
    assert broker.became(me, admin)["username"] == name_of(broker)
    broker.refused(admin, me)
    broker.refused(("Impersonate-User", f"{name_of(broker)}, system:admin"))
    # an empty name asks for nobody: what is done is done as oneself
    assert broker.became(("Impersonate-User", ""), admin)["username"] == name_of(broker, "broker")


def test_uid_and_extra_have_rights_of_their_own(broker: Broker) -> None:
    cluster = broker.cluster
    me = ("Impersonate-User", name_of(broker))
    assert broker.refused(me, ("Impersonate-Uid", "7")).startswith(
        'uids.authentication.k8s.io "7" is forbidden'
    )
    assert 'cannot impersonate resource "userextras/scopes" in API group "authentication.k8s.io"' in (
        broker.refused(me, ("Impersonate-Extra-Scopes", "all"))
    )
    rights = (
        rule("impersonate", "uids", "authentication.k8s.io", "7"),
        rule("impersonate", "userextras/scopes", "authentication.k8s.io", "some"),
    )
    cluster.grant_everywhere("extra", *rights, to=account("broker", cluster.name))
    info = broker.became(me, ("Impersonate-Uid", "7"), ("Impersonate-Extra-Scopes", "some"))
    assert (info["uid"], info["extra"]) == ("7", {"scopes": ["some"]})
    broker.refused(me, ("Impersonate-Uid", "8"))
    broker.refused(me, ("Impersonate-Extra-Scopes", "some"), ("Impersonate-Extra-Scopes", "all"))
    broker.refused(me, ("Impersonate-Extra-Other", "some"))


def test_what_is_no_account_name_is_a_user(broker: Broker) -> None:
    for name in (f"{name_of(broker)}:x", name_of(broker).upper(), "system:serviceaccount::hubfleet-user"):
        assert 'cannot impersonate resource "users"' in broker.refused(("Impersonate-User", name))


def test_the_rights_are_those_of_the_impersonated(broker: Broker) -> None:
    cluster = broker.cluster
    secrets = f"/api/v1/namespaces/{cluster.name}/secrets"
    cluster.grant("s", rule("list", "secrets"), to=account("broker"))
    token = cluster.token("broker")
    assert cluster.api.call("GET", secrets, token=token).code == 200
    refused(cluster.api.call("GET", secrets, token=token, headers={"Impersonate-User": name_of(broker)}))


def test_nobody_impersonates_without_the_right(cluster: Cluster) -> None:
    """Not even themselves."""
    me = cluster.account("plain")
    token = cluster.token("plain")
    for who in (me, "alice", "system:anonymous"):
        headers = {"Impersonate-User": who}
        refused(cluster.api.call("GET", "/api/v1/namespaces", token=token, headers=headers))
    refused(cluster.api.call("GET", "/version", token="", headers={"Impersonate-User": "alice"}))


def test_impersonate_does_not_follow_from_other_verbs(cluster: Cluster) -> None:
    me = cluster.account("strong")
    verbs = "get list watch create update patch delete deletecollection bind escalate"
    cluster.grant_everywhere("strong", rule(verbs, "*", "*"), to=user(me))
    headers = {"Impersonate-User": "alice"}
    refused(cluster.api.call("GET", "/version", token=cluster.token("strong"), headers=headers))
