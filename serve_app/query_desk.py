"""Where an analytics worker answers queries: it loads the tables, and each query runs in a process of its own."""

from __future__ import annotations

import asyncio
from functools import cache
from typing import Final

from analytics.sql.messages import Answer, Question
from analytics.sql.process import QueryProcess
from portfolio.errors import AnalyticsUnavailable
from serve_app.query_tables import QueryTables

LOADING_S: Final = 60.0
"""How long the tables of a query may take to load; where the journal is long, the first that names it needs most of that."""


class QueryDesk:
    """What a worker keeps from one query to the next: tables, and a process for the next query."""

    def __init__(self, dsn: str) -> None:
        self._tables = QueryTables(dsn)
        self._next: QueryProcess | None = None

    def answer(self, question: Question) -> Answer:
        """The answer to one query. Raises QueryRefused and the like, or that something is away."""
        try:
            with self._process() as process:
                wanted = process.understand(question)
                tables = asyncio.run(asyncio.wait_for(self._tables.load(wanted), LOADING_S))
                return process.answer(tables, question.limits)
        except TimeoutError as error:
            raise AnalyticsUnavailable(f"the tables could not be loaded within {LOADING_S:g} s") from error
        finally:
            # It takes half a second to load the engine, which the next query need not wait for.
            self._next = QueryProcess()

    def close(self) -> None:
        """End the process that is ready."""
        if self._next is not None:
            self._next.end()

    def _process(self) -> QueryProcess:
        """The one that is ready, or else a new one."""
        ready, self._next = self._next, None
        if ready is not None and ready.is_alive:
            return ready
        if ready is not None:
            ready.end()
        return QueryProcess()


@cache
def desk_of(dsn: str) -> QueryDesk:
    """The one desk of this process for the service that has this database."""
    return QueryDesk(dsn)
