"""The oidc auth-provider of a kubeconfig: an id-token, and a refresh token that gets the next one.

Not with the official client's loader: it sends the client secret and the refresh token without verifying the
issuer's certificate unless the kubeconfig names a CA, and then fails on it. What is learned stays in memory:
the kubeconfig file is its owner's.
"""

import time
from base64 import urlsafe_b64decode
from typing import Any

import aiohttp
import msgspec

from hubfleet.kube import tls
from hubfleet.kube.kubeconfig import Entry, KubeconfigError

SECONDS = 30.0
"""For one answer of the issuer."""

SKEW = 10.0
"""Seconds before its expiry at which an id-token is not used any more."""


class Oidc:
    """The provider of one user; `token` gives an id-token that is good for a while, and when it expires."""

    def __init__(self, user: Entry):
        config = user.value["auth-provider"].get("config")
        if not isinstance(config, dict):
            raise KubeconfigError("auth-provider oidc: config is missing")
        self._config = {key: str(value) for key, value in config.items()}
        ca = Entry(config, user.directory).data("idp-certificate-authority")
        self._tls = tls.context(ca=ca)

    async def token(self, *, fresh: bool = False) -> tuple[str, float]:
        """(id-token, seconds since 1970); `fresh` asks the issuer although the token has not expired."""
        token = self._config.get("id-token", "")
        if token and not fresh and (expires := expiry(token)) > time.time() + SKEW:
            return token, expires
        try:
            answer = await self._refresh()
        except (aiohttp.ClientError, TimeoutError, msgspec.DecodeError) as e:
            raise KubeconfigError(f"auth-provider oidc: the issuer renews nothing: {e!r}") from e
        if not isinstance(answer.get("id_token"), str):
            raise KubeconfigError("auth-provider oidc: the issuer's answer has no id_token")
        token = self._config["id-token"] = answer["id_token"]
        if isinstance(successor := answer.get("refresh_token"), str):
            self._config["refresh-token"] = successor
        return token, expiry(token)

    async def _refresh(self) -> dict[str, Any]:
        missing = [
            key for key in ("idp-issuer-url", "client-id", "refresh-token") if not self._config.get(key)
        ]
        if missing:
            raise KubeconfigError(
                f"auth-provider oidc: the token expired and {', '.join(missing)} is missing"
            )
        client, secret = self._config["client-id"], self._config.get("client-secret", "")
        form = {"grant_type": "refresh_token", "refresh_token": self._config["refresh-token"]}
        headers = {}
        if secret:
            headers["Authorization"] = aiohttp.encode_basic_auth(client, secret)
        else:
            form["client_id"] = client
        issuer = self._config["idp-issuer-url"].rstrip("/")
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=self._tls),
            timeout=aiohttp.ClientTimeout(total=SECONDS),
            raise_for_status=True,
            trust_env=True,
        ) as session:
            async with session.get(f"{issuer}/.well-known/openid-configuration") as response:
                endpoint = msgspec.json.decode(await response.read(), type=dict[str, Any]).get(
                    "token_endpoint"
                )
            async with session.post(str(endpoint), data=form, headers=headers) as response:
                return msgspec.json.decode(await response.read(), type=dict[str, Any])


def expiry(token: str) -> float:
    """The `exp` of a JWT, in seconds since 1970 (the API server checks the rest). Raises KubeconfigError."""
    try:
        claims = token.split(".")[1]
        decoded = msgspec.json.decode(urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))
        return float(decoded["exp"])
    except (IndexError, KeyError, TypeError, ValueError, msgspec.DecodeError) as e:
        raise KubeconfigError("auth-provider oidc: the id-token is not a JWT with an expiry") from e
