"""Who may come in and what they may do: the parts that decide it, together."""

from pathlib import Path
from typing import NamedTuple

from localkube.apiserver.authentication import Authenticator
from localkube.apiserver.rbac.authorizer import Authorizer
from localkube.apiserver.rbac.grants import Grants
from localkube.apiserver.registry import Registry
from localkube.apiserver.tokens import Signer, Tokens


class Access(NamedTuple):
    authenticator: Authenticator
    authorizer: Authorizer
    tokens: Tokens


def access(registry: Registry, admin_token: str, directory: Path) -> Access:
    """For a registry; the key of service account tokens is kept in `directory`."""
    tokens = Tokens(registry, Signer(directory))
    return Access(Authenticator(admin_token, tokens), Authorizer(Grants(registry.store)), tokens)
