"""Hypothesis strategies for what can be asked of a portfolio, most of it legal, and for what must be refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Final

from hypothesis import strategies as st

from portfolio.book import Mark
from portfolio.commands import ChangeStatus, Command, OpenPortfolio, UpdatePortfolio
from portfolio.ids import InstrumentId
from portfolio.status import Status
from portfolio.transactions import CASH_ENTRIES, TRADES, Ratio, Transaction, TransactionType
from tests.oracles.builders import NOW, PORTFOLIO, USD
from tests.oracles.reference import rounded

INSTRUMENTS: Final = tuple(map(InstrumentId, ("A", "B-2", "C^D=/E")))
RATIOS: Final = tuple(map(Ratio.parse, ("1:3", "7:11", "3:2", "2:1", "1:10", "1:1", "1000000:999999")))
BAD_NUMBERS: Final = ("NaN", "sNaN", "-Infinity", "1e400", "1e12", "-1e12", "1e999999999", "1.000000001", "1e-9")
NO_QUANTITY: Final = (TransactionType.DIVIDEND, TransactionType.SPLIT)

Holdings = dict[InstrumentId, Decimal]
Marks = Mapping[InstrumentId, Mark]


@dataclass(frozen=True, slots=True)
class Step:
    """A command, the moment it comes, and the market's marks at that moment."""

    command: Command
    now: datetime
    marks: Marks


@dataclass(frozen=True, slots=True)
class History:
    """A portfolio's opening and what is asked of it afterwards."""

    opening: OpenPortfolio
    steps: tuple[Step, ...]


def amounts(decimals: int) -> st.SearchStrategy[Decimal]:
    """Numbers above 0 with at most `decimals` decimals: round ones, odd ones, very small and quite large ones."""
    unit = Decimal(1).scaleb(-decimals)
    return st.one_of(
        st.integers(1, 1_000).map(Decimal),
        st.integers(1, 10**decimals * 1_000).map(lambda count: count * unit),
        st.integers(1, 100).map(lambda count: count * unit),
        st.integers(1, 10**8).map(Decimal),
    )


QUANTITIES: Final = amounts(8)
PRICES: Final = amounts(8)
CASH: Final = amounts(2)
FEES: Final = st.one_of(st.just(Decimal(0)), st.integers(0, 2_000).map(lambda cents: Decimal(cents) / 100))


@st.composite
def legal_transactions(draw: st.DrawFn, holdings: Holdings, *, allow_short: bool = True) -> Transaction:
    """A transaction of any type that fits `holdings` (signed units), save for limits and the smallest of cash."""
    instrument_id = draw(st.sampled_from(INSTRUMENTS))
    held = holdings.get(instrument_id, Decimal(0))
    kind = draw(st.sampled_from(_fitting(held, allow_short=allow_short)))
    if kind in CASH_ENTRIES:
        sign = {TransactionType.DEPOSIT: 1, TransactionType.WITHDRAWAL: -1}.get(kind) or draw(st.sampled_from((-1, 1)))
        return Transaction(
            transaction_type=kind, instrument_id=InstrumentId(USD), quantity=sign * draw(CASH), price=Decimal(1)
        )
    blank = Transaction(transaction_type=kind, instrument_id=instrument_id, quantity=Decimal(0), price=Decimal(0))
    match kind:
        case TransactionType.DIVIDEND:
            return replace(blank, price=draw(PRICES))
        case TransactionType.SPLIT:
            price = draw(st.one_of(PRICES, st.just(Decimal(0))))
            return replace(blank, ratio=draw(st.sampled_from(RATIOS)), price=price)
        case TransactionType.TRANSFER_OUT:
            return replace(blank, quantity=-draw(_parts(held)))
        case TransactionType.TRANSFER_IN:
            short = held < 0 or (not held and allow_short and draw(st.booleans()))
            return replace(blank, quantity=draw(QUANTITIES) * (-1 if short else 1), price=draw(PRICES))
        case _:
            pass
    return replace(blank, quantity=draw(_trade_units(kind, held, allow_short)), price=draw(PRICES), fee=draw(FEES))


@st.composite
def legal_sequences(draw: st.DrawFn, *, size_max: int = 6) -> tuple[Transaction, ...]:
    """Transactions that follow one another in a portfolio without limits."""
    holdings: Holdings = {}
    items: list[Transaction] = []
    for _ in range(draw(st.integers(2, size_max))):
        items.append(draw(legal_transactions(holdings)))
        note_holding(holdings, items[-1])
    return tuple(items)


def _fitting(held: Decimal, *, allow_short: bool) -> list[TransactionType]:
    kinds = [TransactionType.SELL] * 4 if held > 0 or allow_short else []
    if held:
        kinds += [TransactionType.SPLIT, TransactionType.DIVIDEND, TransactionType.TRANSFER_OUT] * 2
    if held < 0:
        kinds += [TransactionType.COVER] * 3
    if held <= 0 and allow_short:
        kinds += [TransactionType.SHORT]
    kinds += [TransactionType.BUY] * 4
    kinds += [TransactionType.TRANSFER_IN, *sorted(CASH_ENTRIES)]
    return kinds


def _parts(held: Decimal) -> st.SearchStrategy[Decimal]:
    """Up to all of `held`, with its sign; all of it every so often."""
    units = int(abs(held).scaleb(8))
    part = st.integers(1, units).map(lambda count: Decimal(count).scaleb(-8).copy_sign(held))
    return st.one_of(st.just(held), part)


def _trade_units(kind: TransactionType, held: Decimal, allow_short: bool) -> st.SearchStrategy[Decimal]:
    against = held and (held > 0) == (kind is TransactionType.SELL)
    if kind is TransactionType.COVER or (kind is TransactionType.SELL and not allow_short):
        return _parts(held).map(lambda part: -part)
    sign = 1 if kind is TransactionType.BUY else -1
    free = QUANTITIES.map(lambda units: sign * units)
    return st.one_of(free, _parts(held).map(lambda part: -part)) if against else free


@st.composite
def broken_transactions(draw: st.DrawFn) -> tuple[Transaction, str]:
    """A transaction that is wrong in itself, whatever is held, and the field that is at fault."""
    good = draw(legal_transactions({instrument_id: Decimal(10) for instrument_id in INSTRUMENTS[:2]}))
    kind = good.transaction_type
    number = Decimal(draw(st.sampled_from(BAD_NUMBERS)))
    wrongs = [
        (replace(good, quantity=number), "quantity_change"),
        (replace(good, quantity=Decimal(kind in NO_QUANTITY)), "quantity_change"),
        (replace(good, price=number), "price"),
        (replace(good, price=Decimal(-1)), "price"),
        (replace(good, fee=Decimal("-0.01" if kind in TRADES else "0.01")), "fee"),
        (replace(good, ratio=RATIOS[0] if good.ratio is None else None), "ratio"),
        (replace(good, instrument_id=INSTRUMENTS[0] if kind in CASH_ENTRIES else InstrumentId(USD)), "instrument_id"),
    ]
    return draw(st.sampled_from(wrongs))


def market_marks(now: datetime) -> st.SearchStrategy[Marks]:
    """Market marks of some instruments, from before and after `now`."""
    mark = st.builds(Mark, PRICES, st.integers(-600, 60).map(lambda minute: now + timedelta(minutes=minute)))
    return st.dictionaries(st.sampled_from(INSTRUMENTS), mark, max_size=3)


def openings(*, limited: bool = True) -> st.SearchStrategy[OpenPortfolio]:
    """Openings of one portfolio; `limited` ones may refuse shorts and overdrafts."""
    settings = {
        "allow_short": st.booleans() if limited else st.just(True),
        "min_cash": st.sampled_from((None, None, Decimal(0), Decimal(-500))) if limited else st.none(),
    }
    return st.builds(
        OpenPortfolio,
        portfolio_id=st.just(PORTFOLIO),
        portfolio_name=st.just("Balanced"),
        cash_balance=st.one_of(st.just(Decimal(0)), CASH),
        **settings,
    )


@st.composite
def histories(draw: st.DrawFn, *, limited: bool = True, broken: bool = True, steps_max: int = 8) -> History:
    """A portfolio's life: updates of one to four transactions, some backdated, and changes of status."""
    opened = draw(openings(limited=limited))
    holdings: Holdings = {}
    steps: list[Step] = []
    for index in range(1, draw(st.integers(3, steps_max)) + 1):
        now = NOW + timedelta(minutes=index)
        command = draw(_commands(holdings, now, allow_short=opened.allow_short, broken=broken))
        steps.append(Step(command, now, draw(market_marks(now)) if index % 2 else {}))
    return History(opened, tuple(steps))


@st.composite
def _commands(
    draw: st.DrawFn, holdings: Holdings, now: datetime, *, allow_short: bool, broken: bool
) -> UpdatePortfolio | ChangeStatus:
    choice = draw(st.integers(0, 15))
    if broken and choice in (6, 10):
        status = draw(st.sampled_from((Status.LIQUIDATING, Status.SUSPENDED, Status.ACTIVE, Status.CLOSED)))
        return ChangeStatus(portfolio_id=PORTFOLIO, status=status)
    items = []
    for _ in range(draw(st.integers(1, 4))):
        item = draw(legal_transactions(holdings, allow_short=allow_short))
        note_holding(holdings, item)
        items.append(item)
    if broken and choice == 8:
        items.insert(draw(st.integers(0, len(items))), draw(broken_transactions())[0])
    back = draw(st.sampled_from((None, None, timedelta(0), timedelta(minutes=3), timedelta(days=2))))
    return UpdatePortfolio(
        portfolio_id=PORTFOLIO, transactions=tuple(items), effective_at=None if back is None else now - back
    )


def note_holding(holdings: Holdings, item: Transaction) -> None:
    """Follow what a legal transaction does to the units held."""
    if item.transaction_type in CASH_ENTRIES:
        return
    held = holdings.get(item.instrument_id, Decimal(0)) + item.quantity
    if item.ratio is not None:
        after = rounded(Fraction(held) * item.ratio.new / item.ratio.old, 8)
        held = Decimal(int(after * 10**8)).scaleb(-8)
        held = Decimal(int(held)) if item.price else held
    holdings[item.instrument_id] = held
