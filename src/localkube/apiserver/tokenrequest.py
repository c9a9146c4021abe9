"""POST serviceaccounts/<name>/token: a token for a service account, perhaps bound to a pod."""

from typing import Any

from localkube.apiserver import status, virtual
from localkube.apiserver.deletion import timestamp
from localkube.apiserver.exchange import Exchange
from localkube.apiserver.resources import Resource
from localkube.apiserver.responses import Response
from localkube.apiserver.scalars import go_quote
from localkube.apiserver.status import FieldError
from localkube.apiserver.tokens import AUDIENCES
from localkube.apiserver.validation.causes import invalid

Object = dict[str, Any]

TOKEN_REQUEST = Resource(
    "authentication.k8s.io", "v1", "tokenrequests", "tokenrequest", "TokenRequest", "TokenRequestList", True,
    "io.k8s.api.authentication.v1.TokenRequest", verbs=("create",),
)  # fmt: skip
"""Served at no path of its own."""

_SHORTEST = 600
_LONGEST = 2**32
_BINDABLE = {("v1", "Pod"): "pods", ("v1", "Secret"): "secrets", ("v1", "Node"): "nodes"}


async def create(x: Exchange) -> Response:
    request = await virtual.read(x, TOKEN_REQUEST)
    name, namespace = x.target.name, x.namespace
    metadata, spec = request["metadata"], request["spec"]
    for key, wanted in (("name", name), ("namespace", namespace)):
        if metadata.setdefault(key, wanted) != wanted:
            detail = f"must match the service account {key} if specified"
            raise _invalid(name, [invalid(f"metadata.{key}", metadata[key], detail)])
    account = x.registry.get("serviceaccounts", namespace, name)
    audiences: list[str] = spec.get("audiences") or list(AUDIENCES)
    seconds: int = spec["expirationSeconds"]
    if problems := _problems(seconds):
        raise _invalid("", problems)
    bound = _bound(x, account, spec.get("boundObjectRef"))
    issued = x.access.tokens.issue(account, audiences, seconds, bound)
    return await virtual.answer(
        x,
        {
            "kind": "TokenRequest",
            "apiVersion": "authentication.k8s.io/v1",
            "metadata": {"name": name, "namespace": namespace, "creationTimestamp": timestamp(issued.issued)},
            "spec": {
                "audiences": audiences,
                "expirationSeconds": seconds,
                "boundObjectRef": spec.get("boundObjectRef"),
            },
            "status": {"token": issued.token, "expirationTimestamp": timestamp(issued.expires)},
        },
    )


def _invalid(name: str, problems: list[FieldError]) -> status.StatusError:
    return status.invalid(TOKEN_REQUEST.kind, TOKEN_REQUEST.group, name, problems)


def _problems(seconds: int) -> list[FieldError]:
    path = "spec.expirationSeconds"
    if seconds < _SHORTEST:
        return [invalid(path, seconds, "may not specify a duration less than 10 minutes")]
    if seconds > _LONGEST:
        return [invalid(path, seconds, "may not specify a duration larger than 2^32 seconds")]
    return []


def _bound(x: Exchange, account: Object, reference: Object | None) -> Object | None:
    """The object that the token is to end with. Raises 400, 404, and 409 for another uid."""
    if reference is None:
        return None
    api_version, kind = reference.get("apiVersion", ""), reference.get("kind", "")
    key = _BINDABLE.get((api_version, kind))
    if key is None:
        group, _, version = api_version.rpartition("/")
        shown = f"{group}/{version}, Kind={kind}"
        raise status.bad_request(f"cannot bind token to object of type {shown}")
    name = account["metadata"]["name"]
    found = x.registry.get(key, "" if key == "nodes" else x.namespace, reference.get("name", ""))
    if kind == "Pod" and found["spec"].get("serviceAccountName") != name:
        raise status.bad_request(
            f"cannot bind token for serviceaccount {go_quote(name)} to pod running with different "
            "serviceaccount name."
        )
    uid = reference.get("uid", "")
    if uid and uid != found["metadata"]["uid"]:
        raise status.conflict(
            kind,
            reference.get("name", ""),
            f"the UID in the bound object reference ({uid}) does not match the UID in record. The object "
            "might have been deleted and then recreated",
        )
    return found
