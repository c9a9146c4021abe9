"""No secret reaches a log, whichever way it takes; what is no secret does."""

import io
import json
import logging
import sys
from collections.abc import Iterator

import pytest
import structlog
from hypothesis import HealthCheck, example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from hubfleet import logs
from hubfleet.settings import LogSettings

TOKEN = "0123456789abcdef0123456789abcdef"
JWT = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhZGEifQ.c2lnbmF0dXJl"

SECRETS = [
    {"authorization": "anything at all"},
    {"headers": {"Authorization": f"token {TOKEN}", "Cookie": "a=b"}},
    {"api_token": "x"},
    {"user": {"password": "x", "name": "ada"}},
    {"url": f"http://h/?a=b&token={TOKEN}"},
    {"error": f"refused: Authorization: Bearer {JWT}"},
    {"error": f"token {TOKEN} is unknown"},
    {"value": TOKEN},
    {"value": [{"deep": (JWT,)}]},
    {"value": ValueError(f"bad token {TOKEN}")},
    {"client_secret": TOKEN.encode()},
    {"error": "exit code 1: refresh_token=anything at all"},
    {"error": "exit code 1: AWS_SESSION_TOKEN: 'x', more"},
    {"error": "client_secret=abc'x'"},
    {"error": 'printed {"password": "x"}'},
]


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    yield stream
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def secret_of(event: object) -> list[str]:
    found = [TOKEN, JWT, "anything at all", "=anything", "'x'", '"x"', "a=b;"]
    return [secret for secret in found if secret in str(event)]


@pytest.mark.parametrize("event", SECRETS)
def test_secrets_are_taken_out(event: dict[str, object]) -> None:
    assert logs.HIDDEN in str(logs.redact(event))
    assert not secret_of(logs.redact(event))


@pytest.mark.parametrize(
    "text",
    [
        "job pi-x7k2q submitted",
        "python@sha256:" + "0" * 64,
        "uid 7f9c0d52-1f3c-4f5e-9a39-3d2a4e3f6b1c",
        "/api/v1/namespaces/kbatch-ada/pods/pi-0",
        "the token of user ada",
        "2026-11-21T01:00:00Z",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert logs.redact(text) == text


def test_figures_stay_whatever_they_are_called() -> None:
    assert logs.redact({"tokens": 3, "token_known": True, "secret": None, "token": ""}) == {
        "tokens": 3,
        "token_known": True,
        "secret": None,
        "token": "",
    }


values = st.recursive(
    st.none() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values)
@example("\ud800")
@example(2**70)
@example({(1, 2): object()})
def test_anything_can_be_logged(stream: io.StringIO, value: object) -> None:
    stream.seek(0)
    stream.truncate()
    logs.configure(LogSettings(format="json"), stream)
    structlog.get_logger("a").info("hello", value=value)
    assert json.loads(stream.getvalue())["event"] == "hello"


@pytest.mark.parametrize("style", ["json", "console"])
def test_ours_and_other_libraries_lines_are_redacted(stream: io.StringIO, style: str) -> None:
    logs.configure(LogSettings(level="debug", format=style), stream)  # type: ignore[arg-type]
    structlog.get_logger("ours").info("hello", authorization=f"token {TOKEN}")
    logging.getLogger("theirs").warning("calling with %s", f"Bearer {JWT}")
    structlog.get_logger("ours").bind(url=f"/?token={TOKEN}").error("failed")
    assert not secret_of(stream.getvalue())
    assert stream.getvalue().count(logs.HIDDEN) == 3
    assert stream.getvalue().count("\n") == 3


@pytest.mark.parametrize("style", ["json", "console"])
def test_a_traceback_shows_no_local_variables_and_no_secrets(stream: io.StringIO, style: str) -> None:
    logs.configure(LogSettings(format=style), stream)  # type: ignore[arg-type]

    def failing() -> None:
        mine = "local" + "value"
        raise ValueError(f"no such token: {TOKEN}{mine[:0]}")

    try:
        failing()
    except ValueError:
        structlog.get_logger("a").exception("failed")
        logging.getLogger("b").error("failed, too", exc_info=sys.exc_info())
    assert not secret_of(stream.getvalue())
    assert "localvalue" not in stream.getvalue()
    assert stream.getvalue().count("ValueError: no such token: ***") == 2


def test_json_lines_carry_time_level_logger_and_request(stream: io.StringIO) -> None:
    logs.configure(LogSettings(format="json"), stream)
    with structlog.contextvars.bound_contextvars(request_id="abc"):
        structlog.get_logger("hubfleet.x").info("hello", cluster="west")
        structlog.get_logger("hubfleet.x").debug("not at this level")
    (line,) = stream.getvalue().splitlines()
    event = json.loads(line)
    assert event.pop("timestamp").endswith("Z")
    assert event == {
        "event": "hello",
        "cluster": "west",
        "level": "info",
        "logger": "hubfleet.x",
        "request_id": "abc",
    }
