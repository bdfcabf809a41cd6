"""Documents of portfolios that hold all sorts of things: what is null has a reason, and nobody's figures are another's."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import numpy as np
import pytest

from analytics.analysis import Life, analyse
from analytics.document import AnalysisTerms, PortfolioAnalytics, to_json
from analytics.panel import PricePanel
from portfolio.book import Mark, MarkedBook
from portfolio.commands import OpenPortfolio, UpdatePortfolio
from portfolio.decide import decide
from portfolio.entries import Entry
from portfolio.ids import Currency, InstrumentId, PortfolioId
from portfolio.transactions import Transaction, TransactionType
from portfolio.valuation import value
from tests.oracles.builders import transaction

pytestmark = pytest.mark.timeout(300)
FIRST_DAY = np.datetime64("2023-01-02")
DAYS = 400
NAMES = tuple(InstrumentId(f"I{number}") for number in range(8))
WITHOUT_PRICES = "NOWHERE"
TERMS = AnalysisTerms(window=100, benchmark="I7", risk_free_rate=0.02)
Trade = tuple[int, str, int]
"""The day, the instrument, and the units bought, or sold where below 0."""


@pytest.fixture(scope="module")
def panel() -> PricePanel:
    """Eight instruments: one began late, one ended early, one has gaps, one never moves; the last is for comparing."""
    chance = np.random.default_rng(5)
    closes = np.round(100 * np.cumprod(1 + chance.normal(0.0003, 0.01, (DAYS, len(NAMES))), axis=0), 4)
    closes[:380, 1] = np.nan
    closes[395:, 2] = np.nan
    closes[3::7, 3] = np.nan
    closes[:, 4] = 50.0
    days = FIRST_DAY + np.arange(DAYS)
    return PricePanel(days=days, instruments=NAMES, closes=closes, adjusted=closes)


def life(name: str, cash: str, trades: Sequence[Trade] = (), marks: dict[str, str] | None = None) -> Life:
    """A portfolio that was opened with the panel's days, and traded at 100."""
    at = _moment(0)
    opening = OpenPortfolio(
        portfolio_id=PortfolioId(name),
        portfolio_name=name,
        base_currency=Currency("USD"),
        cash_balance=Decimal(cash),
        allow_short=True,
        min_cash=None,
    )
    decision = decide(None, opening, now=at)
    entries: list[Entry] = list(decision.entries)
    for day, instrument, units in trades:
        at = _moment(day)
        command = UpdatePortfolio(
            portfolio_id=PortfolioId(name), transactions=(_traded(instrument, units),), effective_at=at
        )
        decision = decide(decision.book, command, now=at, marks={})
        entries += decision.entries
    live = {InstrumentId(one): Mark(Decimal(price), _moment(DAYS)) for one, price in (marks or {}).items()}
    return entries, MarkedBook(decision.book, live)


def _traded(instrument: str, units: int) -> Transaction:
    kind = TransactionType.BUY if units > 0 else TransactionType.SELL
    return transaction(kind, instrument, str(units), "100")


def _moment(day: int) -> datetime:
    return datetime(2023, 1, 2, 15, tzinfo=UTC) + timedelta(days=day)


LIVES = (
    life("diversified", "100000", [(1, "I0", 100), (200, "I5", 50), (300, "I6", -30)], {"I0": "120.01"}),
    life("short-only", "10000", [(5, "I0", -40)]),
    life("young", "5000", [(390, "I0", 10), (391, "I5", 10)]),
    life("without-prices", "1000", [(1, WITHOUT_PRICES, 10)]),
    life("half-covered", "1000", [(1, WITHOUT_PRICES, 10), (1, "I0", 10), (1, "I1", 5)]),
    life("with-gaps", "10000", [(1, "I2", 10), (1, "I3", 10), (1, "I0", 5)]),
    life("never-moves", "1000", [(1, "I4", 5)]),
    life("cash", "1000"),
    life("nothing", "0"),
    life("under-water", "100", [(1, "I0", -10)], {"I0": "900"}),
    life("leveraged", "1000", [(1, "I0", 30), (2, "I5", 30)]),
)


@pytest.fixture(scope="module")
def documents(panel: PricePanel) -> list[PortfolioAnalytics]:
    return analyse(LIVES, panel, TERMS)


def parsed(document: PortfolioAnalytics) -> dict[str, Any]:
    """What a caller reads, who takes no NaN and no Infinity."""

    def refused(constant: str) -> None:
        raise AssertionError(constant)

    found: dict[str, Any] = json.loads(to_json(document), parse_constant=refused)
    return found


def leaves(part: object, path: str = "") -> Iterator[tuple[str, object]]:
    if isinstance(part, dict):
        for name, inner in part.items():
            yield from leaves(inner, f"{path}.{name}")
    elif isinstance(part, list):
        for index, inner in enumerate(part):
            yield from leaves(
                inner, f"{path}.{inner['name'] if isinstance(inner, dict) and 'name' in inner else index}"
            )
    else:
        yield path.removeprefix("."), part


def test_what_is_null_has_a_reason_and_nothing_else_has(documents: list[PortfolioAnalytics]) -> None:
    for document in documents:
        found = parsed(document)
        shocks = {
            f"stress.{one['name']}.{end}"
            for one in found["stress"]
            for end in ("start", "end")
            if one["kind"] == "shock"
        }
        null = {path for path, leaf in leaves(found) if leaf is None} - shocks
        assert null == found["unavailable"].keys() - {"contributions"}, document.portfolio_id
        assert ("contributions" in found["unavailable"]) is (found["contributions"] == [])


def test_exposure_is_the_states_to_the_last_bit(documents: list[PortfolioAnalytics]) -> None:
    for document, (_, live) in zip(documents, LIVES, strict=True):
        valuation = value(live.book, live.marks)
        assert document.as_of == valuation.last_updated
        assert document.version == live.book.version
        assert document.exposure.total_value == float(valuation.total_value)
        assert document.exposure.cash == float(live.book.cash)
        assert document.exposure.gross_exposure == float(valuation.gross_exposure)
        assert document.exposure.net_exposure == float(valuation.net_exposure)
        assert document.exposure.position_count == len(live.book.positions)


def test_contributions_add_up_to_the_volatility_and_their_shares_to_one(documents: list[PortfolioAnalytics]) -> None:
    counted = 0
    for document in documents:
        if document.contributions:
            assert document.risk.volatility is not None
            total = math.fsum(part.component for part in document.contributions)
            assert total == pytest.approx(document.risk.volatility, rel=1e-12)
            assert math.fsum(part.share for part in document.contributions) == pytest.approx(1, rel=1e-12)
            counted += 1
    assert counted >= 5


@pytest.mark.parametrize("tail", ["value_at_risk", "conditional_value_at_risk"])
def test_contributions_add_up_to_the_historical_tails(documents: list[PortfolioAnalytics], tail: str) -> None:
    counted = 0
    for document in documents:
        if document.contributions:
            told = getattr(document.risk, tail).historical
            assert told.keys() == {"0.95", "0.99"}
            for level, loss in told.items():
                total = math.fsum(getattr(part, tail)[level] for part in document.contributions)
                assert total == pytest.approx(loss, rel=1e-12, abs=1e-15)
            counted += 1
    assert counted >= 5


def test_a_shock_takes_as_much_of_the_net_exposure(documents: list[PortfolioAnalytics]) -> None:
    (shock,) = (one for one in documents[0].stress if one.name == "all_prices_down_20")
    assert shock.profit_and_loss == pytest.approx(-0.2 * documents[0].exposure.net_exposure, rel=1e-12)


def test_what_prices_lack_is_said_of_each_holding(documents: list[PortfolioAnalytics]) -> None:
    statuses = {
        document.portfolio_id: {one.instrument_id: one.status for one in document.instruments} for document in documents
    }
    assert statuses["diversified"] == {}
    assert statuses["without-prices"] == {WITHOUT_PRICES: "no_prices"}
    assert statuses["half-covered"] == {WITHOUT_PRICES: "no_prices", "I1": "short_history"}
    assert statuses["with-gaps"] == {"I2": "stale", "I3": "gaps"}


def test_reasons_are_those_of_the_case(documents: list[PortfolioAnalytics]) -> None:
    reasons = {document.portfolio_id: document.unavailable for document in documents}
    assert reasons["without-prices"]["risk.volatility"] == "no_covered_holdings"
    assert reasons["never-moves"]["contributions"] == "zero_volatility"
    assert reasons["cash"]["exposure.herfindahl_index"] == "no_positions"
    assert reasons["nothing"]["exposure.leverage"] == "total_value_not_positive"
    assert reasons["under-water"]["risk.beta"] == "total_value_not_positive"
    assert reasons["diversified"].keys() <= {"performance.max_drawdown_recovery"}


def test_performance_goes_on_from_the_day_before_the_window(documents: list[PortfolioAnalytics]) -> None:
    by_id = {document.portfolio_id: document.performance for document in documents}
    assert by_id["diversified"].periods == TERMS.window
    start, end = by_id["diversified"].start, by_id["diversified"].end
    assert start is not None
    assert end is not None
    assert (end - start).days == TERMS.window


def test_a_portfolio_has_the_same_figures_alone_and_among_others(
    panel: PricePanel, documents: list[PortfolioAnalytics]
) -> None:
    for one, together in zip(LIVES, documents, strict=True):
        (alone,) = analyse([one], panel, TERMS)
        for (path, figure), (other_path, other) in zip(leaves(parsed(alone)), leaves(parsed(together)), strict=True):
            assert path == other_path
            assert figure == (pytest.approx(other, rel=1e-12, abs=1e-15) if isinstance(other, float) else other), path


def test_without_prices_there_is_a_document_with_reasons() -> None:
    empty = PricePanel(
        days=np.array([], dtype="datetime64[D]"), instruments=(), closes=np.empty((0, 0)), adjusted=np.empty((0, 0))
    )
    for document in analyse(LIVES, empty, AnalysisTerms()):
        found = parsed(document)
        assert found["unavailable"]["window.start"] == "no_prices"
        assert found["risk"]["volatility"] is None
        assert found["exposure"]["total_value"] is not None


def test_a_document_is_read_back_as_it_was(documents: list[PortfolioAnalytics]) -> None:
    for document in documents:
        assert msgspec.json.decode(to_json(document), type=PortfolioAnalytics) == document


def test_no_portfolios_have_no_documents(panel: PricePanel) -> None:
    assert analyse([], panel, TERMS) == []
