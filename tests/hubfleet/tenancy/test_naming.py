"""Names that Kubernetes takes, that kbatch's users have already, and that no two owners share."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubfleet.tenancy.naming import namespace_for, username_label

DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
LABEL_VALUE = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")

# What kbatch-proxy 0.5.0b1 makes of a name: its namespace, and its label where that is a valid one.
KBATCH = [
    ("alice", "kbatch-alice", "alice"),
    ("Alice", "kbatch-alice--3bc5106", None),
    ("a.b", "kbatch-a-b--2e7336d", "a-2Eb"),
    ("a-b", "kbatch-a-b", "a-2Db"),
    ("a--b", "kbatch-a-b--90827a2", "a-2D-2Db"),
    ("a_b", "kbatch-a-b--648fa9b", "a-5Fb"),
    ("-a", "kbatch-a--c274891", None),
    ("a-", "kbatch-a--9baf440", "a-2D"),
    ("kube-system", "kbatch-kube-system", "kube-2Dsystem"),
    ("default", "kbatch-default", "default"),
    ("x" * 40, f"kbatch-{'x' * 40}", "x" * 40),
    ("x" * 41, f"kbatch-{'x' * 40}--3164596", "x" * 41),
    ("x" * 39 + "-y", f"kbatch-{'x' * 39}--36cb42c", "x" * 39 + "-2Dy"),
    ("a" * 250, f"kbatch-{'a' * 40}--3f3e35e", None),
    ("Åsa", "kbatch-sa--8732960", None),
    ("名前", "kbatch---7ec2629", None),
    ("ada@example.org", "kbatch-ada-example-org--cfe00dd", "ada-40example-2Eorg"),
    ("Ada Lovelace", "kbatch-ada-lovelace--7674021", None),
    ("İstanbul", "kbatch-i-stanbul--24ec8f7", None),
    ("123", "kbatch-123", "123"),
]

# Names near each other, for that is where schemes collide; and names of any script.
names = st.one_of(
    st.text("aAb1-._@ ", min_size=1, max_size=6),
    st.text("a-", min_size=36, max_size=70),
    st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1, max_size=80),
)


@pytest.mark.parametrize(("name", "namespace", "label"), KBATCH)
def test_as_kbatch_names_them(name: str, namespace: str, label: str | None) -> None:
    assert namespace_for(name) == namespace
    if label is not None:
        assert username_label(name) == label


@given(names, st.sampled_from(["user", "service"]))
def test_a_namespace_is_a_dns_label_below_our_prefix(name: str, kind: str) -> None:
    namespace = namespace_for(name, kind)
    assert DNS_LABEL.fullmatch(namespace)
    assert namespace.startswith("kbatch-")
    assert len(namespace) <= 56
    assert namespace == namespace_for(name, kind)


@given(names, names)
def test_two_users_have_two_namespaces_and_two_labels(one: str, other: str) -> None:
    assert (namespace_for(one) == namespace_for(other)) == (one == other)
    assert (username_label(one) == username_label(other)) == (one == other)


@given(names, names)
def test_a_service_has_the_namespace_of_no_user(service: str, user: str) -> None:
    assert namespace_for(service, "service") != namespace_for(user)


@given(names)
def test_no_name_leads_to_the_namespace_of_its_cut_form(name: str) -> None:
    stem = namespace_for(name).removeprefix("kbatch-")
    assert stem == name or namespace_for(stem) != namespace_for(name)


@given(names)
def test_a_label_is_valid_whatever_the_name(name: str) -> None:
    assert LABEL_VALUE.fullmatch(username_label(name))


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("Åsa", "C3-85sa--873296011f"),
        ("名前", "E5-90-8D-E5-89-8D--7ec2629241"),
        ("a" * 250, "a" * 48 + "--3f3e35e0a7"),
    ],
)
def test_a_label_that_kubernetes_would_refuse_has_another_form(name: str, label: str) -> None:
    assert username_label(name) == label
