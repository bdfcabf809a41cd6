"""One sample portfolio's life: money comes, a portfolio is built, then traded for years, day by day."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from cluster.sample_chance import Chance
from cluster.sample_prices import SPLITS, Prices
from cluster.sample_trades import Trader
from portfolio.commands import ChangeStatus, OpenPortfolio, UpdatePortfolio
from portfolio.decide import decide
from portfolio.status import Status
from portfolio.transactions import Transaction, TransactionType

TRANSACTIONS_MIN: Final = 45
"""A deposit and 20 purchases at the beginning, 21 transactions to close a portfolio, and the splits."""
UPDATE_SIZE_MAX: Final = 10
_FIRST_MONTH: Final = 21
"""Trading days; a portfolio is built on the first day and on two more of the first month."""


class Life:
    """Makes the commands of one portfolio. Each is decided while it is made, so all are valid, one after another."""

    def __init__(
        self, prices: Prices, chance: Chance, *, opening: OpenPortfolio, is_fractional: bool, transaction_count: int
    ) -> None:
        self.opening = opening
        self.commands: list[UpdatePortfolio | ChangeStatus] = []
        self._prices = prices
        self._chance = chance
        self._left = transaction_count
        self._book = decide(None, opening, now=prices.moment(0)).book
        # Three of four portfolios hold all the stocks, the others between half of them and all but one.
        stocks = prices.instruments
        held = len(stocks) if chance.between(1, 4) > 1 else chance.between(len(stocks) // 2, len(stocks) - 1)
        universe = chance.some_of(stocks, held)
        self._trader = Trader(prices, chance, universe, is_fractional=is_fractional, is_short=opening.allow_short)

    def live(self, last_status: Status) -> None:
        """Fill `commands`, the last of which leads to `last_status`."""
        last_day = len(self._prices.days) - 1
        held = len(self._trader.universe)
        at_the_end = {Status.LIQUIDATING: held // 2, Status.CLOSED: held + 1}
        reserved = at_the_end.get(last_status, 0)
        self._left -= reserved
        self._build()
        self._trade(last_day - 1)
        self._left += reserved
        if last_status in at_the_end:
            self._change(Status.LIQUIDATING, last_day)
            self._sell_out(last_day)
        if last_status in (Status.SUSPENDED, Status.CLOSED):
            self._change(last_status, last_day)

    def _build(self) -> None:
        deposit = self._trader.first_deposit()
        stocks = self._trader.universe
        days = [0, *sorted(self._chance.some_of(range(1, _FIRST_MONTH), 2))]
        parts = [stocks[:8], stocks[8:14], stocks[14:]]
        for day, part in zip(days, parts, strict=True):
            purchases = [self._trader.first_purchase(day, stock, deposit.quantity) for stock in part]
            self._update(day, [deposit, *purchases] if day == 0 else purchases)

    def _trade(self, last_day: int) -> None:
        """Spend what is left of the transactions, but for the splits at random, until `last_day`."""
        splits = [split for split in SPLITS if split.instrument_id in self._trader.universe]
        split_days = {self._prices.days.index(split.day): split for split in splits if split.day in self._prices.days}
        free_days = [day for day in range(_FIRST_MONTH, last_day + 1) if day not in split_days]
        days = sorted([*split_days, *self._chance.some_of(free_days, (self._left - len(split_days)) // 4)])
        for number, day in enumerate(days):
            size = self._size_of_day(len(days) - number)
            transactions: list[Transaction] = []
            if day in split_days:
                transactions.append(self._trader.split(day, split_days[day], self._book))
            self._update(day, transactions, size)

    def _size_of_day(self, days_left: int) -> int:
        """1 to 7 transactions, more or fewer where that is needed to come out even on the last day."""
        least = max(1, self._left - UPDATE_SIZE_MAX * (days_left - 1))
        most = min(UPDATE_SIZE_MAX, self._left - (days_left - 1))
        return max(least, min(most, self._chance.between(1, 7)))

    def _update(self, day: int, given: Iterable[Transaction], size: int = 0) -> None:
        """Book the given transactions as one update, filled up with random ones to `size`."""
        booked: list[Transaction] = []
        for transaction in given:
            self._enter(day, transaction, booked)
        while len(booked) < size:
            self._enter(day, self._trader.any_transaction(day, self._book), booked)
        if booked:
            self._left -= len(booked)
            self.commands.append(self._command(day, booked))

    def _enter(self, day: int, transaction: Transaction, booked: list[Transaction]) -> None:
        # One at a time, so that the next draw sees what this one left. The minimum of cash, which is asked of the whole
        # update, holds after each of them and so holds at its end.
        self._book = decide(self._book, self._command(day, [transaction]), now=self._prices.moment(day)).book
        booked.append(transaction)

    def _command(self, day: int, transactions: Iterable[Transaction]) -> UpdatePortfolio:
        return UpdatePortfolio(
            portfolio_id=self.opening.portfolio_id,
            transactions=tuple(transactions),
            effective_at=self._prices.moment(day),
        )

    def _change(self, status: Status, day: int) -> None:
        command = ChangeStatus(portfolio_id=self.opening.portfolio_id, status=status)
        self._book = decide(self._book, command, now=self._prices.moment(day)).book
        self.commands.append(command)

    def _sell_out(self, day: int) -> None:
        """Sell as many positions as there are transactions left; what is left then is the cash, and is paid out."""
        sales = [self._trader.close(day, position) for position in self._book.positions.values()][: self._left]
        for start in range(0, len(sales), UPDATE_SIZE_MAX):
            self._update(day, sales[start : start + UPDATE_SIZE_MAX])
        if self._left:
            self._update(day, [self._trader.cash_entry(TransactionType.WITHDRAWAL, -self._book.cash)])
