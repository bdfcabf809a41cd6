"""The whole cluster behind one face, on shards in memory."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import pairwise

import pytest

from actors.gateway import Gateway
from actors.protocol import Answer, Method, UpdateOutcome
from actors.service import Service
from actors.shard_status import Phase, ShardStatus
from portfolio.book import Mark
from portfolio.commands import ChangeStatus
from portfolio.errors import (
    BY_CODE,
    InvalidRequest,
    OutcomeUnknown,
    PortfolioError,
    PortfolioExists,
    PortfolioNotFound,
    ShardUnavailable,
    VersionMismatch,
)
from portfolio.ids import InstrumentId, PortfolioId, ShardId
from portfolio.sharding import ShardMap, shard_of
from portfolio.status import Status
from tests.oracles.builders import buy, deposit, minutes
from tests.oracles.memory_store import MemoryDatabase
from tests.oracles.rows import opened, portfolio, updated
from tests.support.shards import RunningShard, eventually, memory_shard

SHARD_COUNT = 3
X = InstrumentId("X")


@dataclass(slots=True)
class Shards:
    """Calls shards in this process, without a transport. Those in `lost` answer with their error instead, those that
    are `hanging` never.
    """

    services: list[Service]
    running: list[RunningShard]
    lost: dict[int, PortfolioError] = field(default_factory=dict)
    hanging: set[int] = field(default_factory=set)
    calls: list[tuple[int, Method]] = field(default_factory=list)

    async def call(self, shard_id: ShardId, method: Method, payload: bytes) -> Answer:
        self.calls.append((shard_id, method))
        if shard_id in self.hanging:
            await asyncio.Event().wait()
        if shard_id in self.lost:
            raise self.lost[shard_id]
        return (await self.services[shard_id].answer(method, payload)).raised()


@pytest.fixture
async def shards() -> AsyncIterator[Shards]:
    """Three shards of one database."""
    database = MemoryDatabase()
    async with contextlib.AsyncExitStack() as stack:
        running = [
            await stack.enter_async_context(memory_shard(database, shard_id=number, shard_count=SHARD_COUNT))
            for number in range(SHARD_COUNT)
        ]
        yield Shards([Service(item.shard) for item in running], running)


@pytest.fixture
def gateway(shards: Shards) -> Gateway:
    """The face of those shards."""
    return Gateway(shards, ShardMap.even(SHARD_COUNT))


def _shard(number: int) -> int:
    return shard_of(portfolio(number), SHARD_COUNT)


def _errors(outcomes: list[UpdateOutcome]) -> list[type[PortfolioError] | None]:
    return [None if outcome.fault is None else BY_CODE[outcome.fault.code] for outcome in outcomes]


async def _open(gateway: Gateway, *numbers: int) -> None:
    for number in numbers:
        await gateway.write(opened(number))


async def test_each_request_goes_to_the_owner_alone(gateway: Gateway, shards: Shards) -> None:
    await _open(gateway, *range(12))
    assert shards.calls == [(_shard(number), Method.OPEN) for number in range(12)]
    assert {shard for shard, _ in shards.calls} == {0, 1, 2}
    for number in range(12):
        assert f'"P-{number}"'.encode() in ((await gateway.state(portfolio(number))).body or b"")


async def test_errors_are_raised_as_they_were(gateway: Gateway) -> None:
    await _open(gateway, 1)
    with pytest.raises(PortfolioExists):
        await gateway.write(opened(1))
    with pytest.raises(PortfolioNotFound):
        await gateway.positions(portfolio(2))
    with pytest.raises(VersionMismatch) as caught:
        await gateway.write(ChangeStatus(portfolio_id=portfolio(1), status=Status.SUSPENDED, expected_version=7))
    assert caught.value.cause == {"version": 1, "expected_version": 7}


async def test_a_book_arrives_whole_or_not_at_all(gateway: Gateway, shards: Shards) -> None:
    await _open(gateway, 1)
    await gateway.write(updated(1, deposit("100"), buy("0.00000001", "123456789012.12345678")))
    assert await gateway.book(portfolio(1)) == shards.running[_shard(1)].shard.books.get(portfolio(1))
    assert await gateway.book(portfolio(2)) is None


async def test_outcomes_of_many_updates_come_in_the_order_asked(gateway: Gateway) -> None:
    await _open(gateway, *range(6))
    numbers = [5, 0, 9, 3, 0, 2, 5, 0, 1]
    outcomes = await gateway.update_many([updated(number) for number in numbers])
    assert [outcome.portfolio_id for outcome in outcomes] == [portfolio(number) for number in numbers]
    assert [outcome.version for outcome in outcomes] == [2, 2, None, 2, 3, 2, 3, 4, 2]
    assert [index for index, error in enumerate(_errors(outcomes)) if error] == [2]


async def test_a_shard_that_does_not_answer_fails_its_own_updates_only(gateway: Gateway, shards: Shards) -> None:
    await _open(gateway, *range(6))
    shards.lost[_shard(0)] = OutcomeUnknown("the link was lost")
    outcomes = await gateway.update_many([updated(number) for number in range(6)])
    assert _errors(outcomes) == [OutcomeUnknown if _shard(number) == _shard(0) else None for number in range(6)]


async def test_repeats_within_many_updates_are_told(gateway: Gateway) -> None:
    await _open(gateway, 1)
    outcomes = await gateway.update_many([updated(1, key="k"), updated(1), updated(1, key="k")])
    assert [(outcome.version, outcome.replayed) for outcome in outcomes] == [(2, False), (3, False), (3, True)]
    assert await gateway.known_keys(portfolio(1), ["k", "other"]) == {"k"}


async def test_more_updates_than_the_bound_are_refused_whole(gateway: Gateway) -> None:
    await _open(gateway, 1)
    outcomes = await gateway.update_many([updated(1)] * 1_001)
    assert set(_errors(outcomes)) == {InvalidRequest}
    assert b'"version":1,' in ((await gateway.state(portfolio(1))).body or b"")


async def test_no_updates_have_no_outcomes(gateway: Gateway) -> None:
    assert await gateway.update_many([]) == []


async def test_pages_of_all_shards_are_merged_in_order_without_gap_or_repeat(gateway: Gateway) -> None:
    await _open(gateway, *range(30))
    expected = sorted(portfolio(number) for number in range(30))
    for limit in (1, 7, 30, 100):
        found: list[str] = []
        while page := await gateway.page(found[-1] if found else "", limit, None):
            assert len(page) <= limit
            found += [summary.portfolio_id for summary in page]
        assert found == expected
        assert all(one < other for one, other in pairwise(found))


async def test_a_page_may_be_of_one_status(gateway: Gateway) -> None:
    await _open(gateway, *range(9))
    for number in (2, 5):
        await gateway.write(ChangeStatus(portfolio_id=portfolio(number), status=Status.SUSPENDED))
    page = await gateway.page("", 5, Status.SUSPENDED)
    assert [(summary.portfolio_id, summary.status) for summary in page] == [
        ("P-2", Status.SUSPENDED),
        ("P-5", Status.SUSPENDED),
    ]


async def test_a_page_that_would_have_a_gap_is_no_answer(gateway: Gateway, shards: Shards) -> None:
    shards.lost[1] = ShardUnavailable("it is recovering")
    with pytest.raises(ShardUnavailable):
        await gateway.page("", 10, None)


async def test_marks_reach_every_shard_within_the_revaluation_interval(gateway: Gateway) -> None:
    await _open(gateway, *range(6))
    for number in range(6):
        await gateway.write(updated(number, buy("2", "10")))
    counts = await gateway.update_marks({X: Mark(Decimal("12.50000000"), minutes(10**6))})
    assert (counts.accepted, counts.stale) == (1, 0)
    for number in range(6):
        async with asyncio.timeout(5):
            while b'"total_value":5.00' not in ((await gateway.state(portfolio(number))).body or b""):
                await asyncio.sleep(0.005)


async def test_stale_marks_are_counted_and_change_nothing(gateway: Gateway) -> None:
    await _open(gateway, 1)
    await gateway.write(updated(1, buy("2", "10")))
    await gateway.update_marks({X: Mark(Decimal("12"), minutes(10**6))})
    counts = await gateway.update_marks(
        {X: Mark(Decimal("99"), minutes(10**6 - 1)), InstrumentId("Y"): Mark(Decimal("1"), minutes(0))}
    )
    assert (counts.accepted, counts.stale) == (1, 1)
    await asyncio.sleep(0.05)
    assert b'"total_value":4.00' in ((await gateway.state(portfolio(1))).body or b"")


async def test_a_mark_shows_with_all_its_decimals_however_it_was_given(gateway: Gateway) -> None:
    await _open(gateway, 1)
    await gateway.write(updated(1, buy("2", "10")))
    await gateway.update_marks({X: Mark(Decimal("12.5"), minutes(10**6))})
    async with asyncio.timeout(5):
        while b'"mark_price":12.50000000' not in ((await gateway.state(portfolio(1))).body or b""):
            await asyncio.sleep(0.005)


async def test_a_shard_that_missed_a_mark_finds_it_by_itself(gateway: Gateway, shards: Shards) -> None:
    await _open(gateway, 1)
    await gateway.write(updated(1, buy("2", "10")))
    recorder = shard_of(PortfolioId(X), SHARD_COUNT)
    missed = next(number for number in range(20) if _shard(number) != recorder)
    if missed != 1:
        await gateway.write(opened(missed))
    await gateway.write(updated(missed, buy("2", "10")))
    shards.lost[_shard(missed)] = ShardUnavailable("it cannot be told now")
    await gateway.update_marks({X: Mark(Decimal("12"), minutes(10**6))})
    shards.lost.clear()
    books = shards.running[_shard(missed)].shard.books
    await eventually(lambda: b'"mark_source":"market"' in books.documents(portfolio(missed)).state)


async def test_no_marks_are_counted_as_none(gateway: Gateway, shards: Shards) -> None:
    counts = await gateway.update_marks({})
    assert (counts.accepted, counts.stale) == (0, 0)
    assert shards.calls == []


async def test_statuses_name_the_shards_that_do_not_answer(gateway: Gateway, shards: Shards) -> None:
    await _open(gateway, *range(6))
    shards.lost[1] = ShardUnavailable("it is gone")
    first, second, third = (await gateway.statuses()).values()
    assert isinstance(second, ShardUnavailable)
    assert second.cause == {"shard": 1}
    for status in (first, third):
        assert isinstance(status, ShardStatus)
        assert status.phase is Phase.SERVING
        assert status.head_seq == status.portfolios > 0


async def test_a_shard_that_hangs_keeps_nobody_who_asks_for_statuses_waiting(
    gateway: Gateway, shards: Shards, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actors.gateway.STATUS_TIMEOUT_S", 0.05)
    shards.hanging.add(1)
    async with asyncio.timeout(5):
        first, second, third = (await gateway.statuses()).values()
    assert isinstance(second, ShardUnavailable)
    assert isinstance(first, ShardStatus)
    assert isinstance(third, ShardStatus)
