"""Requests are values: path, query, headers and body, decided without sending anything."""

import json

import pytest

from hubfleet.kube.errors import BadRequest
from hubfleet.kube.impersonation import Impersonation
from hubfleet.kube.request import PatchType, prepare
from hubfleet.kube.resources import JOBS, NAMESPACES, PODS


def test_the_query_leaves_out_what_is_not_said() -> None:
    query = {"a": "x y", "n": 0, "t": True, "f": False, "none": None, "empty": ""}
    assert prepare("GET", "/p", query=query).path == "/p?a=x+y&n=0&t=true"
    assert prepare("GET", "/p", query={"f": False}).path == "/p"


def test_the_body_is_encoded_once() -> None:
    made = prepare("PATCH", "/p", body={"a": 1}, content_type=PatchType.APPLY)
    assert made.headers == (("Content-Type", "application/apply-patch+yaml"),)
    assert json.loads(made.body or b"") == {"a": 1}
    assert prepare("POST", "/p", body=b"{}").body == b"{}"


@pytest.mark.parametrize(
    ("method", "repeatable"), [("GET", True), ("DELETE", True), ("POST", False), ("PATCH", False)]
)
def test_what_may_be_repeated(method: str, repeatable: bool) -> None:
    assert prepare(method, "/p").idempotent is repeatable
    assert prepare("PATCH", "/p", idempotent=True).idempotent


def test_the_account_of_a_namespace_is_named_without_groups() -> None:
    who = Impersonation.for_service_account("ns", "user")
    assert who.headers() == (("Impersonate-User", "system:serviceaccount:ns:user"),)


def test_an_impersonation_of_nobody_is_refused() -> None:
    """It would be sent without the header, and so with all the rights of our own account."""
    with pytest.raises(ValueError, match="needs a user"):
        prepare("GET", "/p", on_behalf_of=Impersonation(""))


def test_paths() -> None:
    assert JOBS.path("ns", "n", "status") == "/apis/batch/v1/namespaces/ns/jobs/n/status"
    assert JOBS.path() == "/apis/batch/v1/jobs"
    assert PODS.path("ns") == "/api/v1/namespaces/ns/pods"
    assert NAMESPACES.path(None, "n") == "/api/v1/namespaces/n"
    assert PODS.object_path("ns", "ü b?#") == "/api/v1/namespaces/ns/pods/%C3%BC%20b%3F%23"
    assert (JOBS.key, PODS.key, JOBS.api_version, PODS.api_version) == (
        "jobs.batch",
        "pods",
        "batch/v1",
        "v1",
    )


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a%2Fb"])
def test_what_is_no_name_reaches_nothing(name: str) -> None:
    with pytest.raises(BadRequest):
        PODS.object_path("ns", name)
    with pytest.raises(BadRequest):
        PODS.object_path(name, "a")
    with pytest.raises(BadRequest):
        PODS.path(name)


def test_an_object_of_a_namespace_is_not_found_without_one() -> None:
    with pytest.raises(BadRequest, match="needs a namespace"):
        PODS.object_path(None, "a")
