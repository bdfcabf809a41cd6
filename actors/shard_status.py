"""How a shard is doing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from actors.serving import Serving
from portfolio.ids import PortfolioId, ShardId

QUARANTINED_SHOWN_MAX: Final = 100
"""A status stays small, whatever has happened to the journal."""


class Phase(StrEnum):
    RECOVERING = "RECOVERING"
    SERVING = "SERVING"
    UNCONFIRMED = "UNCONFIRMED"
    """The lease has ended, and Postgres has not confirmed it: there may be a newer owner."""
    STOPPED = "STOPPED"


@dataclass(frozen=True, slots=True)
class ShardStatus:
    """How a shard is doing, for readiness, `status` and metrics."""

    shard_id: ShardId
    modulus: int
    phase: Phase
    reason: str | None
    epoch: int
    portfolios: int
    head_seq: int
    checkpoint_seq: int
    announced_seq: int
    queue_depth: int
    events_pending: int
    is_mirror_reachable: bool
    commits: int
    rows: int
    batch_rows_largest: int
    batch_sizes: Sequence[int]
    """How many batches had 1 row, 2, up to 4, up to 8, and so on."""
    tail_rows_recovered: int
    recovery_s: float
    memory_mb: float
    quarantined_count: int
    quarantined: Mapping[PortfolioId, str]
    """Why each is in quarantine, of the first hundred."""
    stalls: int = 0
    stalls_own: int = 0
    stall_longest_s: float = 0.0
    """How often the event loop was held up, how often by work of its own, and for how long at most; see actors.stalls."""


def status_of(
    serving: Serving | None,
    *,
    shard_id: ShardId,
    modulus: int,
    phase: Phase,
    reason: str | None,
    epoch: int,
    recovery_s: float,
) -> ShardStatus:
    """The status of a shard; `serving` is None while it recovers."""
    return ShardStatus(
        shard_id=shard_id,
        modulus=modulus,
        phase=phase,
        reason=reason,
        epoch=epoch,
        portfolios=len(serving.books) if serving else 0,
        head_seq=serving.checkpointer.head_seq if serving else 0,
        checkpoint_seq=serving.checkpointer.checkpoint_seq if serving else 0,
        announced_seq=serving.publisher.announced_seq if serving else 0,
        queue_depth=serving.writer.queue_depth if serving else 0,
        events_pending=serving.publisher.backlog if serving else 0,
        is_mirror_reachable=serving.publisher.is_reachable if serving else False,
        commits=serving.writer.figures.commits if serving else 0,
        rows=serving.writer.figures.rows if serving else 0,
        batch_rows_largest=serving.writer.figures.batch_rows_largest if serving else 0,
        batch_sizes=serving.writer.figures.batch_sizes if serving else [],
        tail_rows_recovered=serving.tail_rows if serving else 0,
        recovery_s=recovery_s,
        memory_mb=_memory_mb(),
        quarantined_count=len(serving.books.quarantined) if serving else 0,
        quarantined=_first_quarantined(serving.books.quarantined) if serving else {},
    )


def _first_quarantined(quarantined: Mapping[PortfolioId, str]) -> dict[PortfolioId, str]:
    return {name: quarantined[name] for name in sorted(quarantined)[:QUARANTINED_SHOWN_MAX]}


def _memory_mb() -> float:
    """Resident memory of this process, in units of 1,000,000 bytes; 0 where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return 0.0
    return pages * 4096 / 1e6
