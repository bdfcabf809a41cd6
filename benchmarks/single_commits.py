"""One update at a time over the link, without HTTP, beside a single-row commit by pgbench, in turn.

All wait for one commit at a time to be on disk. pgbench inserts a row like the journal's, prepared, into a table with
the journal's columns and indexes; its own log has the latency of each commit. The same by psycopg on an event loop, as
the shards have it, tells how much of the distance is the driver's.
"""

from __future__ import annotations

import asyncio
import dataclasses
import subprocess
import tempfile
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Final

import psycopg
import uvloop

from actors.link_client import LinkClient
from actors.protocol import Method, pack
from benchmarks.bulk_writes import single_update
from benchmarks.effort import Effort
from benchmarks.quantiles import Quantiles, median_of, quantiles
from benchmarks.results import Line, Section
from benchmarks.stand import Stand
from persistence import postgres
from persistence.migrate import Cluster, read_cluster
from portfolio.ids import ShardId
from serve_app.reaching import locate

_SCRIPT: Final = Path(__file__).with_name("single_commit.sql")
_TIMEOUT_S: Final = 30.0


def measure(stand: Stand, effort: Effort) -> Section:
    """Rounds of both in turn, after one of each that is not counted."""
    section = Section("single commits")
    dsn = stand.postgres.dsn
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("create table commit_floor (like journal including all)")
        connection.execute("create sequence commit_floor_seq")
        for number in range(-1, effort.rounds):
            kept = section if number >= 0 else Section("single commits, warm-up")
            with kept.round("update by link", number=number) as found:
                found["ms"] = _shown(_on_uvloop(_updated_s(read_cluster(dsn), effort.commits)))
            with kept.round("pgbench", number=number) as found:
                found["ms"] = _shown(_by_pgbench(stand, effort.commits))
            with kept.round("psycopg", number=number) as found:
                found["ms"] = _shown(_on_uvloop(_committed_s(dsn, effort.commits)))
        connection.execute("drop table commit_floor")
        connection.execute("drop sequence commit_floor_seq")
    section.lines = _lines(*(_median(section, what) for what in ("update by link", "pgbench", "psycopg")))
    return section


def _on_uvloop(measuring: Coroutine[Any, Any, list[float]]) -> list[float]:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(measuring)


async def _updated_s(cluster: Cluster, count: int) -> list[float]:
    """Seconds that each of `count` updates took, one after the other, each of another portfolio."""
    links: dict[ShardId, LinkClient] = {}
    for shard_id in cluster.shard_map.shard_ids:
        endpoint = await locate(shard_id)
        links[shard_id] = await LinkClient.connect(endpoint, endpoint.node_id, cluster.link_secret)
    latencies = []
    for number in range(count):
        command = single_update(number)
        link = links[cluster.shard_map.shard_of(command.portfolio_id)]
        began = time.perf_counter()
        answer = await link.call(Method.UPDATE, pack(command), _TIMEOUT_S)
        latencies.append(time.perf_counter() - began)
        answer.raised()
    for link in links.values():
        link.close()
    return latencies


async def _committed_s(dsn: str, count: int) -> list[float]:
    """Seconds that each of `count` transactions took."""
    statement = _SCRIPT.read_text(encoding="ascii").rstrip().removesuffix(";")
    latencies = []
    async with await postgres.connect(dsn) as connection:
        for _ in range(count):
            began = time.perf_counter()
            await connection.execute(statement)
            latencies.append(time.perf_counter() - began)
    return latencies


def _by_pgbench(stand: Stand, count: int) -> list[float]:
    """Seconds that each of `count` transactions took. Raises CalledProcessError."""
    with tempfile.TemporaryDirectory() as directory:
        subprocess.run(
            [
                stand.postgres.bin_dir / "pgbench",
                *("--no-vacuum", "--protocol=prepared", "--client=1", f"--transactions={count}"),
                *("--log", f"--log-prefix={directory}/commits", f"--file={_SCRIPT}"),
                stand.postgres.dsn,
            ],
            check=True,
            capture_output=True,
        )
        lines = [line for log in Path(directory).iterdir() for line in log.read_text(encoding="ascii").splitlines()]
    # client transaction microseconds script seconds microseconds
    return [int(line.split()[2]) / 1e6 for line in lines]


def _shown(latencies_s: list[float]) -> dict[str, float]:
    return dataclasses.asdict(quantiles(latencies_s))


def _median(section: Section, what: str) -> Quantiles:
    return median_of([Quantiles(**one) for one in section.of(what, "ms")])


def _lines(link: Quantiles, pgbench: Quantiles, psycopg_: Quantiles) -> list[Line]:
    return [
        _line("p50", link.p50, "pgbench", pgbench.p50, most=2.0),
        _line("p50", link.p50, "psycopg", psycopg_.p50),
        _line("p90", link.p90, "pgbench", pgbench.p90),
        _line("p99", link.p99, "pgbench", pgbench.p99),
    ]


def _line(quantile: str, figure: float, floor_is: str, floor: float, most: float | None = None) -> Line:
    what = f"update by link, {quantile}"
    return Line(shows=5, what=what, figure=figure, unit="ms", floor=floor, floor_is=floor_is, most=most)
