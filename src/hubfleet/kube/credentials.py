"""What we log in with, and how it is renewed: before it expires, and once when the API server refuses it.

One class renews, whatever the source; the sources only fetch. None of them is the official client's
(`kubernetes.aio.config`): it reads a tokenFile once, goes on without credentials where a plugin fails, gives
exec certificates no second life, cannot renew on a 401, runs a plugin once for every caller, does not verify
the issuer's certificate when it refreshes an OIDC token, and takes a second and 23 MiB to import.
"""

import asyncio
import ssl
import time
from base64 import b64encode
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import msgspec

from hubfleet.kube import execplugin, oidc, tls
from hubfleet.kube.errors import CredentialsError
from hubfleet.kube.kubeconfig import Context, Entry, KubeconfigError

FILE_PERIOD = 60.0
"""Seconds after which a token file is read again, as client-go does."""

MARGIN = 60.0
"""Seconds before its expiry at which a credential is renewed (a quarter of a short life)."""

PATIENCE = 5.0
"""Seconds between two attempts of a source that fails, or whose credentials the API server refuses."""


class Access:
    """One state of the credentials. Compared by identity: a request remembers which one was refused."""

    __slots__ = ("authorization", "tls")

    def __init__(self, authorization: str = "", tls: ssl.SSLContext | None = None):
        self.authorization = authorization
        self.tls = tls


class Credentials(Protocol):
    """What a transport needs."""

    def current(self) -> Access | None:
        """The access to use, without waiting; None where `obtain` must be asked."""

    async def obtain(self, rejected: Access | None = None) -> Access:
        """The access to use; another one than `rejected` if there is any. Raises CredentialsError."""

    async def close(self) -> None:
        """Ends what is under way."""


class Static:
    """Credentials that do not change."""

    def __init__(self, access: Access):
        self._access = access

    def current(self) -> Access | None:
        return self._access

    async def obtain(self, rejected: Access | None = None) -> Access:
        return self._access

    async def close(self) -> None:
        pass


class Fetched(msgspec.Struct, frozen=True):
    """A new access; `renew` and `expires` are seconds since 1970."""

    access: Access
    renew: float
    expires: float = float("inf")


class Renewing:
    """Credentials from a source that is asked again; many callers wait for the same one answer.

    The fetch is a task of its own: a caller that gives up takes nothing away from the others.
    """

    def __init__(
        self, cluster: str, fetch: Callable[[], Awaitable[Fetched]], *, clock: Callable[[], float] = time.time
    ):
        self._cluster = cluster
        self._fetch = fetch
        self._clock = clock
        self._fetched: Fetched | None = None
        self._task: asyncio.Task[None] | None = None
        self._error: CredentialsError | None = None
        self._failed = self._refused = float("-inf")  # when

    def current(self) -> Access | None:
        now = self._clock()
        if self._fetched is None or now >= self._fetched.expires:
            return None
        if now >= self._fetched.renew and now >= self._failed + PATIENCE:
            self._start()  # in the background: what we have is still good
        return self._fetched.access

    async def obtain(self, rejected: Access | None = None) -> Access:
        now = self._clock()
        fetched = self._fetched
        if rejected is not None and fetched is not None:
            if fetched.access is not rejected:
                return fetched.access  # another request met the same refusal before
            if now < self._refused + PATIENCE and self._task is None:
                return rejected  # renewed for a refusal just now; it would be the same again
            self._refused = now
        elif (access := self.current()) is not None:
            return access
        elif self._error is not None and now < self._failed + PATIENCE:
            raise self._error
        await asyncio.shield(self._start())
        # A renewal that failed leaves what we had, and that may still be good enough (token files).
        if self._fetched is None or self._clock() >= self._fetched.expires:
            assert self._error is not None
            raise self._error
        return self._fetched.access

    def _start(self) -> asyncio.Task[None]:
        if self._task is None:
            self._task = asyncio.create_task(self._renew())
        return self._task

    async def _renew(self) -> None:
        try:
            self._fetched = await self._fetch()
            self._error = None
        except (KubeconfigError, OSError, ssl.SSLError) as e:
            self._error = CredentialsError(self._cluster, str(e), retry_after=PATIENCE)
            self._failed = self._clock()
        finally:
            self._task = None

    async def close(self) -> None:
        if (task := self._task) is not None:
            task.cancel()
            await asyncio.wait([task])


def from_context(cluster: str, context: Context, environ: Mapping[str, str]) -> Credentials:
    """The credentials of a kubeconfig's context, in kubectl's order of precedence; raises KubeconfigError."""
    user, server = context.user, str(context.cluster.value.get("server") or "")
    secure = server.startswith("https:")
    trust: dict[str, Any] = {
        "ca": context.cluster.data("certificate-authority"),
        "insecure": bool(context.cluster.value.get("insecure-skip-tls-verify")),
    }
    mine: dict[str, Any] = {"certificate": user.data("client-certificate"), "key": user.data("client-key")}
    if "exec" in user.value:
        plugin = execplugin.plugin(user, context.cluster)
        return Renewing(cluster, lambda: _run(plugin, environ, secure, trust, mine))
    base = tls.context(**trust, **mine) if secure else None
    if provider := user.value.get("auth-provider"):
        if provider.get("name") != "oidc":
            raise KubeconfigError(
                f"auth-provider {provider.get('name')!r} is gone since Kubernetes 1.26; use exec"
            )
        return _from_oidc(cluster, user, base)
    if file := user.value.get("tokenFile"):
        return from_token_file(cluster, user.file(str(file)), base)
    return Static(Access(_authorization(user.value), base))


def from_token_file(cluster: str, file: Path, context: ssl.SSLContext | None) -> Credentials:
    """A token in a file that somebody else replaces: the in-cluster account's, or a tokenFile."""

    async def read() -> Fetched:
        token = file.read_text().strip()  # noqa: ASYNC240 (a few KiB, in memory)
        if not token:
            raise KubeconfigError(f"{file} is empty")
        return Fetched(Access(f"Bearer {token}", context), time.time() + FILE_PERIOD)

    return Renewing(cluster, read)


def _authorization(user: Mapping[str, Any]) -> str:
    if token := user.get("token"):
        return f"Bearer {token}"
    if user.get("username"):
        return "Basic " + b64encode(f"{user['username']}:{user.get('password') or ''}".encode()).decode()
    return ""


async def _run(
    plugin: execplugin.ExecPlugin,
    environ: Mapping[str, str],
    secure: bool,
    trust: dict[str, Any],
    mine: dict[str, Any],
) -> Fetched:
    credential = await plugin.run(environ)
    now = time.time()
    if credential.certificate is not None:
        mine = {"certificate": credential.certificate, "key": credential.key}
    context = tls.context(**trust, **mine) if secure else None
    access = Access(f"Bearer {credential.token}" if credential.token else "", context)
    if credential.expires is None:
        return Fetched(access, float("inf"))
    return Fetched(access, renewal(now, credential.expires), credential.expires)


def renewal(now: float, expires: float) -> float:
    """When to renew what expires then: a margin before, so that no request meets the expiry."""
    return expires - min(MARGIN, max(0.0, expires - now) / 4)


def _from_oidc(cluster: str, user: Entry, base: ssl.SSLContext | None) -> Credentials:
    provider = oidc.Oidc(user)
    first = True

    async def fetch() -> Fetched:
        nonlocal first
        # Asked a second time, the token that we have is refused or about to expire, whatever it says itself.
        token, expires = await provider.token(fresh=not first)
        first = False
        return Fetched(Access(f"Bearer {token}", base), renewal(time.time(), expires), expires)

    return Renewing(cluster, fetch)
