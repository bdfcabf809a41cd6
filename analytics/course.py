"""The course of a portfolio: holdings, cash and what came in and went out, day by day, in whole cents."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from decimal import Decimal
from itertools import accumulate
from operator import itemgetter
from typing import Final

import numpy as np
from jaxtyping import Bool

from analytics.cents import Cents, as_cents, cents, in_cents, whole
from analytics.closes import Closes
from analytics.held import Holding
from analytics.replaying import DayEnd, day_ends
from portfolio.book import Book
from portfolio.entries import Booked
from portfolio.ids import InstrumentId
from portfolio.ledger import Ledger
from portfolio.position import split_quantity
from portfolio.transactions import CASH_ENTRIES, TRANSFERS, TransactionType

Prices = Callable[[InstrumentId], int | None]
"""What a unit is worth, in hundred-millionths; None where no price is known."""

_CASH_FLOWS: Final = frozenset({TransactionType.DEPOSIT, TransactionType.WITHDRAWAL})
_FLOWS: Final = _CASH_FLOWS | TRANSFERS


class Course:
    """From the book `start` and the day `first` of a panel on; what is noted holds until something else is."""

    def __init__(self, closes: Closes, first: int, start: Book) -> None:
        self._holdings: dict[InstrumentId, Holding] = {}
        self._closes = closes
        self._first = first
        self._start = start
        self._cash_changes = {first: cents(start.cash)}
        self._flows: dict[int, tuple[int, int]] = {}
        for name, position in start.positions.items():
            self._holding(name).note(first, position.quantity, position.trade_mark)

    def take(self, booked: Sequence[Booked], days: Sequence[int]) -> None:
        """Follow transactions, in version order, which count on these days; none is before `first`."""
        parts: dict[InstrumentId, list[tuple[int, Booked]]] = {}
        for day, entry in zip(days, booked, strict=True):
            parts.setdefault(entry.instrument_id, []).append((day, entry))
        # One by one, as no instrument's position depends on another's: what was booked late in one holds up no other.
        for name, part in parts.items():
            self._take_part(name, part)

    def _take_part(self, name: InstrumentId, part: list[tuple[int, Booked]]) -> None:
        is_cash = part[0][1].transaction_type in CASH_ENTRIES
        if is_cash:
            part.sort(key=itemgetter(0))  # Amounts add up in any order.
        cash = self._start.cash
        for end in day_ends(Ledger(self._start), [entry for _, entry in part], [day for day, _ in part]):
            if not is_cash:
                self._holding(name).note(end.day, end.ledger.held(name), end.ledger.trade_mark(name))
            self._cash_changes[end.day] = self._cash_changes.get(end.day, 0) + cents(end.ledger.cash - cash)
            cash = end.ledger.cash
            if any(entry.transaction_type in _FLOWS for entry in end.booked):
                self._add_flows(end)

    def _add_flows(self, end: DayEnd) -> None:
        inflow, outflow = flows(end.booked, lambda name: self.price(name, end.day))
        before = self._flows.get(end.day, (0, 0))
        self._flows[end.day] = before[0] + inflow, before[1] + outflow

    def price(self, name: InstrumentId, day: int) -> int | None:
        """What a unit is worth at the end of a day that nothing noted is later than."""
        holding, closes = self._holdings.get(name), self._closes.of(name)
        return closes.price(day) if holding is None else holding.price(closes, day)

    def values(self, end: int) -> tuple[Cents, Bool[np.ndarray, " day"]]:
        """The total value of each day before `end`, and on which of them something held had no close of the day itself."""
        totals = self._cash(end)
        carried = np.zeros(len(totals), np.bool_)
        for name, holding in self._holdings.items():
            since = holding.starts[0] - self._first
            closes = self._closes.of(name)
            worth = holding.worth(closes, end)
            # Python's integers where one position needs them.
            totals = totals.astype(np.promote_types(totals.dtype, worth.dtype), copy=False)
            totals[since:] += worth
            if holding.starts[0] < closes.gapless_from:
                carried[since:] |= holding.carried(closes, self._closes.ordinals, end)
        return totals, carried

    def flows(self, end: int) -> tuple[Cents, Cents]:
        """What came in on each day before `end`, and what went out."""
        places = [day - self._first for day in self._flows]
        inflows, outflows = (as_cents([flow[side] for flow in self._flows.values()]) for side in (0, 1))
        return _placed(inflows, places, end - self._first), _placed(outflows, places, end - self._first)

    def _cash(self, end: int) -> Cents:
        starts = sorted(self._cash_changes)
        balances = list(accumulate(self._cash_changes[start] for start in starts))
        return np.repeat(as_cents(balances), np.diff([*starts, end]))

    @property
    def instruments(self) -> Iterable[InstrumentId]:
        """What was ever held."""
        return self._holdings.keys()

    def _holding(self, name: InstrumentId) -> Holding:
        return self._holdings.setdefault(name, Holding())


def flows(booked: Iterable[Booked], price_of: Prices) -> tuple[int, int]:
    """What came in with these transactions of one day, and what went out, in cents.

    A transfer counts at what its units are worth, not at cost: 100 units that cost 1,000.00 and close at 25 bring in
    2,500.00, and the day's return is that of the rest. At cost where no price is known.
    """
    entries = list(booked)
    amounts = [cents(entry.value) for entry in entries if entry.transaction_type in _CASH_FLOWS]
    for entry, quantity in _transfers(entries):
        price = price_of(entry.instrument_id)
        amounts.append(cents(entry.value) if price is None else in_cents(whole(quantity), price))
    return sum(amount for amount in amounts if amount > 0), -sum(amount for amount in amounts if amount < 0)


def _placed(amounts: Cents, places: list[int], length: int) -> Cents:
    """`amounts` at their places among `length` zeros."""
    placed = np.zeros(length, amounts.dtype)
    placed[places] = amounts
    return placed


def _transfers(booked: list[Booked]) -> Iterator[tuple[Booked, Decimal]]:
    """The transfers, with their quantities in the units of the day's end: a split later that day changes them."""
    for place, entry in enumerate(booked):
        if entry.transaction_type in TRANSFERS:
            quantity = entry.quantity
            for later in booked[place + 1 :]:
                if later.ratio is not None and later.instrument_id == entry.instrument_id:
                    quantity = split_quantity(quantity, later.ratio)
            yield entry, quantity
