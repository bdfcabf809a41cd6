"""What a portfolio was worth at the end of a day, once more: the day's state replayed and valued in exact decimals."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, time
from decimal import Decimal
from fractions import Fraction

from analytics import frames
from analytics.panel import PricePanel, price_panel
from portfolio.book import Mark
from portfolio.daily_price import closing_mark
from portfolio.entries import Booked, Entry, Opened
from portfolio.ids import InstrumentId
from portfolio.ledger import replay
from portfolio.valuation import Valuation, value
from tests.oracles.lives import Closes
from tests.oracles.reference import rounded

_HEADER = "instrument_id,price_date,close,adjusted_close\n"


def panel_of(closes: Closes) -> PricePanel:
    """A panel by way of the CSV that prices are read from."""
    lines = [
        f"{name},{day},{close:.8f},{close:.8f}\n" for name, by_day in closes.items() for day, close in by_day.items()
    ]
    return price_panel(frames.prices("".join([_HEADER, *lines]).encode()))


def valued_at_the_end(entries: Sequence[Entry], closes: Closes, day: date) -> Valuation:
    """The state of what had taken effect by the end of `day`, the newest closes laid over it as market marks."""
    end = datetime.combine(day, time.max, UTC)
    known = [entry for entry in entries if isinstance(entry, Opened) or entry.effective_at <= end]
    return value(replay(None, known), _marks(closes, day))


def flows_of(counting: Iterable[Booked], valuation: Valuation) -> tuple[Decimal, Decimal] | None:
    """What came in, and what went out, with the transactions of one day, whose state at its end is `valuation`.

    None where it does not tell what a transfer was worth: what was moved is no longer held, or was split afterwards.
    """
    prices = {item.position.instrument_id: item.mark.price for item in valuation.positions}
    entries = list(counting)
    amounts = []
    for place, entry in enumerate(entries):
        if entry.transaction_type in ("DEPOSIT", "WITHDRAWAL"):
            amounts.append(entry.value)
        elif entry.transaction_type in ("TRANSFER_IN", "TRANSFER_OUT"):
            is_split = any(later.ratio for later in entries[place:] if later.instrument_id == entry.instrument_id)
            if is_split or entry.instrument_id not in prices:
                return None
            amounts.append(_round2(Fraction(entry.quantity) * Fraction(prices[entry.instrument_id])))
    return sum((item for item in amounts if item > 0), Decimal(0)), -sum(
        (item for item in amounts if item < 0), Decimal(0)
    )


def _round2(amount: Fraction) -> Decimal:
    return Decimal(int(rounded(amount, 2) * 100)).scaleb(-2)


def _marks(closes: Closes, day: date) -> dict[InstrumentId, Mark]:
    newest = {name: max((when for when in by_day if when <= day), default=None) for name, by_day in closes.items()}
    return {name: closing_mark(closes[name][when], when) for name, when in newest.items() if when is not None}
