"""What somebody wants to do, in the words in which rules allow it."""

from typing import NamedTuple

from localkube.apiserver import selectors, status
from localkube.apiserver.requests import Query, Target, User
from localkube.apiserver.scalars import go_quote
from localkube.apiserver.status import StatusError
from localkube.apiserver.validation.names import path_segment_name

_VERBS = {
    "POST": "create",
    "GET": "get",
    "HEAD": "get",
    "PUT": "update",
    "PATCH": "patch",
    "DELETE": "delete",
}


class Attributes(NamedTuple):
    """One thing to be allowed. With a `path` it is about no resource; namespace "" is the cluster scope."""

    user: User
    verb: str
    group: str = ""
    version: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""


def of_request(user: User, method: str, path: str, target: Target | None, query: Query) -> Attributes:
    """What a request has to be allowed. `target` is None for paths that lead to no objects."""
    if target is None:
        return Attributes(user, method.lower(), path=path)
    verb = _VERBS.get(method, "")
    name = target.name
    if verb == "get" and query.flag("watch") and not target.subresource:
        verb = "watch"
    elif not name and verb == "get":
        verb = "list"
    if not name and verb == "delete":
        verb = "deletecollection"
    if not name and verb in ("list", "watch"):
        name = _selected_name(target, query)
    namespace = target.namespace or ""
    if not target.group and target.plural == "namespaces" and target.name:
        # a namespace lies in itself: who may get namespaces by a Role in one may get that one
        namespace = target.name
    return Attributes(
        user, verb, target.group, target.version, target.plural, target.subresource, namespace, name
    )


def _selected_name(target: Target, query: Query) -> str:
    """The one name that a field selector asks for: rules with resourceNames allow such a list."""
    text = query.get("fieldSelector")
    if not text:
        return ""
    key = f"{target.plural}.{target.group}" if target.group else target.plural
    try:
        name = selectors.parse_fields(key, text).name or ""
    except StatusError:
        # the request fails for it once it is allowed
        return ""
    return "" if path_segment_name(name, False) else name


def forbidden(attributes: Attributes, reason: str = "") -> StatusError:
    """The 403 for what is not allowed; `reason` is what the authorizer could not evaluate."""
    detail = _html(_message(attributes))
    if reason:
        detail = f"{detail}: {reason}"
    if attributes.path:
        return status.error(403, "Forbidden", f"forbidden: {detail}", {})
    key = f"{attributes.resource}.{attributes.group}" if attributes.group else attributes.resource
    return status.forbidden(key, attributes.name, detail)


def _message(attributes: Attributes) -> str:
    user = go_quote(attributes.user.name)
    if attributes.path:
        return f"User {user} cannot {attributes.verb} path {go_quote(attributes.path)}"
    resource = attributes.resource
    if attributes.subresource:
        resource = f"{resource}/{attributes.subresource}"
    what = (
        f"User {user} cannot {attributes.verb} resource {go_quote(resource)} in API group "
        f"{go_quote(attributes.group)}"
    )
    if attributes.namespace:
        return f"{what} in the namespace {go_quote(attributes.namespace)}"
    return f"{what} at the cluster scope"


def _html(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
