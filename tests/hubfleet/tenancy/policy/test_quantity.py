"""Quantities as Kubernetes writes them."""

from decimal import Decimal

import pytest

from hubfleet.tenancy.policy.quantity import parse


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("1", 1),
        ("1k", 1000),
        ("1Ki", 1024),
        ("1.5Gi", Decimal("1.5") * 2**30),
        ("2E", 2 * 10**18),
        ("1e3", 1000),
        ("1E3", 1000),
        ("+5M", 5_000_000),
        (".5k", 500),
        ("500m", Decimal("0.5")),
    ],
)
def test_quantities(text: str, value: int) -> None:
    amount = parse(text)
    assert amount is not None
    assert amount.value == value
    assert amount.text == text


@pytest.mark.parametrize("text", ["", "-1", "1ki", "1 Gi", "Gi", "1n", "1e400", "NaN", "1" * 50, "٣"])
def test_what_is_none(text: str) -> None:
    assert parse(text) is None
