"""What analytics workers are asked to do. JAX and Polars are loaded inside the jobs: replicas, which only ask, go without."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from actors.documents import moment, number, to_json
from actors.protocol import unpack_marked_book
from analytics.optimise.answer import OptimiseAnswer, ProposedTrade
from analytics.optimise.request import OptimiseRequest
from persistence.analytics_source import PostgresSource
from portfolio.book import MarkedBook
from portfolio.valuation import value

if TYPE_CHECKING:
    from analytics.document import AnalysisTerms
    from analytics.panel import PricePanel


class Computed(NamedTuple):
    """A document as JSON, and the version and revaluation that it is of."""

    version: int
    revaluation: int
    body: bytes


def load() -> None:
    """Load the code of the jobs, which takes most of a worker's first one."""
    from analytics import analysis  # noqa: F401
    from analytics.optimise import portfolio  # noqa: F401


def panel(source: PostgresSource) -> PricePanel:
    """All prices there are."""
    from analytics import frames
    from analytics.panel import price_panel

    return price_panel(frames.prices(source.closes_csv()))


def analysed(prices: PricePanel, packed_book: bytes, source: PostgresSource, terms: AnalysisTerms) -> Computed:
    """The analytics of the portfolio whose book is `packed_book`; its entries are read from `source`."""
    from analytics import document
    from analytics.analysis import analyse

    live = unpack_marked_book(packed_book)
    (found,) = analyse([(source.entries(live.book.portfolio_id), live)], prices, terms)
    return _of(live, document.to_json(found))


def optimised(prices: PricePanel, packed_book: bytes, request: OptimiseRequest) -> Computed:
    """The best weights of the portfolio whose book is `packed_book`. Raises InvalidRequest or StatusForbids."""
    from analytics.optimise.portfolio import optimise_portfolio

    live = unpack_marked_book(packed_book)
    return _of(live, _optimise_json(optimise_portfolio(request, live, prices)))


def _of(live: MarkedBook, body: bytes) -> Computed:
    return Computed(live.book.version, value(live.book, live.marks).revaluation, body)


def _optimise_json(answer: OptimiseAnswer) -> bytes:
    return to_json(replace(answer, as_of=moment(answer.as_of), trades=[_written(trade) for trade in answer.trades]))


def _written(trade: ProposedTrade) -> ProposedTrade:
    return replace(trade, quantity_change=number(trade.quantity_change), price=number(trade.price))
