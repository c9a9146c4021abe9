"""Paths, queries and headers, read as values."""

import pytest

from localkube.apiserver.continuation import Token
from localkube.apiserver.continuation import decode as decode_token
from localkube.apiserver.continuation import encode as encode_token
from localkube.apiserver.negotiation import PLAIN, Representation, negotiate, wants_aggregated_discovery
from localkube.apiserver.requests import (
    Query,
    Target,
    list_options,
    manager_of,
    parse_path,
    write_options,
)
from localkube.apiserver.status import StatusError


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("/api/v1/pods", Target("", "v1", "pods")),
        ("/api/v1/namespaces/n/pods/p/log", Target("", "v1", "pods", "n", "p", "log")),
        ("/api/v1/namespaces", Target("", "v1", "namespaces")),
        ("/api/v1/namespaces/n", Target("", "v1", "namespaces", None, "n")),
        ("/api/v1/namespaces/n/status", Target("", "v1", "namespaces", None, "n", "status")),
        ("/api/v1/namespaces/n/finalize", Target("", "v1", "namespaces", None, "n", "finalize")),
        ("/api/v1/namespaces/status", Target("", "v1", "namespaces", None, "status")),
        ("/apis/batch/v1/namespaces/n/jobs", Target("batch", "v1", "jobs", "n")),
        ("/apis/batch/v1/jobs", Target("batch", "v1", "jobs")),
        ("/api/v1", None),
        ("/apis/batch/v1", None),
        ("/healthz", None),
        ("/api/v1/namespaces//pods", None),
        ("/api/v1/namespaces/n/pods/p/log/more", None),
    ],
)
def test_paths(path: str, target: Target | None) -> None:
    assert parse_path(path) == target


def test_query_flags_are_read_as_apimachinery_reads_them() -> None:
    query = Query(b"a=true&b=0&c=False&d=&e=1&x=1&x=2&u=%C3%BC&bad=%ff")
    assert [query.flag(name) for name in "abcdef"] == [True, False, False, True, True, False]
    assert query.all("x") == ["1", "2"]
    assert query.get("u") == "ü"
    assert query.get("bad")


def test_the_first_of_repeated_options_counts() -> None:
    assert list_options(Query(b"limit=5&limit=6")).limit == 5


@pytest.mark.parametrize(
    ("query", "field"),
    [
        (b"dryRun=Some", "dryRun"),
        (b"fieldValidation=Maybe", "fieldValidation"),
        (b"fieldManager=" + b"m" * 129, "fieldManager"),
        (b"fieldManager=%07", "fieldManager"),
    ],
)
def test_bad_write_options_name_their_field(query: bytes, field: str) -> None:
    with pytest.raises(StatusError) as caught:
        write_options(Query(query), "CreateOptions")
    assert caught.value.code == 422
    assert [c["field"] for c in caught.value.status["details"]["causes"]] == [field]


def test_the_manager_is_named_or_the_first_word_of_the_user_agent() -> None:
    assert manager_of(write_options(Query(b"fieldManager=m"), "CreateOptions"), "kubectl/1") == "m"
    assert manager_of(write_options(Query(b""), "CreateOptions"), "kubectl/v1.36 (linux)") == "kubectl"
    assert manager_of(write_options(Query(b""), "CreateOptions"), "") == "unknown"


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        ("", PLAIN),
        ("*/*", PLAIN),
        ("application/vnd.kubernetes.protobuf,application/json", PLAIN),
        ("application/json;q=0.5, application/yaml", Representation("application/yaml")),
        (
            "application/json;as=Table;v=v1;g=meta.k8s.io,application/json",
            Representation("application/json", "Table", "v1"),
        ),
        ("application/json;as=Unknown;v=v1;g=meta.k8s.io,application/json", PLAIN),
        ("application/json;stream=watch", PLAIN),
    ],
)
def test_the_first_form_that_can_be_given_is(accept: str, wanted: Representation) -> None:
    assert negotiate(accept) == wanted


@pytest.mark.parametrize(
    "accept", ["text/html", "application/vnd.kubernetes.protobuf", "application/cbor;q=x"]
)
def test_what_cannot_be_given_is_not_acceptable(accept: str) -> None:
    with pytest.raises(StatusError) as caught:
        negotiate(accept)
    assert caught.value.code == 406


def test_old_clients_get_the_old_discovery() -> None:
    assert not wants_aggregated_discovery("application/json")
    assert not wants_aggregated_discovery(
        "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList"
    )


@pytest.mark.parametrize("token", [Token(5, "n/a"), Token(-1, "x")])
def test_continue_tokens_come_back(token: Token) -> None:
    assert decode_token(encode_token(token)) == token


@pytest.mark.parametrize("text", ["zzz", "", "e30", "eyJ2IjoibWV0YS5rOHMuaW8vdjEifQ", "!", "eyJ2IjoxfQ"])
def test_other_tokens_are_refused(text: str) -> None:
    with pytest.raises(StatusError, match="invalid continue token"):
        decode_token(text)
