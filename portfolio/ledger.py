"""The one function that turns entries into a book. Deciding a command and replaying the journal both use it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from typing import assert_never

from portfolio import money, position
from portfolio.book import Book, Mark
from portfolio.entries import Booked, Entry, Opened, StatusChanged
from portfolio.errors import Corrupt
from portfolio.ids import InstrumentId
from portfolio.position import OpenPosition
from portfolio.status import Status
from portfolio.transactions import TransactionType


def replay(book: Book | None, entries: Iterable[Entry]) -> Book:
    """The book after `entries`, which follow `book` (None: they begin with the opening). Raises Corrupt."""
    ledger = Ledger(book)
    for entry in entries:
        ledger.enter(entry)
    return ledger.book()


class Ledger:
    """One book while entries are booked into it.

    Every field is a total that only `enter` changes. Positions are copied when first touched, so that an update of a
    thousand transactions costs one copy of the book.
    """

    __slots__ = (
        "_opening",
        "_positions",
        "_touched",
        "cash",
        "fees",
        "income",
        "last_updated",
        "net_deposits",
        "realized_pnl",
        "status",
        "taxes",
        "transfers_at_cost",
        "version",
    )

    def __init__(self, book: Book | None) -> None:
        self._opening: Book | Opened | None = book
        self._touched: dict[InstrumentId, OpenPosition] = {}
        if book is None:
            self._positions = {}
            self.version = 0
            self.status = Status.ACTIVE
            self.cash = self.fees = self.taxes = self.income = self.net_deposits = money.ZERO_2
            self.realized_pnl = self.transfers_at_cost = money.ZERO_6
            return
        self._positions = dict(book.positions)
        self.version = book.version
        self.status = book.status
        self.cash = book.cash
        self.fees = book.fees
        self.taxes = book.taxes
        self.income = book.income
        self.net_deposits = book.net_deposits
        self.realized_pnl = book.realized_pnl
        self.transfers_at_cost = book.transfers_at_cost
        self.last_updated: datetime = book.last_updated

    def held(self, instrument_id: InstrumentId) -> Decimal:
        """Signed units of an instrument; 0 when flat."""
        touched = self._touched.get(instrument_id)
        if touched is not None:
            return touched.quantity
        known = self._positions.get(instrument_id)
        return known.quantity if known is not None else money.ZERO_8

    def trade_mark(self, instrument_id: InstrumentId) -> Mark | None:
        """The latest trade's mark of an instrument, if a position in it is or was open here."""
        touched = self._touched.get(instrument_id) or self._positions.get(instrument_id)
        return touched.trade_mark if touched is not None else None

    def cost_of(self, instrument_id: InstrumentId) -> Decimal:
        """Signed cost of the position in an instrument; 0 when flat."""
        touched = self._touched.get(instrument_id) or self._positions.get(instrument_id)
        return touched.cost_basis if touched is not None else money.ZERO_6

    def largest_total(self, instrument_id: InstrumentId) -> Decimal:
        """The largest, in size, of the portfolio's totals and of the instrument's cost and realised P&L."""
        touched = self._touched.get(instrument_id) or self._positions.get(instrument_id)
        totals = [
            self.cash,
            self.realized_pnl,
            self.income,
            self.fees,
            self.taxes,
            self.net_deposits,
            self.transfers_at_cost,
        ]
        if touched is not None:
            totals += [touched.cost_basis, touched.realized_pnl]
        return max(map(abs, totals))

    def enter(self, entry: Entry) -> None:
        """Book one entry. Raises Corrupt if it is an opening of an open book, or none where one is needed."""
        if isinstance(entry, Opened) is not (self._opening is None):
            raise Corrupt(f"portfolio {entry.portfolio_id} has {type(entry).__name__} at version {entry.version}")
        match entry:
            case Booked():
                self._book(entry)
            case StatusChanged():
                self.status = entry.status
            case Opened():
                self._opening = entry
            case _:
                assert_never(entry)
        self.version = entry.version
        self.last_updated = entry.recorded_at

    def _book(self, entry: Booked) -> None:
        match entry.transaction_type:
            case TransactionType.BUY | TransactionType.SELL | TransactionType.SHORT | TransactionType.COVER:
                self._trade(entry)
            case TransactionType.DEPOSIT | TransactionType.WITHDRAWAL:
                self.cash += entry.value
                self.net_deposits += entry.value
            case TransactionType.INTEREST | TransactionType.DIVIDEND:
                self.cash += entry.value
                self.income += entry.value
            case TransactionType.FEE:
                self.cash += entry.value
                self.fees -= entry.value
            case TransactionType.TAX:
                self.cash += entry.value
                self.taxes -= entry.value
            case TransactionType.SPLIT:
                self._split(entry)
            case TransactionType.TRANSFER_IN:
                self.realized_pnl += position.trade(self._touch(entry), entry.quantity, entry.price, entry.value)
                self.transfers_at_cost += entry.value
            case TransactionType.TRANSFER_OUT:
                self.transfers_at_cost -= position.relieve(self._touch(entry), entry.quantity)
            case _:
                assert_never(entry.transaction_type)

    def _trade(self, entry: Booked) -> None:
        touched = self._touch(entry)
        self.realized_pnl += position.trade(touched, entry.quantity, entry.price, entry.value)
        self.cash -= entry.value + entry.fee
        self.fees += entry.fee
        # A trade booked late for an earlier day must not mark the position at that day's price.
        if entry.effective_at >= touched.trade_mark.time:
            touched.trade_mark = Mark(entry.price, entry.effective_at)

    def _split(self, entry: Booked) -> None:
        if entry.ratio is None or entry.mark is None:
            raise Corrupt(f"portfolio {entry.portfolio_id} has a split without terms at version {entry.version}")
        touched = self._touch(entry)
        value, realized = position.split(touched, entry.ratio, entry.price)
        self.realized_pnl += realized
        self.cash -= value
        touched.trade_mark = Mark(entry.mark, max(entry.effective_at, touched.trade_mark.time))

    def _touch(self, entry: Booked) -> OpenPosition:
        touched = self._touched.get(entry.instrument_id)
        if touched is None or not touched.quantity:
            known = self._positions.get(entry.instrument_id) if touched is None else None
            # What was closed and is opened again begins anew: its realised P&L stays in the portfolio's total.
            touched = (
                OpenPosition.of(known)
                if known is not None
                else OpenPosition(entry.instrument_id, _first_mark(entry), entry.recorded_at)
            )
            self._touched[entry.instrument_id] = touched
        touched.last_updated = entry.recorded_at
        return touched

    def book(self) -> Book:
        """The book as an immutable value. Raises Corrupt if nothing was ever opened."""
        opening = self._opening
        if opening is None:
            raise Corrupt("a book cannot begin without an opening")
        for instrument_id, touched in self._touched.items():
            if touched.quantity:
                self._positions[instrument_id] = touched.value()
            else:
                self._positions.pop(instrument_id, None)
        return Book(
            portfolio_id=opening.portfolio_id,
            portfolio_name=opening.portfolio_name,
            base_currency=opening.base_currency,
            allow_short=opening.allow_short,
            min_cash=opening.min_cash,
            status=self.status,
            version=self.version,
            cash=self.cash,
            realized_pnl=self.realized_pnl,
            income=self.income,
            fees=self.fees,
            taxes=self.taxes,
            net_deposits=self.net_deposits,
            transfers_at_cost=self.transfers_at_cost,
            positions=self._positions,
            created_at=opening.created_at if isinstance(opening, Book) else opening.recorded_at,
            last_updated=self.last_updated,
        )


def _first_mark(entry: Booked) -> Mark:
    return Mark(entry.price if entry.mark is None else entry.mark, entry.effective_at)
