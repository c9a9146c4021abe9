"""Amounts of CPU, memory and storage: `500m`, `1Gi`, `1e3`, and their canonical form.

The rules are those of apimachinery's `resource.Quantity`: the API answers with the canonical form
(`1000m` becomes `1`, `1024Mi` becomes `1Gi`), amounts finer than a nano are rounded up.
"""

import re
from collections.abc import Iterable
from decimal import ROUND_CEILING, Context, Decimal
from functools import lru_cache

import msgspec

_FORMAT = re.compile(r"([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)")
_EXPONENT = re.compile(r"[eE]([+-]?[0-9]+)")
_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY_SUFFIX = {bits // 10: suffix for suffix, bits in _BINARY.items()}
_DECIMAL_SUFFIX = {exponent: suffix for suffix, exponent in _DECIMAL.items()}
# Every intermediate result is exact in this many digits: inputs are short, and capped at 2**63 below.
_EXACT = Context(prec=200)
_NANO = Decimal("1e-9")
_LARGEST = Decimal(2**63 - 1)

_FORMAT_ERROR = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"


class Quantity(msgspec.Struct, frozen=True):
    """An exact amount and its canonical text."""

    value: Decimal
    text: str


@lru_cache(maxsize=4096)
def parse(text: str) -> Quantity:
    """Parse a quantity; ValueError carries the API server's own words."""
    match = _FORMAT.fullmatch(text)
    if not text or not match:
        raise ValueError(_FORMAT_ERROR)
    number, suffix = match[1], match[2]
    if not _NUMBER.fullmatch(number):
        raise ValueError("unable to parse numeric part of quantity")
    style = "decimal"
    if suffix in _BINARY:
        style, scale = "binary", Decimal(2 ** _BINARY[suffix])
    elif suffix in _DECIMAL:
        scale = Decimal(1).scaleb(_DECIMAL[suffix])
    elif exponent := _EXPONENT.fullmatch(suffix):
        if len(exponent[1]) > 5:
            raise ValueError("unable to parse quantity's suffix")
        style, scale = "exponent", Decimal(1).scaleb(int(exponent[1]))
    else:
        raise ValueError("unable to parse quantity's suffix")
    value = _EXACT.multiply(Decimal(number), scale)
    if abs(value) > _LARGEST:
        value = _LARGEST.copy_sign(value)
    if value != value.quantize(_NANO, ROUND_CEILING, context=_EXACT):
        # Away from zero, so that a tiny request stays a request.
        value = abs(value).quantize(_NANO, ROUND_CEILING, context=_EXACT).copy_sign(value)
    return Quantity(value, _canonical(value, style))


def _canonical(value: Decimal, style: str) -> str:
    if not value:
        return "0"
    if style == "binary" and abs(value) < 1024:
        # As the original does: less than 1Ki reads better in decimal.
        style = "decimal"
    if style == "binary":
        if value == value.to_integral_value():
            amount, power = int(value), 0
            while amount % 1024 == 0 and power < 6:
                amount, power = amount // 1024, power + 1
            return f"{amount}{_BINARY_SUFFIX.get(power, '')}"
        style = "decimal"
    exponent = -9
    amount = int(_EXACT.scaleb(value, 9))
    while amount % 1000 == 0 and exponent < 18:
        amount, exponent = amount // 1000, exponent + 3
    if style == "exponent":
        return f"{amount}e{exponent}" if exponent else str(amount)
    return f"{amount}{_DECIMAL_SUFFIX[exponent]}"


def value_of(text: str) -> Decimal:
    """The amount that a (valid) quantity stands for."""
    return parse(text).value


def total(texts: Iterable[str]) -> str:
    """The sum of quantities in canonical form, in the style of the first of them that is not zero."""
    value, first = Decimal(0), ""
    for text in texts:
        amount = value_of(text)
        if amount:
            first = first or text
            value = _EXACT.add(value, amount)
    return _in_style(value, first)


def plus(one: str, other: str) -> str:
    """The sum of two, as `total`."""
    return total((one, other))


def minus(one: str, other: str) -> str:
    """The difference of two quantities in canonical form, in the style of the first, if that has one."""
    value = _EXACT.subtract(value_of(one), value_of(other))
    return _in_style(value, one if value_of(one) else other)


def _in_style(value: Decimal, text: str) -> str:
    style = "binary" if text[-2:] in _BINARY else "exponent" if "e" in text else "decimal"
    # what has no binary suffix is decimal to whoever reads it, and canonical as that
    return parse(_canonical(value, style)).text
