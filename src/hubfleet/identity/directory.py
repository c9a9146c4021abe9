"""All users of the Hub, for what an operator does once; the service itself knows only who comes."""

import ssl

import aiohttp
import msgspec

from hubfleet.errors import HubFailed, SettingsError
from hubfleet.identity.hub import tls_of
from hubfleet.settings import HubSettings

PAGE = 200
"""Users of one request; JupyterHub's own limit."""

PAGINATED = "application/jupyterhub-pagination+json"


class _User(msgspec.Struct, frozen=True):
    name: str


class _Next(msgspec.Struct, frozen=True):
    offset: int


class _Pagination(msgspec.Struct, frozen=True):
    next: _Next | None = None


class _Page(msgspec.Struct, frozen=True, rename={"pagination": "_pagination"}):
    items: tuple[_User, ...]
    pagination: _Pagination = _Pagination()


async def user_names(settings: HubSettings) -> list[str]:
    """The names of all users, asked with our own token, which needs the scope `list:users`.

    Raises SettingsError where the token may not, HubFailed where the Hub does not answer: nothing runs that
    could try again.
    """
    tls: ssl.SSLContext | None = tls_of(settings)
    connector = aiohttp.TCPConnector(ssl=tls if tls is not None else True)
    timeout = aiohttp.ClientTimeout(total=max(30.0, settings.budget))
    headers = {"Authorization": f"token {settings.api_token}", "Accept": PAGINATED}
    url = f"{settings.api_url.rstrip('/')}/users"
    names: list[str] = []
    offset = 0
    async with aiohttp.ClientSession(connector=connector, timeout=timeout, headers=headers) as session:
        while True:
            page = await _page(session, url, offset)
            names += [user.name for user in page.items]
            if page.pagination.next is None:
                return names
            offset = page.pagination.next.offset


async def _page(session: aiohttp.ClientSession, url: str, offset: int) -> _Page:
    query = {"limit": str(PAGE), "offset": str(offset)}
    try:
        async with session.get(url, params=query, allow_redirects=False) as response:
            body = await response.read()
    except (aiohttp.ClientError, OSError, TimeoutError) as e:
        raise HubFailed(f"{url} (hub.api_url) does not answer: {str(e) or type(e).__name__}") from e
    if response.status in (401, 403):
        raise SettingsError(
            ["hub.api_token: the Hub does not list its users to it: give this service the scope list:users"]
        )
    if response.status != 200:
        raise HubFailed(f"{url} (hub.api_url) answers with HTTP {response.status}")
    try:
        return msgspec.json.decode(body, type=_Page)
    except (msgspec.MsgspecError, UnicodeDecodeError) as e:
        raise HubFailed(f"{url} (hub.api_url) does not answer with users: {e}") from e
