"""Names that Kubernetes takes, that users have already, and that no two owners share: laws and tables."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hubfleet.errors import SettingsError
from hubfleet.settings import NAMESPACE_SCHEMES, TenancySettings, load
from hubfleet.tenancy.naming import (
    HASH,
    LIMIT,
    is_reserved,
    kbatch_namespace,
    namespace_for,
    old_kbatch_namespace,
    spawner_namespace,
    username_label,
)

DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
LABEL_VALUE = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")

# For ever: under these names lies people's data. A change here is a fault, whatever the reason for it.
HUBFLEET = [
    ("alice", "hubfleet-alice"),
    ("Alice", "hubfleet-alice--rjezrde5awkbu5au"),
    ("ALICE", "hubfleet-alice--hgdrhvz2zcj4rvjf"),
    ("a.b", "hubfleet-a-b--qia7aspppglchhdj"),
    ("a-b", "hubfleet-a-b"),
    ("a--b", "hubfleet-a-b--rhif2frmfkvof7ck"),
    ("a_b", "hubfleet-a-b--rdhvhsxtirhjoker"),
    ("-a", "hubfleet-a--znpbcs75xlxlvc57"),
    ("a-", "hubfleet-a--pmawb3mowqwali44"),
    ("9lives", "hubfleet-9lives"),
    ("0", "hubfleet-0"),
    ("kube-system", "hubfleet-kube-system"),
    ("default", "hubfleet-default"),
    ("x" * 42, "hubfleet-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"),
    ("x" * 43, "hubfleet-xxxxxxxxxxxxxxxxxxxxxxxx--vxhpj5krctkkmztz"),
    ("a" * 250, "hubfleet-aaaaaaaaaaaaaaaaaaaaaaaa--6j6c55svu2hnsvwx"),
    ("Åsa", "hubfleet-sa--wkpvsk3esayrpw3d"),
    ("名前", "hubfleet-x--xojx7nwcjxbcbvl4"),
    ("🦄", "hubfleet-x--6skjlgsmix7iqc5j"),
    ("ada@example.org", "hubfleet-ada-example-org--qqkjwq3urm45p5by"),
    ("Ada Lovelace", "hubfleet-ada-lovelace--itu23vtrdgpbabxv"),
    ("İstanbul", "hubfleet-stanbul--d6novsehg5x5g5fw"),
    ("\u212a", "hubfleet-x--s6cxnzhealueost2"),  # the Kelvin sign, whose lower case is an ASCII letter
    ("e\u0301", "hubfleet-e--747rtkbi3asuhlyp"),
    ("é", "hubfleet-x--6pbjhupskwelm4jg"),
    ("alice--bkvpsh7b", "hubfleet-alice-bkvpsh7b--lh2pbvvaygqee6rf"),
]
TEMPLATES = [
    ("{user}", "alice", "alice"),
    ("{user}", "kube-system", "x-kube-system--i53azpbhxxwwskp5"),
    ("{user}", "default", "default--5jrpsgdl37v2w3xv"),
    ("{user}", "istio-system", "istio-system--3ibrfydszlsxp5iv"),
    ("{user}", "openshift-x", "x-openshift-x--647nwe3ze2i566xu"),
    ("jupyter-{user}", "a.b", "jupyter-a-b--qia7aspppglchhdj"),
    ("{user}-jobs", "ada", "ada-jobs"),
    ("{user}-jobs", "Ada", "ada--csp4k24sgrune76d-jobs"),
    ("k{user}", "ube-x", "kx-ube-x--m2g73s3djhfus2ed"),
    ("aaaaaaaaaaaaaaaaaaaaaaaa{user}", "ada", "aaaaaaaaaaaaaaaaaaaaaaaaada"),
    ("aaaaaaaaaaaaaaaaaaaaaaaa{user}", "Ada Lovelace", "aaaaaaaaaaaaaaaaaaaaaaaaada-lovel--itu23vtrdgpbabxv"),
]
SERVICES = [
    ("hubfleet", "hubfleet-alice--wrroczlkiurjzms6"),
    ("kbatch", "kbatch-alice--wrroczlkiurjzms6"),
    ("multicluster-kubespawner", "jupyter-alice--wrroczlkiurjzms6"),
    ("{user}", "alice--wrroczlkiurjzms6"),
]

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

# What multicluster-kubespawner makes of a name by its default template (escapism 2, lower case).
SPAWNER = [
    ("alice", "jupyter-alice"),
    ("Alice", "jupyter--41lice"),
    ("a.b", "jupyter-a-2eb"),
    ("a-b", "jupyter-a-2db"),
    ("-", "jupyter--2d"),
    ("Åsa", "jupyter--c3-85sa"),
    ("ada@example.org", "jupyter-ada-40example-2eorg"),
    ("123", "jupyter-123"),
]

# Names near each other, for that is where schemes collide; and names of any script.
names = st.one_of(
    st.text("aAb1-._@ ", min_size=1, max_size=6),
    st.text("a-", min_size=20, max_size=70),
    st.sampled_from(["kube-system", "default", "istio-system", "kube-public", "ube-x", "system", "-x", "x"]),
    st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1, max_size=80),
)
kinds = st.sampled_from(["user", "service"])
parts = st.text("abekux1-", max_size=12)
templates = st.builds(lambda before, after: before + "{user}" + after, parts, parts)


def accepted(template: str) -> bool:
    try:
        TenancySettings(namespace=template)
    except ValueError:
        return False
    return True


schemes = st.sampled_from(NAMESPACE_SCHEMES) | st.just("{user}") | templates.filter(accepted)
own_schemes = st.sampled_from(["hubfleet", "multicluster-kubespawner"]) | templates.filter(accepted)


@pytest.mark.parametrize(("name", "namespace"), HUBFLEET)
def test_as_hubfleet_names_them(name: str, namespace: str) -> None:
    assert namespace_for(name) == namespace


@pytest.mark.parametrize(("template", "name", "namespace"), TEMPLATES)
def test_as_a_template_names_them(template: str, name: str, namespace: str) -> None:
    assert namespace_for(name, "user", template) == namespace


@pytest.mark.parametrize(("scheme", "namespace"), SERVICES)
def test_a_service_is_named_apart(scheme: str, namespace: str) -> None:
    assert namespace_for("alice", "service", scheme) == namespace


@pytest.mark.parametrize(("name", "namespace", "label"), KBATCH)
def test_as_kbatch_names_them(name: str, namespace: str, label: str | None) -> None:
    assert kbatch_namespace(name) == namespace
    if len(namespace) <= LIMIT:
        assert namespace_for(name, scheme="kbatch") == namespace
    else:
        assert re.fullmatch("kbatch-(x|a){26}--[a-z2-7]{16}", namespace_for(name, scheme="kbatch"))
    if label is not None:
        assert username_label(name) == label


@pytest.mark.parametrize(("name", "namespace"), SPAWNER)
def test_as_multicluster_kubespawner_names_them(name: str, namespace: str) -> None:
    assert namespace_for(name, scheme="multicluster-kubespawner") == spawner_namespace(name) == namespace


def test_as_kbatch_before_0_5_named_them() -> None:
    assert [old_kbatch_namespace(name) for name in ("alice", "A.b", "kube-system")] == [
        "alice",
        "a-b",
        "kube-system",
    ]


@given(names, kinds, schemes, st.sampled_from(["hubfleet-system", "kbatch-ada", "x", "a", "ada"]))
@example("kube-system", "user", "{user}", "x")
@example("ube-x", "user", "k{user}", "x")
@example("kube", "user", "{user}-x", "x")
@example("x", "user", "{user}", "x")
def test_a_namespace_is_a_dns_label_that_nobody_reserved(name: str, kind: str, scheme: str, own: str) -> None:
    namespace = namespace_for(name, kind, scheme, reserved={own})
    assert DNS_LABEL.fullmatch(namespace)
    assert len(namespace) <= LIMIT
    assert not is_reserved(namespace, {own})
    assert namespace == namespace_for(name, kind, scheme, reserved={own})


@given(names, names, schemes)
def test_two_users_have_two_namespaces_and_two_labels(one: str, other: str, scheme: str) -> None:
    assert (namespace_for(one, scheme=scheme) == namespace_for(other, scheme=scheme)) == (one == other)
    assert (username_label(one) == username_label(other)) == (one == other)


@given(names, names, schemes)
def test_a_service_has_the_namespace_of_no_user(service: str, user: str, scheme: str) -> None:
    assert namespace_for(service, "service", scheme) != namespace_for(user, "user", scheme)


@given(names, own_schemes)
def test_what_was_changed_or_cut_carries_80_bits_of_hash(name: str, scheme: str) -> None:
    namespace = namespace_for(name, "user", scheme)
    before, _, after = ("hubfleet-{user}" if scheme == "hubfleet" else scheme).partition("{user}")
    if scheme == "multicluster-kubespawner":
        as_it_is = namespace == spawner_namespace(name)
    else:
        as_it_is = namespace == before + name + after
    digest = namespace.removesuffix(after).rpartition("--")[2]
    assert as_it_is or re.fullmatch(f"[a-z2-7]{{{HASH}}}", digest)


@given(names, schemes)
def test_no_name_leads_to_the_namespace_of_its_cut_form(name: str, scheme: str) -> None:
    namespace = namespace_for(name, scheme=scheme)
    for cut in (3, 7, 8, 9):  # the fixed part before it, and what an attacker might leave of that
        near = namespace[cut:]
        assert near in ("", name) or namespace_for(near, scheme=scheme) != namespace


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


@pytest.mark.parametrize("name", ["\x0c3\n9", "a\nb"])
def test_bytes_that_escapism_writes_ambiguously_are_hashed(name: str) -> None:
    assert "--" in namespace_for(name, scheme="multicluster-kubespawner")
    assert spawner_namespace("\x0c3\n9") == spawner_namespace("é")


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        ("hub", "neither one of hubfleet, kbatch"),
        ("", "neither one of"),
        ("{user}{user}", "neither one of"),
        ("{username}", "neither one of"),
        ("Jupyter-{user}", "neither one of"),
        ("-{user}", "neither one of"),
        ("{user}-", "neither one of"),
        ("a.{user}", "neither one of"),
        ("kube-{user}", "reserved for the cluster"),
        ("a" * 25 + "{user}", "more than 24 characters"),
    ],
)
def test_a_template_that_cannot_be_is_refused_when_the_settings_are_read(template: str, problem: str) -> None:
    def read_file(path: str) -> str:
        raise FileNotFoundError(path)

    with pytest.raises(SettingsError, match=f"tenancy: namespace: .*{problem}"):
        load(f"tenancy: {{namespace: '{template}'}}", {}, read_file)
