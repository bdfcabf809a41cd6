"""From books, entries and prices to documents, for one portfolio or thousands in one batch. Pure: it reads and writes nothing.

No figure depends on which other portfolios are in the batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from analytics import scenarios
from analytics.closes import ClosesByCalendar
from analytics.document import AnalysisTerms, PortfolioAnalytics
from analytics.documents import Analysis
from analytics.exposure import Exposure, exposure
from analytics.holdings import Holdings, holdings
from analytics.jax_setup import host, jnp
from analytics.panel import Calendars, PricePanel, ReturnPanel
from analytics.past import past_of_life
from analytics.risk_analysis import analyse_risk
from analytics.shapes import bucket, padded
from analytics.tail_contributions import tail_contributions
from analytics.track_record import track_records
from portfolio.book import Book, MarkedBook
from portfolio.entries import Entry
from portfolio.ids import InstrumentId

Life = tuple[Sequence[Entry], MarkedBook]
"""A portfolio's entries from the opening on, and its book at the marks known now."""


def analyse(lives: Iterable[Life], panel: PricePanel, terms: AnalysisTerms) -> list[PortfolioAnalytics]:
    """A document for each portfolio, in order. `panel` has the prices of all instruments, held or not."""
    portfolios = list(lives)
    if not portfolios:
        return []
    closes = ClosesByCalendar(panel)
    histories = [past_of_life(entries, closes, live).history(live) for entries, live in portfolios]
    records = track_records(histories, terms.window, terms.risk_free_rate)
    documents: dict[int, PortfolioAnalytics] = {}
    for own_days, rows in _by_calendar([live.book for _, live in portfolios], panel):
        analysis = _analysis(holdings([portfolios[row][1] for row in rows]), own_days, terms)
        documents |= {row: analysis.document(place, records[row]) for place, row in enumerate(rows)}
    return [documents[row] for row in range(len(portfolios))]


def _by_calendar(books: Sequence[Book], panel: PricePanel) -> Iterable[tuple[PricePanel, list[int]]]:
    """The portfolios whose holdings have closes on the same days, with the panel of those days."""
    calendars = Calendars(panel)
    found: dict[int, tuple[PricePanel, list[int]]] = {}
    for row, book in enumerate(books):
        own_days = calendars.of(book.positions)
        found.setdefault(id(own_days), (own_days, []))[1].append(row)
    return found.values()


def _analysis(held: Holdings, panel: PricePanel, terms: AnalysisTerms) -> Analysis:
    returns = panel.returns(terms.window)
    window = returns.of(held.instruments)
    benchmark = None if terms.benchmark is None else returns.of([InstrumentId(terms.benchmark)]).values[:, 0]
    played = scenarios.scenarios(panel, held.instruments, terms.benchmark)
    stressed, is_priced = scenarios.under_stress(held.weights, played)
    return Analysis(
        terms=terms,
        held=held,
        window=window,
        exposure=_exposure(held, window),
        risk=analyse_risk(held.weights, window.values, window.covered, benchmark),
        tail_parts=tail_contributions(held.weights, window.values, window.covered),
        played=played,
        stressed=stressed,
        is_priced=is_priced,
    )


def _exposure(held: Holdings, window: ReturnPanel) -> Exposure:
    count, width = held.market_values.shape
    portfolios, instruments = bucket(count), bucket(width)
    found = exposure(
        jnp.asarray(padded(held.market_values, (portfolios, instruments))),
        jnp.asarray(padded(held.cash, (portfolios,))),
        jnp.asarray(padded(window.covered, (instruments,))),
    )
    return Exposure(*(figure[:count] for figure in host(found)))
