"""Kubernetes' quantities of bytes, as far as the policy compares them."""

import re
from decimal import Decimal

import msgspec

_FORM = re.compile(r"\+?([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:([KMGTPE]i|[mkMGTPE])|[eE]([+-]?[0-9]{1,2}))?")
_FACTORS = {
    "m": Decimal("0.001"),
    "k": Decimal(1000),
    **{letter: Decimal(1000) ** (i + 2) for i, letter in enumerate("MGTPE")},
    **{f"{letter}i": Decimal(1024) ** (i + 1) for i, letter in enumerate("KMGTPE")},
}


class Amount(msgspec.Struct, frozen=True):
    """A quantity as it was written, and how much it is."""

    text: str
    value: Decimal


def parse(text: str) -> Amount | None:
    """None for what is no quantity, or one that nobody writes: negative, in nano or micro."""
    match = _FORM.fullmatch(text) if len(text) <= 40 else None
    if match is None:
        return None
    number, suffix, exponent = match.groups()
    factor = Decimal(10) ** int(exponent) if exponent else _FACTORS.get(suffix or "", Decimal(1))
    return Amount(text, Decimal(number) * factor)
