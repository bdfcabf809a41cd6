"""Two incarnations of one shard on one database: the second stops the first, and nothing is lost or doubled."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from actors.writer import Outcome
from persistence.checkpoint import PostgresCheckpointStore
from portfolio.errors import Corrupt, Deposed, OutcomeUnknown, ShardUnavailable, WrongShard
from portfolio.ids import PortfolioId
from tests.integration.conftest import Inspector
from tests.oracles.builders import buy
from tests.oracles.memory_store import MemoryMirror
from tests.oracles.rows import opened, portfolio, updated
from tests.support.shards import FAST, eventually, postgres_shard

NOT_LOOKING = replace(FAST, heartbeat_interval_s=3600.0, lease_s=7200.0)


async def test_the_next_append_of_a_deposed_incarnation_fails_and_its_callers_are_told(
    database: str, inspector: Inspector
) -> None:
    async with postgres_shard(database, limits=NOT_LOOKING) as first:
        await first.book(opened(1))
        async with postgres_shard(database, limits=NOT_LOOKING) as second:
            answers = [first.shard.submit(updated(1, key=f"k{number}")) for number in range(5)]
            outcomes = await asyncio.gather(*answers, return_exceptions=True)
            assert {type(outcome) for outcome in outcomes} == {ShardUnavailable}
            assert isinstance(await first.stopped(), Deposed)
            with pytest.raises(ShardUnavailable):
                first.shard.submit(updated(1))
            with pytest.raises(ShardUnavailable):
                _ = first.shard.books
            # The callers try again with their keys, and the second books each once.
            again = [await second.shard.submit(updated(1, key=f"k{number}")) for number in range(5)]
            assert [(outcome.book.version, outcome.replayed) for outcome in again] == [
                (number + 2, False) for number in range(5)
            ]
    assert inspector.sequence_is_gapless()
    assert inspector.one("select count(*) from journal") == 6


async def test_a_claim_under_load_loses_and_doubles_nothing(database: str, inspector: Inspector) -> None:
    """Callers write with keys and try the next incarnation when told that theirs is gone."""
    acknowledged: dict[str, int] = {}
    async with postgres_shard(database) as first:
        owners = [first]
        await first.book(opened(1))

        async def write(lane: int) -> None:
            for turn in range(30):
                key = f"{lane} {turn}"
                while key not in acknowledged:
                    try:
                        outcome = await owners[-1].shard.submit(updated(1, key=key))
                        acknowledged[key] = outcome.book.version
                    except (ShardUnavailable, OutcomeUnknown):
                        await asyncio.sleep(0.005)

        lanes = asyncio.gather(*map(write, range(10)))
        async with postgres_shard(database) as second:
            owners.append(second)
            await eventually(lambda: len(acknowledged) > 60)
            async with postgres_shard(database) as third:
                owners.append(third)
                await asyncio.wait_for(lanes, 30)
                assert third.shard.books.get(portfolio(1)).version == 301
    assert inspector.sequence_is_gapless()
    assert inspector.one("select count(*) from journal") == 301
    assert inspector.one("select count(distinct idempotency_key) from journal") == 300


async def test_an_idle_owner_notices_by_itself(database: str) -> None:
    async with postgres_shard(database) as first, postgres_shard(database):
        assert isinstance(await asyncio.wait_for(first.stopped(), 20), Deposed)
        assert first.shard.status().phase == "STOPPED"


async def test_what_the_first_acknowledged_the_second_has(database: str) -> None:
    async with postgres_shard(database, limits=NOT_LOOKING) as first:
        await first.book(opened(1))
        last = await first.book(updated(1, buy("3", "7")))
        async with postgres_shard(database) as second:
            assert second.shard.books.get(portfolio(1)) == last


async def test_a_deposed_owner_saves_no_checkpoint(database: str, inspector: Inspector) -> None:
    async with postgres_shard(database, limits=NOT_LOOKING) as first:
        await first.book(opened(1))
        async with postgres_shard(database) as second:
            await second.book(updated(1))
            await second.stop()
            await first.kill()
            with pytest.raises(Deposed):
                await first.shard.stop()
            assert inspector.rows("select version from portfolios") == [(2,)]
            assert inspector.rows("select checkpoint_seq from shards") == [(2,)]


async def test_a_checkpoint_during_a_claim_of_our_own_does_not_stop_the_shard(
    database: str, inspector: Inspector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The journal claims anew after a lost connection while a checkpoint of the epoch before is under way."""
    save = PostgresCheckpointStore.save
    epochs: list[int] = []

    async def after_a_claim(self: PostgresCheckpointStore, checkpoint: object, epoch: int) -> None:
        if not epochs:
            inspector.do("update shards set epoch = epoch + 1")
        epochs.append(epoch)
        await save(self, checkpoint, epoch)  # type: ignore[arg-type]

    monkeypatch.setattr(PostgresCheckpointStore, "save", after_a_claim)
    async with postgres_shard(database, limits=replace(FAST, checkpoint_interval_s=0.05)) as running:
        await eventually(lambda: len(epochs) > 0 or running.life.done())
        running.journal.epoch = inspector.one("select epoch from shards where shard_id = 0")
        await running.book(opened(1))
        await eventually(lambda: inspector.one("select count(*) from portfolios") == 1)
        assert not running.life.done()


async def test_a_portfolio_of_another_shard_is_refused_and_hurts_nobody(database: str) -> None:
    """A caller that counts the shards wrongly must not make a shard repeat a version that another one has."""
    async with (
        postgres_shard(database, shard_id=0, shard_count=2) as zero,
        postgres_shard(database, shard_id=1, shard_count=2) as one,
    ):
        mine = PortfolioId("PORTFOLIO-1")
        await zero.book(replace(opened(1), portfolio_id=mine))
        with pytest.raises(WrongShard):
            one.shard.submit(replace(opened(1), portfolio_id=mine))
        assert not one.life.done()


async def test_a_journal_with_a_row_gone_stops_recovery_with_a_reason(database: str, inspector: Inspector) -> None:
    async with postgres_shard(database) as running:
        await running.book(opened(1, cash="10"))
        await running.book(updated(1))
    inspector.do("delete from journal where seq = 2")
    with pytest.raises(Corrupt, match="row 3 follows row 1"):
        async with postgres_shard(database):
            pass


async def test_outcomes_name_the_book_they_led_to(database: str) -> None:
    async with postgres_shard(database, mirror=MemoryMirror()) as running:
        outcomes = await asyncio.gather(*(running.shard.submit(opened(number)) for number in range(50)))
        assert all(isinstance(outcome, Outcome) for outcome in outcomes)
        assert [outcome.book.portfolio_id for outcome in outcomes] == [portfolio(number) for number in range(50)]
