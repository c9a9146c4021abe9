"""The token is read from the header as HubAuth reads it."""

import pytest

from hubfleet.identity.header import token_in


@pytest.mark.parametrize(
    ("header", "token"),
    [
        ("token abc", "abc"),
        ("Bearer abc", "abc"),
        ("TOKEN   abc  ", "abc"),
        ("bearer\tabc", "abc"),
        ("token", ""),
        ("token ", ""),
        ("", ""),
        ("Basic abc", ""),
        ("tokenabc", ""),
        ("abc", ""),
        ("token a b", "a b"),
    ],
)
def test_the_token_of_a_header(header: str, token: str) -> None:
    assert token_in(header) == token
