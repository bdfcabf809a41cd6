"""Amounts as whole cents: market values exact to the cent, for all days at once and without a Decimal for each."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any, Final

import numpy as np
from jaxtyping import Shaped

from portfolio import money

WHOLE: Final = 10**money.QUANTITY_SCALE
"""Quantities and prices have eight decimals; as whole numbers they count hundred-millionths."""
_CENT: Final = WHOLE * WHOLE // 100
"""A cent, in the units of a quantity times a price."""
_PRODUCT_LIMIT: Final = 2**62
_CENTS_LIMIT: Final = 2**45
"""350 billion in the base currency; int64 adds up 100,000 of these."""

Cents = Shaped[np.ndarray, " day"]
"""Whole cents: int64, or Python's integers (dtype object) where those would be too small."""


def whole(number: Decimal) -> int:
    """A quantity or a price in hundred-millionths: 1.5 gives 150,000,000."""
    return int(number.scaleb(money.QUANTITY_SCALE))


def in_cents(quantity: int, price: int) -> int:
    """round2(quantity * price) in cents, of whole numbers: 3 units at 0.335 are 1.01, so 101."""
    cents = (abs(quantity) * price + _CENT // 2) // _CENT
    return cents if quantity > 0 else -cents


def cents(amount: Decimal) -> int:
    """An amount of two decimals in cents."""
    return int(amount.scaleb(money.CASH_SCALE))


def as_cents(numbers: Sequence[int]) -> Cents:
    """Cents as an array."""
    return np.array(numbers, dtype=np.int64 if max(map(abs, numbers), default=0) < _CENTS_LIMIT else object)


def integers(product_max: int, unit: int) -> Any:
    """The dtype that holds products up to `product_max`, which count `unit`, and their cents."""
    fits = product_max < _PRODUCT_LIMIT and product_max * unit // _CENT < _CENTS_LIMIT
    return np.int64 if fits else object


def products_in_cents(quantities: np.ndarray, prices: np.ndarray, unit: int) -> Cents:
    """`in_cents` of whole numbers that share a unit: of quantities in 10^8 and prices in 10^5, `unit` is 10^13."""
    products = np.abs(quantities) * prices
    if unit >= _CENT:
        rounded = products * (unit // _CENT)
    else:
        divisor = _CENT // unit
        rounded = (products + divisor // 2) // divisor
    signed: np.ndarray = np.sign(quantities) * rounded
    return signed


def common_unit(numbers: Iterable[int]) -> int:
    """The largest power of ten, up to 10^8, that divides all of them."""
    divisor = math.gcd(WHOLE, *numbers)
    unit = 1
    while divisor % (10 * unit) == 0:
        unit *= 10
    return unit
