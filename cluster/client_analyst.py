"""Analytics for a Python client: its tasks run on workers of its own Ray job, the first of which loads JAX first."""

from __future__ import annotations

import asyncio

from actors.gateway import Gateway
from analytics.document import AnalysisTerms
from analytics.tasks import Workers
from persistence import postgres
from persistence.analytics_source import PostgresSource
from persistence.price_store import PostgresPriceStore
from serve_app.analyst import Analyst
from serve_app.finding import any_config


async def client_analyst(gateway: Gateway, usual_terms: AnalysisTerms) -> Analyst:
    """An analyst of the service whose Ray this process has joined. Raises ShardUnavailable."""
    dsn = (await any_config()).postgres_dsn
    workers = await asyncio.to_thread(Workers)
    return Analyst(gateway, _Prices(dsn), PostgresSource(dsn), workers, usual_terms)


class _Prices:
    """Looks up the generation over a connection for that alone: nothing is left open for a client to close."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn

    async def generation(self) -> int:
        """See PostgresPriceStore."""
        async with postgres.pool(self._dsn, 1) as connections:
            return await PostgresPriceStore(connections).generation()
