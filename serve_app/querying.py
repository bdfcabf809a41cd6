"""Has queries answered by the workers, a bounded number at a time. Nothing here loads the engine or the tables."""

from __future__ import annotations

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
        self._under_way = 0

    async def answer(self, question: Question) -> Answer:
        """The answer to one query. Raises QueryRefused and the like, Overloaded, or that something is away."""
        if self._under_way >= UNDER_WAY_MAX:
            raise Overloaded(f"{self._under_way} queries are under way", limit=UNDER_WAY_MAX)
        self._under_way += 1
        try:
            answer: Answer = await self._workers.run(answer_query, self._dsn, question, timeout_s=_ANSWER_S)
            return answer
        finally:
            self._under_way -= 1


def answer_query(dsn: str, question: Question) -> Answer:
    """The job that a worker does."""
    # Polars and the tables are for workers: a replica has no use for them.
    from serve_app.query_desk import desk_of  # noqa: PLC0415

    return desk_of(dsn).answer(question)
