"""Has queries answered by the workers, a bounded number at a time. Nothing here loads the engine or the tables."""

from __future__ import annotations

import asyncio
from typing import Final

from analytics.sql.messages import Answer, Question
from analytics.tasks import Workers
from analytics.worker_environment import QUERIES
from portfolio.errors import Overloaded

UNDER_WAY_MAX: Final = 4
"""Of one caller: a node answers one at a time, and nobody is to wait for many others' seconds."""
_ANSWER_S: Final = 300.0
"""For a worker's start, for the queries before, and for loading and running: each has a bound of its own well below."""


class Queries:
    """The way to the workers of the Ray cluster that this process has joined."""

    def __init__(self, dsn: str) -> None:
        """`dsn` is the service's database. Blocks for a call to the head node. Raises RayError."""
        self._dsn = dsn
        self._workers = Workers(QUERIES)
        self._under_way: set[asyncio.Task[Answer]] = set()

    async def answer(self, question: Question) -> Answer:
        """The answer to one query. Raises QueryRefused and the like, Overloaded, or that something is away."""
        if len(self._under_way) >= UNDER_WAY_MAX:
            raise Overloaded(f"{UNDER_WAY_MAX} queries are under way", limit=UNDER_WAY_MAX)
        # A caller that goes away ends no job, so its place stays taken: who comes and goes would fill the workers' queue.
        task = asyncio.create_task(self._workers.run(answer_query, self._dsn, question, timeout_s=_ANSWER_S))
        self._under_way.add(task)
        task.add_done_callback(self._ended)
        return await asyncio.shield(task)

    def _ended(self, task: asyncio.Task[Answer]) -> None:
        self._under_way.remove(task)
        if not task.cancelled():
            # Whoever asked may have gone; asyncio would complain of an error that nobody has seen.
            task.exception()


def answer_query(dsn: str, question: Question) -> Answer:
    """The job that a worker does."""
    # Polars and the tables are for workers: a replica has no use for them.
    from serve_app.query_desk import desk_of  # noqa: PLC0415

    return desk_of(dsn).answer(question)
