"""What analytics workers are asked to do. JAX and Polars are loaded inside the jobs: replicas, which only ask, go without."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from actors.protocol import unpack_marked_book
from persistence.analytics_source import PostgresSource
from portfolio.book import MarkedBook
from portfolio.valuation import value

if TYPE_CHECKING:
    from analytics.document import AnalysisTerms
    from analytics.panel import PricePanel


class Analysed(NamedTuple):
    """A document as JSON, and the version and revaluation that it is of."""

    version: int
    revaluation: int
    body: bytes


def load() -> None:
    """Load the code of the jobs, which takes most of a worker's first one."""
    from analytics import analysis  # noqa: F401


def panel(source: PostgresSource) -> PricePanel:
    """All prices there are."""
    from analytics import frames
    from analytics.panel import price_panel

    return price_panel(frames.prices(source.closes_csv()))


def analysed(source: PostgresSource, prices: PricePanel, packed_book: bytes, terms: AnalysisTerms) -> Analysed:
    """The analytics of a portfolio whose book is `packed_book`."""
    from analytics.analysis import analyse
    from analytics.document import to_json

    live = unpack_marked_book(packed_book)
    (document,) = analyse([(source.entries(live.book.portfolio_id), live)], prices, terms)
    return Analysed(live.book.version, _revaluation(live), to_json(document))


def _revaluation(live: MarkedBook) -> int:
    return value(live.book, live.marks).revaluation
