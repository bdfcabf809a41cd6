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
        return drawn or self.cash_entry(TransactionType.DEPOSIT, Decimal(self._chance.between(5, 200) * 100))

    def first_deposit(self) -> Transaction:
        """From 50,000 to 5,000,000."""
        scale = self._chance.one_of((10_000, 100_000, 100_000))
        return self.cash_entry(TransactionType.DEPOSIT, Decimal(self._chance.between(5, 50) * scale))

    def first_purchase(self, day: int, stock: InstrumentId, money_first: Decimal) -> Transaction:
        """An equal share of nine tenths of the first money, or somewhat less; the rest stays in cash."""
        amount = self._percent(money_first * 9 / 10 / len(self.universe), 50, 105)
        return self._opening_trade(day, stock, self._units(amount, self._prices.on(day, stock)))

    def split(self, day: int, split: Split, book: Book) -> Transaction:
        """A split; where only whole units are held, what is beyond them is paid out at the new price."""
        stock = split.instrument_id
        after = split_quantity(book.positions[stock].quantity, split.ratio)
        is_paid_out = self._unit == _WHOLE and abs(after) > _WHOLE
        return Transaction(
            transaction_type=TransactionType.SPLIT,
            instrument_id=stock,
            quantity=money.ZERO_8,
            price=self._prices.on(day, stock) if is_paid_out else money.ZERO_8,
            ratio=split.ratio,
        )

    def close(self, day: int, position: Position) -> Transaction:
        """The trade that closes a position."""
        kind = TransactionType.SELL if position.quantity > 0 else TransactionType.COVER
        return self._trade(day, kind, position.instrument_id, -position.quantity)

    def cash_entry(self, kind: TransactionType, amount: Decimal) -> Transaction:
        """An amount that comes (above 0) or goes (below 0)."""
        return Transaction(transaction_type=kind, instrument_id=_CURRENCY, quantity=amount, price=_WHOLE)

    def _buy(self, day: int, book: Book) -> Transaction | None:
        stock = self._chance.one_of([stock for stock in self.universe if stock not in self._shorts])
        units = self._units(self._percent(_available(book), 2, 15), self._prices.on(day, stock))
        # Fifteen hundredths and a commission fit into any amount from 100 on.
        return self._opening_trade(day, stock, units) if units and _available(book) >= 100 else None

    def _short(self, day: int, book: Book) -> Transaction | None:
        if not self._shorts:
            return None
        stock = self._chance.one_of(sorted(self._shorts))
        units = self._units(self._percent(book.net_deposits, 1, 2), self._prices.on(day, stock))
        return self._opening_trade(day, stock, units) if units else None

    def _reduce(self, day: int, book: Book, kind: TransactionType) -> Transaction | None:
        sign = -1 if kind is TransactionType.COVER else 1
        held = [position for _, position in sorted(book.positions.items()) if position.quantity * sign > 0]
        if not held:
            return None
        position = self._chance.one_of(held)
        units = self._rounded(self._percent(abs(position.quantity), 5, 30))
        if not units:
            return None
        if kind is TransactionType.TRANSFER_OUT:
            return self._transfer(kind, position.instrument_id, -units, money.ZERO_8)
        return self._trade(day, kind, position.instrument_id, -sign * units)

    def _dividend(self, day: int, book: Book) -> Transaction | None:
        # The source has no dividends of its own, only prices. These are made up: 0.3 % to 0.9 % of the price.
        stock = self._chance.one_of(sorted(book.positions))
        per_unit = (self._prices.on(day, stock) * self._chance.between(30, 90) / 10_000).quantize(_TEN_THOUSANDTH)
        is_affordable = book.positions[stock].quantity > 0 or book.min_cash is None
        return self._transfer(TransactionType.DIVIDEND, stock, money.ZERO_8, per_unit) if is_affordable else None

    def _withdrawal(self, day: int, book: Book) -> Transaction | None:
        amount = self._percent(book.cash, 2, 20) // 100 * 100
        return self.cash_entry(TransactionType.WITHDRAWAL, -amount) if amount > 0 else None

    def _interest(self, day: int, book: Book) -> Transaction | None:
        amount = money.round2(self._percent(book.cash, 5, 40) / 100)
        return self.cash_entry(TransactionType.INTEREST, amount) if amount and -amount <= _available(book) else None

    def _fee(self, day: int, book: Book) -> Transaction | None:
        return self._charge(TransactionType.FEE, book)

    def _tax(self, day: int, book: Book) -> Transaction | None:
        return self._charge(TransactionType.TAX, book)

    def _charge(self, kind: TransactionType, book: Book) -> Transaction | None:
        amount = money.round2(self._percent(book.net_deposits, 2, 20) / 100)
        if amount <= 0 or amount > _available(book):
            return None
        is_refund = self._chance.between(1, 5) == 1
        return self.cash_entry(kind, amount / 4 // _WHOLE if is_refund and amount >= 4 else -amount)

    def _transfer_in(self, day: int, book: Book) -> Transaction | None:
        stock = self._chance.one_of([stock for stock in self.universe if stock not in self._shorts])
        price = self._prices.on(day, stock)
        units = self._units(self._percent(book.net_deposits, 1, 3), price)
        return self._transfer(TransactionType.TRANSFER_IN, stock, units, price) if units else None

    def _opening_trade(self, day: int, stock: InstrumentId, units: Decimal) -> Transaction:
        if stock in self._shorts:
            return self._trade(day, TransactionType.SHORT, stock, -units)
        return self._trade(day, TransactionType.BUY, stock, units)

    def _trade(self, day: int, kind: TransactionType, stock: InstrumentId, quantity: Decimal) -> Transaction:
        return Transaction(
            transaction_type=kind,
            instrument_id=stock,
            quantity=quantity,
            price=self._prices.on(day, stock),
            fee=self._chance.one_of(_COMMISSIONS),
        )

    def _transfer(self, kind: TransactionType, stock: InstrumentId, quantity: Decimal, price: Decimal) -> Transaction:
        return Transaction(transaction_type=kind, instrument_id=stock, quantity=quantity, price=price)

    def _percent(self, whole: Decimal, lowest: int, highest: int) -> Decimal:
        return whole * self._chance.between(lowest, highest) / 100

    def _units(self, amount: Decimal, price: Decimal) -> Decimal:
        return self._rounded(amount / price) if amount > 0 else money.ZERO_8

    def _rounded(self, units: Decimal) -> Decimal:
        return units.quantize(self._unit, rounding=ROUND_DOWN)


def _available(book: Book) -> Decimal:
    """What may be spent. Where no minimum is set, the portfolio's own money."""
    return book.cash - (book.min_cash or money.ZERO_2)
