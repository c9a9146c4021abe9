"""HubIdentity against a real JupyterHub, and against Hubs that fail in every way that we could think of."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import structlog
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from hubfleet.errors import SettingsError, UserError
from hubfleet.identity.hub import STRANGERS, HubIdentity, interpret
from hubfleet.settings import HubSettings, LimitSettings

TOKEN = "0123456789abcdef0123456789abcdef"
MODEL = {"name": "alice", "kind": "user", "groups": ["g"], "scopes": ["access:services!service=kbatch"]}


def settings(api_url: str, **changes: Any) -> HubSettings:
    return HubSettings(**{"api_url": api_url, "service_name": "kbatch", "budget": 5.0, **changes})


async def refusal(identity: HubIdentity, token: str) -> UserError:
    with pytest.raises(UserError) as caught:
        await identity.authenticate(token)
    return caught.value


# A real JupyterHub


async def test_a_user_with_groups(jupyterhub: Any) -> None:
    token = jupyterhub.user("alice", groups=("blue", "red"))
    async with HubIdentity(settings(jupyterhub.api_url)) as identity:
        user = await identity.authenticate(token)
    assert (user.name, user.kind, sorted(user.groups)) == ("alice", "user", ["blue", "red"])
    assert user.token == token
    assert "access:services!service=kbatch" in user.scopes


@pytest.mark.parametrize("name", ["åsa ünïcode", "名前", "a.b@c.d", "x" * 200])
async def test_a_user_of_any_name(jupyterhub: Any, name: str) -> None:
    token = jupyterhub.user(name)
    async with HubIdentity(settings(jupyterhub.api_url)) as identity:
        assert (await identity.authenticate(token)).name == name


async def test_a_service_which_has_no_groups(jupyterhub: Any) -> None:
    async with HubIdentity(settings(jupyterhub.api_url)) as identity:
        user = await identity.authenticate(jupyterhub.robot_token)
    assert (user.name, user.kind, user.groups) == ("robot", "service", ())


async def test_an_unknown_token(jupyterhub: Any) -> None:
    async with HubIdentity(settings(jupyterhub.api_url)) as identity:
        error = await refusal(identity, "f" * 32)
    assert (error.status, error.detail) == (401, "Incorrect token")


async def test_a_token_without_the_scope(jupyterhub: Any) -> None:
    token = jupyterhub.user("bob", scopes=["read:users:name!user=bob"])
    async with HubIdentity(settings(jupyterhub.api_url)) as identity:
        error = await refusal(identity, token)
    assert error.status == 403
    assert "access:services!service=kbatch" in str(error.detail)


async def test_a_service_that_the_token_is_not_for(jupyterhub: Any) -> None:
    token = jupyterhub.user("alice")
    async with HubIdentity(settings(jupyterhub.api_url, service_name="other")) as identity:
        assert (await refusal(identity, token)).status == 403


async def test_a_revoked_token_is_refused_when_the_answer_has_expired(jupyterhub: Any) -> None:
    token = jupyterhub.user("alice")
    now = 0.0
    async with HubIdentity(settings(jupyterhub.api_url, cache_seconds=60.0), clock=lambda: now) as identity:
        await identity.authenticate(token)
        jupyterhub.revoke(token)
        now = 59.0
        assert (await identity.authenticate(token)).name == "alice"
        now = 61.0
        assert (await refusal(identity, token)).status == 401


# Hubs that fail

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class FakeHub:
    """Answers `GET /hub/api/user` as told, and counts."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answer: Handler = self.alice
        self.release = asyncio.Event()
        self.api_url = ""

    async def alice(self, _: web.Request) -> web.Response:
        return web.json_response(MODEL)

    async def stall(self, _: web.Request) -> web.Response:
        await self.release.wait()
        return web.json_response(MODEL)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.headers["Authorization"])
        return await self.answer(request)


@asynccontextmanager
async def running(hub: FakeHub) -> AsyncIterator[FakeHub]:
    app = web.Application()
    app.router.add_get("/hub/api/user", hub.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0]
    hub.api_url = f"http://{host}:{port}/hub/api"
    try:
        yield hub
    finally:
        hub.release.set()
        await runner.cleanup()


@pytest.fixture
async def hub() -> AsyncIterator[FakeHub]:
    async with running(FakeHub()) as hub:
        yield hub


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.005)


def answering(status: int, body: str = "", **headers: str) -> Handler:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=status, text=body, headers=headers, content_type="application/json")

    return answer


async def broken_off(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": "1000"})
    await response.prepare(request)
    await response.write(b'{"name": "alice"')
    assert request.transport is not None
    request.transport.close()
    return response


async def endless(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    while True:
        await response.write(b"[" * 2**20)


@pytest.mark.parametrize(
    "answer",
    [
        answering(500, '{"status": 500, "message": "Internal Server Error"}'),
        answering(502, "<html>bad gateway</html>"),
        answering(503),
        answering(404, "{}"),
        answering(429, "{}"),
        answering(302, "", Location="http://127.0.0.1:1/hub/login"),
        answering(200, ""),
        answering(200, "null"),
        answering(200, "[]"),
        answering(200, "{"),
        answering(200, "{}"),
        answering(200, '{"name": "alice"}'),
        answering(200, '{"name": "", "scopes": ["access:services"]}'),
        answering(200, '{"name": null, "scopes": ["access:services"]}'),
        answering(200, '{"name": "alice", "scopes": "access:services"}'),
        answering(200, '{"name": "alice", "kind": "server", "scopes": ["access:services"]}'),
        answering(200, "\x00\xff"),
        broken_off,
        endless,
    ],
)
async def test_an_answer_that_says_nothing_is_503_and_nobody_gets_in(hub: FakeHub, answer: Handler) -> None:
    hub.answer = answer
    async with HubIdentity(settings(hub.api_url)) as identity:
        error = await refusal(identity, TOKEN)
        assert error.status == 503
        assert error.retry_after
        hub.answer = hub.alice
        assert (await identity.authenticate(TOKEN)).name == "alice"  # the failure is not remembered


async def test_a_hub_that_stalls(hub: FakeHub) -> None:
    hub.answer = hub.stall
    async with HubIdentity(settings(hub.api_url, budget=0.1)) as identity:
        assert (await refusal(identity, TOKEN)).status == 503


async def test_a_hub_that_is_not_there(unused_tcp_port: int) -> None:
    async with HubIdentity(settings(f"http://127.0.0.1:{unused_tcp_port}/hub/api")) as identity:
        error = await refusal(identity, TOKEN)
    assert (error.status, error.retry_after) == (503, 5.0)


async def test_an_expired_answer_lets_nobody_in_while_the_hub_is_down(hub: FakeHub) -> None:
    now = 0.0
    async with HubIdentity(settings(hub.api_url), clock=lambda: now) as identity:
        await identity.authenticate(TOKEN)
        hub.answer = answering(500)
        now = 59.9
        await identity.authenticate(TOKEN)
        now = 60.1
        assert (await refusal(identity, TOKEN)).status == 503


async def test_many_callers_make_one_request(hub: FakeHub) -> None:
    hub.answer = hub.stall
    async with HubIdentity(settings(hub.api_url)) as identity:
        callers = [asyncio.create_task(identity.authenticate(TOKEN)) for _ in range(100)]
        await until(lambda: bool(hub.asked))
        hub.release.set()
        users = await asyncio.gather(*callers)
    assert {user.name for user in users} == {"alice"}
    assert len(hub.asked) == 1


async def test_a_caller_that_goes_away_leaves_the_others_their_answer(hub: FakeHub) -> None:
    hub.answer = hub.stall
    async with HubIdentity(settings(hub.api_url)) as identity:
        first = asyncio.create_task(identity.authenticate(TOKEN))
        second = asyncio.create_task(identity.authenticate(TOKEN))
        await until(lambda: bool(hub.asked))
        first.cancel()
        hub.release.set()
        assert (await second).name == "alice"
    assert first.cancelled()
    assert len(hub.asked) == 1


async def test_an_unknown_token_is_not_asked_for_again_at_once(hub: FakeHub) -> None:
    now = 0.0
    hub.answer = answering(403, '{"status": 403, "message": "Forbidden"}')
    async with HubIdentity(settings(hub.api_url), clock=lambda: now) as identity:
        for _ in range(3):
            assert (await refusal(identity, TOKEN)).status == 401
        assert len(hub.asked) == 1
        now = 5.1
        await refusal(identity, TOKEN)
        assert len(hub.asked) == 2


@pytest.mark.parametrize(
    "token", ["", " ", "a b", "a\nb", "a\r\nX-Admin: 1", "tökén", "\ud800", "a\x00", "\x7f", "x" * 1025]
)
async def test_what_cannot_be_a_token_is_not_sent(hub: FakeHub, token: str) -> None:
    async with HubIdentity(settings(hub.api_url)) as identity:
        error = await refusal(identity, token)
    assert (error.status, error.detail) == (401, "Incorrect token")
    assert hub.asked == []


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


async def test_who_tries_tokens_keeps_the_hub_from_nobody(hub: FakeHub) -> None:
    clock = Clock()
    async with HubIdentity(settings(hub.api_url), clock=clock) as identity:
        await identity.authenticate(TOKEN)
        clock.now += 3600
        assert identity.owner_of(TOKEN) == ("user", "alice")
        assert identity.owner_of("f" * 32) is None
        hub.answer = hub.stall
        tried = [
            asyncio.create_task(identity.authenticate(f"{number:032x}", f"10.0.0.{number % 2}"))
            for number in range(40)
        ]
        await until(lambda: len(hub.asked) == 1 + STRANGERS)
        known = asyncio.create_task(identity.authenticate(TOKEN, "10.0.0.1"))
        await until(lambda: len(hub.asked) == 2 + STRANGERS)
        assert hub.asked[-1] == f"token {TOKEN}"
        other = asyncio.create_task(identity.authenticate("e" * 32, "10.9.9.9"))
        hub.release.set()
        assert (await known).name == (await other).name == "alice"
        await asyncio.gather(*tried)
        # Of those that were waiting, 24 came before it: it did not wait for them all.
        assert hub.asked.index("token " + "e" * 32) < len(hub.asked) - 10


async def test_tokens_that_nobody_knows_have_a_rate(hub: FakeHub) -> None:
    clock = Clock()
    hub.answer = answering(403, "{}")
    limits = LimitSettings(unknown_tokens_per_second=0.1)
    async with HubIdentity(settings(hub.api_url), limits, clock=clock) as identity:
        assert (await refusal(identity, "a" * 32)).status == 401
        refused = await refusal(identity, "b" * 32)
        assert refused.status == 429
        assert refused.retry_after == pytest.approx(50)
        assert "limits.unknown_tokens_per_second" in str(refused)
        assert len(hub.asked) == 1
        clock.now += 50
        assert (await refusal(identity, "b" * 32)).status == 401


async def test_cache_seconds_zero_asks_every_time(hub: FakeHub) -> None:
    async with HubIdentity(settings(hub.api_url, cache_seconds=0.0)) as identity:
        await identity.authenticate(TOKEN)
        await identity.authenticate(TOKEN)
    assert len(hub.asked) == 2


async def test_the_token_is_in_no_log_and_no_repr(hub: FakeHub, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with structlog.testing.capture_logs() as logged:
        async with HubIdentity(settings(hub.api_url, api_token=TOKEN)) as identity:
            user = await identity.authenticate(TOKEN)
            hub.answer = answering(500, TOKEN)
            error = await refusal(identity, "f" + TOKEN)
    everything = repr(
        (user, [user], identity.__dict__, settings(hub.api_url, api_token=TOKEN), error, logged)
    )
    assert logged
    assert TOKEN not in everything + caplog.text


def test_a_service_without_a_name_does_not_start() -> None:
    with pytest.raises(SettingsError, match=r"JUPYTERHUB_SERVICE_NAME.*JUPYTERHUB_OAUTH_ACCESS_SCOPES"):
        HubIdentity(HubSettings())


def test_scopes_go_before_the_name() -> None:
    identity = HubIdentity(HubSettings(service_name="kbatch", access_scopes=("access:services",)))
    assert identity.scopes == ("access:services",)


def test_tls_files_that_cannot_be_read_stop_the_start() -> None:
    with pytest.raises(SettingsError, match="tls_ca"):
        HubIdentity(HubSettings(service_name="kbatch", tls_ca="/nowhere.pem"))


@given(st.integers(100, 599), st.binary(max_size=200))
def test_only_a_whole_model_is_an_owner(status: int, body: bytes) -> None:
    assert type(interpret(status, body)).__name__ in ("_Refused", "_Silent")
