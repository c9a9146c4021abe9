"""Every exception is an answer with words; what is the server's own fault is no user's 4xx."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubfleet.answers import Answer, for_kube_error, for_user_error, respond
from hubfleet.errors import UserError
from hubfleet.kube.errors import ClusterUnreachable, CredentialsError, KubeError, from_status


def status(code: int, message: str = 'jobs.batch "a" not found') -> dict[str, object]:
    return {"kind": "Status", "code": code, "reason": "Any", "message": message}


@pytest.mark.parametrize("code", [400, 403, 404, 409, 410, 413, 415, 422, 429])
def test_the_api_servers_words_are_relayed(code: int) -> None:
    assert for_kube_error(from_status("west", status(code))) == Answer(code, 'jobs.batch "a" not found')


@pytest.mark.parametrize("code", [401, 418, 500, 501, 503, 504])
def test_what_the_user_cannot_mend_is_503(code: int) -> None:
    answer = for_kube_error(from_status("west", status(code, "etcdserver: request timed out")))
    assert answer.status == 503
    assert answer.retry_after
    assert answer.detail == f"cluster west cannot do this now ({code}): etcdserver: request timed out"


def test_the_api_servers_patience_is_relayed() -> None:
    answer = for_kube_error(from_status("west", status(429), retry_after=7.0))
    assert (answer.status, answer.retry_after) == (429, 7.0)


@pytest.mark.parametrize("kind", [ClusterUnreachable, CredentialsError])
def test_a_cluster_that_does_not_answer(kind: type[ClusterUnreachable]) -> None:
    answer = for_kube_error(kind("west", "connection refused", retry_after=0.2))
    assert answer == Answer(503, "cluster west: connection refused", 1.0)


@given(st.integers(100, 999))
def test_no_code_of_the_api_server_becomes_a_500(code: int) -> None:
    assert for_kube_error(from_status("west", status(code))).status in range(400, 500) or (
        for_kube_error(from_status("west", status(code))).status == 503
    )


def test_any_other_trouble_with_a_cluster_is_503() -> None:
    assert for_kube_error(KubeError("west", "odd")).status == 503


def test_a_user_error_goes_out_as_it_is() -> None:
    several = [{"loc": ["job"], "msg": "missing"}]
    assert for_user_error(UserError(422, several)) == Answer(422, several)
    assert for_user_error(UserError(503, "x", retry_after=2.0)) == Answer(503, "x", 2.0)


def test_retry_after_is_whole_seconds_and_at_least_one() -> None:
    assert respond(Answer(503, "x", 0.2)).headers["Retry-After"] == "1"
    assert respond(Answer(503, "x", 1.2)).headers["Retry-After"] == "2"
    assert "Retry-After" not in respond(Answer(404, "x")).headers
