"""The tokens of service accounts: signed JWTs that name the account and what they are bound to.

A token says of itself until when it is good. Whether the account, and the pod that it was made for, are still
there is looked up whenever it is used, so a token ends with what it is bound to.
"""

import base64
import os
import uuid
from collections import OrderedDict
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils

from localkube.apiserver.rbac.grants import service_account_user
from localkube.apiserver.rbac.impersonation import AUTHENTICATED, account_groups
from localkube.apiserver.registry import Registry
from localkube.apiserver.requests import User

ISSUER = "https://kubernetes.default.svc.cluster.local"
AUDIENCES = (ISSUER,)
"""What the API server itself is called by those who make tokens for it."""

LEEWAY = timedelta(minutes=1)
"""How far clocks may differ (go-jose's default): a token is good for so long after its end, or its pod's."""

EXTENDED_SECONDS = 365 * 24 * 3600
WARN_ONLY_SECONDS = 3607
"""Pods of old clients never read their token again. So a token that is asked for with the seconds of the
admission plugin is good for a year, as on a real cluster; it still ends with its pod."""

_CACHED = 4096
_SCALAR_BYTES = 32


class Invalid(Exception):
    """The token is not (or no longer) good; the message says why."""


class Issued(NamedTuple):
    """`expires` is what the client is told; the token itself may be good for longer."""

    token: str
    issued: datetime
    expires: datetime


class Identity(NamedTuple):
    """Whose a token is, and which of the wanted audiences it is for."""

    user: User
    audiences: tuple[str, ...]


class Signer:
    """Signs and checks JWTs with the key of a directory, which is made when it is missing."""

    def __init__(self, directory: Path) -> None:
        self._key = _key(directory / "service-account.key")
        der = self._key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        digest = hashes.Hash(hashes.SHA256())
        digest.update(der)
        self._header = _encode({"alg": "ES256", "kid": _base64(digest.finalize()).decode()})
        # a signature costs more to check than everything else about a request
        self._checked: OrderedDict[str, dict[str, Any]] = OrderedDict()

    def sign(self, claims: dict[str, Any]) -> str:
        text = self._header + b"." + _encode(claims)
        r, s = utils.decode_dss_signature(self._key.sign(text, ec.ECDSA(hashes.SHA256())))
        signature = r.to_bytes(_SCALAR_BYTES, "big") + s.to_bytes(_SCALAR_BYTES, "big")
        return (text + b"." + _base64(signature)).decode()

    def claims(self, token: str) -> dict[str, Any] | None:
        """What a token says, None when this signer did not sign it."""
        found = self._checked.get(token)
        if found is not None:
            self._checked.move_to_end(token)
            return found
        found = self._check(token)
        if found is not None:
            self._checked[token] = found
            if len(self._checked) > _CACHED:
                self._checked.popitem(last=False)
        return found

    def _check(self, token: str) -> dict[str, Any] | None:
        text, _, signature = token.rpartition(".")
        header, dot, payload = text.partition(".")
        # only what this very key signs is taken, whatever a token says of its algorithm
        if not dot or header.encode() != self._header:
            return None
        try:
            raw = _decoded(signature)
            if len(raw) != 2 * _SCALAR_BYTES:
                return None
            r, s = (int.from_bytes(part, "big") for part in (raw[:_SCALAR_BYTES], raw[_SCALAR_BYTES:]))
            der = utils.encode_dss_signature(r, s)
            self._key.public_key().verify(der, text.encode(), ec.ECDSA(hashes.SHA256()))
            claims: dict[str, Any] = msgspec.json.decode(_decoded(payload))
        except (ValueError, InvalidSignature):
            return None
        return claims


class Tokens:
    """Issues tokens for the accounts of a registry, and tells whose a token is."""

    def __init__(self, registry: Registry, signer: Signer) -> None:
        self._registry = registry
        self._signer = signer

    def issue(
        self,
        account: dict[str, Any],
        audiences: Sequence[str] = AUDIENCES,
        seconds: int = 3600,
        bound: dict[str, Any] | None = None,
    ) -> Issued:
        """A token for a ServiceAccount, bound to `bound` (a Pod, Secret or Node) if there is one."""
        now = self._registry.clock()
        metadata = account["metadata"]
        private: dict[str, Any] = {"namespace": metadata["namespace"]}
        lifetime = seconds
        if bound is not None:
            private |= self._binding(bound)
            extended = seconds == WARN_ONLY_SECONDS and set(audiences) <= set(AUDIENCES)
            if extended and bound["kind"] == "Pod":
                private["warnafter"] = int(now.timestamp()) + seconds
                lifetime = EXTENDED_SECONDS
        private["serviceaccount"] = _reference(account)
        begin = int(now.timestamp())
        claims = {
            "aud": list(audiences),
            "exp": begin + lifetime,
            "iat": begin,
            "iss": ISSUER,
            "jti": str(uuid.uuid4()),
            "kubernetes.io": private,
            "nbf": begin,
            "sub": service_account_user(metadata["namespace"], metadata["name"]),
        }
        return Issued(self._signer.sign(claims), now, now + timedelta(seconds=seconds))

    def for_pod(self, pod: dict[str, Any], projection: dict[str, Any]) -> Issued:
        """What a serviceAccountToken projection of a pod asks for. Raises 404 without the account."""
        name = pod["spec"].get("serviceAccountName") or "default"
        account = self._registry.get("serviceaccounts", pod["metadata"]["namespace"], name)
        audience = projection.get("audience", "")
        audiences = (audience,) if audience else AUDIENCES
        return self.issue(account, audiences, projection.get("expirationSeconds", 3600), pod)

    def identify(self, token: str, audiences: Sequence[str] = AUDIENCES) -> Identity:
        """Whose token it is. Raises Invalid, without words for what is no token of this server."""
        claims = self._signer.claims(token)
        if claims is None:
            raise Invalid("")
        common = tuple(audience for audience in claims["aud"] if audience in audiences)
        if not common:
            raise Invalid(
                f"token audiences {_strings(claims['aud'])} is invalid for the target audiences "
                f"{_strings(audiences)}"
            )
        now = self._registry.clock()
        if now.timestamp() > claims["exp"] + LEEWAY.total_seconds():
            raise Invalid("service account token has expired")
        if now.timestamp() < claims["nbf"] - LEEWAY.total_seconds():
            raise Invalid("service account token is not valid yet")
        private = claims["kubernetes.io"]
        namespace, account = private["namespace"], private["serviceaccount"]
        self._check_alive("serviceaccounts", namespace, account, now)
        extra = {"authentication.kubernetes.io/credential-id": (f"JTI={claims['jti']}",)}
        for kind, key in (("pod", "pods"), ("secret", "secrets"), ("node", "nodes")):
            reference = private.get(kind)
            if reference is None:
                continue
            if kind != "node" or "pod" not in private:
                # the node of a pod is only told about, a token ends with the pod
                self._check_alive(key, namespace if kind != "node" else "", reference, now)
            if kind != "secret":
                extra[f"authentication.kubernetes.io/{kind}-name"] = (reference["name"],)
                extra[f"authentication.kubernetes.io/{kind}-uid"] = (reference["uid"],)
        groups = (*account_groups(namespace), AUTHENTICATED)
        return Identity(User(claims["sub"], groups, account["uid"], extra), common)

    def _binding(self, bound: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = {bound["kind"].lower(): _reference(bound)}
        if bound["kind"] == "Pod" and (name := bound["spec"].get("nodeName")):
            node = self._registry.store.get("nodes", "", name)
            if node is not None:
                found["node"] = _reference(node.object)
        return found

    def _check_alive(self, key: str, namespace: str, reference: dict[str, str], now: datetime) -> None:
        version = self._registry.store.get(key, namespace, reference["name"])
        if version is None or version.object["metadata"]["uid"] != reference["uid"]:
            raise Invalid("service account token has been invalidated")
        deleted = version.object["metadata"].get("deletionTimestamp")
        if deleted and datetime.fromisoformat(deleted) < now - LEEWAY:
            raise Invalid("service account token has been invalidated")


def _reference(obj: dict[str, Any]) -> dict[str, str]:
    return {"name": obj["metadata"]["name"], "uid": obj["metadata"]["uid"]}


def _strings(values: Sequence[str]) -> str:
    return "[" + " ".join(f'"{value}"' for value in values) + "]"


def _base64(raw: bytes) -> bytes:
    return base64.urlsafe_b64encode(raw).rstrip(b"=")


def _encode(value: dict[str, Any]) -> bytes:
    return _base64(msgspec.json.encode(value))


def _decoded(text: str) -> bytes:
    """Raises ValueError for anything but base64url without padding, so that a token has one spelling."""
    raw = base64.urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
    if _base64(raw) != text.encode():
        raise ValueError("not base64url")
    return raw


def _key(path: Path) -> ec.EllipticCurvePrivateKey:
    if path.exists():
        loaded = serialization.load_pem_private_key(path.read_bytes(), None)
        assert isinstance(loaded, ec.EllipticCurvePrivateKey)
        return loaded
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(pem)
    return key
