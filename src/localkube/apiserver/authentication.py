"""Who sends a request: the bearer token, or nobody in particular."""

import hmac
from collections.abc import Sequence

from localkube.apiserver import status
from localkube.apiserver.rbac.authorizer import MASTERS
from localkube.apiserver.rbac.impersonation import ANONYMOUS, AUTHENTICATED, UNAUTHENTICATED
from localkube.apiserver.requests import User
from localkube.apiserver.tokens import AUDIENCES, Identity, Invalid, Tokens

ADMIN = User("localkube-admin", (MASTERS, AUTHENTICATED))
NOBODY = User(ANONYMOUS, (UNAUTHENTICATED,))

_INVALID = "invalid bearer token"


class Authenticator:
    """Knows the token of the kubeconfig, and those of service accounts."""

    def __init__(self, admin_token: str, tokens: Tokens) -> None:
        self._admin = admin_token.encode()
        self._tokens = tokens

    def user(self, headers: Sequence[tuple[bytes, bytes]]) -> User:
        """Who a request's headers say it is from. Raises 401 for a token that is not good."""
        token = bearer_token(headers)
        if not token:
            return NOBODY
        try:
            return self.identify(token).user
        except Invalid:
            raise status.unauthorized() from None

    def identify(self, token: str, audiences: Sequence[str] = AUDIENCES) -> Identity:
        """Whose token it is, for one of the audiences at least. Raises Invalid."""
        if hmac.compare_digest(token.encode(), self._admin):
            # a token that knows of no audiences is for the API server
            common = tuple(audience for audience in AUDIENCES if audience in audiences)
            if common:
                return Identity(ADMIN, common)
        try:
            return self._tokens.identify(token, audiences)
        except Invalid as error:
            raise Invalid(f"[{_INVALID}, {error}]" if str(error) else _INVALID) from None


def bearer_token(headers: Sequence[tuple[bytes, bytes]]) -> str:
    """The token of the first Authorization header; "" when that holds none, or another kind of credential."""
    for name, value in headers:
        if name == b"authorization":
            scheme, _, rest = value.strip().partition(b" ")
            token, _, _ = rest.partition(b" ")
            return token.decode("latin-1") if scheme.lower() == b"bearer" else ""
    return ""
