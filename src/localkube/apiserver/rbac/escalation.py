"""Nobody gives away rights that they do not have: what is asked of those who write roles and bindings.

Besides the right to write them, a role needs its own rights, or `escalate` on roles; a binding needs the
rights of its role, or `bind` on that role.
"""

from collections.abc import Sequence
from typing import Any

from localkube.apiserver import status
from localkube.apiserver.rbac.attributes import Attributes
from localkube.apiserver.rbac.authorizer import MASTERS, Authorizer
from localkube.apiserver.rbac.grants import GROUP
from localkube.apiserver.rbac.rules import FULL_AUTHORITY, Rule, described, go_strings, missing
from localkube.apiserver.resources import Resource
from localkube.apiserver.scalars import go_quote
from localkube.apiserver.status import StatusError

Object = dict[str, Any]
_PLURALS = {"Role": "roles", "ClusterRole": "clusterroles"}


class Escalation(Exception):
    """The message names the rights that are missing."""


def check(
    authorizer: Authorizer, request: Attributes, resource: Resource, old: Object | None, new: Object
) -> None:
    """Check a new state of an RBAC object, decoded and defaulted. Raises 403, and 404 for a missing role.

    `request` is what the request was allowed as; other kinds pass.
    """
    if resource.group != GROUP or MASTERS in request.user.groups:
        return
    if old is not None and _only_for_the_collector(new, old):
        return
    try:
        if resource.plural in ("roles", "clusterroles"):
            _check_role(authorizer, request, resource, old, new)
        else:
            _check_binding(authorizer, request, new)
    except Escalation as error:
        raise status.forbidden(resource.key, new["metadata"].get("name", ""), str(error)) from None


def _only_for_the_collector(new: Object, old: Object) -> bool:
    """Whether nothing but owners and finalizers changed, so that the object can go."""

    def rest(obj: Object) -> Object:
        ignored = ("ownerReferences", "finalizers", "managedFields", "resourceVersion")
        return {**obj, "metadata": {k: v for k, v in obj["metadata"].items() if k not in ignored}}

    return rest(new) == rest(old)


def _check_role(
    authorizer: Authorizer, request: Attributes, resource: Resource, old: Object | None, new: Object
) -> None:
    # the name is that of the request's path: a create has none, so resourceNames do not allow one
    if authorizer.allowed(request._replace(verb="escalate", version="*", subresource="")):
        return
    _check_rules(authorizer, request, new.get("rules") or ())
    if "aggregationRule" in new or (old is not None and "aggregationRule" in old):
        try:
            _check_rules(authorizer, request, FULL_AUTHORITY)
        except Escalation:
            # it takes in whatever others give it later
            raise Escalation("must have cluster-admin privileges to use an aggregationRule") from None


def _check_binding(authorizer: Authorizer, request: Attributes, new: Object) -> None:
    reference = new["roleRef"]
    if reference["kind"] in _PLURALS:
        bind = Attributes(
            request.user,
            "bind",
            reference["apiGroup"],
            "*",
            _PLURALS[reference["kind"]],
            namespace=request.namespace,
            name=reference["name"],
        )
        if authorizer.allowed(bind):
            return
    _check_rules(authorizer, request, _rules_of(authorizer, reference, request.namespace))


def _rules_of(authorizer: Authorizer, reference: Object, namespace: str) -> list[Rule]:
    if reference["kind"] not in _PLURALS:
        raise status.unclassified(f"unsupported role reference kind: {go_quote(reference['kind'])}")
    role = authorizer.grants.role(reference, namespace)
    if role is None:
        raise status.not_found(f"{_PLURALS[reference['kind']]}.{GROUP}", reference["name"])
    rules: list[Rule] = role.get("rules") or []
    return rules


def _check_rules(authorizer: Authorizer, request: Attributes, rules: Sequence[Rule]) -> None:
    held, errors = authorizer.rules_of(request.user, request.namespace)
    lacking = missing(held, rules)
    if not lacking:
        return
    user = request.user
    message = (
        f"user {go_quote(user.name)} (groups={go_strings(user.groups)}) is attempting to grant RBAC "
        f"permissions not currently held:\n{described(lacking)}"
    )
    if errors:
        message += f"; resolution errors: [{_joined(errors)}]"
    raise Escalation(message)


def _joined(errors: list[StatusError]) -> str:
    return " ".join(error.message for error in errors)
