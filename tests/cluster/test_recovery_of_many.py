"""A thousand portfolios of twenty positions come back within ten seconds, with or without a checkpoint."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from decimal import Decimal
from typing import Final

import psutil
import psycopg
import pytest

from actors.documents import StateDocument
from actors.shard_status import Phase, ShardStatus
from cluster.client import AsyncClient
from portfolio.commands import UpdatePortfolio
from portfolio.ids import IdempotencyKey, InstrumentId, PortfolioId
from portfolio.transactions import Transaction, TransactionType
from tests.cluster.service_process import ServiceProcess, wait_until

pytestmark = [pytest.mark.cluster, pytest.mark.soak, pytest.mark.timeout(900)]

PORTFOLIOS: Final = tuple(PortfolioId(f"MANY-{number:04}") for number in range(1_000))
POSITIONS: Final = 20
RECOVERY_MAX_S: Final = 10.0
COMMANDS_PER_CALL: Final = 250
ROWS: Final = len(PORTFOLIOS) * (1 + POSITIONS)


async def test_a_thousand_portfolios_recover_in_time_from_checkpoint_and_bare_journal(
    service: ServiceProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    client = await AsyncClient.connect(service.settings)
    lines = [await _load(client)]
    before = await _states(client)
    assert {len(state.positions) for state in before} == {POSITIONS + 1}
    assert await asyncio.to_thread(wait_until, lambda: _checkpoint_lag(service) == 0, 30)
    for way in ("checkpoint", "bare journal"):
        took_s = await _recovered(service, client, bare=way == "bare journal")
        statuses = await _statuses(client)
        tail = sum(status.tail_rows_recovered for status in statuses)
        slowest_s = max(status.recovery_s for status in statuses)
        lines.append(
            f"  recovery from the {way}: {slowest_s:.2f} s of recovery, {took_s:.2f} s from kill -9 to every shard serving, "
            f"{tail:,} rows replayed ({tail / slowest_s:,.0f} rows/s on both shards)"
        )
        lines += [
            f"    shard {status.shard_id}: {status.portfolios} portfolios, {status.memory_mb:.0f} MB"
            for status in statuses
        ]
        assert await _states(client) == before
        assert tail >= ROWS if way == "bare journal" else tail < 1_000
        assert took_s < RECOVERY_MAX_S
    with capsys.disabled():
        print("\n" + "\n".join(lines))  # noqa: T201 - the figures are wanted


async def _load(client: AsyncClient) -> str:
    await asyncio.gather(*(client.create(portfolio_id) for portfolio_id in PORTFOLIOS))
    commands = [_purchases(number, portfolio_id) for number, portfolio_id in enumerate(PORTFOLIOS)]
    began = time.monotonic()
    for start in range(0, len(commands), COMMANDS_PER_CALL):
        outcomes = await client.book_many(commands[start : start + COMMANDS_PER_CALL])
        assert {(outcome.fault, outcome.version) for outcome in outcomes} == {(None, 1 + POSITIONS)}
    rows = len(commands) * POSITIONS
    return f"  {rows:,} rows booked by {len(commands):,} updates over handles: {rows / (time.monotonic() - began):,.0f} rows/s"


def _purchases(number: int, portfolio_id: PortfolioId) -> UpdatePortfolio:
    return UpdatePortfolio(
        portfolio_id=portfolio_id,
        transactions=tuple(
            Transaction(
                transaction_type=TransactionType.BUY,
                instrument_id=InstrumentId(f"STOCK-{(number * 7 + position) % 500:03}"),
                quantity=Decimal(100 + position) / 8,
                price=Decimal(1_000 + number) / 100,
            )
            for position in range(POSITIONS)
        ),
        idempotency_key=IdempotencyKey("purchases"),
    )


async def _states(client: AsyncClient) -> Sequence[StateDocument]:
    return await asyncio.gather(*(client.state(portfolio_id) for portfolio_id in PORTFOLIOS))


async def _statuses(client: AsyncClient) -> list[ShardStatus]:
    return [status for status in await client.shard_statuses() if isinstance(status, ShardStatus)]


async def _recovered(service: ServiceProcess, client: AsyncClient, *, bare: bool) -> float:
    """Seconds from the kill of every shard to all of them serving."""
    shards = await asyncio.to_thread(service.shards)
    assert len(shards) == 2
    if bare:
        _forget_checkpoint(service, shards)
    killed_at = time.monotonic()
    _kill(shards)
    while True:
        statuses = await _statuses(client)
        if [status.phase for status in statuses] == [Phase.SERVING, Phase.SERVING]:
            return time.monotonic() - killed_at
        assert time.monotonic() - killed_at < 60
        await asyncio.sleep(0.02)


def _forget_checkpoint(service: ServiceProcess, shards: Sequence[psutil.Process]) -> None:
    with psycopg.connect(service.postgres_dsn) as connection:
        connection.execute("delete from positions")
        connection.execute("delete from portfolios")
        connection.execute("update shards set checkpoint_seq = 0")
        # They die while their rows are locked: none saves a checkpoint on top of this.
        _kill(shards)


def _kill(shards: Sequence[psutil.Process]) -> None:
    for shard in shards:
        if shard.is_running():
            shard.kill()
    psutil.wait_procs(shards, timeout=10)


def _checkpoint_lag(service: ServiceProcess) -> int:
    with psycopg.connect(service.postgres_dsn) as connection:
        found = connection.execute("select sum(head_seq - checkpoint_seq) from shards").fetchone()
    return int(found[0]) if found else -1
