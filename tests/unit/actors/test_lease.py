"""Leases by a clock that the test moves: an owner answers only while no later one can."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from actors import owner
from actors.lease import Lease
from actors.owner import Owner
from actors.shard_status import Phase
from portfolio.errors import Deposed, ShardUnavailable
from portfolio.ids import ShardId
from tests.oracles.memory_store import MemoryDatabase, MemoryMirror
from tests.oracles.rows import opened, portfolio, updated
from tests.support.shards import FAST, eventually, memory_shard

SHORT = replace(FAST, lease_s=0.8)


def alive(_: str) -> bool:
    """Of the owner before, nothing is known."""
    return False


def test_a_lease_runs_from_before_the_question_that_proved_it() -> None:
    clock = iter([100.0, 100.0, 101.0, 101.0, 101.0])
    lease = Lease(3.0, clock.__next__)
    assert not lease.is_held
    lease.proven(98.0)
    assert lease.remaining_s == 1.0
    assert not lease.is_held
    lease.proven(100.5)
    assert lease.remaining_s == 2.5
    # The answer to an older question came later; it proves nothing new.
    lease.proven(99.0)
    assert lease.remaining_s == 2.5


def test_the_owner_of_a_running_process_is_not_gone_and_that_of_an_ended_one_is() -> None:
    me = Owner.here("node", "incarnation")
    assert Owner.parse(str(me)) == me
    assert not owner.is_gone(str(me))
    assert owner.is_gone(str(replace(me, started=me.started - 1)))
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    started = int(Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[19])
    named = str(replace(me, pid=child.pid, started=started))
    assert not owner.is_gone(named)
    child.kill()
    # It has ended, and is a zombie until its exit code is fetched.
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert owner.is_gone(named)
    child.communicate()
    assert owner.is_gone(named)


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EACCES])
def test_an_owner_that_cannot_be_looked_at_is_not_gone(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def fail(*_: object, **__: object) -> str:
        raise OSError(number, os.strerror(number))

    me = str(Owner.here("node", "incarnation"))
    monkeypatch.setattr(Path, "read_text", fail)
    assert not owner.is_gone(me)


@pytest.mark.parametrize("text", ["node/other-host:1/1/1/i", "", "somebody", "a/b/c/d/e"])
def test_of_an_owner_elsewhere_nothing_is_known(text: str) -> None:
    assert not owner.is_gone(text)


async def test_without_proof_an_owner_stops_answering_and_goes_on_when_it_is_confirmed() -> None:
    async with memory_shard(MemoryDatabase(), limits=SHORT) as running:
        await running.book(opened(1))
        running.journal.is_silent = True  # type: ignore[union-attr]
        await eventually(lambda: running.shard.status().phase is Phase.UNCONFIRMED)
        with pytest.raises(ShardUnavailable, match="lease"):
            _ = running.shard.books
        with pytest.raises(ShardUnavailable, match="lease"):
            running.shard.submit(updated(1))
        running.journal.is_silent = False  # type: ignore[union-attr]
        await eventually(lambda: running.shard.status().phase is Phase.SERVING)
        assert (await running.book(updated(1))).version == 2


async def test_commits_renew_the_lease_by_themselves() -> None:
    async with memory_shard(MemoryDatabase(), limits=SHORT) as running:
        await running.book(opened(1))
        running.journal.is_silent = True  # type: ignore[union-attr]
        # By a clock that the test moves: a busy machine moves the real one past the end of the lease.
        lease = running.shard._lease
        now = lease.now()
        lease.now = lambda: now
        lease.proven_at = now
        for _ in range(30):
            now += 0.3
            await running.book(updated(1))
            assert running.shard.status().phase is Phase.SERVING


async def test_nothing_is_mirrored_or_announced_without_the_lease() -> None:
    mirror = MemoryMirror()
    async with memory_shard(MemoryDatabase(), limits=SHORT, mirror=mirror) as running:
        await running.book(opened(1))
        await eventually(lambda: portfolio(1) in mirror.pictures and len(mirror.events) == 1)
        running.journal.gate.clear()  # type: ignore[union-attr]
        answer = running.shard.submit(updated(1))
        running.journal.is_silent = True  # type: ignore[union-attr]
        await eventually(lambda: running.shard.status().phase is Phase.UNCONFIRMED)
        mirror.pictures.clear()
        mirror.run = "second"
        await asyncio.sleep(0.1)
        assert mirror.pictures == {}
        running.journal.gate.set()  # type: ignore[union-attr]
        running.journal.is_silent = False  # type: ignore[union-attr]
        await answer
        await eventually(lambda: portfolio(1) in mirror.pictures and len(mirror.events) == 2)


async def test_a_claimant_serves_no_sooner_than_the_lease_of_the_owner_before_has_ended() -> None:
    database = MemoryDatabase()
    loop = asyncio.get_running_loop()
    async with memory_shard(database, limits=replace(SHORT, heartbeat_interval_s=0.3)) as first:
        await first.book(opened(1))
        claimed_at = loop.time()
        async with memory_shard(database, limits=SHORT, is_gone=alive) as second:
            assert loop.time() - claimed_at >= SHORT.lease_s
            with pytest.raises(ShardUnavailable):
                _ = first.shard.books
            assert isinstance(await first.stopped(), Deposed)
            assert second.shard.books.get(portfolio(1)).version == 1


async def test_a_claimant_that_died_before_it_served_has_not_outlasted_anybody() -> None:
    """The second dies while it waits for the first; the third must wait for the first all the same."""
    database = MemoryDatabase()
    loop = asyncio.get_running_loop()
    async with memory_shard(database, limits=SHORT) as first:
        await first.book(opened(1))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.05), memory_shard(database, limits=SHORT, is_gone=alive):
                pytest.fail("it served too soon")
        answering = database.shards[ShardId(0)].answering
        claimed_at = loop.time()
        async with memory_shard(database, limits=SHORT, is_gone=lambda named: named != answering):
            assert loop.time() - claimed_at >= SHORT.lease_s


async def test_nobody_waits_for_an_owner_that_let_go() -> None:
    database = MemoryDatabase()
    async with memory_shard(database) as first:
        await first.book(opened(1))
        await first.stop()
    async with asyncio.timeout(1), memory_shard(database, is_gone=alive) as second:
        assert second.shard.books.get(portfolio(1)).version == 1
