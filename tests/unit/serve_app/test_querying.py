"""How many queries a process asks for at once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from analytics.sql.format import Format
from analytics.sql.limits import Limits
from analytics.sql.messages import Answer, Question
from portfolio.errors import Overloaded, QueryFailed
from serve_app import querying
from serve_app.querying import UNDER_WAY_MAX, Queries

QUESTION = Question("select 1", Format.JSON, Limits())
ANSWER = Answer(b"[]", 0)


class Crew:
    """Workers that answer when they are let, or fail."""

    def __init__(self) -> None:
        self.let = asyncio.Event()
        self.failure: Exception | None = None

    async def run(self, *_: Any, timeout_s: float) -> Answer:
        assert timeout_s > 0
        await self.let.wait()
        if self.failure is not None:
            raise self.failure
        return ANSWER


@pytest.fixture
def crew(monkeypatch: pytest.MonkeyPatch) -> Crew:
    crew = Crew()
    monkeypatch.setattr(querying, "Workers", lambda _: crew)
    return crew


async def test_a_place_is_free_again_when_its_query_has_ended_well_or_not(crew: Crew) -> None:
    queries = Queries("dsn")
    crew.let.set()
    for failure in (None, QueryFailed("no")) * UNDER_WAY_MAX:
        crew.failure = failure
        (outcome,) = await asyncio.gather(queries.answer(QUESTION), return_exceptions=True)
        assert outcome == (failure or ANSWER)


async def test_a_caller_that_goes_away_keeps_its_place_until_its_query_has_ended(crew: Crew) -> None:
    queries = Queries("dsn")
    for _ in range(UNDER_WAY_MAX):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(queries.answer(QUESTION), 0.01)
    with pytest.raises(Overloaded):
        await queries.answer(QUESTION)
    crew.let.set()
    await asyncio.sleep(0.01)
    assert await queries.answer(QUESTION) == ANSWER
