"""Acting as somebody else: the Impersonate-* headers, each of which has to be allowed to who sends it.

The names of headers come in lower case; as Go's server does, the first of several Impersonate-User or
Impersonate-Uid headers counts and every Impersonate-Group and -Extra header does.
"""

from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import unquote

from localkube.apiserver import status
from localkube.apiserver.rbac.attributes import Attributes
from localkube.apiserver.rbac.authorizer import Authorizer
from localkube.apiserver.requests import User
from localkube.apiserver.validation import names

ANONYMOUS = "system:anonymous"
AUTHENTICATED = "system:authenticated"
UNAUTHENTICATED = "system:unauthenticated"
SERVICE_ACCOUNTS = "system:serviceaccounts"

_ACCOUNT = "system:serviceaccount:"
_PREFIX = b"impersonate-"
_EXTRA = "impersonate-extra-"
_GROUP = "authentication.k8s.io"

Headers = Sequence[tuple[bytes, bytes]]


class Wanted(NamedTuple):
    """What the headers ask for; `user` is "" when they ask for nothing."""

    user: str = ""
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: tuple[tuple[str, str], ...] = ()


def wanted(headers: Headers) -> Wanted:
    """Read the headers. Raises 400 for a group, uid or extra without a user."""
    found: dict[str, list[str]] = {"impersonate-user": [], "impersonate-group": [], "impersonate-uid": []}
    extra: list[tuple[str, str]] = []
    for raw_name, raw_value in headers:
        if not raw_name.startswith(_PREFIX):
            continue
        name, value = raw_name.decode("latin-1"), raw_value.strip(b" \t").decode(errors="replace")
        if name in found:
            found[name].append(value)
        elif name.startswith(_EXTRA):
            extra.append((_unescaped(name.removeprefix(_EXTRA)), value))
    user = next(iter(found["impersonate-user"]), "")
    uid = next(iter(found["impersonate-uid"]), "")
    asked = Wanted(user, tuple(found["impersonate-group"]), uid, tuple(extra))
    if not user and (asked.groups or uid or extra):
        raise status.bad_request(f"requested {_shown(asked)} without impersonating a user")
    return asked


def impersonated(user: User, headers: Headers, authorizer: Authorizer) -> User:
    """Who `user` acts as. Raises 403 for what `user` must not be, and 400 as `wanted`."""
    if not any(name.startswith(_PREFIX) for name, _ in headers):
        return user
    asked = wanted(headers)
    if not asked.user:
        return user
    groups = list(asked.groups)
    account = split_account(asked.user)
    if account is not None:
        namespace, name = account
        authorizer.require(
            Attributes(user, "impersonate", "", "v1", "serviceaccounts", namespace=namespace, name=name)
        )
        if not groups:
            groups = account_groups(namespace)
    else:
        authorizer.require(Attributes(user, "impersonate", resource="users", name=asked.user))
    for group in asked.groups:
        authorizer.require(Attributes(user, "impersonate", resource="groups", name=group))
    extra: dict[str, tuple[str, ...]] = {}
    for key, value in asked.extra:
        authorizer.require(
            Attributes(user, "impersonate", _GROUP, "v1", "userextras", subresource=key, name=value)
        )
        extra[key] = (*extra.get(key, ()), value)
    if asked.uid:
        authorizer.require(Attributes(user, "impersonate", _GROUP, "v1", "uids", name=asked.uid))
    return User(asked.user, _with_system_group(asked.user, groups), asked.uid, extra)


def _with_system_group(user: str, groups: list[str]) -> tuple[str, ...]:
    """The groups, with the one that tells whether somebody is known, unless they tell it themselves."""
    if user == ANONYMOUS:
        return tuple(groups) if UNAUTHENTICATED in groups else (*groups, UNAUTHENTICATED)
    if AUTHENTICATED in groups or UNAUTHENTICATED in groups:
        return tuple(groups)
    return (*groups, AUTHENTICATED)


def split_account(user: str) -> tuple[str, str] | None:
    """(namespace, name) of a service account's user name; what has another form is an ordinary user."""
    if not user.startswith(_ACCOUNT):
        return None
    namespace, colon, name = user.removeprefix(_ACCOUNT).partition(":")
    if not colon or names.dns_label(namespace) or names.dns_subdomain(name):
        return None
    return namespace, name


def account_groups(namespace: str) -> list[str]:
    """The groups that every service account of a namespace is in."""
    return [SERVICE_ACCOUNTS, f"{SERVICE_ACCOUNTS}:{namespace}"]


def _unescaped(key: str) -> str:
    """Percent-decoded, or as it is where that is not possible."""
    for part in key.split("%")[1:]:
        if len(part) < 2 or not all(c in "0123456789abcdef" for c in part[:2].lower()):
            return key
    return unquote(key)


def _shown(asked: Wanted) -> str:
    """As Go prints the references that it makes of the headers."""
    shown = [f"{{Group  {group}    }}" for group in asked.groups]
    shown += [f"{{UserExtra  {value}  {_GROUP}/v1  {key}}}" for key, value in asked.extra]
    if asked.uid:
        shown.append(f"{{UID  {asked.uid}  {_GROUP}/v1  }}")
    return f"[{' '.join(shown)}]"
