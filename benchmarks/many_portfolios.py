"""Portfolios by the thousand, loaded through actor handles."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from typing import Final

from actors.gateway import Gateway
from benchmarks.booking import book
from portfolio.commands import OpenPortfolio, UpdatePortfolio
from portfolio.ids import InstrumentId, PortfolioId
from portfolio.transactions import Transaction, TransactionType

POSITIONS: Final = 10
INSTRUMENTS: Final = 500
_CALLERS: Final = 4
_CALL_SIZE: Final = 100
_OPENED_AT_ONCE: Final = 200


def name(number: int) -> PortfolioId:
    """The id of a portfolio."""
    return PortfolioId(f"SCALE-{number:06d}")


async def open_all(gateway: Gateway, count: int) -> None:
    """Open so many portfolios."""
    numbers = iter(range(count))

    async def caller() -> None:
        for number in numbers:
            await gateway.write(
                OpenPortfolio(portfolio_id=name(number), portfolio_name=name(number), cash_balance=Decimal(1_000_000))
            )

    await asyncio.gather(*(caller() for _ in range(_OPENED_AT_ONCE)))


async def buy_all(gateway: Gateway, count: int, positions: int = POSITIONS) -> None:
    """One update of each portfolio, with a BUY in each of so many instruments. Raises RuntimeError if one is refused."""
    await book(gateway, _batches((_update(number, positions) for number in range(count)), _CALL_SIZE), _CALLERS)


def _update(number: int, positions: int) -> UpdatePortfolio:
    bought = tuple(
        Transaction(
            transaction_type=TransactionType.BUY,
            instrument_id=InstrumentId(f"INSTRUMENT-{(number * 7 + place) % INSTRUMENTS:03d}"),
            quantity=Decimal("1.5"),
            price=Decimal("101.25"),
        )
        for place in range(positions)
    )
    return UpdatePortfolio(portfolio_id=name(number), transactions=bought)


def _batches(commands: Iterable[UpdatePortfolio], size: int) -> Iterator[Sequence[UpdatePortfolio]]:
    left = iter(commands)
    while batch := list(itertools.islice(left, size)):
        yield batch
