"""Whose a namespace is: its marks say one owner of one hub, and nobody else passes for them."""

from hypothesis import given
from hypothesis import strategies as st

from hubfleet.identity.user import User
from hubfleet.tenancy.marks import Metadata, Namespace, claim, made_by_kbatch, stranger

owners = st.builds(
    lambda name, kind: User(name=name, kind=kind),
    st.text("aA.-é", min_size=1, max_size=4),
    st.sampled_from(["user", "service"]),
)
hubs = st.sampled_from(["", "one", "two"])


def marked(owner: User, hub: str) -> Namespace:
    metadata = claim("n", owner, hub)["metadata"]
    return Namespace(Metadata(labels=metadata["labels"], annotations=metadata["annotations"]))


@given(owners, hubs, owners, hubs)
def test_only_its_owner_passes_for_its_owner(one: User, hub: str, other: User, another: str) -> None:
    same = (one.name, one.kind) == (other.name, other.kind)
    assert (stranger(marked(one, hub), other, another) == "") == (same and hub == another)


def test_what_an_administrator_annotated_is_its_users_at_any_hub() -> None:
    annotated = Namespace(Metadata(annotations={"hubfleet.dev/username": "ada"}))
    assert not stranger(annotated, User(name="ada"), "one")
    assert stranger(annotated, User(name="eve"), "one")


def test_the_owner_is_known_by_the_name_as_it_is() -> None:
    # Of two names with one label it is still one owner's.
    found = marked(User(name="ada"), "one")
    labels = {**found.metadata.labels, "hubfleet.dev/user": "eve"}
    spoofed = Namespace(Metadata(labels=labels, annotations=found.metadata.annotations))
    assert stranger(spoofed, User(name="eve"), "one")
    assert not stranger(spoofed, User(name="ada"), "one")


def test_what_covers_costs_no_write() -> None:
    wanted = claim("n", User(name="ada"), "one")
    found = marked(User(name="ada"), "one")
    assert found.covers(wanted)
    wanted["metadata"]["labels"]["team"] = "a"
    assert not found.covers(wanted)


def test_what_kbatch_made_has_all_of_its_labels() -> None:
    assert made_by_kbatch({"app.kubernetes.io/managed-by": "kbatch"}, {})
    assert made_by_kbatch({"team": "a", "x": "y"}, {"team": "a"})
    assert not made_by_kbatch({"team": "a"}, {"team": "a", "more": "b"})
    assert not made_by_kbatch({}, {})
    assert not made_by_kbatch({"app.kubernetes.io/managed-by": "Helm"}, {})
