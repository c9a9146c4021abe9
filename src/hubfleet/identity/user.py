"""Who is asking."""

from collections.abc import Iterable
from typing import Literal

import msgspec


class User(msgspec.Struct, frozen=True, kw_only=True):
    """A user or a service of the Hub, as the Hub describes the owner of a token.

    `scopes` are those of the token, already expanded by the Hub. `token` is what they came with: it goes into
    Secrets of their own, and is never printed.
    """

    name: str
    kind: Literal["user", "service"] = "user"
    groups: tuple[str, ...] = ()
    scopes: frozenset[str] = frozenset()
    admin: bool = False
    token: str = ""

    def __repr__(self) -> str:
        return f"User({self.kind} {self.name!r})"


def missing_scopes(required: Iterable[str], held: frozenset[str]) -> tuple[str, ...]:
    """() if one of the `required` scopes is granted by the `held` ones, else all that would have done."""
    required = tuple(required)
    return () if any(_granted(scope, held) for scope in required) else required


def _granted(scope: str, held: frozenset[str]) -> bool:
    """As jupyterhub.services.auth.check_scopes: the scope itself, or the same with a wider filter or none."""
    base, _, limit = scope.partition("!")
    if scope in held or base in held:
        return True
    entity, _, name = limit.partition("=")
    # A server is its user's: `!user=x` covers `!server=x/lab`. Groups need the Hub's database to compare.
    return entity == "server" and f"{base}!user={name.partition('/')[0]}" in held
