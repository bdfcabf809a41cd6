"""Recovery equals live: whatever was booked, a shard that starts again has it to the last digit."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from actors.writer import Outcome
from persistence import postgres
from persistence.history import PostgresHistory
from portfolio.book import Mark
from portfolio.commands import Command
from portfolio.errors import Conflict, IdempotencyKeyReused, InvalidRequest, OutcomeUnknown, Rejected, ShardUnavailable
from portfolio.ids import InstrumentId, PortfolioId
from portfolio.ledger import replay
from portfolio.ports import MarkStore
from tests.integration.conftest import Inspector
from tests.oracles.builders import buy, deposit, sell, split
from tests.oracles.rows import opened, portfolio, updated
from tests.oracles.strategies import INSTRUMENTS, PRICES, histories
from tests.support.shards import FAST, RunningShard, eventually, exactly, postgres_shard

X = InstrumentId("X")


@dataclass(frozen=True, slots=True)
class Marked:
    """The market moves: marks so many seconds from now."""

    prices: dict[InstrumentId, Decimal]
    seconds: int


@dataclass(frozen=True, slots=True)
class Saved:
    """A checkpoint is taken."""


Event = Command | Marked | Saved


@st.composite
def lives(draw: st.DrawFn) -> list[Event]:
    """The lives of three portfolios, mixed, with marks and checkpoints in between."""
    queues: list[list[Event]] = []
    for number in range(3):
        history = draw(histories(steps_max=6))
        commands: list[Command] = [history.opening, *(step.command for step in history.steps)]
        queues.append([replace(command, portfolio_id=portfolio(number)) for command in commands])
    events: list[Event] = []
    while queues:
        queue = draw(st.sampled_from(queues))
        events.append(queue.pop(0))
        queues = [left for left in queues if left]
        chance = draw(st.integers(0, 7))
        if chance == 0:
            events.append(Saved())
        elif chance == 1:
            prices = draw(st.dictionaries(st.sampled_from(INSTRUMENTS), PRICES.map(_as_stored), min_size=1))
            events.append(Marked(prices, draw(st.integers(-5, 5))))
    return events


def _as_stored(price: Decimal) -> Decimal:
    return price.quantize(Decimal("1e-8"))


async def live(running: RunningShard, events: Sequence[Event]) -> None:
    for event in events:
        if isinstance(event, Marked):
            moment = datetime.now(UTC) + timedelta(seconds=event.seconds)
            marks = {name: Mark(price, moment) for name, price in event.prices.items()}
            await running.shard.record_marks(marks)
            running.shard.show_marks(marks)
        elif isinstance(event, Saved):
            await _save(running)
        else:
            (outcome,) = await asyncio.gather(running.shard.submit(event), return_exceptions=True)
            assert isinstance(outcome, Outcome | Rejected | Conflict), outcome


async def _save(running: RunningShard) -> None:
    serving = running.shard._serving
    assert serving is not None
    await serving.checkpointer.save()


def _settled(running: RunningShard) -> dict[PortfolioId, tuple[str, bytes, bytes, bytes]]:
    running.shard.books.revalue()
    return running.everything()


FEW = settings(
    max_examples=12,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)


@FEW
@given(events=lives(), in_good_order=st.booleans())
async def test_recovery_equals_live(
    database: str, inspector: Inspector, events: list[Event], in_good_order: bool
) -> None:
    inspector.forget_everything()
    async with postgres_shard(database) as running:
        await live(running, events)
        before = _settled(running)
        await (running.stop() if in_good_order else running.kill())
    async with postgres_shard(database) as again:
        assert _settled(again) == before
        assert (again.shard.status().tail_rows_recovered == 0) or not in_good_order
        await again.stop()
    async with postgres_shard(database) as third:
        assert _settled(third) == before
    assert inspector.sequence_is_gapless()


@FEW
@given(events=lives(), moment=st.integers(0, 40))
async def test_a_kill_at_any_moment_keeps_what_was_acknowledged(
    database: str, inspector: Inspector, events: list[Event], moment: int
) -> None:
    inspector.forget_everything()
    commands = [event for event in events if not isinstance(event, Marked | Saved)]
    async with postgres_shard(database) as running:
        answers = [running.shard.submit(command) for command in commands]
        for turn in range(moment):
            await asyncio.sleep(0 if turn % 4 else 0.0005)
        if moment % 3 == 0:
            await _save(running)
        await running.kill()
        outcomes = await asyncio.gather(*answers, return_exceptions=True)
    acknowledged = [outcome.book for outcome in outcomes if isinstance(outcome, Outcome)]
    unavailable = [
        command for command, outcome in zip(commands, outcomes, strict=True) if isinstance(outcome, ShardUnavailable)
    ]
    async with postgres_shard(database) as again:
        books = {book.portfolio_id: book for book in again.shard.books}
        for book in acknowledged:
            assert books[book.portfolio_id].version >= book.version
            if books[book.portfolio_id].version == book.version:
                assert exactly(books[book.portfolio_id]) == exactly(book)
        # What was refused as not booked was not: it is decided now as if for the first time.
        left = len(again.shard.books)
        assert left <= len({book.portfolio_id for book in acknowledged}) or any(
            isinstance(outcome, OutcomeUnknown) for outcome in outcomes
        )
        for command in unavailable:
            await asyncio.gather(again.shard.submit(command), return_exceptions=True)
    assert inspector.sequence_is_gapless()


async def test_a_position_closed_after_a_checkpoint_whose_answer_was_lost_stays_closed(
    database: str, inspector: Inspector, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with postgres_shard(database) as running:
        await running.book(opened(1, cash="100"))
        await _save(running)
        await running.book(updated(1, buy("1", "10")))
        serving = running.shard._serving
        assert serving is not None
        save = serving.checkpointer._store.save

        async def lost(checkpoint: object, epoch: int) -> None:
            await save(checkpoint, epoch)  # type: ignore[arg-type]
            raise ShardUnavailable("the connection went after the commit")

        monkeypatch.setattr(serving.checkpointer._store, "save", lost)
        with pytest.raises(ShardUnavailable):
            await _save(running)
        monkeypatch.undo()
        assert inspector.one("select count(*) from positions") == 1
        await running.book(updated(1, sell("1", "11")))
        await _save(running)
        assert inspector.one("select count(*) from positions") == 0
        before = running.everything()
    async with postgres_shard(database) as again:
        assert again.everything() == before


async def test_marks_are_recovered_and_those_missed_are_found(database: str) -> None:
    later = datetime.now(UTC) + timedelta(seconds=30)
    async with postgres_shard(database) as running:
        await running.book(opened(1))
        await running.book(updated(1, buy("2", "10")))
        await running.shard.record_marks({X: Mark(Decimal("12.00000000"), later)})
    async with postgres_shard(database) as again:
        assert b'"total_value":4.00' in again.shard.books.documents(portfolio(1)).state
        # Recorded by another shard that died before it could tell this one.
        store: MarkStore = again.shard._marks
        await store.record({X: Mark(Decimal("13.00000000"), later + timedelta(seconds=1))})
        await eventually(lambda: b'"total_value":6.00' in again.shard.books.documents(portfolio(1)).state)


@pytest.mark.parametrize("keys_max", [1, 3])
async def test_keys_older_than_memory_are_found_in_the_journal(database: str, keys_max: int) -> None:
    limits = replace(FAST, recent_keys_max=keys_max)
    async with postgres_shard(database) as running:
        await running.book(replace(opened(1, key="open", cash="100"), allow_short=False))
        await running.book(updated(1, buy("1", "10"), key="buy"))
        await running.book(updated(1, sell("1", "11"), key="sell"))
        for number in range(10):
            await running.book(updated(1, key=f"later {number}"))
    async with postgres_shard(database, limits=limits) as again:
        # One that would be booked again, one that would now be rejected, and the opening of what is there.
        for command in (
            updated(1, buy("1", "10"), key="buy"),
            updated(1, sell("1", "11"), key="sell"),
            replace(opened(1, key="open", cash="100"), allow_short=False),
        ):
            outcome = await again.shard.submit(command)
            assert (outcome.replayed, outcome.book.version) == (True, 14)
        for key in ("buy", "sell"):
            with pytest.raises(IdempotencyKeyReused):
                await again.shard.submit(updated(1, deposit("5"), key=key))
        assert (await again.book(updated(1, key="fresh"))).version == 15


async def test_a_batch_full_of_old_keys_books_only_what_is_new(database: str) -> None:
    async with postgres_shard(database) as running:
        await running.book(opened(1))
        for number in range(8):
            await running.book(updated(1, key=f"k{number}"))
    async with postgres_shard(database, limits=replace(FAST, recent_keys_max=2)) as again:
        answers = [again.shard.submit(updated(1, key=f"k{number}")) for number in range(16)]
        outcomes = await asyncio.gather(*answers)
        assert [outcome.replayed for outcome in outcomes] == [True] * 8 + [False] * 8
        assert again.shard.books.get(portfolio(1)).version == 17


async def test_transaction_ids_are_remembered_for_ever(database: str) -> None:
    given_id = UUID(int=7)
    async with postgres_shard(database) as running:
        await running.book(opened(1))
        await running.book(updated(1, transaction_id=given_id))
    async with postgres_shard(database) as again:
        with pytest.raises(InvalidRequest, match="booked already"):
            await again.shard.submit(updated(1, transaction_id=given_id))
        assert (await again.book(updated(1))).version == 3


async def test_the_past_is_what_it_was(database: str) -> None:
    async with postgres_shard(database) as running:
        lot = [buy("3", "7.00000001"), split("3:2", "5"), sell("9", "8")]
        commands: list[Command] = [opened(1, cash="1000"), *(updated(1, item) for item in lot)]
        books = [await running.book(command) for command in commands]
        async with postgres.pool(database, size_max=2) as pool:
            history = PostgresHistory(pool)
            for book in books:
                entries = await history.entries(portfolio(1), version=book.version)
                assert exactly(replay(None, entries)) == exactly(book)
            pages = await history.transactions(portfolio(1), before_version=10, limit=2)
            assert [found.version for found in pages] == [5, 4]
            assert await history.entries(portfolio(2)) == []
