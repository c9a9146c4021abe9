"""Scopes mean here what they mean in JupyterHub."""

from hypothesis import given
from hypothesis import strategies as st
from jupyterhub.services.auth import check_scopes

from hubfleet.identity.user import User, missing_scopes

BASES = ("access:services", "access:servers", "admin:users", "read:users")
FILTERS = (
    "",
    "!service=kbatch",
    "!service=other",
    "!user=ada",
    "!user=bob",
    "!server=ada/",
    "!server=bob/lab",
)
scopes = st.builds(str.__add__, st.sampled_from(BASES), st.sampled_from(FILTERS))


@given(st.sets(scopes, min_size=1, max_size=3), st.frozensets(scopes, max_size=4))
def test_as_jupyterhub_checks_them(required: set[str], held: frozenset[str]) -> None:
    # One by one: asked for several of one base at once, JupyterHub merges them and then finds none of them.
    assert (not missing_scopes(required, held)) == any(check_scopes({scope}, held) for scope in required)


def test_what_is_missing_is_named() -> None:
    assert missing_scopes(["access:services!service=kbatch"], frozenset({"self"})) == (
        "access:services!service=kbatch",
    )


def test_without_a_required_scope_nobody_is_let_in_by_accident() -> None:
    assert missing_scopes(["access:services"], frozenset()) == ("access:services",)


def test_a_user_is_printed_without_token_and_scopes() -> None:
    user = User(name="ada", token="s3cret", scopes=frozenset({"x"}))
    assert repr(user) == str(user) == "User(user 'ada')"
