"""Tokens that a real Hub issues and takes back, and what it refuses."""

import time
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from hubfleet.identity.hub import HubIdentity
from hubfleet.identity.tokens import HubTokens, Issued, Kept
from hubfleet.identity.user import User
from hubfleet.settings import HubSettings

ACCESS = "access:services!service=kbatch"


@pytest.fixture
def settings(jupyterhub: Any) -> HubSettings:
    return HubSettings(api_url=jupyterhub.api_url, service_name="kbatch", api_token=jupyterhub.service_token)


@pytest.fixture
async def tokens(settings: HubSettings) -> AsyncIterator[HubTokens]:
    async with HubTokens(settings) as found:
        yield found


async def known(settings: HubSettings, token: str) -> User:
    async with HubIdentity(settings) as identity:
        return await identity.authenticate(token)


@pytest.mark.parametrize("name", ["alice", "a.user+1@ümlaut.org"])
async def test_a_token_is_issued_and_revoked(
    jupyterhub: Any, settings: HubSettings, tokens: HubTokens, name: str
) -> None:
    user = await known(settings, jupyterhub.user(name))
    issued = await tokens.issue(user, "for a test")
    assert isinstance(issued, Issued)
    assert issued.secret not in repr(issued)
    fresh = await known(settings, issued.secret)
    assert (fresh.name, fresh.scopes) == (user.name, user.scopes)
    assert await tokens.revoke(name, issued.id, user)
    with pytest.raises(Exception, match="Incorrect token"):
        await known(settings, issued.secret)
    assert await tokens.revoke(name, issued.id, user), "gone is gone"


async def test_it_has_no_more_scopes_than_the_one_it_stands_for(
    jupyterhub: Any, settings: HubSettings, tokens: HubTokens
) -> None:
    user = await known(settings, jupyterhub.user("bo", scopes=[ACCESS, "tokens!user=bo"]))
    issued = await tokens.issue(user, "for a test")
    assert isinstance(issued, Issued)
    fresh = await known(settings, issued.secret)
    assert fresh.scopes == user.scopes
    assert not any(scope.startswith(("servers", "users", "self")) for scope in fresh.scopes)


async def test_who_may_not_is_told_why(jupyterhub: Any, settings: HubSettings, tokens: HubTokens) -> None:
    limited = await known(settings, jupyterhub.user("cy", scopes=[ACCESS]))
    assert await tokens.issue(limited, "x") == Kept("neither that token nor hubfleet's own may issue tokens")
    assert not await tokens.revoke("cy", "a1", limited)
    robot = await known(settings, jupyterhub.robot_token)
    assert await tokens.issue(robot, "x") == Kept("the Hub issues no tokens for services")
    assert await tokens.of("cy") is None


async def test_our_own_token_issues_where_it_may(jupyterhub: Any, settings: HubSettings) -> None:
    powerful = msgspec.structs.replace(settings, api_token=jupyterhub.stage_token)
    limited = await known(settings, jupyterhub.user("di", scopes=[ACCESS]))
    async with HubTokens(powerful) as tokens:
        issued = await tokens.issue(limited, "of di")
        assert isinstance(issued, Issued)
        assert (await known(settings, issued.secret)).scopes == limited.scopes, "and not one more"
        listed = {token.id: token for token in await tokens.of("di") or ()}
        assert listed[issued.id].note == "of di"
        created = listed[issued.id].created
        assert created is not None
        assert abs(created.timestamp() - time.time()) < 60
        assert await tokens.revoke("di", issued.id)
        assert issued.id not in {token.id for token in await tokens.of("di") or ()}
        assert await tokens.of("nobody-at-all") == ()


async def test_nobodys_token_is_revoked_with_anothers(
    jupyterhub: Any, settings: HubSettings, tokens: HubTokens
) -> None:
    eve, fay = [await known(settings, jupyterhub.user(name)) for name in ("eve", "fay")]
    issued = await tokens.issue(fay, "fay's")
    assert isinstance(issued, Issued)
    assert not await tokens.revoke("fay", issued.id, eve)
    await tokens.revoke("eve", issued.id, eve)
    assert (await known(settings, issued.secret)).name == "fay"


async def test_a_hub_that_is_away_is_no_fault(settings: HubSettings, unused_tcp_port: int) -> None:
    away = msgspec.structs.replace(settings, api_url=f"http://127.0.0.1:{unused_tcp_port}/hub/api")
    user = User(name="al", scopes=frozenset({"tokens!user=al"}), token="t" * 32)
    async with HubTokens(away) as tokens:
        kept = await tokens.issue(user, "x")
        assert isinstance(kept, Kept)
        assert "did not answer" in kept.reason
        assert not await tokens.revoke("al", "a1", user)
        assert await tokens.of("al") is None
