"""Which paths name a route, and how they travel."""

from contextlib import suppress
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubfleet.routing.routespec import LONGEST, Routespec, parse


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        (b"", "/"),
        (b"/", "/"),
        (b"/user/a", "/user/a"),
        (b"/user/a/", "/user/a"),
        (b"/user/a@b.org", "/user/a@b.org"),
        (b"/user/a%40b.org", "/user/a@b.org"),
        (b"/user/jos%C3%A9", "/user/josé"),
        (b"/user/jos%c3%a9", "/user/josé"),
        (b"/user/a%20b", "/user/a b"),
        (b"/user/a%25b", "/user/a%b"),
        (b"/user/...", "/user/..."),
    ],
)
def test_a_path_is_decoded_once(raw: bytes, path: str) -> None:
    assert parse(raw) == Routespec(path)


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"/user/../hub", "'..'"),
        (b"/user/%2e%2E/hub", "'..'"),
        (b"/user/.", "'.'"),
        (b"//user", "empty segments"),
        (b"/user//a", "empty segments"),
        (b"/user/a//", "empty segments"),
        (b"/user%2Fa", "encoded slash"),
        (b"/user%2fa", "encoded slash"),
        (b"/user%5ca", "encoded slash"),
        (b"/user\\a", "backslash"),
        (b"/user/%00", "control"),
        (b"/user/%0d%0aSet-Cookie:x", "control"),
        (b"/user/%C2%85", "control"),
        (b"/user/%zz", "hexadecimal"),
        (b"/user/%", "hexadecimal"),
        (b"/user/%ff", "UTF-8"),
        (b"/" + b"a" * 4096, "longer"),
        (b"/" + b"%C3%A9" * 200, "longer"),
    ],
)
def test_a_path_that_two_servers_may_read_differently_names_no_route(raw: bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse(raw)


def test_the_longest_path_that_a_gateway_takes_is_taken() -> None:
    assert len(parse(b"/" + b"a" * (LONGEST - 1)).path) == LONGEST


def test_with_host_routing_the_host_is_the_first_segment() -> None:
    assert parse(b"/", host_routing=True) == Routespec("/")
    assert parse(b"/Alice.example.org", host_routing=True) == Routespec("/", "alice.example.org")
    spec = parse(b"/alice.example.org/user/a", host_routing=True)
    assert spec == Routespec("/user/a", "alice.example.org")
    assert spec.key == "/alice.example.org/user/a"
    with pytest.raises(ValueError, match="name of a host"):
        parse(b"/user_1/x", host_routing=True)


NAMES = st.text(
    st.characters(exclude_categories=["Cc", "Cs"], exclude_characters="/\\"), min_size=1, max_size=20
).filter(lambda name: name not in (".", ".."))


@given(names=st.lists(NAMES, max_size=3))
def test_the_hub_reads_back_the_routespec_that_it_sent(names: list[str]) -> None:
    sent = "".join(f"/{quote(name, safe='@~')}" for name in names) or "/"
    spec = parse(sent.encode())
    assert quote(spec.key, safe="@/~") == sent  # jupyterhub.proxy._routespec_from_chp_path
    assert spec.spellings()[0] == sent
    assert all(parse(spelt.encode()) == spec for spelt in spec.spellings())


@given(raw=st.binary(max_size=60))
def test_whatever_bytes_come_they_are_read_or_refused(raw: bytes) -> None:
    with suppress(ValueError):
        spec = parse(raw)
        assert spec.path.startswith("/") and "//" not in spec.path and "/../" not in f"{spec.path}/"
