"""Numbers as the original prints them, whose rules differ from C's in the last digit.

Rounding starts from the shortest decimal that stands for the double, and half goes to even.
"""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import Final

#: Wide enough for every digit of the largest double.
_WIDE: Final = Context(prec=400, rounding=ROUND_HALF_EVEN)


def fixed(value: float, digits: int) -> str:
    """`%.<digits>f`."""
    if value != value or value in (float("inf"), float("-inf")):
        return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"
    quantum = Decimal(1).scaleb(-digits)
    return format(_WIDE.quantize(Decimal(repr(float(value))), quantum), "f")


def general(value: float, digits: int) -> str:
    """`%.<digits>g`: fixed between 0.1 and 10^7 (and for 0), else with an exponent."""
    if value == 0 or 0.1 <= abs(value) < 10**7:
        return fixed(value, digits)
    mantissa, exponent = f"{value:.{digits}e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def shown(value: float) -> str:
    """A double as Haskell's `show` writes it: 4.0, 1.0e-2, 1.0e7."""
    if value == 0 or 0.1 <= abs(value) < 10**7:
        text = repr(float(value))
        return text if "." in text else f"{text}.0"
    sign, digits, exponent = Decimal(repr(float(value))).as_tuple()
    plain = "".join(map(str, digits)).rstrip("0") or "0"
    power = len(digits) - 1 + int(exponent)
    return f"{'-' if sign else ''}{plain[0]}.{plain[1:] or '0'}e{power}"


def plain(value: float) -> str:
    """`%f` without a precision: all digits, never an exponent."""
    text = format(Decimal(repr(float(value))), "f")
    return text if "." in text else f"{text}.0"


def quoted(text: str) -> str:
    """A value for a shell fragment, in quotes unless it is plain."""
    if all(char.isalnum() or char == "." for char in text):
        return text
    return f"'{text}'"
