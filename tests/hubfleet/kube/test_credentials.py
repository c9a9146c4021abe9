"""Credentials are renewed in time, for many callers at once, and the old ones serve as long as they can."""

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from hubfleet.kube.credentials import (
    FILE_PERIOD,
    PATIENCE,
    Access,
    Fetched,
    Renewing,
    from_context,
    from_token_file,
    renewal,
)
from hubfleet.kube.errors import CredentialsError
from hubfleet.kube.kubeconfig import Context, Entry, KubeconfigError

Until = Callable[..., Awaitable[None]]


class Source:
    """Numbered tokens that live for 100 seconds of a clock that we turn."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.runs = 0
        self.error = ""
        self.gate = asyncio.Event()
        self.gate.set()
        self.credentials = Renewing("test", self.fetch, clock=lambda: self.now)

    async def fetch(self) -> Fetched:
        self.runs += 1
        await self.gate.wait()
        if self.error:
            raise KubeconfigError(self.error)
        return Fetched(Access(f"token {self.runs}"), self.now + 75, self.now + 100)


@pytest.fixture
async def source() -> AsyncIterator[Source]:
    made = Source()
    yield made
    await made.credentials.close()


async def test_many_callers_share_one_run(source: Source) -> None:
    assert source.credentials.current() is None
    got = await asyncio.gather(*(source.credentials.obtain() for _ in range(50)))
    assert source.runs == 1 and len({id(access) for access in got}) == 1
    assert source.credentials.current() is got[0]


async def test_it_is_renewed_behind_the_scenes_before_it_expires(source: Source, until: Until) -> None:
    first = await source.credentials.obtain()
    source.now += 80
    source.gate.clear()
    assert source.credentials.current() is first and source.credentials.current() is first
    await asyncio.sleep(0)
    assert source.runs == 2
    source.gate.set()
    await until(lambda: source.credentials.current() is not first)
    assert source.runs == 2


async def test_an_expired_one_is_not_used(source: Source) -> None:
    await source.credentials.obtain()
    source.now += 101
    assert source.credentials.current() is None
    assert (await source.credentials.obtain()).authorization == "token 2"


async def test_a_refused_one_is_renewed_once_for_all_who_used_it(source: Source) -> None:
    first = await source.credentials.obtain()
    got = await asyncio.gather(*(source.credentials.obtain(first) for _ in range(50)))
    assert {access.authorization for access in got} == {"token 2"} and source.runs == 2
    assert await source.credentials.obtain(first) is got[0] and source.runs == 2  # a straggler


async def test_a_server_that_refuses_all_does_not_make_the_plugin_run_for_each_request(
    source: Source,
) -> None:
    access = await source.credentials.obtain()
    for _ in range(10):
        access = await source.credentials.obtain(access)
    assert source.runs == 2
    source.now += PATIENCE
    assert (await source.credentials.obtain(access)).authorization == "token 3"


async def test_a_failure_is_told_and_not_repeated_at_once(source: Source) -> None:
    source.error = "no"
    for _ in range(5):
        with pytest.raises(CredentialsError, match="no"):
            await source.credentials.obtain()
    assert source.runs == 1
    source.now, source.error = source.now + PATIENCE, ""
    assert (await source.credentials.obtain()).authorization == "token 2"


async def test_a_failed_renewal_leaves_what_still_works(source: Source, until: Until) -> None:
    first = await source.credentials.obtain()
    source.now, source.error = source.now + 80, "no"
    assert source.credentials.current() is first
    await until(lambda: source.runs == 2)
    assert await source.credentials.obtain() is first
    source.now += 30
    with pytest.raises(CredentialsError, match="no"):
        await source.credentials.obtain()


async def test_a_caller_that_gives_up_takes_nothing_from_the_others(source: Source) -> None:
    source.gate.clear()
    hurried, patient = (asyncio.create_task(source.credentials.obtain()) for _ in range(2))
    await asyncio.sleep(0)
    hurried.cancel()
    await asyncio.sleep(0)
    source.gate.set()
    assert (await patient).authorization == "token 1" and source.runs == 1


def test_the_margin_suits_long_and_short_lives() -> None:
    assert renewal(0, 3600) == 3540
    assert renewal(0, 40) == 30
    assert renewal(100, 50) == 50


async def test_a_token_file_that_rotates_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "token"
    file.write_text("one\n")
    credentials = from_token_file("test", file, None)
    first = await credentials.obtain()
    assert first.authorization == "Bearer one"
    file.write_text("two")
    assert credentials.current() is first
    assert (await credentials.obtain(first)).authorization == "Bearer two"  # after a 401
    file.write_text("three")
    later = time.time() + FILE_PERIOD
    credentials._clock = lambda: later  # type: ignore[attr-defined]
    credentials.current()
    await credentials._start()  # type: ignore[attr-defined]
    renewed = credentials.current()
    assert renewed is not None and renewed.authorization == "Bearer three"


def context(user: dict[str, Any], directory: Path = Path()) -> Context:
    return Context("x", "default", Entry({"server": "http://s"}, directory), Entry(user, directory))


@pytest.mark.parametrize(
    ("user", "expected"),
    [
        ({}, ""),
        ({"token": "t"}, "Bearer t"),
        ({"username": "u", "password": "p:q"}, "Basic " + base64.b64encode(b"u:p:q").decode()),
        ({"token": "t", "username": "u"}, "Bearer t"),
    ],
)
async def test_what_a_user_logs_in_with(user: dict[str, Any], expected: str) -> None:
    assert (await from_context("test", context(user), {}).obtain()).authorization == expected


async def test_a_token_file_is_relative_to_the_kubeconfig_and_goes_before_a_token(tmp_path: Path) -> None:
    (tmp_path / "t").write_text("filed")
    credentials = from_context("test", context({"tokenFile": "t", "token": "old"}, tmp_path), {})
    assert (await credentials.obtain()).authorization == "Bearer filed"


async def test_an_empty_token_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "t").write_text("\n")
    with pytest.raises(CredentialsError, match="is empty"):
        await from_token_file("test", tmp_path / "t", None).obtain()


def test_a_provider_that_is_gone_says_what_to_use() -> None:
    with pytest.raises(KubeconfigError, match=r"'gcp' is gone since Kubernetes 1.26; use exec"):
        from_context("test", context({"auth-provider": {"name": "gcp"}}), {})


def id_token(expires: float) -> str:
    parts = ({"alg": "none"}, {"exp": int(expires)}, {})
    return ".".join(base64.urlsafe_b64encode(json.dumps(p).encode()).decode().rstrip("=") for p in parts)


class Issuer:
    """Gives the token `fresh` for the refresh token "r1", then for "r2", and so on."""

    def __init__(self, fresh: str):
        self.fresh = fresh
        self.turn = 1
        self.clients: list[str] = []

    async def __call__(self, request: web.Request) -> web.Response:
        if request.path.endswith("openid-configuration"):
            return web.json_response({"token_endpoint": f"{request.url.origin()}/token"})
        form = await request.post()
        if (form["grant_type"], form["refresh_token"]) != ("refresh_token", f"r{self.turn}"):
            return web.json_response({"error": "invalid_grant"}, status=400)
        self.turn += 1
        self.clients.append(request.headers.get("Authorization") or str(form["client_id"]))
        return web.json_response({"id_token": self.fresh, "refresh_token": f"r{self.turn}"})


def provider(issuer: str, token: str, **config: str) -> Context:
    settings = {
        "idp-issuer-url": issuer,
        "client-id": "c",
        "id-token": token,
        "refresh-token": "r1",
        **config,
    }
    return context({"auth-provider": {"name": "oidc", "config": settings}})


async def test_oidc_uses_its_token_and_refreshes_it_on_a_401(serve: Callable[..., Awaitable[str]]) -> None:
    issuer = Issuer(id_token(time.time() + 7200))
    good = id_token(time.time() + 3600)
    credentials = from_context("test", provider(await serve(issuer), good, **{"client-secret": "s"}), {})
    first = await credentials.obtain()
    assert first.authorization == f"Bearer {good}" and issuer.turn == 1
    assert (await credentials.obtain(first)).authorization == f"Bearer {issuer.fresh}"
    assert issuer.clients == ["Basic " + base64.b64encode(b"c:s").decode()]


async def test_oidc_refreshes_an_expired_token_of_a_public_client(
    serve: Callable[..., Awaitable[str]],
) -> None:
    issuer = Issuer(id_token(time.time() + 3600))
    credentials = from_context("test", provider(await serve(issuer), id_token(time.time() - 1)), {})
    assert (await credentials.obtain()).authorization == f"Bearer {issuer.fresh}"
    assert issuer.clients == ["c"]


async def test_oidc_without_a_refresh_token_says_so(serve: Callable[..., Awaitable[str]]) -> None:
    stale = provider("http://127.0.0.1:1", id_token(time.time() - 1), **{"refresh-token": ""})
    with pytest.raises(CredentialsError, match="the token expired and refresh-token is missing"):
        await from_context("test", stale, {}).obtain()
