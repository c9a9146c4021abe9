"""Every exception is an answer with words; what is the server's own fault is no user's 4xx."""

import io
import logging

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from litestar import Litestar, get
from litestar.testing import AsyncTestClient

from hubfleet import logs
from hubfleet.answers import HANDLERS, Answer, for_kube_error, for_user_error, respond
from hubfleet.errors import UserError
from hubfleet.kube.errors import ClusterUnreachable, CredentialsError, KubeError, from_status
from hubfleet.settings import LogSettings


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


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (ClusterUnreachable, "cluster west does not answer: try again in a moment"),
        (CredentialsError, "cluster west cannot be logged into: ask an administrator"),
    ],
)
def test_where_a_cluster_is_and_what_a_plugin_says_is_not_for_users(
    kind: type[ClusterUnreachable], words: str
) -> None:
    error = kind("west", "cannot connect to 10.0.0.1:6443; refresh_token=s3cret", retry_after=0.2)
    assert for_kube_error(error) == Answer(503, words, 1.0)


async def test_the_log_has_the_details_without_the_secrets() -> None:
    stream = io.StringIO()
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level

    @get("/")
    async def fail() -> None:
        raise CredentialsError("west", "plugin failed with exit code 1: refresh_token=s3cret for acme")

    try:
        logs.configure(LogSettings(format="json"), stream)
        app = Litestar([fail], exception_handlers=HANDLERS, logging_config=None)
        async with AsyncTestClient(app) as client:
            response = await client.get("/")
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        structlog.reset_defaults()
    assert response.status_code == 503
    assert response.json() == {"detail": "cluster west cannot be logged into: ask an administrator"}
    assert "refresh_token=*** for acme" in stream.getvalue()
    assert "s3cret" not in stream.getvalue()


@given(st.integers(100, 999))
def test_no_code_of_the_api_server_becomes_a_500(code: int) -> None:
    assert for_kube_error(from_status("west", status(code))).status in range(400, 500) or (
        for_kube_error(from_status("west", status(code))).status == 503
    )


def test_any_other_trouble_with_a_cluster_is_503() -> None:
    assert for_kube_error(KubeError("west", "odd")).status == 503


def test_a_user_error_goes_out_as_it_is() -> None:
    assert for_user_error(UserError(503, "x", retry_after=2.0)) == Answer(503, "x", 2.0)
    assert respond(Answer(503, "x", 2.0)).content == {"detail": "x"}


def test_problems_go_out_for_people_and_for_programs() -> None:
    one = {"loc": ["body", "job", "spec", "containers", 0], "msg": "is required"}
    other = {"loc": ["query", "a b\n"], "msg": "is 'x\ny'"}
    answer = for_user_error(UserError(422, [one, other]))
    assert respond(answer).content == {
        "detail": "Several things are wrong:\n"
        "  job.spec.containers[0]: is required\n"
        "  query['a b\\n']: is 'x y'",
        "errors": (one, other),
    }
    assert for_user_error(UserError(422, [one])).detail == "job.spec.containers[0]: is required"
    assert for_user_error(UserError(422, [{"loc": ["body"], "msg": "is null"}])).detail == "is null"


def test_retry_after_is_whole_seconds_and_at_least_one() -> None:
    assert respond(Answer(503, "x", 0.2)).headers["Retry-After"] == "1"
    assert respond(Answer(503, "x", 1.2)).headers["Retry-After"] == "2"
    assert "Retry-After" not in respond(Answer(404, "x")).headers
