"""ACCOUNTING.md once more, slow and in exact fractions, straight from a list of transactions.

Nothing here comes from the core but the words for transactions, so that a mistake would have to be made twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from portfolio.transactions import Transaction

CASH_TYPES = {"DEPOSIT", "WITHDRAWAL", "INTEREST", "FEE", "TAX"}


@dataclass(frozen=True, slots=True)
class Holding:
    """Signed units, their signed cost, and what was realised since the position was last opened."""

    quantity: Fraction
    cost: Fraction
    realized: Fraction


@dataclass(slots=True)
class ReferenceFigures:
    """What a list of transactions adds up to. Flat positions are left out."""

    cash: Fraction = Fraction(0)
    realized: Fraction = Fraction(0)
    income: Fraction = Fraction(0)
    fees: Fraction = Fraction(0)
    taxes: Fraction = Fraction(0)
    net_deposits: Fraction = Fraction(0)
    transfers: Fraction = Fraction(0)
    holdings: dict[str, Holding] = field(default_factory=dict)


def rounded(number: Fraction, decimals: int) -> Fraction:
    """The nearest multiple of 10**-decimals; away from zero at ties, as Postgres `numeric` does."""
    scaled = abs(number) * 10**decimals
    whole, rest = divmod(scaled.numerator, scaled.denominator)
    whole += 2 * rest >= scaled.denominator
    return Fraction(whole if number >= 0 else -whole, 10**decimals)


def reference_figures(transactions: Sequence[Transaction]) -> ReferenceFigures:
    """The figures after `transactions`, all of them legal, in their order."""
    figures = ReferenceFigures()
    for name, amount in _cash_entries(transactions):
        figures.cash += amount
        match name:
            case "INTEREST":
                figures.income += amount
            case "FEE":
                figures.fees -= amount
            case "TAX":
                figures.taxes -= amount
            case _:
                figures.net_deposits += amount
    for instrument_id in {item.instrument_id for item in transactions if item.transaction_type not in CASH_TYPES}:
        story = _Story(figures)
        for item in transactions:
            if item.instrument_id == instrument_id:
                story.tell(item)
        if story.quantity:
            figures.holdings[instrument_id] = Holding(story.quantity, story.cost, story.realized)
    return figures


def _cash_entries(transactions: Iterable[Transaction]) -> Iterator[tuple[str, Fraction]]:
    for item in transactions:
        if item.transaction_type in CASH_TYPES:
            yield str(item.transaction_type), Fraction(item.quantity)


class _Story:
    """One instrument's life, from its first transaction on."""

    def __init__(self, figures: ReferenceFigures) -> None:
        self.figures = figures
        self.quantity = self.cost = self.realized = Fraction(0)

    def tell(self, item: Transaction) -> None:
        units, price = Fraction(item.quantity), Fraction(item.price)
        if not self.quantity:
            self.cost = self.realized = Fraction(0)
        match str(item.transaction_type):
            case "DIVIDEND":
                amount = rounded(self.quantity * price, 2)
                self.figures.cash += amount
                self.figures.income += amount
            case "SPLIT":
                assert item.ratio is not None
                self.quantity = rounded(self.quantity * item.ratio.new / item.ratio.old, 8)
                beyond = abs(self.quantity) % 1 if price else Fraction(0)
                if beyond:
                    self._exchange(-beyond if self.quantity > 0 else beyond, price)
            case "TRANSFER_IN":
                self._open(units, rounded(units * price, 2))
                self.figures.transfers += rounded(units * price, 2)
            case "TRANSFER_OUT":
                self.figures.transfers -= self._take_out(-units)
            case _:
                self._exchange(units, price)
                self.figures.cash -= Fraction(item.fee)
                self.figures.fees += Fraction(item.fee)

    def _exchange(self, units: Fraction, price: Fraction) -> None:
        """Units against cash: first what closes, then what opens; the cents of the two add up to those of the whole."""
        value = rounded(units * price, 2)
        self.figures.cash -= value
        opposite = self.quantity * units < 0
        closing = min(abs(units), abs(self.quantity)) * (1 if units > 0 else -1) if opposite else Fraction(0)
        opening = units - closing
        closing_value = rounded(closing * price, 2) if opening else value
        if closing:
            gain = -closing_value - self._take_out(-closing)
            self.realized += gain
            self.figures.realized += gain
        if opening:
            self._open(opening, value - closing_value)

    def _open(self, units: Fraction, value: Fraction) -> None:
        self.quantity += units
        self.cost += value

    def _take_out(self, units: Fraction) -> Fraction:
        """Take `units` (signed as the position is) out, with their share of the cost, which is handed back."""
        share = units / self.quantity
        relieved = self.cost if share == 1 else rounded(self.cost * share, 6)
        self.quantity -= units
        self.cost -= relieved
        return relieved
