"""What a sample portfolio may do on a day: transactions of every type, of a sensible size, at that day's prices."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import ROUND_DOWN, Decimal
from typing import Final

from cluster.sample_chance import Chance
from cluster.sample_prices import Prices, Split
from portfolio import money
from portfolio.book import Book, Position
from portfolio.ids import InstrumentId
from portfolio.position import split_quantity
from portfolio.transactions import Transaction, TransactionType

_CURRENCY: Final = InstrumentId("USD")
_COMMISSIONS: Final = tuple(map(Decimal, ("0", "0", "0", "0.99", "1.00", "4.95")))
_COMMISSION_MAX: Final = max(_COMMISSIONS)
_WHOLE: Final = Decimal(1)
_TEN_THOUSANDTH: Final = Decimal("0.0001")

# How often each type is tried, of 100 times; what is impossible at that moment becomes a deposit.
_TRIED: Final[Mapping[TransactionType, int]] = {
    TransactionType.BUY: 25,
    TransactionType.SELL: 20,
    TransactionType.SHORT: 6,
    TransactionType.COVER: 6,
    TransactionType.DIVIDEND: 14,
    TransactionType.DEPOSIT: 4,
    TransactionType.WITHDRAWAL: 5,
    TransactionType.INTEREST: 7,
    TransactionType.FEE: 5,
    TransactionType.TAX: 3,
    TransactionType.TRANSFER_IN: 3,
    TransactionType.TRANSFER_OUT: 2,
}
_LOTS: Final = tuple(kind for kind, times in _TRIED.items() for _ in range(times))


class Trader:
    """Draws transactions for a portfolio that holds the stocks of `universe`, all of them all the time.

    Where the portfolio allows shorts, the last third of the universe is held short.
    """

    def __init__(
        self, prices: Prices, chance: Chance, universe: Sequence[InstrumentId], *, is_fractional: bool, is_short: bool
    ) -> None:
        self.universe = universe
        self._prices = prices
        self._chance = chance
        self._unit = _TEN_THOUSANDTH if is_fractional else _WHOLE
        self._shorts = frozenset(universe[len(universe) * 2 // 3 :]) if is_short else frozenset()
        self._draws: Mapping[TransactionType, Callable[[int, Book], Transaction | None]] = {
            TransactionType.BUY: self._buy,
            TransactionType.SELL: lambda day, book: self._reduce(day, book, TransactionType.SELL),
            TransactionType.SHORT: self._short,
            TransactionType.COVER: lambda day, book: self._reduce(day, book, TransactionType.COVER),
            TransactionType.DIVIDEND: self._dividend,
            TransactionType.WITHDRAWAL: self._withdrawal,
            TransactionType.INTEREST: self._interest,
            TransactionType.FEE: self._fee,
            TransactionType.TAX: self._tax,
            TransactionType.TRANSFER_IN: self._transfer_in,
            TransactionType.TRANSFER_OUT: lambda day, book: self._reduce(day, book, TransactionType.TRANSFER_OUT),
        }

    def any_transaction(self, day: int, book: Book) -> Transaction:
        """One that `book` allows."""
        draw = self._draws.get(self._chance.one_of(_LOTS))
        drawn = draw(day, book) if draw is not None else None
        return drawn or self.cash_entry(TransactionType.DEPOSIT, self._round_amount(5, 200) * 100)

    def first_deposit(self) -> Transaction:
        """50,000 to 5,000,000, small ones as likely as large ones."""
        scale = self._chance.one_of((10_000, 100_000, 100_000))
        return self.cash_entry(TransactionType.DEPOSIT, self._round_amount(5, 50) * scale)
