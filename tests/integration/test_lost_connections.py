"""Connections to Postgres that are cut at the worst moments: callers get the right answer, updates are booked once."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from actors.writer import Outcome
from persistence import postgres
from persistence.journal import PostgresJournal
from portfolio.commands import UpdatePortfolio
from portfolio.errors import Deposed, OutcomeUnknown, ShardUnavailable
from portfolio.ids import ShardId
from portfolio.ports import DuplicateKeys
from tests.integration.conftest import Inspector, NewJournal
from tests.oracles.builders import deposit
from tests.oracles.rows import Scribe, opened, portfolio, updated
from tests.support.shards import FAST, RunningShard, eventually, over_tcp, postgres_shard, tcp_port
from tests.support.tcp_proxy import Fault, TcpProxy, tcp_proxy

APPENDS_ALONE = replace(FAST, heartbeat_interval_s=3600.0, lease_s=7200.0, command_wait_s=60.0)
"""The lease is not renewed meanwhile, so that the next message to Postgres is an append's. Nothing is refused for waiting."""


@pytest.fixture
async def proxy(database: str) -> AsyncIterator[TcpProxy]:
    """A proxy in front of Postgres."""
    async with tcp_proxy("127.0.0.1", tcp_port(database)) as made:
        yield made


@pytest.fixture
async def running(database: str, proxy: TcpProxy) -> AsyncIterator[RunningShard]:
    """A shard whose journal reaches Postgres through the proxy, with appends alone; portfolio 1 is open."""
    through = over_tcp(database, proxy.port)
    async with postgres_shard(database, journal_dsn=through, limits=APPENDS_ALONE) as shard:
        await shard.book(opened(1))
        yield shard


def _booked(inspector: Inspector) -> int:
    return int(inspector.one("select count(*) from journal where kind = 'BOOKED'"))


async def _is_booked_though_its_answer_is_lost(
    running: RunningShard, proxy: TcpProxy, inspector: Inspector, before: int
) -> None:
    """The next update, whose answer `proxy` is to swallow, is booked once, after `before` others; its caller is told so."""
    answer = running.shard.submit(updated(1, key="k"))
    await asyncio.wait_for(proxy.struck.wait(), 20)
    assert _booked(inspector) == before + 1
    assert not answer.done()
    proxy.is_refusing = False
    outcome = await asyncio.wait_for(answer, 30)
    assert (outcome.book.version, outcome.replayed) == (2 + before, False)


@pytest.mark.parametrize("warm_up", [0, 1, 2, 5])
async def test_an_answer_lost_after_the_commit(
    running: RunningShard, proxy: TcpProxy, inspector: Inspector, warm_up: int
) -> None:
    """However often the append has run on the connection: it is one message from the first time on."""
    for _ in range(warm_up):
        await running.book(updated(1))
    proxy.arm(Fault.SWALLOW_ANSWER, then_refuse=True)
    await _is_booked_though_its_answer_is_lost(running, proxy, inspector, warm_up)
    repeat = await running.shard.submit(updated(1, key="k"))
    assert repeat.replayed
    assert (await running.book(updated(1))).version == 3 + warm_up
    assert _booked(inspector) == warm_up + 2
    assert inspector.sequence_is_gapless()


@pytest.mark.parametrize("warm_up", [0, 1, 2, 5])
async def test_an_append_is_always_committed_when_its_answer_is_swallowed(
    database: str, proxy: TcpProxy, inspector: Inspector, warm_up: int
) -> None:
    """Whatever else is said to Postgres, such as renewing the lease, gets its answer."""
    async with postgres_shard(database, journal_dsn=over_tcp(database, proxy.port)) as running:
        await running.book(opened(1))
        for _ in range(warm_up):
            await running.book(updated(1))
        proxy.arm(Fault.SWALLOW_APPEND, then_refuse=True)
        await asyncio.sleep(2 * FAST.heartbeat_interval_s)
        assert not proxy.struck.is_set()
        await _is_booked_though_its_answer_is_lost(running, proxy, inspector, warm_up)
        assert _booked(inspector) == warm_up + 1


async def test_connections_that_are_reset_under_load(
    running: RunningShard, proxy: TcpProxy, inspector: Inspector
) -> None:
    for turn in range(6):
        answers = [running.shard.submit(updated(1, key=f"{turn} {lane}")) for lane in range(8)]
        proxy.reset()
        await asyncio.wait_for(asyncio.gather(*answers), 30)
    assert _booked(inspector) == 48
    assert inspector.sequence_is_gapless()


async def test_a_request_that_never_reached_the_server(
    running: RunningShard, proxy: TcpProxy, inspector: Inspector
) -> None:
    proxy.arm(Fault.CUT_REQUEST, then_refuse=True)
    answer = running.shard.submit(updated(1, key="k"))
    await asyncio.wait_for(proxy.struck.wait(), 20)
    assert _booked(inspector) == 0
    proxy.is_refusing = False
    assert (await asyncio.wait_for(answer, 30)).book.version == 2
    assert _booked(inspector) == 1
    assert inspector.sequence_is_gapless()


@pytest.mark.parametrize("fault", [Fault.SWALLOW_ANSWER, Fault.CUT_REQUEST])
async def test_cut_again_and_again_also_while_claiming_anew(
    running: RunningShard, proxy: TcpProxy, inspector: Inspector, fault: Fault
) -> None:
    answers: list[asyncio.Future[Outcome]] = []
    # How many messages pass in a turn, and so whether it has its cut, depends on the machine.
    while len(answers) < 12 or proxy.connections <= 6:
        turn = len(answers)
        answers.append(running.shard.submit(updated(1, key=f"k{turn}")))
        proxy.arm(fault, skip=turn % 7)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(proxy.struck.wait(), 0.1)
    proxy.fault = Fault.NONE
    outcomes = await asyncio.wait_for(asyncio.gather(*answers), 40)
    assert [outcome.book.version for outcome in outcomes] == list(range(2, 2 + len(answers)))
    assert not any(outcome.replayed for outcome in outcomes)
    assert _booked(inspector) == len(answers)
    assert inspector.sequence_is_gapless()


async def test_cut_both_ways_under_load(running: RunningShard, proxy: TcpProxy, inspector: Inspector) -> None:
    async def write(lane: int) -> list[Outcome]:
        outcomes: list[Outcome] = []
        # For as long as it takes until a cut has hit an append: how many that is depends on the machine.
        while running.journal.epoch < 4:
            outcomes.append(await running.shard.submit(updated(1, key=f"{lane} {len(outcomes)}")))
        return outcomes

    async def cut() -> None:
        pause_s = 0.02
        while True:
            await asyncio.sleep(pause_s)
            proxy.cut()
            # Until a machine, however slow, connects and claims anew between two cuts.
            pause_s *= 1.05

    cutter = asyncio.ensure_future(cut())
    lanes = await asyncio.wait_for(asyncio.gather(*map(write, range(8))), 90)
    cutter.cancel()
    versions = [outcome.book.version for lane in lanes for outcome in lane]
    assert sorted(versions) == list(range(2, 2 + len(versions)))
    assert _booked(inspector) == len(versions)
    assert inspector.sequence_is_gapless()


async def test_a_backend_ended_in_the_middle_of_an_append(database: str, inspector: Inspector) -> None:
    async with postgres_shard(database) as running:
        await running.book(opened(1))
        with inspector.connection.transaction():
            # The append waits for this lock until its backend is ended.
            inspector.do("lock table journal in exclusive mode")
            answer = running.shard.submit(updated(1, key="k"))
            await eventually(lambda: bool(inspector.one("select count(*) from pg_locks where not granted")))
            assert inspector.end_backends() >= 1
            await asyncio.sleep(0.05)
            assert not answer.done()
        assert (await asyncio.wait_for(answer, 30)).book.version == 2
        assert _booked(inspector) == 1
        assert inspector.sequence_is_gapless()


async def test_backends_ended_under_load(database: str, inspector: Inspector) -> None:
    async with postgres_shard(database) as running:
        await running.book(opened(1))
        for _ in range(8):
            answers = [running.shard.submit(updated(1)) for _ in range(20)]
            await asyncio.sleep(0.005)
            inspector.end_backends()
            await asyncio.wait_for(asyncio.gather(*answers), 20)
        assert running.shard.books.get(portfolio(1)).version == 161
        assert _booked(inspector) == 160
        assert inspector.sequence_is_gapless()


async def test_a_server_that_falls_silent_is_given_up_and_the_update_booked_once(
    running: RunningShard, proxy: TcpProxy, inspector: Inspector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("persistence.journal.APPEND_TIMEOUT_S", 0.5)
    proxy.fault = Fault.BLACK_HOLE
    answer = running.shard.submit(updated(1))
    await asyncio.sleep(1.2)
    assert not answer.done()
    monkeypatch.undo()
    proxy.cut()
    proxy.fault = Fault.NONE
    assert (await asyncio.wait_for(answer, 20)).book.version == 2
    assert _booked(inspector) == 1


async def test_a_server_that_falls_silent_on_a_new_connection_is_given_up_as_soon(
    database: str,
    new_journal: NewJournal,
    proxy: TcpProxy,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The append is not prepared there yet, and the driver on its own would wait ten seconds longer."""
    journal = new_journal("owner", dsn=over_tcp(database, proxy.port))
    await journal.claim()
    monkeypatch.setattr("persistence.journal.APPEND_TIMEOUT_S", 0.5)
    proxy.fault = Fault.BLACK_HOLE
    append = asyncio.ensure_future(journal.append(Scribe().rows(opened(1))))
    await eventually(lambda: "connection lost in an append" in caplog.text, within_s=8)
    monkeypatch.undo()
    proxy.cut()
    proxy.fault = Fault.NONE
    await asyncio.wait_for(append, 30)
    assert (await journal.claim()).head.seq == 1


async def test_the_append_is_prepared_anew_when_its_backend_was_ended(
    journal: PostgresJournal, inspector: Inspector
) -> None:
    scribe = Scribe()
    await journal.append(scribe.rows(opened(1)))
    for _ in range(3):
        assert inspector.end_backends() >= 1
        await asyncio.wait_for(journal.append(scribe.rows(updated(1))), 30)
    with inspector.connection.transaction():
        inspector.do("lock table journal in exclusive mode")
        append = asyncio.ensure_future(journal.append(scribe.rows(updated(1))))
        await eventually(lambda: bool(inspector.one("select count(*) from pg_locks where not granted")))
        assert inspector.end_backends() >= 1
    await asyncio.wait_for(append, 30)
    await journal.append(scribe.rows(updated(1)))
    assert _booked(inspector) == 5
    assert inspector.sequence_is_gapless()


async def test_a_release_does_not_fail_for_a_renewal_that_does(
    new_journal: NewJournal,
    database: str,
    proxy: TcpProxy,
    inspector: Inspector,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They share a connection, which the renewal gives up."""
    journal = new_journal("owner", dsn=over_tcp(database, proxy.port))
    await journal.claim()
    await journal.begin_answering(3.0)
    monkeypatch.setattr("persistence.journal._OWNER_TIMEOUT_S", 0.3)
    proxy.fault = Fault.BLACK_HOLE
    renewal = asyncio.ensure_future(journal.renew())
    await asyncio.sleep(0)
    release = asyncio.ensure_future(journal.release("heir"))
    with pytest.raises(ShardUnavailable):
        await renewal
    monkeypatch.setattr("persistence.journal._OWNER_TIMEOUT_S", 20.0)
    proxy.fault = Fault.NONE
    await asyncio.wait_for(release, 30)
    assert inspector.rows("select owner, actor from shards where shard_id = 0") == [(None, "heir")]


async def test_an_owner_is_not_deposed_by_a_claim_of_its_own_whose_answer_was_lost(
    database: str, proxy: TcpProxy, inspector: Inspector
) -> None:
    """The database has the new epoch, the owner does not know yet, and its ownership is looked at meanwhile."""
    async with postgres_shard(database, journal_dsn=over_tcp(database, proxy.port), limits=FAST) as running:
        # A checkpoint under way would hold the row that is changed below, and wait for this loop meanwhile.
        await running.save()
        await running.book(opened(1))
        proxy.arm(Fault.SWALLOW_APPEND, then_refuse=True)
        answer = running.shard.submit(updated(1))
        await asyncio.wait_for(proxy.struck.wait(), 20)
        inspector.do("update shards set epoch = epoch + 1")
        await asyncio.sleep(4 * FAST.heartbeat_interval_s)
        assert not running.life.done()
        proxy.is_refusing = False
        assert (await asyncio.wait_for(answer, 30)).book.version == 2


async def test_a_deposed_owner_whose_answer_was_lost_still_tells_what_was_booked(
    database: str, proxy: TcpProxy, inspector: Inspector
) -> None:
    async with postgres_shard(database, journal_dsn=over_tcp(database, proxy.port)) as first:
        await first.book(opened(1))
        proxy.arm(Fault.SWALLOW_APPEND, then_refuse=True)
        answer = first.shard.submit(updated(1, key="k"))
        await asyncio.wait_for(proxy.struck.wait(), 20)
        async with postgres_shard(database) as second:
            assert (await second.book(updated(1))).version == 3
            proxy.is_refusing = False
            (outcome,) = await asyncio.gather(answer, return_exceptions=True)
            # Either the booked state or that nobody knows; never that nothing was booked.
            if isinstance(outcome, Outcome):
                assert outcome.book.version == 2
            else:
                assert isinstance(outcome, OutcomeUnknown)
            assert isinstance(await first.stopped(), Deposed)
            assert (await second.shard.submit(updated(1, key="k"))).replayed
    assert _booked(inspector) == 2


@pytest.mark.parametrize("is_committed", [True, False])
async def test_a_journal_deposed_during_a_lost_append_knows_the_outcome(
    database: str, new_journal: NewJournal, proxy: TcpProxy, is_committed: bool
) -> None:
    scribe = Scribe()
    first = new_journal("first", dsn=over_tcp(database, proxy.port))
    await first.claim()
    await first.append(scribe.rows(opened(1)))
    rows = scribe.rows(updated(1, key="k"))
    proxy.arm(Fault.SWALLOW_ANSWER if is_committed else Fault.CUT_REQUEST, then_refuse=True)
    append = asyncio.ensure_future(first.append(rows))
    await asyncio.wait_for(proxy.struck.wait(), 20)
    second = new_journal("second")
    claim = await second.claim()
    assert claim.head.seq == (2 if is_committed else 1)
    proxy.is_refusing = False
    if is_committed:
        await asyncio.wait_for(append, 30)
    else:
        with pytest.raises(Deposed):
            await asyncio.wait_for(append, 30)
    with pytest.raises(Deposed):
        await first.append(scribe.rows(updated(1)))


async def test_a_duplicate_found_after_a_lost_connection_is_told_as_one(
    database: str, new_journal: NewJournal, proxy: TcpProxy
) -> None:
    scribe = Scribe()
    journal = new_journal("owner", dsn=over_tcp(database, proxy.port))
    await journal.claim()
    await journal.append(scribe.rows(opened(1)) + scribe.rows(updated(1, key="k")))
    proxy.arm(Fault.CUT_REQUEST)
    with pytest.raises(DuplicateKeys):
        await asyncio.wait_for(journal.append(scribe.rows(updated(1, key="k"))), 30)


async def test_a_shard_stopped_while_postgres_is_away_does_not_say_that_nothing_was_booked(
    running: RunningShard, proxy: TcpProxy, inspector: Inspector
) -> None:
    proxy.arm(Fault.SWALLOW_ANSWER, then_refuse=True)
    answer = running.shard.submit(updated(1, key="k"))
    await asyncio.wait_for(proxy.struck.wait(), 20)
    assert _booked(inspector) == 1
    await running.kill()
    with pytest.raises(OutcomeUnknown):
        await answer


async def test_recovery_through_a_connection_that_is_cut_is_unavailable_and_works_later(
    database: str, proxy: TcpProxy, inspector: Inspector
) -> None:
    async with postgres_shard(database) as running:
        await running.book(opened(1))
        for _ in range(30):
            await running.book(UpdatePortfolio(portfolio_id=portfolio(1), transactions=(deposit("1"),) * 500))
        before = running.everything()
    through = over_tcp(database, proxy.port)
    async with postgres.pool(through, size_max=2) as pool, contextlib.AsyncExitStack() as closing:
        journal = PostgresJournal(through, ShardId(0), "reader", pool)
        closing.push_async_callback(journal.close)
        claim = await journal.claim()
        rows = journal.tail(claim, 0)
        await anext(rows)
        proxy.cut()
        with pytest.raises(ShardUnavailable):
            _ = [row async for row in rows]
    async with postgres_shard(database) as again:
        assert again.everything() == before
    assert inspector.sequence_is_gapless()
