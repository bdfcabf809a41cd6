"""The mirror in Redis beside the documents that it should show."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final, Protocol

from actors.rendering import Encoded
from cluster.verifying.comparing import FieldDifference, json_differences
from cluster.verifying.documents import Documents
from cluster.verifying.findings import Findings, Kind, Values, difference
from persistence.mirror_reader import Shown
from portfolio.ids import PortfolioId, ShardId

PORTFOLIOS_AT_ONCE: Final = 200
SETTLE_S: Final = 3.0
"""The mirror follows within a fraction of a second while Redis answers; what is older for longer stays so."""
_PAUSE_S: Final = 0.1
_PARTS: Final = ("state", "positions", "weights")


class Mirrored(Protocol):
    """The mirror, as MirrorReader reads it."""

    async def read(self, portfolio_ids: Sequence[PortfolioId]) -> list[Shown]:
        """What is shown of each portfolio, in order. Raises MirrorUnavailable."""


class Verdict(Enum):
    ABSENT = auto()
    AHEAD = auto()
    BEHIND = auto()
    SAME_PLACE = auto()
    UNGUARDED = auto()
    """Shown without saying of which version and revaluation: its guard was evicted."""


def judged(shown: Shown, expected: Encoded) -> Verdict:
    """Where the mirror is in time, beside the documents expected."""
    if shown.is_absent:
        return Verdict.ABSENT
    if shown.place is None:
        return Verdict.UNGUARDED
    place = (expected.version, expected.revaluation)
    if shown.place == place:
        return Verdict.SAME_PLACE
    return Verdict.AHEAD if shown.place > place else Verdict.BEHIND


def document_differences(shown: Shown, expected: Encoded) -> list[FieldDifference]:
    """Every value that is shown wrongly; empty if what is shown is right to the last byte."""
    found: list[FieldDifference] = []
    for part in _PARTS:
        there: bytes | None = getattr(shown, part)
        if there is not None and there != getattr(expected, part):
            found += json_differences(part, getattr(expected, part), there)
    return found


@dataclass(slots=True)
class MirrorCounts:
    """How many portfolios were compared, and how many had expired."""

    compared: int = 0
    absent: int = 0


class MirrorComparison:
    """Portfolios of one shard. What does not fit at first is looked at again beside the documents of `now`."""

    def __init__(
        self, shard_id: ShardId, findings: Findings, mirror: Mirrored, *, now: Documents, settle_s: float = SETTLE_S
    ) -> None:
        self._shard_id = shard_id
        self._findings = findings
        self._mirror = mirror
        self._now = now
        self._settle_s = settle_s
        self._unsettled: dict[PortfolioId, tuple[int, int]] = {}
        self.counts = MirrorCounts()

    async def take(self, portfolio_ids: Sequence[PortfolioId], expected: Documents) -> None:
        """Compare some portfolios. Raises MirrorUnavailable or ShardUnavailable."""
        shown = dict(zip(portfolio_ids, await self._mirror.read(portfolio_ids), strict=True))
        there = {name: found for name, found in shown.items() if not found.is_absent}
        self.counts.absent += len(shown) - len(there)
        for portfolio_id, documents in (await expected.of(list(there))).items():
            if not self._is_settled(portfolio_id, there[portfolio_id], documents):
                self._unsettled[portfolio_id] = documents.version, documents.revaluation

    def _is_settled(self, portfolio_id: PortfolioId, shown: Shown, expected: Encoded) -> bool:
        """Whether there is nothing more to find out; what is wrong at the same place is."""
        match judged(shown, expected):
            case Verdict.ABSENT:
                self.counts.absent += 1
            case Verdict.SAME_PLACE:
                self.counts.compared += 1
                for field, value, there in document_differences(shown, expected):
                    self._find(Kind.MIRROR_DIFFERS, portfolio_id, field, (value, there))
            case Verdict.UNGUARDED if not document_differences(shown, expected):
                self.counts.compared += 1
            case Verdict.AHEAD | Verdict.BEHIND | Verdict.UNGUARDED:
                return False
        return True

    async def finish(self) -> None:
        """Wait for the mirror to catch up; what it does not is a difference. Raises MirrorUnavailable."""
        deadline = asyncio.get_running_loop().time() + self._settle_s
        while self._unsettled:
            is_over = asyncio.get_running_loop().time() > deadline
            names = list(self._unsettled)
            for start in range(0, len(names), PORTFOLIOS_AT_ONCE):
                await self._look_again(names[start : start + PORTFOLIOS_AT_ONCE], is_over=is_over)
            if self._unsettled:
                await asyncio.sleep(_PAUSE_S)

    async def _look_again(self, names: list[PortfolioId], *, is_over: bool) -> None:
        # The mirror first: what it shows was committed before, so that no honest mirror is ahead of what is asked next.
        shown = dict(zip(names, await self._mirror.read(names), strict=True))
        documents = await self._now.of(names)
        for name in names:
            now = documents.get(name)
            if now is None or self._is_settled(name, shown[name], now) or self._has_caught_up(name, shown[name], now):
                del self._unsettled[name]
            elif is_over:
                del self._unsettled[name]
                self._find_place(name, shown[name], now)

    def _has_caught_up(self, portfolio_id: PortfolioId, shown: Shown, now: Encoded) -> bool:
        """Whether the mirror has what was current at the first look; a busy portfolio is always a little ahead of it."""
        if judged(shown, now) is not Verdict.BEHIND or shown.place is None:
            return False
        return shown.place >= self._unsettled[portfolio_id]

    def _find_place(self, portfolio_id: PortfolioId, shown: Shown, expected: Encoded) -> None:
        if shown.place is None:
            for field, value, there in document_differences(shown, expected):
                self._find(Kind.MIRROR_DIFFERS, portfolio_id, field, (value, there))
            return
        kind = Kind.MIRROR_AHEAD if judged(shown, expected) is Verdict.AHEAD else Kind.MIRROR_STALE
        self._find(
            kind, portfolio_id, "version and revaluation", (_place(expected), f"{shown.place[0]}.{shown.place[1]}")
        )

    def _find(self, kind: Kind, portfolio_id: PortfolioId, field: str, values: Values) -> None:
        self._findings.add(difference(kind, field, values, shard_id=self._shard_id, portfolio_id=portfolio_id))


def _place(documents: Encoded) -> str:
    return f"{documents.version}.{documents.revaluation}"
