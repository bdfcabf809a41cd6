"""What every mark store promises the shards."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from portfolio.book import Mark
from portfolio.ids import InstrumentId
from tests.contract.conftest import Store
from tests.oracles.builders import NOW, minutes

EVER = datetime.min.replace(tzinfo=UTC)
A, B, C = map(InstrumentId, ("A", "B^=/", "C:c"))


def _mark(price: str, minute: int = 0) -> Mark:
    return Mark(Decimal(price), minutes(minute))


async def test_nothing_is_known_where_nothing_was_recorded(store: Store) -> None:
    assert await store.marks().since(EVER) == []


async def test_the_newest_mark_of_an_instrument_stays(store: Store) -> None:
    marks = store.marks()
    assert await marks.record({B: _mark("1"), A: _mark("123456789012.12345678")}) == {A, B}
    assert await marks.record({A: _mark("2", -1), B: _mark("2", 1), C: _mark("0.00000001")}) == {B, C}
    assert {found.instrument_id: found.mark for found in await marks.since(EVER)} == {
        A: _mark("123456789012.12345678"),
        B: _mark("2", 1),
        C: _mark("0.00000001"),
    }


async def test_a_mark_of_the_same_moment_is_stale(store: Store) -> None:
    marks = store.marks()
    await marks.record({A: _mark("1")})
    assert await marks.record({A: _mark("2")}) == frozenset()
    assert [found.mark.price for found in await marks.since(EVER)] == [Decimal(1)]


async def test_a_microsecond_later_is_news(store: Store) -> None:
    marks = store.marks()
    await marks.record({A: _mark("1")})
    assert await marks.record({A: Mark(Decimal(2), NOW + timedelta(microseconds=1))}) == {A}


async def test_what_was_recorded_since_a_moment_comes_oldest_first(store: Store) -> None:
    marks = store.marks()
    for instrument_id in (C, A, B):
        await marks.record({instrument_id: _mark("1")})
    await marks.record({C: _mark("2", 1)})
    found = await marks.since(EVER)
    assert [item.instrument_id for item in found] == [A, B, C]
    assert [item.instrument_id for item in await marks.since(found[1].recorded_at)] == [B, C]


async def test_two_recorders_at_once_both_succeed(store: Store) -> None:
    names = [InstrumentId(f"I{number}") for number in range(300)]
    forward = {name: _mark("1", 1) for name in names}
    backward = {name: _mark("2", 2) for name in reversed(names)}
    await asyncio.gather(*(store.marks().record(marks) for marks in (forward, backward, forward, backward)))
    assert {found.mark.price for found in await store.marks().since(EVER)} == {Decimal(2)}


async def test_no_marks_are_recorded_without_harm(store: Store) -> None:
    assert await store.marks().record({}) == frozenset()
