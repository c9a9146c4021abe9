"""Hub tokens: whose they are, and whether they may be used here. The Hub decides, we remember for a minute.

The Hub is asked with the user's own token, as JupyterHub's HubAuth does, so our own token needs no rights. A
token is known here by its SHA-256 only. When the Hub does not answer, nobody whose answer expired gets in:
503, and the client tries again.
"""

import asyncio
import hashlib
import re
import ssl
import time
from collections.abc import Callable
from types import TracebackType
from typing import Annotated, Literal, Self

import aiohttp
import msgspec
import structlog

from hubfleet.errors import SettingsError, UserError
from hubfleet.gates import Gate, Owner, Rates, Refused
from hubfleet.identity.cache import ExpiringCache
from hubfleet.identity.user import User, missing_scopes
from hubfleet.settings import HubSettings, LimitSettings

log = structlog.get_logger(__name__)

REMEMBERED = 10_000
"""Tokens whose owner is kept, about 1 KiB each."""

REFUSED_SECONDS = 5.0
"""How long a token that the Hub does not know is refused without asking again."""

KNOWN_SECONDS = 86_400.0
"""How long a token counts as known after the Hub last knew it: its owner does not wait behind strangers."""

CONNECTIONS = 32
"""To the Hub, at once."""

STRANGERS = 8
"""Tokens never seen before that the Hub is asked about at once; half of that for one address."""

STRANGERS_PATIENCE = 2.0
"""Seconds that a token never seen before waits until the Hub is asked about it."""

RETRY_AFTER = 5.0
"""Seconds that a client is asked to wait when the Hub does not answer."""

_ANSWER_LIMIT = 4 * 2**20
"""Bytes. A user's own model grows with the groups and scopes that they have, and stays far below."""

# What a header can carry as one word. JupyterHub makes tokens of 32 characters, an operator may choose more.
_TOKEN = re.compile(r"[!-~]{1,1024}")


class _Owner(msgspec.Struct, frozen=True):
    """The part of the Hub's user or service model that we use; services have no groups."""

    name: Annotated[str, msgspec.Meta(min_length=1)]
    scopes: frozenset[str]
    kind: Literal["user", "service"] = "user"
    groups: tuple[str, ...] = ()
    admin: bool = False


class _Refused(msgspec.Struct, frozen=True):
    """The Hub does not know the token."""


class _Silent(msgspec.Struct, frozen=True):
    """The Hub gave no answer that can be used, and why: for the log."""

    reason: str


class _Busy(msgspec.Struct, frozen=True):
    """The Hub was not asked: too many tokens that we do not know are being tried."""

    retry_after: float


_Answer = _Owner | _Refused | _Silent | _Busy
_owner = msgspec.json.Decoder(_Owner)


def access_scopes(settings: HubSettings) -> tuple[str, ...]:
    """The scopes of which a token needs one.

    Raises SettingsError where nothing says so. (kbatch-proxy answered every request with 500 then. To let any
    token in would let in those that users hand to other services, which can then act for them here.)
    """
    if settings.access_scopes:
        return settings.access_scopes
    if settings.service_name:
        return (f"access:services!service={settings.service_name}",)
    raise SettingsError(
        [
            "hub.service_name: missing. Say which service of the Hub this is (or JUPYTERHUB_SERVICE_NAME), "
            "or which scopes let users in with hub.access_scopes (or JUPYTERHUB_OAUTH_ACCESS_SCOPES)"
        ]
    )


class HubIdentity:
    """`async with HubIdentity(settings.hub) as identity: user = await identity.authenticate(token)`."""

    def __init__(
        self,
        settings: HubSettings,
        limits: LimitSettings | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ):
        limits = limits or LimitSettings()
        self.scopes = access_scopes(settings)
        self._settings = settings
        self._url = settings.api_url.rstrip("/") + "/user"
        tls_of(settings)  # said at the start, where it makes no sense
        self._owners: ExpiringCache[bytes, _Owner] = ExpiringCache(
            REMEMBERED, settings.cache_seconds, clock=clock
        )
        # Apart from the owners: whoever tries tokens must not push out those who have one.
        self._refused: ExpiringCache[bytes, bool] = ExpiringCache(
            REMEMBERED, min(REFUSED_SECONDS, settings.cache_seconds), clock=clock
        )
        # Whoever tries tokens must not keep the Hub from those who have one, either.
        self._known: ExpiringCache[bytes, Owner] = ExpiringCache(REMEMBERED, KNOWN_SECONDS, clock=clock)
        self._strangers = Gate(each=STRANGERS // 2, waiting=100, in_all=STRANGERS)
        rate = limits.unknown_tokens_per_second
        self._unknown_tokens = rate
        self._address_rates = Rates(rate / 5, max(1.0, rate * 2), clock)
        self._strangers_rate = Rates(rate, max(1.0, rate * 4), clock)
        self._asking: dict[bytes, asyncio.Task[_Answer]] = {}
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = hub_session(self._settings, connections=CONNECTIONS)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._asking.values():
            task.cancel()
        await asyncio.gather(*self._asking.values(), return_exceptions=True)
        assert self._session is not None
        await self._session.close()

    def owner_of(self, token: str) -> Owner | None:
        """Whose token it was when the Hub last said so. Asks nobody, and allows nothing.

        Also where that was hours ago: whoever comes back must not wait in one line with those who try tokens.
        """
        return self._known.get(hashlib.sha256(token.encode()).digest()) if _TOKEN.fullmatch(token) else None

    async def authenticate(self, token: str, address: str = "") -> User:
        """The owner of `token`; UserError 401, 403, 429, or 503 while the Hub does not answer.

        `address` is where it was sent from, to be fair to others who send tokens that we do not know yet.
        """
        if not _TOKEN.fullmatch(token):
            raise UserError(401, "Incorrect token")
        key = hashlib.sha256(token.encode()).digest()
        owner = self._owners.get(key) or await self._ask_once(key, token, address)
        if lacking := missing_scopes(self.scopes, owner.scopes):
            raise UserError(
                403,
                f"The token of {owner.kind} {owner.name} does not give access to this service: "
                f"it needs the scope {' or '.join(lacking)}",
            )
        return User(
            name=owner.name,
            kind=owner.kind,
            groups=owner.groups,
            scopes=owner.scopes,
            admin=owner.admin,
            token=token,
        )

    async def _ask_once(self, key: bytes, token: str, address: str) -> _Owner:
        if self._refused.get(key):
            raise UserError(401, "Incorrect token")
        task = self._asking.get(key)
        if task is None:
            task = self._asking[key] = asyncio.create_task(self._ask(key, token, address))
        # Shielded: one caller that goes away must not take the answer from the others. The task never
        # raises, so that nobody shares an exception (and its growing traceback) with anybody.
        answer = await asyncio.shield(task)
        match answer:
            case _Owner():
                return answer
            case _Refused():
                raise UserError(401, "Incorrect token")
            case _Silent():
                raise UserError(
                    503, "JupyterHub does not answer; try again in a moment", retry_after=RETRY_AFTER
                )
            case _Busy():
                raise Refused(
                    f"too many tokens that are not known here are being tried; the limit is "
                    f"{self._unknown_tokens:g} a second (limits.unknown_tokens_per_second)",
                    answer.retry_after,
                )

    async def _ask(self, key: bytes, token: str, address: str) -> _Answer:
        try:
            if self._known.get(key):
                answer = await self._request(token)
            else:
                answer = await self._request_for_stranger(token, ("address", address))
            match answer:
                case _Owner():
                    self._owners.put(key, answer)
                    self._known.put(key, (answer.kind, answer.name))
                case _Refused():
                    self._refused.put(key, True)
                    self._known.discard(key)
                case _Silent():
                    log.warning("the Hub cannot say whose a token is", url=self._url, reason=answer.reason)
            return answer
        finally:
            del self._asking[key]

    async def _request_for_stranger(self, token: str, origin: Owner) -> _Answer:
        for rates, owner in ((self._address_rates, origin), (self._strangers_rate, ("address", "*"))):
            granted, wait = rates.take(owner, patience=STRANGERS_PATIENCE)
            if not granted:
                return _Busy(wait)
            if wait:
                await asyncio.sleep(wait)
        if not await self._strangers.enter(origin, STRANGERS_PATIENCE):
            return _Busy(STRANGERS_PATIENCE)
        try:
            return await self._request(token)
        finally:
            self._strangers.leave(origin)

    async def _request(self, token: str) -> _Answer:
        assert self._session is not None, "HubIdentity is used outside of its `async with`"
        headers = {"Authorization": f"token {token}", "Accept": "application/json"}
        try:
            # A redirect is no answer: it would carry the token to wherever it points.
            async with self._session.get(self._url, headers=headers, allow_redirects=False) as response:
                body = bytearray()
                async for chunk in response.content.iter_any():
                    body += chunk
                    if len(body) > _ANSWER_LIMIT:
                        return _Silent(f"the answer is longer than {_ANSWER_LIMIT} bytes")
                return interpret(response.status, bytes(body))
        except TimeoutError:
            return _Silent(f"no answer within {self._settings.budget:g} s")
        except (aiohttp.ClientError, OSError) as e:
            return _Silent(str(e) or type(e).__name__)


def interpret(status: int, body: bytes) -> _Answer:
    """What the Hub's answer to `GET /user` says about the token."""
    if status in (401, 403):  # 403 is JupyterHub's word for a token that it does not know
        return _Refused()
    if status != 200:
        return _Silent(f"HTTP {status}")
    try:
        return _owner.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as e:
        return _Silent(f"the answer is not a user's model: {e}")


def hub_session(settings: HubSettings, *, connections: int) -> aiohttp.ClientSession:
    """How the Hub's API is asked. Raises SettingsError."""
    tls = tls_of(settings)
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=connections, ssl=tls if tls is not None else True),
        timeout=aiohttp.ClientTimeout(total=settings.budget),
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
    )


def tls_of(settings: HubSettings) -> ssl.SSLContext | None:
    """For the Hub's internal TLS; None is what everybody trusts."""
    if not (settings.tls_ca or settings.tls_cert):
        return None
    try:
        context = ssl.create_default_context(cafile=settings.tls_ca or None)
        if settings.tls_cert:
            context.load_cert_chain(settings.tls_cert, settings.tls_key or None)
    except (OSError, ssl.SSLError) as e:
        raise SettingsError([f"hub: tls_ca, tls_cert, tls_key: {e}"]) from e
    return context
