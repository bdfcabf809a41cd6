"""Loading the sample: what is missing of it, and the market's last prices."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Final

from rich.console import Console

from cluster.loading.booking import Booker
from cluster.loading.gateway import LoadGateway
from cluster.loading.lanes import Lane, Step
from cluster.loading.progress import progress_bar
from cluster.loading.report import LoadReport, Problems
from cluster.patience import Patience, patiently
from cluster.sample import PORTFOLIO_COUNT, TRANSACTION_COUNT, SamplePortfolio, last_key, sample_commands, sample_shares
from cluster.sample_prices import read_prices
from portfolio.ids import PortfolioId

_PATIENCE: Final = Patience()
QUESTIONS_AT_ONCE: Final = 32


async def load_sample(
    gateway: LoadGateway,
    *,
    console: Console,
    portfolio_count: int = PORTFOLIO_COUNT,
    transaction_count: int = TRANSACTION_COUNT,
    patience: Patience = _PATIENCE,
) -> LoadReport:
    """Book the sample's portfolios and show the last closes as market marks. Safe to call again: it books what is missing.

    A portfolio that somebody else opened under one of the sample's ids is left as it is, and reported. Raises
    ShardUnavailable if the service does not answer before the first is booked.
    """
    prices = read_prices()
    problems = Problems()
    shares = sample_shares(portfolio_count, transaction_count)
    complete = await _complete(gateway, list(shares), patience)
    missing = sample_commands(
        prices, portfolio_count=portfolio_count, transaction_count=transaction_count, skip=complete
    )
    with progress_bar(console, "loading the sample", transaction_count) as advance:
        booker = Booker(gateway, problems, patience=patience, advance=advance)
        booker.skip(sum(count for portfolio_id, count in shares.items() if portfolio_id in complete))
        began = time.perf_counter()
        # The portfolios are made while others are booked: a group is drawn when a worker has room for it.
        await booker.book(map(_lane, missing))
        elapsed_s = time.perf_counter() - began
    if booker.gave_up is None:
        await patiently(lambda: gateway.update_marks(prices.last_marks()), patience)
    return booker.report(rows_read=transaction_count, elapsed_s=elapsed_s)


def _lane(portfolio: SamplePortfolio) -> Lane:
    steps = [Step(portfolio.opening), *map(Step, portfolio.commands)]
    return Lane(portfolio.opening.portfolio_id, 0, steps)


async def _complete(gateway: LoadGateway, ids: Sequence[PortfolioId], patience: Patience) -> frozenset[PortfolioId]:
    """The portfolios whose last command is booked, and so all of them."""
    questions = asyncio.Semaphore(QUESTIONS_AT_ONCE)

    async def is_complete(portfolio_id: PortfolioId) -> bool:
        async with questions:
            key = last_key(portfolio_id)
            return bool(await patiently(lambda: gateway.known_keys(portfolio_id, [key]), patience))

    answers = await asyncio.gather(*map(is_complete, ids))
    return frozenset(portfolio_id for portfolio_id, answer in zip(ids, answers, strict=True) if answer)
