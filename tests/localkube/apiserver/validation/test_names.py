import string
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localkube.apiserver.validation import names


@pytest.mark.parametrize(
    ("check", "good", "bad"),
    [
        (names.dns_label, ["a", "a-1", "1" * 63], ["", "A", "-a", "a-", "a.b", "a_b", "ä", "1" * 64, "a\n"]),
        (names.dns_subdomain, ["a.b", "1" * 253], ["", "a..b", ".a", "A", "1" * 254, "a\n"]),
        (
            names.label_key,
            ["a", "A.b_c-d", "x.y/a", "a" * 63, "b" * 253 + "/a"],
            ["", "/a", "a/", "a/b/c", "A.B/c", "-a", "a" * 64, "b" * 254 + "/a", "a\n"],
        ),
        (names.label_value, ["", "a", "A_b.c-d", "a" * 63], ["-", "a b", "a/b", "a" * 64, "a\n"]),
        (names.config_key, ["a", ".a", "A_b-c.d"], ["", ".", "..", "..a", "a/b", "a" * 254]),
        (names.env_name, ["A", "1a", "a b", "-.~"], ["A=B", "ä", "a\n", "\x7f"]),
        (names.port_name, ["http", "a-1"], ["", "1", "a--b", "-a", "a-", "A", "a" * 16]),
        (names.ip_address, ["10.0.0.1", "::1"], ["", "10.0.0", "10.0.0.256", "x"]),
        (names.file_path, ["a", "a/b", "a..b"], ["/a", "..", "../a", "a/../b", "..a"]),
    ],
)
def test_what_a_name_may_be(check: Callable[[str], list[str]], good: list[str], bad: list[str]) -> None:
    assert [value for value in good if check(value)] == []
    assert [value for value in bad if not check(value)] == []


def test_a_beginning_of_a_name_may_end_with_a_dash() -> None:
    assert names.subdomain_name("gen-", True) == []
    assert names.subdomain_name("gen-", False) != []


LETTERS = st.text(string.ascii_letters + string.digits + "-_./", max_size=70)


@given(LETTERS)
def test_the_fast_way_agrees_with_the_long_one(value: str) -> None:
    parts = value.split("/")
    prefix_is_good = len(parts) == 1 or (len(parts) == 2 and not names.dns_subdomain(parts[0]))
    name_is_good = parts[-1] != "" and not names.label_value(parts[-1])
    assert (names.label_key(value) == []) == (prefix_is_good and name_is_good)
