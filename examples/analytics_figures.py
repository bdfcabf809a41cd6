"""The pictures of docs/analytics.md and docs/optimisation.md, made from one portfolio of the sample; no service has to run.

python examples/analytics_figures.py [--portfolio PORTFOLIO-0002] [--to docs/figures]
"""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass
from io import StringIO
from itertools import chain
from pathlib import Path
from typing import Final

import matplotlib as mpl
import numpy as np
import polars as pl
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, PercentFormatter

from analytics import frames
from analytics.analysis import analyse
from analytics.document import AnalysisTerms, PortfolioAnalytics
from analytics.history import nav_history
from analytics.nav import NavHistory
from analytics.optimise.answer import OptimiseAnswer
from analytics.optimise.portfolio import optimise_portfolio
from analytics.optimise.request import OptimiseRequest
from analytics.panel import PricePanel, price_panel
from cluster.sample import SamplePortfolio, sample_commands
from cluster.sample_prices import SAMPLE_INDEX, read_prices
from portfolio.book import Book, MarkedBook
from portfolio.decide import decide
from portfolio.entries import Entry
from portfolio.ids import PortfolioId

PORTFOLIO: Final = PortfolioId("PORTFOLIO-0002")
WINDOW: Final = 1_256
"""All returns of the sample's five years."""
POINTS: Final = 40
_BLUE, _ORANGE, _RED = "#1a6fb5", "#d08a2e", "#b3261e"


@dataclass(frozen=True, slots=True)
class Sampled:
    """A portfolio of the sample as the service would have it, and all prices."""

    live: MarkedBook
    entries: list[Entry]
    panel: PricePanel

    @property
    def history(self) -> NavHistory:
        """What it was worth."""
        return nav_history(self.entries, self.panel, self.live)

    def analytics(self, window: int) -> PortfolioAnalytics:
        """Its figures over so many returns."""
        (found,) = analyse([(self.entries, self.live)], self.panel, AnalysisTerms(window=window))
        return found

    def optimised(self, **request: object) -> OptimiseAnswer:
        """The best weights of the stocks there are."""
        stocks = [name for name in self.panel.instruments if name != "SP500"]
        asked = OptimiseRequest.model_validate({"instruments": stocks, "window": WINDOW, "others": "sell", **request})
        return optimise_portfolio(asked, self.live, self.panel)


def sampled(portfolio_id: PortfolioId) -> Sampled:
    """Raises StopIteration if the sample has no such portfolio."""
    prices = read_prices()
    found = next(one for one in sample_commands(prices) if one.opening.portfolio_id == portfolio_id)
    book, entries = _booked(found)
    marks = {name: mark for name, mark in prices.last_marks().items() if name in book.positions}
    rows = [
        (one.instrument_id, one.day, one.close, one.adjusted_close)
        for one in chain(prices.daily(), read_prices(SAMPLE_INDEX).daily())
    ]
    panel = price_panel(pl.DataFrame(rows, schema=frames.PRICES, orient="row"))
    return Sampled(MarkedBook(book, marks), entries, panel)


def _booked(portfolio: SamplePortfolio) -> tuple[Book, list[Entry]]:
    first = decide(None, portfolio.opening, now=portfolio.commands[0].effective_at)
    book, entries = first.book, [*first.entries]
    for command in portfolio.commands:
        decision = decide(book, command, now=command.effective_at)
        book, entries = decision.book, [*entries, *decision.entries]
    return book, entries


def value_and_drawdown(one: Sampled) -> Figure:
    """What it was worth, and how far below its highest wealth it was, what was paid in and out taken out."""
    history, figures = one.history, one.analytics(WINDOW).performance
    before = np.concatenate([[0.0], history.values[:-1]]) + history.inflows
    wealth = np.cumprod(
        np.divide(history.values + history.outflows, before, out=np.ones(len(before)), where=before > 0)
    )
    drawdown = wealth / np.maximum.accumulate(np.maximum(wealth, 1.0)) - 1
    figure = Figure(figsize=(7.5, 4), layout="constrained")
    upper, lower = figure.subplots(2, sharex=True, height_ratios=[2, 1])
    upper.plot(history.days, history.values, color=_BLUE, linewidth=1)
    upper.yaxis.set_major_formatter(FuncFormatter(lambda amount, _: f"{amount / 1_000:,.0f} k"))
    upper.set_ylabel(f"total value, {one.live.book.base_currency}")
    upper.set_title(
        f"{one.live.book.portfolio_id}: {figures.annualised_return:.1%} a year, Sharpe ratio {figures.sharpe_ratio:.2f}, "
        f"maximum drawdown {figures.max_drawdown:.1%}"
    )
    lower.fill_between(history.days, drawdown, color=_RED, alpha=0.5, linewidth=0)
    lower.axvspan(figures.max_drawdown_peak, figures.max_drawdown_trough, color="#9aa0a6", alpha=0.25, linewidth=0)
    lower.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    lower.set_ylabel("drawdown")
    return figure


def contributions(one: Sampled) -> Figure:
    """What each holding is of the value, and of the volatility."""
    figures = one.analytics(252)
    held = sorted(figures.contributions, key=lambda part: part.share)
    places = np.arange(len(held))
    figure = Figure(figsize=(7.5, 0.6 + 0.33 * len(held)), layout="constrained")
    axes = figure.subplots()
    axes.barh(places + 0.2, [part.weight for part in held], height=0.4, color="#9aa0a6", label="of the value")
    axes.barh(places - 0.2, [part.share for part in held], height=0.4, color=_BLUE, label="of the volatility")
    axes.set_yticks(places, [part.instrument_id for part in held])
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_title(f"{figures.portfolio_id}: volatility {figures.risk.volatility:.1%} a year")
    axes.legend()
    return figure


def efficient_frontier(one: Sampled) -> Figure:
    """The least volatility for each expected return, long only, and where the portfolio is."""
    least = one.optimised(objective="minimum_variance")
    sharpe = one.optimised(objective="maximum_sharpe")
    means, deviations = _stocks(one)
    targets = np.linspace(least.expected_return, means.max() - 1e-6, POINTS)
    frontier = [one.optimised(objective="minimum_variance", target_return=float(target)) for target in targets]
    figure = Figure(figsize=(7.5, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot([found.volatility for found in frontier], [found.expected_return for found in frontier], color=_BLUE)
    axes.scatter(deviations, means, s=12, color="#9aa0a6", label="each stock")
    for found, label, colour in ((least, "minimum variance", _BLUE), (sharpe, "maximum Sharpe", _ORANGE)):
        axes.scatter([found.volatility], [found.expected_return], s=40, color=colour, label=label, zorder=3)
    deviation, mean = _as_it_is(one)
    axes.scatter([deviation], [mean], s=40, marker="D", color=_RED, label=one.live.book.portfolio_id, zorder=3)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1.0))
    axes.set_xlabel("volatility a year")
    axes.set_ylabel("mean return a year")
    axes.set_title("Long-only portfolios of the sample's 20 stocks, 2018 to 2022")
    axes.legend()
    return figure


def _stocks(one: Sampled) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation of each stock, a year's."""
    returns = one.panel.returns(WINDOW)
    values = returns.values[:, [name != "SP500" for name in returns.instruments]]
    return 252 * values.mean(axis=0), 252**0.5 * values.std(axis=0, ddof=1)


def _as_it_is(one: Sampled) -> tuple[float, float]:
    """Deviation and mean of what the portfolio holds now, a year's."""
    weights = {part.instrument_id: part.weight for part in one.analytics(WINDOW).contributions}
    made = one.panel.returns(WINDOW).of(tuple(weights)).values @ np.array([*weights.values()])
    return float(252**0.5 * made.std(ddof=1)), float(252 * made.mean())


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--portfolio", type=PortfolioId, default=PORTFOLIO, help="one of the sample's")
    options.add_argument("--to", type=Path, default=Path(__file__).parents[1] / "docs" / "figures")
    chosen = options.parse_args()
    # Text stays text, and the same figures give the same file.
    mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "portfolio-state", "font.size": 9})
    one = sampled(chosen.portfolio)
    for draw in (value_and_drawdown, contributions, efficient_frontier):
        path = chosen.to / f"{draw.__name__.replace('_', '-')}.svg"
        _save(draw(one), path)
        print(path)


def _save(figure: Figure, path: Path) -> None:
    """Hundredths of a point are as fine as anybody sees, and make the file a third as large."""
    drawn = StringIO()
    figure.savefig(drawn, format="svg", metadata={"Date": None})
    path.write_text(re.sub(r"(\.\d\d)\d+", r"\1", drawn.getvalue()), encoding="utf-8")


if __name__ == "__main__":
    main()
