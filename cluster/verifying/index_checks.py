"""Whether the journal's indexes give the same rows as the table: recovery reads by one, a portfolio's past by another."""

from __future__ import annotations

from collections.abc import Mapping

from cluster.verifying.findings import Findings, Kind, difference
from cluster.verifying.life import continued
from cluster.verifying.lineage import Lineage
from persistence.audit import Audit
from portfolio.ids import PortfolioId, ShardId


class IndexChecks:
    """Checks of the whole journal, made once its shards were walked."""

    def __init__(self, snapshot: Audit, lineage: Lineage, findings: Findings) -> None:
        self._snapshot = snapshot
        self._lineage = lineage
        self._findings = findings
        self._histories: dict[PortfolioId, tuple[int, int]] = {}

    def walked(self, histories: Mapping[PortfolioId, tuple[int, int]]) -> None:
        """Take how many rows each portfolio has by the walk, and their digest."""
        self._histories.update(histories)

    async def run(self) -> None:
        """Read the journal by each other way."""
        await self._check_counts()
        await self._check_keys()
        await self._check_histories()

    async def _check_counts(self) -> None:
        by_heap = await self._snapshot.row_counts(by_index=False)
        by_index = await self._snapshot.row_counts(by_index=True)
        for number in sorted(by_heap.keys() | by_index.keys()):
            found, expected = by_index.get(number, 0), by_heap.get(number, 0)
            if found != expected:
                name = "rows by the primary key, beside a scan of the table,"
                self._findings.add(difference(Kind.JOURNAL_INDEX, name, (expected, found), shard_id=ShardId(number)))

    async def _check_keys(self) -> None:
        for repeated in await self._snapshot.repeated_keys():
            self._findings.add(
                difference(
                    Kind.JOURNAL_KEY,
                    f"commands with idempotency key {repeated.key!r}",
                    (1, repeated.count),
                    shard_id=self._lineage.owner_of(repeated.portfolio_id),
                    seq=repeated.first_seq,
                    portfolio_id=repeated.portfolio_id,
                )
            )

    async def _check_histories(self) -> None:
        found: dict[PortfolioId, tuple[int, int]] = {}
        async for rows in self._snapshot.histories():
            for portfolio_id, seq, row_hash in rows:
                count, digest = found.get(portfolio_id, (0, 0))
                found[portfolio_id] = count + 1, continued(digest, seq, row_hash)
        for portfolio_id in sorted(self._histories.keys() | found.keys()):
            # Where rows are out of order or damaged the two must differ, and it is known already.
            if portfolio_id not in self._findings.portfolios:
                self._compare(portfolio_id, found.get(portfolio_id, (0, 0)))

    def _compare(self, portfolio_id: PortfolioId, found: tuple[int, int]) -> None:
        expected = self._histories.get(portfolio_id, (0, 0))
        if found == expected:
            return
        name = "rows by the index of versions"
        values = (expected[0], found[0]) if found[0] != expected[0] else ("those of the journal", "others")
        owner = self._lineage.owner_of(portfolio_id)
        self._findings.add(difference(Kind.JOURNAL_INDEX, name, values, shard_id=owner, portfolio_id=portfolio_id))
