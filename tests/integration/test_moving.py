"""Splits and releases on a real Postgres whose connections fail at every step: they happen wholly or not at all."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from actors.settings import Limits
from actors.shard import Shard
from actors.shard_status import Phase
from persistence import postgres
from persistence.checkpoint import PostgresCheckpointStore
from persistence.journal import PostgresJournal
from persistence.mark_store import PostgresMarkStore
from persistence.migrate import begin_doubling, finish_doubling, set_up_cluster
from portfolio.errors import Corrupt, Deposed, PortfolioError, ShardUnavailable
from portfolio.ids import PortfolioId, ShardId
from portfolio.sharding import shard_of
from tests.integration.conftest import Inspector, NewJournal
from tests.oracles.builders import buy, sell
from tests.oracles.memory_store import MemoryMirror
from tests.oracles.rows import Scribe, opened, portfolio, updated
from tests.support.shards import FAST, RunningShard, eventually, exactly, over_tcp, postgres_shard, tcp_port
from tests.support.tcp_proxy import Fault, TcpProxy, tcp_proxy

COUNT = 12
STATEMENTS = 7
"""Of a split on a connection that the pool has: its check, begin, four changes, commit."""
QUIET = replace(FAST, mark_refresh_interval_s=3600.0)
"""Nothing is asked of Postgres but what a test asks for, so that it can count."""
NOT_LOOKING = replace(FAST, heartbeat_interval_s=3600.0, lease_s=7200.0)
STAYING, GOING = (next(number for number in range(COUNT) if shard_of(portfolio(number), 2) == half) for half in (0, 1))


@pytest.fixture
async def proxy(database: str) -> AsyncIterator[TcpProxy]:
    """A proxy in front of Postgres."""
    async with tcp_proxy("127.0.0.1", tcp_port(database)) as made:
        yield made


@contextlib.asynccontextmanager
async def filled(database: str, readers_dsn: str, limits: Limits = FAST) -> AsyncIterator[RunningShard]:
    """The one shard of a database, with portfolios; everything but its own commits goes by `readers_dsn`."""
    await asyncio.to_thread(set_up_cluster, database, 1)
    async with postgres_shard(readers_dsn, journal_dsn=database, limits=limits) as running:
        for number in range(COUNT):
            await running.book(opened(number, cash="100"))
            await running.book(updated(number, buy("3", "7.00000001"), key="k"))
        yield running


def _homes(inspector: Inspector) -> dict[str, int]:
    return dict(inspector.rows("select portfolio_id, shard_id from portfolios"))


def _is_split_wholly_or_not_at_all(inspector: Inspector) -> bool:
    """Whether the shard has split; fails if it has only in part."""
    moduli = dict(inspector.rows("select shard_id, modulus from shards"))
    homes = _homes(inspector)
    modulus: int = moduli[0]
    assert moduli in ({0: 1}, {0: 2, 1: 2})
    assert homes == {portfolio(number): shard_of(portfolio(number), modulus) for number in range(COUNT)}
    return modulus == 2


async def _saved(running: RunningShard) -> None:
    """Return once there is nothing left to save, so that what is asked of Postgres next is the split itself."""
    await eventually(lambda: running.shard.status().events_pending == 0)
    await running.save()


@pytest.mark.parametrize("fault", [Fault.CUT_REQUEST, Fault.SWALLOW_ANSWER])
@pytest.mark.parametrize("skip", range(STATEMENTS))
async def test_a_split_that_is_cut_off_happened_wholly_or_not_at_all(
    database: str, proxy: TcpProxy, inspector: Inspector, fault: Fault, skip: int
) -> None:
    async with filled(database, over_tcp(database, proxy.port), QUIET) as running:
        await _saved(running)
        before = running.everything()
        proxy.arm(fault, skip=skip)
        (outcome,) = await asyncio.gather(running.shard.split(2), return_exceptions=True)
        proxy.fault = Fault.NONE
        is_split = _is_split_wholly_or_not_at_all(inspector)
        assert (outcome is None) == is_split, outcome
        assert outcome is None or isinstance(outcome, ShardUnavailable)
        assert running.shard.status().modulus == (2 if is_split else 1)
        assert (await running.book(updated(STAYING))).version == 4
        if not is_split:
            assert running.everything().keys() == before.keys()
            assert (await running.book(updated(GOING, sell("3", "8"), key="all"))).version == 4
            await running.shard.split(2)
        async with postgres_shard(database, shard_id=1) as child:
            assert (await child.shard.submit(updated(GOING, buy("3", "7.00000001"), key="k"))).replayed
            assert (await child.book(updated(GOING))).version == (4 if is_split else 5)
            assert len(child.everything()) + len(running.everything()) == COUNT


async def test_the_last_statement_of_a_split_is_its_commit(
    database: str, proxy: TcpProxy, inspector: Inspector
) -> None:
    """The test above has cut every statement, and the answer to the last one."""
    async with filled(database, over_tcp(database, proxy.port), QUIET) as running:
        await _saved(running)
        proxy.arm(Fault.SWALLOW_ANSWER, skip=STATEMENTS - 1, then_refuse=True)
        splitting = asyncio.ensure_future(running.shard.split(2))
        await asyncio.wait_for(proxy.struck.wait(), 20)
        await eventually(lambda: inspector.rows("select modulus from shards order by shard_id") == [(2,), (2,)])
        # Nobody knows yet; what may have gone is answered by nobody, and the rest by this shard.
        await asyncio.sleep(0.1)
        assert not splitting.done()
        with pytest.raises(ShardUnavailable):
            running.shard.books_with(portfolio(GOING))
        assert running.shard.books_with(portfolio(STAYING)).get(portfolio(STAYING)).version == 3
        proxy.is_refusing = False
        await asyncio.wait_for(splitting, 20)
        assert running.shard.status().modulus == 2


async def test_a_deposed_owner_neither_splits_nor_releases(database: str, inspector: Inspector) -> None:
    async with filled(database, database, limits=NOT_LOOKING) as first:
        await first.save()
        async with postgres_shard(database, limits=NOT_LOOKING) as second:
            for refused in (
                first.journal.split([portfolio(GOING)], "shard-1"),
                first.journal.release("shard-0.1"),
                first.journal.renew(),
                first.journal.begin_answering(3.0),
            ):
                with pytest.raises(Deposed):
                    await refused
            with pytest.raises(PortfolioError):
                await first.shard.split(2)
            assert not _is_split_wholly_or_not_at_all(inspector)
            assert inspector.one("select owner is not null and actor is null from shards")
            assert (await second.book(updated(GOING))).version == 4
            await second.shard.split(2)


async def test_a_journal_that_is_ahead_of_its_checkpoint_is_not_split(database: str, inspector: Inspector) -> None:
    async with filled(database, database) as running:
        await running.save()
        await running.book(updated(STAYING))
        with pytest.raises(ShardUnavailable, match="checkpoint is behind"):
            await running.journal.split([portfolio(GOING)], "shard-1")
        assert not _is_split_wholly_or_not_at_all(inspector)


async def test_a_release_whose_answer_is_lost_is_a_release(
    database: str, proxy: TcpProxy, inspector: Inspector
) -> None:
    async with postgres_shard(database, journal_dsn=over_tcp(database, proxy.port), limits=NOT_LOOKING) as running:
        await running.book(opened(1))
        before = running.everything()
        await running.save()
        proxy.arm(Fault.SWALLOW_ANSWER)
        with pytest.raises(ShardUnavailable):
            await running.shard.hand_over("shard-0.1")
        assert proxy.struck.is_set()
        assert running.shard.has_let_go
        await asyncio.wait_for(running.life, 20)
        with pytest.raises(ShardUnavailable):
            running.shard.submit(updated(1))
    assert inspector.rows("select owner, answering, actor from shards") == [(None, None, "shard-0.1")]
    async with postgres_shard(database) as successor:
        assert successor.everything() == before


async def test_only_the_actor_that_is_meant_can_claim(new_journal: NewJournal, inspector: Inspector) -> None:
    first, *others = (
        new_journal(f"owner {number}", actor)
        for number, actor in enumerate(("shard-0", "shard-0.1", "shard-0", "shard-0.1", "shard-0.2"))
    )
    heir, restarted, heir_again, stranger = others
    await first.claim()
    with pytest.raises(Deposed, match="meant for shard-0"):
        await heir.claim()
    await first.release("shard-0.1")
    for refused in (first, restarted, stranger):
        with pytest.raises(Deposed, match=r"meant for shard-0\.1"):
            await refused.claim()
    epoch = inspector.one("select epoch from shards where shard_id = 0")
    claims = [await heir.claim(), await heir_again.claim()]
    assert [claim.epoch for claim in claims] == [epoch + 1, epoch + 2]


async def test_a_lease_ends_before_a_silent_server_and_comes_back_with_it(
    database: str, proxy: TcpProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = replace(FAST, lease_s=4.0, heartbeat_interval_s=0.1)
    async with postgres_shard(database, journal_dsn=over_tcp(database, proxy.port), limits=limits) as running:
        await running.book(opened(1))
        # Several renewals fail while the lease lasts.
        monkeypatch.setattr("persistence.journal._OWNER_TIMEOUT_S", 0.5)
        lease = running.shard._lease
        await eventually(lambda: running.shard.status().phase is Phase.SERVING)
        proxy.fault = Fault.BLACK_HOLE
        silent_at, left_s = lease.now(), lease.remaining_s
        await eventually(lambda: running.shard.status().phase is Phase.UNCONFIRMED)
        assert lease.now() - silent_at >= left_s
        # A proof that was on its way may have arrived; then it counts from when it was sent. Nothing in the silence is one.
        assert lease.proven_at <= silent_at
        with pytest.raises(ShardUnavailable, match="does not confirm"):
            _ = running.shard.books
        with pytest.raises(ShardUnavailable):
            running.shard.submit(updated(1))
        monkeypatch.undo()
        proxy.fault = Fault.NONE
        proxy.cut()
        await eventually(lambda: running.shard.status().phase is Phase.SERVING)
        assert (await running.book(updated(1))).version == 2


@pytest.mark.parametrize("way", ["renewing", "appending", "releasing"])
async def test_a_database_that_went_back_is_told_from_a_newer_owner(
    new_journal: NewJournal, inspector: Inspector, way: str
) -> None:
    scribe = Scribe()
    journal = new_journal("first")
    for _ in range(3):
        await journal.claim()
    await journal.append(scribe.rows(opened(1)))
    inspector.do("update shards set epoch = 2, owner = 'older', head_seq = 0, head_hash = '' where shard_id = 0")
    ways: dict[str, Callable[[], Awaitable[None]]] = {
        "renewing": journal.renew,
        "appending": lambda: journal.append(scribe.rows(updated(1))),
        "releasing": lambda: journal.release("shard-0.1"),
    }
    with pytest.raises(Corrupt, match="database is at epoch 2"):
        await ways[way]()


@contextlib.asynccontextmanager
async def _standing_by(dsn: str) -> AsyncIterator[Shard]:
    """A successor of the one shard of a database, which has claimed nothing."""
    async with postgres.pool(dsn, size_max=3) as pool:
        journal = PostgresJournal(dsn, ShardId(0), "the successor", pool)
        try:
            yield Shard(
                shard_id=ShardId(0),
                journal=journal,
                epoch=lambda: journal.epoch,
                checkpoints=PostgresCheckpointStore(ShardId(0), pool),
                marks=PostgresMarkStore(pool),
                mirror=MemoryMirror(),
                limits=FAST,
                is_gone=lambda owner: True,
            )
        finally:
            await journal.close()


async def test_a_successor_that_read_ahead_of_real_checkpoints_begins_with_what_the_old_one_had(
    database: str, inspector: Inspector
) -> None:
    async with filled(database, database) as old, _standing_by(database) as heir:
        await heir.read_ahead()
        for turn in range(5):
            await old.book(updated(STAYING, buy("1", f"{turn + 5}")))
            await old.book(updated(GOING, sell("3", "8") if turn % 2 else buy("3", "8")))
            await old.save()
            await heir.read_ahead()
        before = {book.portfolio_id: exactly(book) for book in old.shard.books}
        await old.shard.hand_over("shard-0.1")
        await heir.start()
        assert {book.portfolio_id: exactly(book) for book in heir.books} == before
        assert heir.status().tail_rows_recovered > 0
    assert _homes(inspector).keys() == before.keys()


@pytest.mark.parametrize("is_bare", [False, True])
async def test_four_shards_that_came_of_one_recover(database: str, inspector: Inspector, is_bare: bool) -> None:
    async with filled(database, database) as first:
        begin_doubling(database, 2)
        await first.shard.split(2)
        finish_doubling(database)
        async with postgres_shard(database, shard_id=1) as second:
            for number in range(COUNT):
                half = second if shard_of(portfolio(number), 2) else first
                await half.book(updated(number, sell("1", "8"), key="between"))
            begin_doubling(database, 4)
            await first.shard.split(4)
            await second.shard.split(4)
            assert finish_doubling(database).shard_count == 4
            expected = first.everything() | second.everything()
    if is_bare:
        inspector.do("truncate positions, portfolios")
        inspector.do("update shards set checkpoint_seq = 0")
    found: dict[PortfolioId, Any] = {}
    for shard_id in range(4):
        async with postgres_shard(database, shard_id=shard_id) as shard:
            mine = shard.everything()
            assert all(shard_of(name, 4) == shard_id for name in mine)
            found |= mine
            for name in mine:
                number = int(name.removeprefix("P-"))
                for key, item in (("k", buy("3", "7.00000001")), ("between", sell("1", "8"))):
                    assert (await shard.shard.submit(updated(number, item, key=key))).replayed
            await shard.stop()
    assert sorted(found) == sorted(map(portfolio, range(COUNT)))
    assert expected.items() <= found.items()
    assert _homes(inspector) == {name: shard_of(name, 4) for name in found}
