"""A caller whose picture of the shards is old, or who comes while one moves: nobody is turned away who could be served."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from decimal import Decimal
from itertools import pairwise

import pytest

from actors.gateway import Gateway
from actors.protocol import Answer, Method, UpdateOutcome
from actors.service import Service
from actors.shard_status import ShardStatus
from portfolio.book import Mark
from portfolio.commands import UpdatePortfolio
from portfolio.errors import PortfolioNotFound, ShardUnavailable
from portfolio.ids import InstrumentId, ShardId
from portfolio.sharding import ShardMap, shard_of
from tests.oracles.builders import buy, deposit, minutes
from tests.oracles.memory_store import MemoryDatabase
from tests.oracles.rows import opened, portfolio, updated
from tests.support.shards import RunningShard, eventually, memory_shard

COUNT = 24
MOVING = ShardUnavailable("it is moving", shard=0, moving=True)


class Shards:
    """Calls shards in this process. Those in `moving` are on the way to another owner; `calls` counts what is asked."""

    def __init__(self, database: MemoryDatabase, stack: contextlib.AsyncExitStack) -> None:
        self._database = database
        self._stack = stack
        self.running: dict[int, RunningShard] = {}
        self.moving: set[int] = set()
        self.calls: list[tuple[int, Method]] = []

    async def start(self, shard_id: int, shard_count: int = 2) -> None:
        """Serve a shard."""
        shard = memory_shard(self._database, shard_id=shard_id, shard_count=shard_count)
        self.running[shard_id] = await self._stack.enter_async_context(shard)

    async def split(self, shard_id: int) -> None:
        """Split a shard, and serve both halves."""
        modulus = self.running[shard_id].shard.status().modulus
        await self.running[shard_id].shard.split(2 * modulus)
        await self.start(shard_id + modulus)

    async def call(self, shard_id: ShardId, method: Method, payload: bytes) -> Answer:
        self.calls.append((shard_id, method))
        if shard_id in self.moving:
            raise ShardUnavailable(MOVING.detail, **MOVING.cause)
        return (await Service(self.running[shard_id].shard).answer(method, payload)).raised()


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Callers outlast a busy machine; tests of the end of their patience set their own."""
    monkeypatch.setattr("actors.gateway._SETTLING_S", 60.0)


@pytest.fixture
async def shards() -> AsyncIterator[Shards]:
    """Two shards with every portfolio."""
    async with contextlib.AsyncExitStack() as stack:
        made = Shards(MemoryDatabase(), stack)
        for shard_id in (0, 1):
            await made.start(shard_id)
        gateway = Gateway(made, ShardMap.even(2))
        for number in range(COUNT):
            await gateway.write(opened(number))
        yield made


@pytest.fixture
async def gateway(shards: Shards) -> Gateway:
    """A caller that believes in two shards, while shard 0 has split twice and shard 1 once."""
    await shards.split(0)
    await shards.split(1)
    await shards.split(0)
    shards.calls.clear()
    return Gateway(shards, ShardMap.even(2))


def _owner(number: int, moduli: dict[ShardId, int]) -> int:
    return ShardMap(moduli).shard_of(portfolio(number))


async def test_writes_and_reads_find_the_half_that_has_the_portfolio(gateway: Gateway) -> None:
    for number in range(COUNT):
        assert b'"version":2,' in ((await gateway.write(updated(number, key="k"))).body or b"")
        assert b'"version":2,' in ((await gateway.state(portfolio(number))).body or b"")
        assert await gateway.known_keys(portfolio(number), ["k", "other"]) == {"k"}
    assert gateway.shards.moduli == {0: 8, 1: 4, 2: 4, 3: 4, 4: 8}
    with pytest.raises(PortfolioNotFound):
        await gateway.state(portfolio(COUNT))
    assert await gateway.book(portfolio(COUNT)) is None


async def test_a_caller_that_has_learned_asks_no_wrong_half_again(gateway: Gateway, shards: Shards) -> None:
    for number in range(COUNT):
        await gateway.state(portfolio(number))
    shards.calls.clear()
    for number in range(COUNT):
        await gateway.state(portfolio(number))
    assert [shard for shard, _ in shards.calls] == [_owner(n, gateway.shards.moduli) for n in range(COUNT)]


async def test_many_updates_keep_the_order_of_each_portfolio(gateway: Gateway) -> None:
    numbers = [number % COUNT for number in range(5 * COUNT)]
    outcomes = await gateway.update_many([updated(number) for number in numbers])
    assert [outcome.portfolio_id for outcome in outcomes] == list(map(portfolio, numbers))
    assert [outcome.version for outcome in outcomes] == [2 + index // COUNT for index in range(5 * COUNT)]


@pytest.mark.parametrize("limit", [1, 5, 100])
async def test_pages_have_every_portfolio_once(gateway: Gateway, limit: int) -> None:
    assert await _listed(gateway, limit) == sorted(map(portfolio, range(COUNT)))


async def _listed(gateway: Gateway, limit: int) -> list[str]:
    found: list[str] = []
    while page := await gateway.page(found[-1] if found else "", limit, None):
        found += [summary.portfolio_id for summary in page]
    assert all(one < other for one, other in pairwise(found))
    return found


async def test_statuses_are_of_every_shard_that_there_is(gateway: Gateway) -> None:
    statuses = await gateway.statuses()
    assert list(statuses) == [0, 1, 2, 3, 4]
    held = [status.portfolios for status in statuses.values() if isinstance(status, ShardStatus)]
    assert sum(held) == COUNT


async def test_marks_reach_the_halves_that_were_not_known(gateway: Gateway, shards: Shards) -> None:
    for number in range(COUNT):
        await gateway.write(updated(number, buy("2", "10")))
    shards.running[0].shard.status()
    stale = Gateway(shards, ShardMap.even(2))
    counts = await stale.update_marks({InstrumentId("X"): Mark(Decimal("12.50000000"), minutes(10**6))})
    assert (counts.accepted, counts.stale) == (1, 0)
    for number in range(COUNT):
        books = shards.running[_owner(number, gateway.shards.moduli)].shard.books
        await eventually(lambda b=books, n=number: b'"total_value":5.00' in b.documents(portfolio(n)).state)  # type: ignore[misc]


async def test_pages_during_splits_have_every_portfolio_once(shards: Shards) -> None:
    gateway = Gateway(shards, ShardMap.even(2))
    expected = sorted(map(portfolio, range(COUNT)))
    splitting = asyncio.ensure_future(_split_all(shards))
    while not splitting.done():
        assert await _listed(gateway, 5) == expected
    await splitting
    assert await _listed(gateway, 5) == expected


async def test_the_ids_of_all_are_found_once_by_the_shard_that_has_each(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actors.service.IDS_MAX", 3)
    found = await gateway.portfolio_ids()
    moduli = {ShardId(0): 8, ShardId(1): 4, ShardId(2): 4, ShardId(3): 4, ShardId(4): 8}
    assert found == {
        shard_id: sorted(portfolio(number) for number in range(COUNT) if _owner(number, moduli) == shard_id)
        for shard_id in moduli
    }


async def test_ids_asked_for_during_splits_are_all_there_once(shards: Shards, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actors.service.IDS_MAX", 5)
    gateway = Gateway(shards, ShardMap.even(2))
    splitting = asyncio.ensure_future(_split_all(shards))
    while not splitting.done():
        found = await gateway.portfolio_ids()
        assert sorted(name for names in found.values() for name in names) == sorted(map(portfolio, range(COUNT)))
    await splitting


async def _split_all(shards: Shards) -> None:
    for shard_id in (0, 1, 2, 3):
        await asyncio.sleep(0.005)
        # Those who come between the split and the start of the new half are told to wait, as by one that stands by.
        modulus = shards.running[shard_id].shard.status().modulus
        shards.moving.add(shard_id + modulus)
        await shards.running[shard_id].shard.split(2 * modulus)
        await asyncio.sleep(0.005)
        await shards.start(shard_id + modulus)
        shards.moving.discard(shard_id + modulus)


async def test_writers_during_splits_book_each_update_once_and_in_order(shards: Shards) -> None:
    gateway = Gateway(shards, ShardMap.even(2))
    splitting = asyncio.ensure_future(_split_all(shards))
    versions: list[list[int | None]] = []
    while not splitting.done() or len(versions) < 5:
        outcomes = await gateway.update_many([updated(number % COUNT) for number in range(3 * COUNT)])
        versions += [[outcome.version for outcome in outcomes[start::COUNT]] for start in range(COUNT)]
    await splitting
    for number in range(COUNT):
        booked = [version for found in versions[number::COUNT] for version in found]
        assert booked == list(range(2, 2 + len(booked)))


async def test_a_shard_that_moves_for_a_moment_is_waited_for(shards: Shards) -> None:
    gateway = Gateway(shards, ShardMap.even(2))
    shards.moving = {0, 1}
    asked = asyncio.gather(
        gateway.write(updated(1)),
        gateway.state(portfolio(2)),
        gateway.update_many([updated(number) for number in range(3, 9)]),
        gateway.page("", 100, None),
        gateway.update_marks({InstrumentId("X"): Mark(Decimal(1), minutes(0))}),
        gateway.books(ShardId(0), "", 5),
    )
    await asyncio.sleep(0.1)
    assert not asked.done()
    shards.moving = set()
    _, _, outcomes, page, _, books = await asyncio.wait_for(asked, 60)
    assert [outcome.version for outcome in outcomes] == [2] * 6
    assert len(page) == COUNT
    assert len(books) == 5


async def test_a_shard_that_moves_for_too_long_is_told(shards: Shards, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actors.gateway._SETTLING_S", 0.05)
    gateway = Gateway(shards, ShardMap.even(2))
    shards.moving = {0, 1}
    for asked in (gateway.write(updated(1)), gateway.state(portfolio(1)), gateway.page("", 5, None)):
        with pytest.raises(ShardUnavailable, match="is moving"):
            await asyncio.wait_for(asked, 60)
    outcomes = await asyncio.wait_for(gateway.update_many([updated(1), updated(2)]), 60)
    assert [_code(outcome) for outcome in outcomes] == [ShardUnavailable.code] * 2
    statuses = await asyncio.wait_for(gateway.statuses(), 60)
    assert all(isinstance(status, ShardUnavailable) for status in statuses.values())


def _code(outcome: UpdateOutcome) -> str | None:
    return None if outcome.fault is None else outcome.fault.code


async def test_a_shard_that_is_away_without_moving_is_told_at_once(shards: Shards) -> None:
    gateway = Gateway(shards, ShardMap.even(2))
    await shards.running[0].kill()
    lost = next(number for number in range(COUNT) if shard_of(portfolio(number), 2) == 0)
    shards.calls.clear()
    with pytest.raises(ShardUnavailable):
        await gateway.write(updated(lost))
    assert len(shards.calls) == 1


async def test_updates_behind_one_that_is_tried_again_are_tried_again_with_it(
    shards: Shards, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The shard refuses the first for a moment; the second then keeps its place, and is no failure either."""
    gateway = Gateway(shards, ShardMap.even(2))
    owner = shards.running[shard_of(portfolio(1), 2)].shard
    serving = owner._serving
    assert serving is not None
    submit = owner.submit

    def sealed_once(command: UpdatePortfolio, *more: object) -> object:
        monkeypatch.setattr(owner, "submit", submit)
        serving.writer._sealed = "the shard is splitting"
        try:
            return submit(command, *more)  # type: ignore[arg-type]
        finally:
            serving.writer.unseal()

    monkeypatch.setattr(owner, "submit", sealed_once)
    commands = [updated(1, deposit(f"{number}")) for number in (1, 2, 3)]
    outcomes = await asyncio.wait_for(gateway.update_many(commands), 60)
    assert [outcome.version for outcome in outcomes] == [2, 3, 4]
    book = await gateway.book(portfolio(1))
    assert book is not None
    assert book.cash == 6


async def test_a_first_answer_that_took_long_does_not_spend_the_patience(
    shards: Shards, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others in the call wait for a slow commit; meanwhile the shard splits, which is learned with the first answer."""
    monkeypatch.setattr("actors.gateway._SETTLING_S", 0.05)
    gateway = Gateway(shards, ShardMap.even(2))
    gone = next(number for number in range(COUNT) if shard_of(portfolio(number), 4) == 2)
    await shards.split(0)
    call = shards.call

    async def slow_once(shard_id: ShardId, method: Method, payload: bytes) -> Answer:
        monkeypatch.setattr(shards, "call", call)
        await asyncio.sleep(0.1)
        return await call(shard_id, method, payload)

    monkeypatch.setattr(shards, "call", slow_once)
    (outcome,) = await gateway.update_many([updated(gone)])
    assert (outcome.fault, outcome.version) == (None, 2)
