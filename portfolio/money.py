"""Exact decimals: scales, limits and the one rounding rule (half-up, away from zero at ties)."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Context, Decimal, DivisionByZero, InvalidOperation, Overflow
from typing import Final

from portfolio.errors import InvalidRequest

CONTEXT: Final = Context(prec=80, rounding=ROUND_HALF_UP, traps=[InvalidOperation, DivisionByZero, Overflow])
"""80 digits hold the product of the largest quantity and price, and any sum of such products, without rounding."""

QUANTITY_SCALE: Final = 8
PRICE_SCALE: Final = 8
CASH_SCALE: Final = 2
COST_SCALE: Final = 6
WEIGHT_SCALE: Final = 6

QUANTITY_LIMIT: Final = Decimal(10) ** 12
"""Quantities and prices, in requests and of positions, stay below this: 12 digits before the point."""
CASH_LIMIT: Final = Decimal(10) ** 18
"""Cash, costs, realised P&L and the value of one transaction stay below this, as numeric(24,6) needs."""

_UNIT_2: Final = Decimal("0.01")
_UNIT_6: Final = Decimal("0.000001")
_UNIT_8: Final = Decimal("0.00000001")
_UNITS: Final = {2: _UNIT_2, 6: _UNIT_6, 8: _UNIT_8}
ZERO_2: Final = Decimal("0.00")
ZERO_6: Final = Decimal("0.000000")
ZERO_8: Final = Decimal("0.00000000")

_quantize = CONTEXT.quantize
multiply = CONTEXT.multiply
divide = CONTEXT.divide
add = CONTEXT.add


# `or ZERO` turns a negative zero, which would print as -0.00, into zero.
def round2(value: Decimal) -> Decimal:
    """`value` to the cent: 0.005 gives 0.01, -0.005 gives -0.01."""
    return _quantize(value, _UNIT_2) or ZERO_2


def round6(value: Decimal) -> Decimal:
    """`value` at the scale of costs, realised P&L and weights."""
    return _quantize(value, _UNIT_6) or ZERO_6


def round8(value: Decimal) -> Decimal:
    """`value` at the scale of quantities and prices."""
    return _quantize(value, _UNIT_8) or ZERO_8


def exact(value: Decimal, *, field: str, scale: int, limit: Decimal = QUANTITY_LIMIT) -> Decimal:
    """`value` written with exactly `scale` decimals; 100 at scale 2 gives 100.00.

    Raises InvalidRequest, naming `field`, if it is not finite, has more digits than the scale, or reaches `limit`.
    """
    if not value.is_finite():
        raise InvalidRequest(f"{field} is {value}, expected a finite number", field=field)
    if not -limit < value < limit:
        raise InvalidRequest(
            f"{field} is {value:.6e}, expected less than 1e{limit.adjusted()} in size",
            field=field,
            limit=f"1e{limit.adjusted()}",
        )
    rounded = _quantize(value, _UNITS[scale])
    if rounded != value:
        raise InvalidRequest(f"{field} is {shown(value)}, expected at most {scale} decimals", field=field, limit=scale)
    return rounded or _quantize(ZERO_2, _UNITS[scale])


def shown(value: Decimal) -> str:
    """`value` in plain digits, for messages; very long ones in scientific notation."""
    return f"{value:f}" if -20 < value.adjusted() < 30 and len(value.as_tuple().digits) < 40 else f"{value:.6e}"
