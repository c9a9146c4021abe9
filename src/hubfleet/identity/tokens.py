"""Tokens of the Hub for what lives longer than the request that made it: one for each, to be revoked with it.

A token is issued with the token that the user came with, where that may issue tokens, else with our own
service's, where the operator gave it the scope `tokens`. It never has more scopes than the one it stands for.
Nothing here raises for what the Hub says or does not say: whoever asks has something to go on with.
"""

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import aiohttp
import msgspec
import structlog

from hubfleet.identity.hub import hub_session
from hubfleet.identity.user import User, missing_scopes
from hubfleet.settings import HubSettings

log = structlog.get_logger(__name__)

OUR_RIGHTS_SECONDS = 300.0
"""How long the Hub's word about our own scopes is believed: an operator may give them while we run."""


class Issued(msgspec.Struct, frozen=True):
    """A new token; `secret` is the token itself, and not in the repr."""

    id: str
    secret: str

    def __repr__(self) -> str:
        return f"Issued({self.id!r})"


class Kept(msgspec.Struct, frozen=True):
    """No token was issued, and why."""

    reason: str


class Token(msgspec.Struct, frozen=True):
    """What the Hub says of a token: never the token itself."""

    id: str
    note: str = ""
    created: datetime | None = None


class _Tokens(msgspec.Struct, frozen=True):
    api_tokens: tuple[dict[str, Any], ...]


class _New(msgspec.Struct, frozen=True):
    id: str
    token: str


class _Scopes(msgspec.Struct, frozen=True):
    scopes: frozenset[str] = frozenset()


class HubTokens:
    """`async with HubTokens(settings.hub) as tokens`. `service` is who we are at the Hub."""

    def __init__(self, settings: HubSettings, *, clock: Callable[[], float] = time.monotonic):
        self.service = settings.service_name
        self._settings = settings
        self._url = settings.api_url.rstrip("/")
        self._clock = clock
        self._our_scopes: frozenset[str] = frozenset()
        self._our_scopes_until = float("-inf")
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = hub_session(self._settings, connections=8)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._session is not None
        await self._session.close()

    async def issue(self, user: User, note: str, *, seconds: int = 0) -> Issued | Kept:
        """A token with the scopes of the one that the user came with; `note` is what they see of it.

        It expires after so many seconds; 0 leaves that to the Hub.
        """
        if user.kind != "user":
            return Kept("the Hub issues no tokens for services")
        whose = await self._may(user.name, user)
        if not whose:
            return Kept("neither that token nor hubfleet's own may issue tokens")
        wanted: dict[str, Any] = {"note": note, "scopes": sorted(user.scopes)}
        if seconds:
            wanted["expires_in"] = seconds
        status, answer = await self._call("POST", _tokens_of(user.name), whose, wanted)
        if status != 201:
            return Kept(_refusal(status, answer))
        try:
            new = msgspec.json.decode(answer, type=_New)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return Kept("the Hub's answer made no sense")
        return Issued(new.id, new.token)

    async def revoke(self, username: str, token_id: str, user: User | None = None) -> bool:
        """Whether the token is gone. `user` is who asks for it, if somebody does."""
        whose = await self._may(username, user)
        status, answer = 0, b""
        if whose:
            status, answer = await self._call("DELETE", f"{_tokens_of(username)}/{quote(token_id)}", whose)
        if status in (204, 404):
            return True
        reason = _refusal(status, answer) if whose else "there is no token that may"
        log.warning("a token is not revoked", username=username, id=token_id, reason=reason)
        return False

    async def of(self, username: str) -> tuple[Token, ...] | None:
        """The user's tokens, for our own token; None where the Hub does not tell us."""
        if not await self._may(username, None):
            return None
        status, answer = await self._call("GET", _tokens_of(username), self._settings.api_token)
        if status == 404:
            return ()
        if status != 200:
            return None
        try:
            found = msgspec.json.decode(answer, type=_Tokens).api_tokens
            return tuple(_token(each) for each in found)
        except (msgspec.MsgspecError, UnicodeDecodeError, KeyError, ValueError):
            return None

    async def _may(self, username: str, user: User | None) -> str:
        """The token that may issue and revoke the user's tokens; "" where there is none."""
        needed = (f"tokens!user={username}",)
        if user is not None and not missing_scopes(needed, user.scopes):
            return user.token
        if not self._settings.api_token:
            return ""
        if self._clock() >= self._our_scopes_until:
            status, answer = await self._call("GET", "/user", self._settings.api_token)
            if status == 200:
                self._our_scopes = msgspec.json.decode(answer, type=_Scopes).scopes
                self._our_scopes_until = self._clock() + OUR_RIGHTS_SECONDS
        return "" if missing_scopes(needed, self._our_scopes) else self._settings.api_token

    async def _call(
        self, method: str, path: str, token: str, body: Mapping[str, Any] | None = None
    ) -> tuple[int, bytes]:
        """Status and body; status 0 and the reason where there is no answer."""
        assert self._session is not None, "HubTokens is used outside of its `async with`"
        headers = {"Authorization": f"token {token}", "Accept": "application/json"}
        try:
            async with self._session.request(
                method,
                self._url + path,
                headers=headers,
                data=None if body is None else msgspec.json.encode(body),
                allow_redirects=False,
            ) as response:
                return response.status, await response.read()
        except TimeoutError:
            return 0, b"no answer"
        except (aiohttp.ClientError, OSError) as e:
            return 0, type(e).__name__.encode()


def _tokens_of(username: str) -> str:
    return f"/users/{quote(username, safe='')}/tokens"


def _token(found: Mapping[str, Any]) -> Token:
    created = found.get("created")
    when = datetime.fromisoformat(created.replace("Z", "+00:00")) if isinstance(created, str) else None
    if when is not None and when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    return Token(str(found["id"]), str(found.get("note") or ""), when)


def _refusal(status: int, answer: bytes) -> str:
    if not status:
        return f"the Hub did not answer ({answer.decode(errors='replace')})"
    return f"the Hub refused ({status})"
