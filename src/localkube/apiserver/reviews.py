"""Questions to the server: who am I, whose token is this, may I do that.

A review is an object that is created with a question in its spec and comes back with the answer in its
status; nothing is stored.
"""

from typing import Any

from localkube.apiserver import status, virtual
from localkube.apiserver.exchange import Exchange
from localkube.apiserver.rbac.attributes import Attributes
from localkube.apiserver.rbac.authorizer import aggregated
from localkube.apiserver.rbac.rules import ALL
from localkube.apiserver.requests import User
from localkube.apiserver.responses import Response
from localkube.apiserver.status import FieldError
from localkube.apiserver.tokens import AUDIENCES, Invalid
from localkube.apiserver.validation.causes import invalid

Object = dict[str, Any]


async def token(x: Exchange) -> Response:
    """TokenReview: whose token is this."""
    review = await virtual.read(x, x.resource)
    given = review["spec"].get("token", "")
    if not given:
        raise status.bad_request("token is required for TokenReview in authentication")
    try:
        identity = x.access.authenticator.identify(given, review["spec"].get("audiences") or AUDIENCES)
    except Invalid as error:
        review["status"] = {"user": {}, "error": str(error)}
    else:
        review["status"] = {
            "authenticated": True,
            "user": virtual.user_info(identity.user),
            "audiences": list(identity.audiences),
        }
    return await virtual.answer(x, review)


async def subject(x: Exchange) -> Response:
    """SelfSubjectReview: who am I."""
    review = await virtual.read(x, x.resource)
    review["status"] = {"userInfo": virtual.user_info(x.user)}
    return await virtual.answer(x, review)


async def self_access(x: Exchange) -> Response:
    """SelfSubjectAccessReview: may I do this."""
    review = await virtual.read(x, x.resource)
    spec = review["spec"]
    return await _access(x, review, x.user, _problems(spec))


async def access(x: Exchange) -> Response:
    """SubjectAccessReview: may somebody do this."""
    review = await virtual.read(x, x.resource)
    spec = review["spec"]
    return await _access(x, review, _subject(spec), _problems(spec) + _subject_problems(spec))


async def local_access(x: Exchange) -> Response:
    """LocalSubjectAccessReview: may somebody do this in the namespace of the path."""
    if x.target.namespace is None:
        raise status.method_not_allowed()
    review = await virtual.read(x, x.resource)
    spec = review["spec"]
    named = review["metadata"].setdefault("namespace", x.namespace)
    if named != x.namespace:
        raise status.bad_request(
            "the namespace of the provided object does not match the namespace sent on the request"
        )
    problems = _problems(spec) + _subject_problems(spec)
    about = spec.get("resourceAttributes")
    if about is not None and about.get("namespace", "") != named:
        path = "spec.resourceAttributes.namespace"
        problems.append(invalid(path, about.get("namespace", ""), "must match metadata.namespace"))
    if "nonResourceAttributes" in spec:
        path, value = "spec.nonResourceAttributes", spec["nonResourceAttributes"]
        problems.append(invalid(path, value, "disallowed on this kind of request"))
    return await _access(x, review, _subject(spec), problems)


async def self_rules(x: Exchange) -> Response:
    """SelfSubjectRulesReview: what may I do in a namespace."""
    review = await virtual.read(x, x.resource)
    namespace = review["spec"].get("namespace", "")
    if not namespace:
        raise status.bad_request("no namespace on request")
    rules, errors = x.access.authorizer.rules_of(x.user, namespace)
    names = ("verbs", "apiGroups", "resources", "resourceNames")
    found: Object = {
        "resourceRules": [{n: r[n] for n in names if r.get(n)} for r in rules if r.get("resources")],
        "nonResourceRules": [
            {n: r[n] for n in ("verbs", "nonResourceURLs")} for r in rules if r.get("nonResourceURLs")
        ],
        "incomplete": False,
    }
    if errors:
        found["evaluationError"] = aggregated(errors)
    review["status"] = found
    return await virtual.answer(x, review)


async def _access(x: Exchange, review: Object, user: User, problems: list[FieldError]) -> Response:
    if problems:
        raise status.invalid(x.resource.kind, x.resource.group, "", problems)
    decision = x.access.authorizer.decide(_attributes(user, review["spec"]))
    review["status"] = {"allowed": decision.allowed}
    if decision.reason:
        review["status"]["reason"] = decision.reason
    return await virtual.answer(x, review)


def _attributes(user: User, spec: Object) -> Attributes:
    if (other := spec.get("nonResourceAttributes")) is not None:
        # no path is a path that only rules for all paths allow
        return Attributes(user, other.get("verb", ""), path=other.get("path") or ALL)
    about = spec["resourceAttributes"]
    names = ("verb", "group", "version", "resource", "subresource", "namespace", "name")
    return Attributes(user, *(about.get(name, "") for name in names))


def _subject(spec: Object) -> User:
    extra = {key.lower(): tuple(values) for key, values in (spec.get("extra") or {}).items()}
    return User(spec.get("user", ""), tuple(spec.get("groups") or ()), spec.get("uid", ""), extra)


def _problems(spec: Object) -> list[FieldError]:
    both = ("resourceAttributes" in spec) + ("nonResourceAttributes" in spec)
    if both == 2:
        detail = "cannot be specified in combination with resourceAttributes"
        return [invalid("spec.nonResourceAttributes", spec["nonResourceAttributes"], detail)]
    if not both:
        detail = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
        return [invalid("spec.resourceAttributes", None, detail)]
    return []


def _subject_problems(spec: Object) -> list[FieldError]:
    if spec.get("user") or spec.get("groups"):
        return []
    return [invalid("spec.user", "", "at least one of user or group must be specified")]
