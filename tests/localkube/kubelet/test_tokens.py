"""The tokens that pods get: whose they are, when they are new, and who gets none."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.localkube.kubelet.conftest import NAMESPACE, Node

from localkube.apiserver import status
from localkube.apiserver.tokens import Invalid, Issued
from localkube.kubelet.references import ReferenceFailed
from localkube.kubelet.tokens import TokenManager

PATH = "/var/run/secrets/kubernetes.io/serviceaccount"
START = datetime(2026, 1, 1, tzinfo=UTC)
POD = {"metadata": {"uid": "u", "name": "p"}}


class Clock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def manager(clock: Clock) -> TokenManager:
    numbers: Iterator[int] = iter(range(100))

    def issue(pod: dict[str, Any], projection: dict[str, Any]) -> Issued:
        seconds = projection["expirationSeconds"]
        return Issued(f"t{next(numbers)}", clock.now, clock.now + timedelta(seconds=seconds))

    return TokenManager(issue, clock)


def test_a_token_is_replaced_when_four_fifths_of_its_time_are_over(
    manager: TokenManager, clock: Clock
) -> None:
    asks = {"expirationSeconds": 1000}
    assert manager.get(POD, asks) == "t0"
    assert manager.wait(POD) == 800
    clock.now += timedelta(seconds=799)
    assert manager.get(POD, asks) == "t0"
    clock.now += timedelta(seconds=1)
    assert manager.wait(POD) == 0
    assert manager.get(POD, asks) == "t1"


def test_a_token_is_replaced_after_a_day(manager: TokenManager, clock: Clock) -> None:
    asks = {"expirationSeconds": 365 * 86400}
    manager.get(POD, asks)
    assert manager.wait(POD) == 86400


def test_every_projection_has_its_own_token(manager: TokenManager) -> None:
    first = manager.get(POD, {"expirationSeconds": 1000})
    assert manager.get(POD, {"expirationSeconds": 1000, "audience": "vault"}) != first
    assert manager.get({"metadata": {"uid": "v"}}, {"expirationSeconds": 1000}) != first
    manager.forget("u")
    assert manager.wait(POD) is None
    assert manager.get(POD, {"expirationSeconds": 1000}) != first


def test_an_account_that_is_missing_is_said(clock: Clock) -> None:
    def issue(pod: dict[str, Any], projection: dict[str, Any]) -> Issued:
        raise status.not_found("serviceaccounts", "bot")

    with pytest.raises(ReferenceFailed) as failure:
        TokenManager(issue, clock).get(POD, {})
    assert str(failure.value) == 'failed to fetch token: serviceaccounts "bot" not found'


@pytest.mark.kubelet
async def test_a_pod_gets_a_token_of_its_account_until_it_is_gone(node: Node) -> None:
    script = f"cat {PATH}/token; echo; cat {PATH}/namespace"
    container = {"name": "c", "command": ["/bin/sh", "-c", script]}
    node.pod("p", container, automountServiceAccountToken=True)
    pod = await node.ended("p")
    token, namespace = (await node.log("p")).splitlines()
    assert namespace == NAMESPACE
    user = node.tokens.identify(token).user
    assert user.name == f"system:serviceaccount:{NAMESPACE}:default"
    assert user.extra["authentication.kubernetes.io/pod-name"] == ("p",)
    assert user.extra["authentication.kubernetes.io/pod-uid"] == (pod["metadata"]["uid"],)
    node.registry.delete("pods", NAMESPACE, "p", grace=0)
    await node.gone("p")
    with pytest.raises(Invalid):
        node.tokens.identify(token)


@pytest.mark.kubelet
async def test_a_projected_token_is_for_its_audience_only(node: Node) -> None:
    source = {"serviceAccountToken": {"path": "t", "audience": "vault", "expirationSeconds": 600}}
    node.pod(
        "p",
        {
            "name": "c",
            "command": ["/bin/cat", "/tokens/t"],
            "volumeMounts": [{"name": "v", "mountPath": "/tokens"}],
        },
        volumes=[{"name": "v", "projected": {"sources": [source]}}],
    )
    await node.ended("p")
    token = await node.log("p")
    assert node.tokens.identify(token, ["vault"]).audiences == ("vault",)
    with pytest.raises(Invalid):
        node.tokens.identify(token)


@pytest.mark.kubelet
async def test_a_pod_that_wants_no_token_has_none(node: Node) -> None:
    assert await node.output(f"ls {PATH} 2>/dev/null | wc -l") == "0\n"


@pytest.mark.kubelet
async def test_the_file_is_written_again_when_the_token_is_due(node: Node) -> None:
    issued: list[str] = []

    def issue(pod: dict[str, Any], projection: dict[str, Any]) -> Issued:
        issued.append(f"token {len(issued)}")
        now = datetime.now(UTC)
        return Issued(issued[-1], now, now + timedelta(seconds=0.5))

    node.issue_token = issue
    source = {"serviceAccountToken": {"path": "t"}}
    script = 'first=$(cat /tokens/t); while [ "$(cat /tokens/t)" = "$first" ]; do sleep 0.05; done'
    node.pod(
        "p",
        {
            "name": "c",
            "command": ["/bin/sh", "-c", script],
            "volumeMounts": [{"name": "v", "mountPath": "/tokens"}],
        },
        volumes=[{"name": "v", "projected": {"sources": [source]}}],
    )
    assert (await node.ended("p"))["status"]["phase"] == "Succeeded"
    assert len(issued) > 1
