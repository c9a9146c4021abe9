from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localkube.apiserver import quantity


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("1000m", "1"),
        ("1024Mi", "1Gi"),
        ("0.5", "500m"),
        ("1.5Gi", "1536Mi"),
        ("0.1Ki", "102400m"),
        ("1536", "1536"),
        ("1500k", "1500k"),
        ("1e3", "1e3"),
        ("1E5", "100e3"),
        ("2E", "2E"),
        ("+5", "5"),
        (".5", "500m"),
        ("-0", "0"),
        ("0.1n", "1n"),
        ("12345678901234567890", "9223372036854775807"),
    ],
)
def test_canonical_form(text: str, canonical: str) -> None:
    assert quantity.parse(text).text == canonical


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "quantities must match"),
        ("x", "quantities must match"),
        ("1 Gi", "quantities must match"),
        ("1K", "unable to parse quantity's suffix"),
        ("1e", "unable to parse quantity's suffix"),
        ("1.2.3", "unable to parse numeric part of quantity"),
    ],
)
def test_nonsense_is_refused_in_the_api_s_words(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        quantity.parse(text)


SUFFIXES = st.sampled_from(
    ["", "n", "u", "m", "k", "M", "G", "Ki", "Mi", "Gi", "Ti", "e3", "E-2", "e-40", "e400"]
)


@given(st.decimals(min_value=-(10**6), max_value=10**6, places=4), SUFFIXES)
def test_the_canonical_form_says_the_same_and_is_stable(number: Decimal, suffix: str) -> None:
    parsed = quantity.parse(f"{number:f}{suffix}")
    again = quantity.parse(parsed.text)
    assert again == parsed


@given(st.integers(0, 10**6))
def test_units_are_what_they_say(number: int) -> None:
    assert quantity.value_of(f"{number}Ki") == number * 1024
    assert quantity.value_of(f"{number}m") * 1000 == number
    assert quantity.value_of(f"{number}k") == number * 1000
