"""From target weights to a list of trades in whole lots that the cash there is pays for. All in exact decimals."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_DOWN, ROUND_HALF_DOWN, Decimal
from typing import Final

from portfolio import money
from portfolio.ids import InstrumentId
from portfolio.transactions import Transaction, TransactionType

_CENT: Final = Decimal("0.01")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What is held of an instrument, what is wanted, at what price, and in which lots it trades. Quantities are signed."""

    instrument_id: InstrumentId
    held: Decimal
    wanted: Decimal
    price: Decimal
    lot: Decimal

    def change(self, rounding: str) -> Decimal:
        """The change of quantity in whole lots. What is to be given up wholly goes wholly, odd units too."""
        if not self.wanted:
            return -self.held
        whole = money.add(self.wanted, -self.held)
        rounded = self._in_lots(whole, rounding)
        return rounded if self.is_on_its_side(rounded) else self._in_lots(whole, ROUND_DOWN)

    def is_on_its_side(self, change: Decimal) -> bool:
        """Whether `change` leaves no short where a long is wanted, and no long where a short is."""
        after = money.add(self.held, change)
        return not after or (after > 0) == (self.wanted > 0)

    def missing(self, change: Decimal) -> Decimal:
        """The value that `change` falls short of what is wanted."""
        return money.multiply(money.add(money.add(self.wanted, -self.held), -change), self.price)

    def _in_lots(self, quantity: Decimal, rounding: str) -> Decimal:
        lots = money.divide(quantity, self.lot).to_integral_value(rounding=rounding)
        return money.multiply(lots, self.lot)


@dataclass(frozen=True, slots=True, kw_only=True)
class Purse:
    """What may be spent: the cash, and what has to be left of it (None: no matter what)."""

    cash: Decimal
    cash_min: Decimal | None


def trade_list(wishes: Sequence[Wish], purse: Purse, *, value_min: Decimal) -> list[Transaction]:
    """Trades toward what is wished, those that bring cash first.

    Sales go to the nearest lot. Purchases are cut to what the cash allows, all by the same share, and rounded down; then, as
    long as it lasts, those that miss most get another lot. A trade of less than `value_min` is left out.
    With 1,000.00 and lots of 1, wishes for 6.9 at 100.00 and 7.75 at 40.00 (690.00 and 310.00) buy 6 and 7 for 880.00, then a
    seventh of the first, which misses 90.00, for 980.00; 20.00 buys none of either.
    """
    sales = {wish.instrument_id: wish.change(ROUND_HALF_DOWN) for wish in wishes if wish.wanted < wish.held}
    sales = _worth_it(wishes, sales, value_min)
    cash = money.add(purse.cash, _proceeds(wishes, sales))
    buying = [wish for wish in wishes if wish.wanted > wish.held]
    room = None if purse.cash_min is None else max(money.add(cash, -purse.cash_min), money.ZERO_2)
    purchases = _worth_it(wishes, _purchases(buying, room), value_min)
    by_name = {wish.instrument_id: wish for wish in wishes}
    changes = [*sales.items(), *purchases.items()]
    return [trade for name, change in changes if change for trade in _transactions(by_name[name], change)]


def _purchases(wishes: Sequence[Wish], room: Decimal | None) -> dict[InstrumentId, Decimal]:
    if room is None:
        return {wish.instrument_id: wish.change(ROUND_HALF_DOWN) for wish in wishes}
    wanted = sum((wish.missing(money.ZERO_8) for wish in wishes), money.ZERO_2)
    # A cent for each, which rounding the values may take.
    safe = max(money.add(room, -_CENT * len(wishes)), money.ZERO_2)
    share = min(Decimal(1), money.divide(safe, wanted)) if wanted else Decimal(1)
    changes = {wish.instrument_id: _share_of(wish, share) for wish in wishes}
    left = money.add(room, _proceeds(wishes, changes))
    return _topped_up(wishes, changes, left)


def _share_of(wish: Wish, share: Decimal) -> Decimal:
    """The part of a purchase that is paid for; a short that is wholly paid for is covered to the last odd unit."""
    if not wish.wanted and share == 1:
        return -wish.held
    change = money.multiply(money.add(wish.wanted, -wish.held), share)
    lots = money.divide(change, wish.lot).to_integral_value(rounding=ROUND_DOWN)
    return money.multiply(lots, wish.lot)


def _topped_up(
    wishes: Iterable[Wish], changes: Mapping[InstrumentId, Decimal], left: Decimal
) -> dict[InstrumentId, Decimal]:
    """The purchases with a lot more of each that misses more than half of one, the most missed first, while `left` lasts."""
    grown = dict(changes)
    for wish in sorted(wishes, key=lambda one: (-one.missing(grown[one.instrument_id]), one.instrument_id)):
        change = grown[wish.instrument_id]
        more = money.add(change, wish.lot)
        # What the whole trade costs more, to the cent: two lots of 0.333 cost 0.67, not twice the 0.33 of one.
        price = money.add(_value(more, wish.price), -_value(change, wish.price))
        is_missed = 2 * wish.missing(change) > money.multiply(wish.lot, wish.price)
        if price <= left and is_missed and wish.is_on_its_side(more):
            grown[wish.instrument_id] = more
            left = money.add(left, -price)
    return grown


def _worth_it(
    wishes: Iterable[Wish], changes: Mapping[InstrumentId, Decimal], value_min: Decimal
) -> dict[InstrumentId, Decimal]:
    prices = {wish.instrument_id: wish.price for wish in wishes}
    return {name: change for name, change in changes.items() if abs(_value(change, prices[name])) >= value_min}


def _proceeds(wishes: Iterable[Wish], changes: Mapping[InstrumentId, Decimal]) -> Decimal:
    """What these changes bring in cash, to the cent as they are booked; purchases bring less than nothing."""
    prices = {wish.instrument_id: wish.price for wish in wishes}
    return -sum((_value(change, prices[name]) for name, change in changes.items()), money.ZERO_2)


def _value(change: Decimal, price: Decimal) -> Decimal:
    return money.round2(money.multiply(change, price))


def _transactions(wish: Wish, change: Decimal) -> Iterator[Transaction]:
    """One trade, or two where the position changes its side: out of the one, into the other."""
    closing = change
    if wish.held and (wish.held > 0) != (change > 0):
        closing = max(change, -wish.held) if change < 0 else min(change, -wish.held)
    opening = money.add(change, -closing)
    for quantity, held in ((closing, wish.held), (opening, money.ZERO_8)):
        if quantity:
            yield Transaction(
                transaction_type=_type(quantity, held),
                instrument_id=wish.instrument_id,
                quantity=money.round8(quantity),
                price=money.round8(wish.price),
            )


def _type(quantity: Decimal, held: Decimal) -> TransactionType:
    if quantity > 0:
        return TransactionType.COVER if held < 0 else TransactionType.BUY
    return TransactionType.SELL if held > 0 else TransactionType.SHORT
