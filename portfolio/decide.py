"""Deciding a command: from a book and a command to the next book and the entries to append, or a rejection."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final

from portfolio import ids, money, rules
from portfolio.book import Book, Mark
from portfolio.commands import ChangeStatus, Command, OpenPortfolio, UpdatePortfolio
from portfolio.entries import Booked, Entry, Opened, StatusChanged, derived_id
from portfolio.errors import (
    IllegalStatusChange,
    InvalidRequest,
    MinCashBreached,
    PortfolioError,
    PortfolioExists,
    PortfolioNotFound,
    VersionMismatch,
)
from portfolio.ids import InstrumentId, PortfolioId
from portfolio.ledger import Ledger
from portfolio.position import split_price, split_quantity
from portfolio.status import NEXT, Status
from portfolio.steps import drained
from portfolio.transactions import CASH_ENTRIES, TRADES, Ratio, Transaction, TransactionType, checked

TRANSACTIONS_MAX: Final = 1_000
EFFECTIVE_SINCE: Final = datetime(1900, 1, 1, tzinfo=UTC)
EFFECTIVE_AHEAD_MAX: Final = timedelta(days=1)
NO_MARKS: Final[Mapping[InstrumentId, Mark]] = {}


@dataclass(frozen=True, slots=True)
class Decision:
    """The book after the command, and the entries that lead there."""

    book: Book
    entries: tuple[Entry, ...]


def decide(
    book: Book | None, command: Command, *, now: datetime, marks: Mapping[InstrumentId, Mark] = NO_MARKS
) -> Decision:
    """What `command` does to `book` at `now`, with the market's `marks`. Nothing is changed.

    Raises a Rejected or a Conflict, with the index of the transaction that cannot be booked.
    """
    return drained(deciding(book, command, now=now, marks=marks))


def deciding(
    book: Book | None, command: Command, *, now: datetime, marks: Mapping[InstrumentId, Mark] = NO_MARKS
) -> Generator[None, None, Decision]:
    """`decide`, one transaction a step, for a caller that has other things to do in between."""
    if isinstance(command, OpenPortfolio):
        return _open(book, command, now)
    if book is None:
        raise PortfolioNotFound(f"there is no portfolio {command.portfolio_id}", portfolio_id=command.portfolio_id)
    if command.expected_version is not None and command.expected_version != book.version:
        raise VersionMismatch(
            f"the portfolio is at version {book.version}, expected {command.expected_version}",
            version=book.version,
            expected_version=command.expected_version,
        )
    if isinstance(command, ChangeStatus):
        return _change_status(book, command, now)
    return (yield from _update(book, command, now, marks))


def _open(book: Book | None, command: OpenPortfolio, now: datetime) -> Decision:
    if book is not None:
        raise PortfolioExists(f"portfolio {command.portfolio_id} exists", portfolio_id=command.portfolio_id)
    cash = money.exact(command.cash_balance, field="cash_balance", scale=money.CASH_SCALE)
    if cash < 0:
        raise InvalidRequest(f"cash_balance is {cash}, expected 0 or above", field="cash_balance")
    opened = Opened(
        portfolio_id=ids.portfolio_id(command.portfolio_id),
        version=1,
        effective_at=now,
        recorded_at=now,
        portfolio_name=ids.portfolio_name(command.portfolio_name),
        base_currency=ids.currency(command.base_currency),
        allow_short=command.allow_short,
        min_cash=None
        if command.min_cash is None
        else money.exact(command.min_cash, field="min_cash", scale=money.CASH_SCALE),
    )
    ledger = Ledger(None)
    ledger.enter(opened)
    if not cash:
        return Decision(ledger.book(), (opened,))
    deposit = Transaction(
        transaction_type=TransactionType.DEPOSIT,
        instrument_id=InstrumentId(command.base_currency),
        quantity=cash,
        price=Decimal(1),
    )
    booked = _booked(
        ledger,
        checked(deposit, opened.base_currency),
        portfolio_id=opened.portfolio_id,
        effective_at=now,
        now=now,
        marks=NO_MARKS,
    )
    ledger.enter(booked)
    return Decision(ledger.book(), (opened, booked))


def _change_status(book: Book, command: ChangeStatus, now: datetime) -> Decision:
    wanted = command.status
    if wanted not in NEXT[book.status]:
        raise IllegalStatusChange(f"{book.status} cannot become {wanted}", status=book.status.value)
    if wanted is Status.CLOSED and (book.positions or book.cash):
        raise IllegalStatusChange(
            f"CLOSED needs every position and the cash at zero: {len(book.positions)} positions, cash {book.cash}",
            status=book.status.value,
        )
    changed = StatusChanged(
        portfolio_id=book.portfolio_id, version=book.version + 1, effective_at=now, recorded_at=now, status=wanted
    )
    ledger = Ledger(book)
    ledger.enter(changed)
    return Decision(ledger.book(), (changed,))


def check_count(command: UpdatePortfolio) -> None:
    """Raises InvalidRequest for an update of no transactions, or of too many."""
    if not 1 <= len(command.transactions) <= TRANSACTIONS_MAX:
        raise InvalidRequest(
            f"{len(command.transactions)} transactions, expected 1 to {TRANSACTIONS_MAX:,}", field="updates"
        )


def _update(
    book: Book, command: UpdatePortfolio, now: datetime, marks: Mapping[InstrumentId, Mark]
) -> Generator[None, None, Decision]:
    check_count(command)
    ledger = Ledger(book)
    effective_at = _effective_at(command.effective_at, now)
    entries: list[Entry] = []
    for index, asked in enumerate(command.transactions):
        try:
            transaction = checked(asked, book.base_currency)
            held = ledger.held(transaction.instrument_id)
            rules.check_status(ledger.status, transaction, held)
            rules.check_holding(book.allow_short, transaction, held)
            booked = _booked(
                ledger,
                transaction,
                portfolio_id=book.portfolio_id,
                effective_at=effective_at,
                now=now,
                marks=marks,
            )
            ledger.enter(booked)
            _check_limits(ledger, booked.instrument_id)
        except PortfolioError as error:
            raise error.at(index) from None
        entries.append(booked)
        yield
    _check_min_cash(book, ledger.cash)
    return Decision(ledger.book(), tuple(entries))


def _effective_at(asked: datetime | None, now: datetime) -> datetime:
    if asked is None:
        return now
    if asked.tzinfo is None:
        raise InvalidRequest(f"timestamp is {asked}, expected one with a time zone", field="timestamp")
    # A time far ahead would hold a position's mark for as long.
    if not EFFECTIVE_SINCE <= asked <= now + EFFECTIVE_AHEAD_MAX:
        raise InvalidRequest(
            f"timestamp is {asked.isoformat()}, expected one from {EFFECTIVE_SINCE:%Y} to a day from now",
            field="timestamp",
        )
    return asked.astimezone(UTC)


def _booked(
    ledger: Ledger,
    transaction: Transaction,
    *,
    portfolio_id: PortfolioId,
    effective_at: datetime,
    now: datetime,
    marks: Mapping[InstrumentId, Mark],
) -> Booked:
    version = ledger.version + 1
    return Booked(
        portfolio_id=portfolio_id,
        version=version,
        effective_at=effective_at,
        recorded_at=now,
        transaction_id=transaction.transaction_id or derived_id(portfolio_id, version),
        transaction_id_given=transaction.transaction_id is not None,
        transaction_type=transaction.transaction_type,
        instrument_id=transaction.instrument_id,
        quantity=transaction.quantity,
        price=transaction.price,
        value=_value(ledger, transaction),
        fee=transaction.fee,
        ratio=transaction.ratio,
        mark=_mark(ledger, transaction, effective_at, marks),
    )


def _value(ledger: Ledger, transaction: Transaction) -> Decimal:
    """The transaction's value as the journal keeps it; see entries.Booked."""
    kind, quantity, price = transaction.transaction_type, transaction.quantity, transaction.price
    held = ledger.held(transaction.instrument_id)
    if kind in TRADES or kind is TransactionType.TRANSFER_IN:
        value = money.round2(money.multiply(quantity, price))
    elif kind in CASH_ENTRIES:
        value = money.round2(quantity)
    elif kind is TransactionType.DIVIDEND:
        value = money.round2(money.multiply(held, price))
    elif kind is TransactionType.TRANSFER_OUT:
        cost = ledger.cost_of(transaction.instrument_id)
        value = -money.round2(money.divide(money.multiply(cost, abs(quantity)), abs(held)))
    else:
        value = _split_value(transaction, held)
    if abs(value) >= money.CASH_LIMIT:
        raise InvalidRequest(f"the transaction's value is {value:.6e}, expected less than 1e18", field="price")
    return value


def _split_value(transaction: Transaction, held: Decimal) -> Decimal:
    if transaction.ratio is None:
        return money.ZERO_2
    after = split_quantity(held, transaction.ratio)
    if not after:
        raise InvalidRequest(f"a split {transaction.ratio} of {held} leaves nothing", field="ratio")
    fraction = after - int(after) if transaction.price else money.ZERO_8
    return money.round2(money.multiply(-fraction, transaction.price))


def _mark(
    ledger: Ledger, transaction: Transaction, effective_at: datetime, marks: Mapping[InstrumentId, Mark]
) -> Decimal | None:
    """The mark per unit that the journal has to keep, because it depends on the market: of splits and transfers."""
    market = marks.get(transaction.instrument_id)
    if market is not None and market.time > effective_at:
        market = None
    if transaction.ratio is not None:
        return _split_mark(ledger.trade_mark(transaction.instrument_id), transaction.ratio, effective_at, market)
    # What is transferred in has a cost, which says nothing of its price today where the market does.
    is_opening = transaction.transaction_type is TransactionType.TRANSFER_IN and not ledger.held(
        transaction.instrument_id
    )
    return market.price if is_opening and market is not None else None


def _split_mark(traded: Mark | None, ratio: Ratio, effective_at: datetime, market: Mark | None) -> Decimal | None:
    """The mark after a split. A mark from after the split took effect is of the new units already."""
    if traded is None:
        return None
    if traded.time > effective_at:
        return traded.price
    newest = market if market is not None and market.time > traded.time else traded
    mark = split_price(newest.price, ratio)
    if mark >= money.QUANTITY_LIMIT:
        raise InvalidRequest(f"the mark would be {mark:.6e} after a split {ratio}", field="ratio", limit="1e12")
    return mark


def _check_limits(ledger: Ledger, instrument_id: InstrumentId) -> None:
    if abs(ledger.held(instrument_id)) >= money.QUANTITY_LIMIT:
        raise InvalidRequest("the position would reach 1e12 units", field="quantity_change", limit="1e12")
    if ledger.largest_total(instrument_id) >= money.CASH_LIMIT:
        raise InvalidRequest("a cost or a total of the portfolio would reach 1e18", field="price", limit="1e18")


def _check_min_cash(book: Book, cash: Decimal) -> None:
    if book.min_cash is not None and cash < book.min_cash and cash < book.cash:
        raise MinCashBreached(
            f"cash would be {cash}, the portfolio's minimum is {book.min_cash}",
            limit=book.min_cash,
            cash_balance=book.cash,
        )
