"""A replica's analyst, with its cache and warm workers; both come while it serves already."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

from analytics.document import AnalysisTerms
from analytics.tasks import Workers
from persistence.analytics_cache import RedisAnalyticsCache
from persistence.analytics_source import PostgresSource
from persistence.price_store import PostgresPriceStore
from portfolio.errors import PortfolioError
from serve_app.analyst import Analyst
from serve_app.finding import any_config
from serve_app.reaching import Reached

_PAUSE_S: Final = 1.0


@asynccontextmanager
async def analysing(found: Reached, dsn: str, usual_terms: AnalysisTerms) -> AsyncIterator[Analyst]:
    """An analyst, for as long as the block lasts."""
    workers = await asyncio.to_thread(Workers)
    analyst = Analyst(found.gateway, PostgresPriceStore(found.connections), PostgresSource(dsn), workers, usual_terms)
    preparing = asyncio.create_task(_prepare(analyst))
    try:
        yield analyst
    finally:
        preparing.cancel()
        if analyst.cache is not None:
            await analyst.cache.close()


async def _prepare(analyst: Analyst) -> None:
    analyst.cache = RedisAnalyticsCache(await _redis_url())
    # Whatever fails now is told to whoever asks for it.
    with suppress(PortfolioError):
        await analyst.warm_up()


async def _redis_url() -> str:
    """Where the shards mirror to, as soon as one of them says it."""
    while True:
        with suppress(PortfolioError):
            return (await any_config()).redis_url
        await asyncio.sleep(_PAUSE_S)
