"""What one transaction does to one position: trades, splits and transfers, at average cost."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from portfolio import money
from portfolio.book import Mark, Position
from portfolio.ids import InstrumentId
from portfolio.transactions import Ratio


@dataclass(slots=True)
class OpenPosition:
    """A position while entries are booked into it. Flat, it has no quantity and no cost."""

    instrument_id: InstrumentId
    trade_mark: Mark
    last_updated: datetime
    quantity: Decimal = money.ZERO_8
    cost_basis: Decimal = money.ZERO_6
    realized_pnl: Decimal = money.ZERO_6

    @classmethod
    def of(cls, position: Position) -> OpenPosition:
        """A working copy of `position`."""
        return cls(
            position.instrument_id,
            position.trade_mark,
            position.last_updated,
            position.quantity,
            position.cost_basis,
            position.realized_pnl,
        )

    def value(self) -> Position:
        """The position as an immutable value."""
        return Position(
            instrument_id=self.instrument_id,
            quantity=self.quantity,
            cost_basis=self.cost_basis,
            realized_pnl=self.realized_pnl,
            trade_mark=self.trade_mark,
            last_updated=self.last_updated,
        )


def trade(position: OpenPosition, quantity: Decimal, price: Decimal, value: Decimal) -> Decimal:
    """Buy (`quantity` above 0) or sell at `price`; `value` is round2(quantity * price). Gives the P&L realised.

    Long 50 at cost 50.00, sell 100 at 3: realises 100.00, then short 50 at cost -150.00.
    """
    held = position.quantity
    if not held or (held > 0) == (quantity > 0):
        position.quantity = held + quantity
        position.cost_basis += value
        return money.ZERO_6
    if abs(quantity) <= abs(held):
        return _reduce(position, quantity, value)
    closing_value = money.round2(money.multiply(-held, price))
    realized = _reduce(position, -held, closing_value)
    position.quantity = held + quantity
    position.cost_basis = money.ZERO_6 + (value - closing_value)
    return realized


def relieve(position: OpenPosition, quantity: Decimal) -> Decimal:
    """Take units out at average cost; `quantity` is signed against the position. Gives the signed cost taken out.

    100 units that cost 1,000.00, quantity -40: 60 units at 600.000000 stay, and 400.000000 is relieved. All of the
    cost leaves with the last unit, so nothing is left over at flat.
    """
    held, cost = position.quantity, position.cost_basis
    if quantity == -held or not held:
        relieved = cost
    else:
        relieved = money.round6(money.divide(money.multiply(cost, abs(quantity)), abs(held)))
    position.quantity = held + quantity
    position.cost_basis = cost - relieved
    return relieved


def split(position: OpenPosition, ratio: Ratio, price: Decimal) -> tuple[Decimal, Decimal]:
    """Replace each `ratio.old` units by `ratio.new`; with a price above 0, sell what is beyond whole units at it.

    Gives the value of that sale (negative as of any sale; 0.00 without one) and the P&L realised.
    100 units at cost 2,000.00, 1:3 at 60: 33 units stay, 0.33333333 are sold for 20.00.
    """
    position.quantity = split_quantity(position.quantity, ratio)
    fraction = position.quantity - int(position.quantity) if price else money.ZERO_8
    if not fraction:
        return money.ZERO_2, money.ZERO_6
    value = money.round2(money.multiply(-fraction, price))
    return value, _reduce(position, -fraction, value)


def split_quantity(quantity: Decimal, ratio: Ratio) -> Decimal:
    """Units held after a split: 100 at 1:3 gives 33.33333333."""
    return money.round8(money.divide(money.multiply(quantity, Decimal(ratio.new)), Decimal(ratio.old)))


def split_price(price: Decimal, ratio: Ratio) -> Decimal:
    """A price per unit, rescaled by a split: 20 at 1:3 gives 60."""
    return money.round8(money.divide(money.multiply(price, Decimal(ratio.old)), Decimal(ratio.new)))


def _reduce(position: OpenPosition, quantity: Decimal, value: Decimal) -> Decimal:
    realized = -value - relieve(position, quantity)
    position.realized_pnl += realized
    return realized
