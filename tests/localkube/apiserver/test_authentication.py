"""Who is let in: tokens of service accounts, of nobody, of somebody who is gone."""

import base64
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.localkube.apiserver.access import Cluster, refused
from tests.localkube.conftest import Localkube

from localkube.apiserver.authentication import ADMIN, NOBODY, Authenticator, bearer_token
from localkube.apiserver.registry import Registry
from localkube.apiserver.status import StatusError
from localkube.apiserver.tokens import AUDIENCES, ISSUER, Invalid, Signer, Tokens

START = datetime(2026, 1, 1, tzinfo=UTC)
WHOAMI = "/apis/authentication.k8s.io/v1/selfsubjectreviews"


def claims_of(token: str) -> Any:
    payload = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))


def whoami(cluster: Cluster, token: str) -> Any:
    return cluster.post(WHOAMI, {}, token=token)["status"]["userInfo"]


# without a token


def test_nobody_is_anonymous_and_may_ask_for_health_only(cluster: Cluster) -> None:
    for path in ("/healthz", "/livez", "/readyz", "/version"):
        assert cluster.api.call("GET", path, token="").code == 200
    assert refused(cluster.api.call("GET", "/apis", token="")) == (
        'forbidden: User "system:anonymous" cannot get path "/apis"'
    )
    assert refused(cluster.api.call("GET", "/api/v1/namespaces/default", token="")) == (
        'namespaces "default" is forbidden: User "system:anonymous" cannot get resource "namespaces" in API '
        'group "" in the namespace "default"'
    )


@pytest.mark.parametrize("path", ["/healthz", "/version", "/api/v1/namespaces", "/nothing"])
def test_a_token_that_is_not_good_is_worse_than_none(cluster: Cluster, path: str) -> None:
    answer = cluster.api.call("GET", path, token="wrong")
    assert (answer.code, answer.body["reason"], answer.body["message"]) == (
        401,
        "Unauthorized",
        "Unauthorized",
    )


@pytest.mark.parametrize(
    ("header", "token"),
    [
        (b"Bearer abc", "abc"),
        (b"bearer abc", "abc"),
        (b"  BEARER abc  ", "abc"),
        (b"Bearer abc def", "abc"),
        (b"Bearer  abc", ""),
        (b"Bearer", ""),
        (b"Basic abc", ""),
        (b"abc", ""),
        (b"", ""),
    ],
)
def test_what_an_authorization_header_holds(header: bytes, token: str) -> None:
    assert bearer_token([(b"accept", b"*/*"), (b"authorization", header)]) == token


def test_the_first_authorization_counts() -> None:
    headers = [(b"authorization", b"Bearer a"), (b"authorization", b"Bearer b")]
    assert bearer_token(headers) == "a"


# tokens of service accounts, over HTTP


def test_a_token_is_its_account(cluster: Cluster) -> None:
    me = cluster.account("bot")
    path = f"/api/v1/namespaces/{cluster.name}/serviceaccounts/bot"
    uid = cluster.api.call("GET", path).body["metadata"]["uid"]
    before = datetime.now(UTC)
    request = cluster.post(f"{path}/token", {"spec": {"expirationSeconds": 1200}})
    assert request["kind"] == "TokenRequest"
    assert request["metadata"]["name"] == "bot"
    assert request["spec"] == {
        "audiences": list(AUDIENCES),
        "expirationSeconds": 1200,
        "boundObjectRef": None,
    }
    expires = datetime.fromisoformat(request["status"]["expirationTimestamp"])
    assert abs((expires - before).total_seconds() - 1200) < 60
    claims = claims_of(request["status"]["token"])
    assert claims["sub"] == me
    assert claims["iss"] == ISSUER
    assert claims["aud"] == list(AUDIENCES)
    assert claims["exp"] - claims["iat"] == 1200
    assert claims["kubernetes.io"] == {
        "namespace": cluster.name,
        "serviceaccount": {"name": "bot", "uid": uid},
    }
    info = whoami(cluster, request["status"]["token"])
    assert info == {
        "username": me,
        "uid": uid,
        "groups": [
            "system:serviceaccounts",
            f"system:serviceaccounts:{cluster.name}",
            "system:authenticated",
        ],
        "extra": {"authentication.kubernetes.io/credential-id": [f"JTI={claims['jti']}"]},
    }


def test_a_token_of_an_account_can_do_nothing_by_itself(cluster: Cluster) -> None:
    cluster.account("bot")
    token = cluster.token("bot")
    refused(cluster.api.call("GET", f"/api/v1/namespaces/{cluster.name}/configmaps", token=token))
    assert cluster.api.call("GET", "/api", token=token).code == 200


def test_a_token_ends_with_its_account(cluster: Cluster) -> None:
    cluster.account("bot")
    token = cluster.token("bot")
    path = f"/api/v1/namespaces/{cluster.name}/serviceaccounts/bot"
    cluster.api.call("DELETE", path)
    assert cluster.api.call("GET", "/version", token=token).code == 401
    cluster.account("bot")
    # another account of the same name
    assert cluster.api.call("GET", "/version", token=token).code == 401
    assert cluster.api.call("GET", "/version", token=cluster.token("bot")).code == 200


def pod_of(cluster: Cluster, name: str, account: str = "default") -> Any:
    spec = {
        "serviceAccountName": account,
        "nodeSelector": {"never": "true"},
        "containers": [{"name": "c", "image": "busybox"}],
    }
    path = f"/api/v1/namespaces/{cluster.name}/pods"
    return cluster.post(path, {"metadata": {"name": name}, "spec": spec})


def test_a_token_ends_with_its_pod(cluster: Cluster) -> None:
    cluster.account("bot")
    pod = pod_of(cluster, "p", "bot")
    reference = {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": pod["metadata"]["uid"]}
    token = cluster.token("bot", boundObjectRef=reference)
    assert whoami(cluster, token)["extra"] == {
        "authentication.kubernetes.io/credential-id": [f"JTI={claims_of(token)['jti']}"],
        "authentication.kubernetes.io/pod-name": ["p"],
        "authentication.kubernetes.io/pod-uid": [pod["metadata"]["uid"]],
    }
    cluster.api.call("DELETE", f"/api/v1/namespaces/{cluster.name}/pods/p?gracePeriodSeconds=0")
    assert cluster.api.call("GET", "/version", token=token).code == 401
    pod_of(cluster, "p", "bot")
    assert cluster.api.call("GET", "/version", token=token).code == 401


@pytest.mark.parametrize(
    ("spec", "code", "message"),
    [
        (
            {"expirationSeconds": 599},
            422,
            'TokenRequest.authentication.k8s.io "" is invalid: spec.expirationSeconds: Invalid value: 599: '
            "may not specify a duration less than 10 minutes",
        ),
        (
            {"expirationSeconds": 2**32 + 1},
            422,
            'TokenRequest.authentication.k8s.io "" is invalid: spec.expirationSeconds: Invalid value: '
            "4294967297: may not specify a duration larger than 2^32 seconds",
        ),
        (
            {"boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": "none"}},
            404,
            'pods "none" not found',
        ),
        (
            {"boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": "other"}},
            400,
            'cannot bind token for serviceaccount "bot" to pod running with different serviceaccount name.',
        ),
        (
            {"boundObjectRef": {"apiVersion": "v1", "kind": "ConfigMap", "name": "x"}},
            400,
            "cannot bind token to object of type /v1, Kind=ConfigMap",
        ),
        (
            {"boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": "mine", "uid": "7"}},
            409,
            None,
        ),
    ],
)
def test_requests_that_are_refused(
    cluster: Cluster, spec: dict[str, Any], code: int, message: str | None
) -> None:
    cluster.account("bot")
    pod_of(cluster, "mine", "bot")
    pod_of(cluster, "other")
    path = f"/api/v1/namespaces/{cluster.name}/serviceaccounts/bot/token"
    answer = cluster.api.call("POST", path, {"spec": spec})
    assert answer.code == code, answer.content
    if message is not None:
        assert answer.body["message"] == message


def test_a_token_for_others_opens_nothing_here(cluster: Cluster) -> None:
    cluster.account("bot")
    assert cluster.api.call("GET", "/version", token=cluster.token("bot", audiences=["vault"])).code == 401
    both = cluster.token("bot", audiences=["vault", ISSUER])
    assert cluster.api.call("GET", "/version", token=both).code == 200


def test_a_token_of_a_missing_account(cluster: Cluster) -> None:
    path = f"/api/v1/namespaces/{cluster.name}/serviceaccounts/none/token"
    answer = cluster.api.call("POST", path, {})
    assert (answer.code, answer.body["message"]) == (404, 'serviceaccounts "none" not found')


def spoiled(token: str) -> list[str]:
    """A token with something changed: each must be refused."""
    header, payload, signature = token.split(".")

    def encoded(value: Any) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    claims = claims_of(token)
    stronger = encoded({**claims, "sub": "system:serviceaccount:kube-system:default"})
    none = encoded({"alg": "none"})
    return [
        f"{header}.{stronger}.{signature}",
        f"{none}.{payload}.",
        f"{none}.{payload}.{signature}",
        f"{encoded({'alg': 'HS256'})}.{payload}.{signature}",
        f"{header}.{payload}.",
        f"{header}.{payload}",
        f"{header}.{payload}.{signature}=",
        f"{header}.{payload}.{signature[:-4]}AAAA",
        f"{header}.{payload}.{'A' * 86}",
        f"{header}.{payload}.{signature}.{signature}",
        f"{header}..{signature}",
        "..",
    ]


def test_a_token_cannot_be_changed(cluster: Cluster) -> None:
    cluster.account("bot")
    for token in spoiled(cluster.token("bot")):
        assert cluster.api.call("GET", "/version", token=token).code == 401, token


def test_tokens_outlive_a_restart_with_their_data(
    localkube_starter: Callable[..., Localkube], tmp_path: Path
) -> None:
    arguments = (f"--data-dir={tmp_path / 'data'}", "--no-kubelet")
    server = localkube_starter(*arguments)
    deadline = time.monotonic() + 10
    while server.call("GET", "/api/v1/namespaces/default/serviceaccounts/default").code != 200:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    made = server.call("POST", "/api/v1/namespaces/default/serviceaccounts/default/token", {})
    token = made.body["status"]["token"]
    assert server.stop() == 0
    again = localkube_starter(*arguments)
    assert again.call("POST", WHOAMI, {}, token=token).code == 201
    assert again.stop() == 0
    stranger = localkube_starter("--no-kubelet")
    assert stranger.call("POST", WHOAMI, {}, token=token).code == 401


def test_the_key_is_its_owners_and_stays(tmp_path: Path) -> None:
    first = Signer(tmp_path)
    (key,) = tmp_path.iterdir()
    assert key.stat().st_mode & 0o777 == 0o600
    token = first.sign({"sub": "x"})
    assert Signer(tmp_path).claims(token) == {"sub": "x"}
    assert Signer(tmp_path / "other").claims(token) is None


# time, with a clock of our own


class World:
    def __init__(self, directory: Path) -> None:
        self.now = START
        self.registry = Registry(clock=lambda: self.now)
        self.registry.create("namespaces", "", {"metadata": {"name": "n"}})
        self.account = self.registry.create("serviceaccounts", "n", {"metadata": {"name": "bot"}})
        self.tokens = Tokens(self.registry, Signer(directory))

    def pod(self) -> dict[str, Any]:
        spec = {"serviceAccountName": "bot", "containers": [{"name": "c", "image": "i"}]}
        body = {"metadata": {"name": "p"}, "spec": {**spec, "automountServiceAccountToken": False}}
        return self.registry.create("pods", "n", body)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_a_token_ends_when_it_says_and_a_minute(world: World) -> None:
    token = world.tokens.issue(world.account, seconds=600).token
    world.now = START + timedelta(seconds=660)
    assert world.tokens.identify(token).user.name == "system:serviceaccount:n:bot"
    world.now += timedelta(seconds=1)
    with pytest.raises(Invalid, match="has expired"):
        world.tokens.identify(token)
    world.now = START - timedelta(seconds=61)
    with pytest.raises(Invalid, match="not valid yet"):
        world.tokens.identify(token)


def test_an_expired_token_is_401_again_and_again(world: World) -> None:
    authenticator = Authenticator("admin", world.tokens)
    token = world.tokens.issue(world.account, seconds=600).token
    headers = [(b"authorization", f"Bearer {token}".encode())]
    assert authenticator.user(headers).name == "system:serviceaccount:n:bot"
    world.now += timedelta(hours=1)
    for _ in range(2):
        with pytest.raises(StatusError) as refusal:
            authenticator.user(headers)
        assert refusal.value.code == 401


def test_the_token_of_an_old_pod_is_good_for_a_year(world: World) -> None:
    """What the admission plugin asks for, since old clients read their token once; still for one pod."""
    pod = world.pod()
    issued = world.tokens.for_pod(pod, {"expirationSeconds": 3607})
    assert (issued.expires - issued.issued).total_seconds() == 3607
    assert claims_of(issued.token)["kubernetes.io"]["warnafter"] == START.timestamp() + 3607
    world.now += timedelta(days=364)
    assert world.tokens.identify(issued.token)
    world.now += timedelta(days=2)
    with pytest.raises(Invalid, match="has expired"):
        world.tokens.identify(issued.token)
    world.now = START
    other = world.tokens.for_pod(pod, {"expirationSeconds": 3607, "audience": "vault"})
    assert claims_of(other.token)["exp"] == START.timestamp() + 3607


def test_a_pod_that_is_being_deleted_keeps_its_token_for_its_grace_and_a_minute(world: World) -> None:
    pod = world.pod()
    world.registry.bind("n", "p", "node")
    token = world.tokens.for_pod(pod, {}).token
    world.registry.delete("pods", "n", "p", grace=30)
    world.now += timedelta(seconds=90)
    assert world.tokens.identify(token)
    world.now += timedelta(seconds=1)
    with pytest.raises(Invalid, match="invalidated"):
        world.tokens.identify(token)


def test_who_is_who(world: World) -> None:
    authenticator = Authenticator("admin", world.tokens)
    assert authenticator.user([]) == NOBODY
    assert authenticator.user([(b"authorization", b"Bearer admin")]) == ADMIN
    assert authenticator.identify("admin", ["vault", ISSUER]).audiences == (ISSUER,)
    with pytest.raises(Invalid):
        authenticator.identify("admin", ["vault"])
