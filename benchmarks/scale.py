"""What a portfolio, a position and an update cost as counts grow, each size on a service of its own.

Portfolios of ten positions are loaded through actor handles, then each is updated once. After that the checkpoint and an
emptied Redis catch up, states are read over REST, a shard is killed, and at last the service starts from its bare
journal. Memory is what the shards' processes hold beyond what they held empty.

No standby is there: it would have read the killed shard's checkpoint already, and hold its books once more.
"""

from __future__ import annotations

import asyncio
import dataclasses
import random
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import psutil
import psycopg
import redis

from actors.shard_status import Phase, ShardStatus
from benchmarks.apart import apart
from benchmarks.effort import Effort
from benchmarks.holdings import address
from benchmarks.http_connection import get
from benchmarks.load import OpenLoad, Shot
from benchmarks.load_process import applied
from benchmarks.many_portfolios import POSITIONS, buy_all, name, open_all
from benchmarks.quantiles import quantiles
from benchmarks.results import Line, Section
from benchmarks.stand import Stand, scratch_directory, stand_on
from persistence.embedded.postgres import EmbeddedPostgres
from portfolio.ids import ShardId
from serve_app.finding import find_shard

READS_PER_S: Final = 300
READ_S: Final = 10.0
_CONNECTIONS: Final = 64
_PAUSE_S: Final = 0.05
_PATIENCE_S: Final = 1_800.0
_ASKED_AT_ONCE: Final = 1_000


def measure(effort: Effort) -> Section:
    """Every size, one after the other."""
    section = Section("scale")
    for portfolios in effort.sizes:
        with scratch_directory() as data_dir:
            section.rounds += apart(_grown, data_dir, portfolios)
            _forget_checkpoint(data_dir)
            section.rounds += apart(_replayed, data_dir, portfolios)
    section.lines = [line for portfolios in effort.sizes for line in _lines(section, portfolios)]
    return section


def _grown(data_dir: Path, portfolios: int) -> list[dict[str, Any]]:
    section = Section("scale")
    with stand_on(data_dir, standby=False) as stand:
        for step in (_load, _update_each, _empty_redis, _read, _kill):
            step(section, stand, portfolios)
    return section.rounds


def _replayed(data_dir: Path, portfolios: int) -> list[dict[str, Any]]:
    section = Section("scale")
    with section.round("journal", portfolios=portfolios) as found, stand_on(data_dir, standby=False) as stand:
        found.update(_recovered(_statuses(stand).values()))
    return section.rounds


def _load(section: Section, stand: Stand, portfolios: int) -> None:
    empty_mb = _memory_mb(stand)
    with section.round("open", portfolios=portfolios) as found:
        found["per_s"] = portfolios / _took_s(lambda: asyncio.run(open_all(stand.gateway, portfolios)))
    with section.round("load", portfolios=portfolios) as found:
        took_s = _took_s(lambda: asyncio.run(buy_all(stand.gateway, portfolios)))
        found["rows_per_s"] = portfolios * POSITIONS / took_s
        found["kb_per_portfolio"] = (_memory_mb(stand) - empty_mb) * 1_000 / portfolios


def _update_each(section: Section, stand: Stand, portfolios: int) -> None:
    """One transaction of every portfolio, so that the checkpoint has each of them to write; it rests in between."""
    _checkpointed_s(stand)
    with section.round("update each", portfolios=portfolios) as found:
        found["per_s"] = portfolios / _took_s(lambda: asyncio.run(buy_all(stand.gateway, portfolios, positions=1)))
        found["checkpoint_s"] = _checkpointed_s(stand)


def _checkpointed_s(stand: Stand) -> float:
    """Seconds until the checkpoint holds all that is committed."""
    return _until_s(lambda: all(one.checkpoint_seq == one.head_seq for one in _statuses(stand).values()))


def _empty_redis(section: Section, stand: Stand, portfolios: int) -> None:
    """A Redis that begins anew is shown every portfolio; with its share of the loop, while nothing else is asked."""
    with section.round("publish", portfolios=portfolios) as found:
        stand.valkey.stop()
        stand.valkey.start()
        missing = [f"portfolio:{name(number)}:version" for number in range(portfolios)]
        with closing(redis.Redis.from_url(stand.valkey.url)) as client:
            found["per_s"] = portfolios / _until_s(lambda: _all_there(client, missing))


def _all_there(client: redis.Redis, missing: list[str]) -> bool:
    """Whether all of these keys are there; those that are leave the list."""
    asked = missing[-_ASKED_AT_ONCE:]
    with client.pipeline(transaction=False) as pipeline:
        for key in asked:
            pipeline.exists(key)
        found = pipeline.execute()
    missing[-_ASKED_AT_ONCE:] = [key for key, is_there in zip(asked, found, strict=True) if not is_there]
    return not missing


def _read(section: Section, stand: Stand, portfolios: int) -> None:
    chance = random.Random(4)
    urls = [
        f"{stand.base_url}/api/v1/portfolio/{name(chance.randrange(portfolios))}/state"
        for _ in range(int(READS_PER_S * READ_S))
    ]
    shots = [Shot(number / READS_PER_S, "read", get(url)) for number, url in enumerate(urls)]
    with section.round("state", portfolios=portfolios) as found:
        observed = applied(OpenLoad(*address(stand.base_url), _CONNECTIONS, shots))
        found["read_ms"] = dataclasses.asdict(quantiles(observed.latencies_s["read"]))


def _kill(section: Section, stand: Stand, portfolios: int) -> None:
    """Shard 0 recovers from its checkpoint."""
    with section.round("kill", portfolios=portfolios) as found:
        epoch = _statuses(stand)[ShardId(0)].epoch
        psutil.Process(asyncio.run(_pid())).kill()
        found["away_s"] = _until_s(lambda: (now := _statuses(stand).get(ShardId(0))) is not None and now.epoch > epoch)
        again = _statuses(stand)[ShardId(0)]
        found.update(_recovered([again]))
        found["positions_per_s"] = again.portfolios * POSITIONS / again.recovery_s


async def _pid() -> int:
    handle = await find_shard(ShardId(0))
    pid: int = await handle.pid.remote()
    return pid


def _forget_checkpoint(data_dir: Path) -> None:
    """What is left is the journal alone, as it is all that cannot be made again."""
    with EmbeddedPostgres(data_dir) as server, psycopg.connect(server.dsn) as connection:
        connection.execute("truncate positions, portfolios")
        connection.execute("update shards set checkpoint_seq = 0")


def _recovered(statuses: Any) -> dict[str, float]:
    """How long recovery took, of shards that recovered side by side, and the rows that they replayed."""
    rows = sum(status.tail_rows_recovered for status in statuses)
    longest_s = max(status.recovery_s for status in statuses)
    return {"recovery_s": longest_s, "rows": rows, "rows_per_s": rows / longest_s}


def _statuses(stand: Stand) -> Mapping[ShardId, ShardStatus]:
    """Of the shards that serve."""
    found = asyncio.run(stand.gateway.statuses())
    return {
        shard_id: status
        for shard_id, status in found.items()
        if isinstance(status, ShardStatus) and status.phase is Phase.SERVING
    }


def _memory_mb(stand: Stand) -> float:
    return sum(status.memory_mb for status in _statuses(stand).values())


def _took_s(doing: Callable[[], object]) -> float:
    began = time.perf_counter()
    doing()
    return time.perf_counter() - began


def _until_s(is_so: Callable[[], bool]) -> float:
    """Seconds until it is so. Raises TimeoutError."""
    began = time.perf_counter()
    while not is_so():
        if time.perf_counter() - began > _PATIENCE_S:
            raise TimeoutError(f"not after {_PATIENCE_S:g} s")
        time.sleep(_PAUSE_S)
    return time.perf_counter() - began


def _lines(section: Section, portfolios: int) -> list[Line]:
    quoted = (
        ("loaded", "load", "rows_per_s", "rows/s"),
        ("memory", "load", "kb_per_portfolio", "kB a portfolio"),
        ("updates, 100 a call", "update each", "per_s", "/s"),
        ("checkpoint after it", "update each", "checkpoint_s", "s"),
        ("shown to Redis", "publish", "per_s", "/s"),
        ("recovered from the checkpoint", "kill", "positions_per_s", "positions/s"),
        ("recovered from the journal", "journal", "rows_per_s", "rows/s"),
    )
    (read_ms,) = section.of("state", "read_ms", portfolios=portfolios)
    return [
        *(
            Line(
                shows=7,
                what=f"{portfolios:,}: {what}",
                figure=section.of(step, key, portfolios=portfolios)[0],
                unit=unit,
            )
            for what, step, key, unit in quoted
        ),
        Line(shows=7, what=f"{portfolios:,}: state p99", figure=read_ms["p99"], unit="ms"),
    ]
