"""Everything that is stored, read in one snapshot while the service goes on writing: what `verify` checks."""

from __future__ import annotations

import itertools
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any, Final

import psycopg

from persistence import postgres
from persistence.audit_values import DamagedRow, Quarantined, RepeatedKey, SavedBook, ShardRecord, Stray, ValuedColumns
from persistence.checkpoint import decode_book, decode_position
from persistence.postgres import Connection, first_line, unavailable_on_error
from persistence.statements import SQL
from portfolio.book import Position
from portfolio.ids import InstrumentId, PortfolioId, ShardId
from portfolio.ports import Head

FETCH_ROWS: Final = 2_000
_BEFORE_EVERY_ROW: Final = -(2**63)
_SEQ_MAX: Final = 2**63 - 1
_PORTFOLIO_COLUMNS: Final = 16
_POSITION_COLUMNS: Final = 8

Columns = tuple[Any, ...]


class UnreadableError(ValueError):
    """A stored value that the driver has no Python equal for, such as an infinite time."""


class Audit:
    """One read-only snapshot of the database. It holds no lock that a writer would meet."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._cursors = itertools.count(1)

    async def shards(self) -> list[ShardRecord]:
        """Every shard, in order."""
        return [_shard(row) for row in await self._fetch_all("select_audited_shards")]

    async def quarantined(self) -> list[Quarantined]:
        """Portfolios that are set apart."""
        return [Quarantined(*row) for row in await self._fetch_all("select_quarantined")]

    async def strays(self) -> list[Stray]:
        """What is filed under a shard that there is not."""
        return [Stray(*row) for row in await self._fetch_all("select_strays")]

    async def journal(self, shard_id: ShardId) -> AsyncIterator[Sequence[Columns | DamagedRow]]:
        """Every row of a shard in order, some thousands at a time, as row_codec.decode takes them."""
        after_seq = _BEFORE_EVERY_ROW
        while True:
            try:
                async for rows in self._tail(shard_id, after_seq):
                    after_seq = rows[-1][0]
                    yield rows
                return
            except UnreadableError as error:
                reason = str(error)
            # The driver failed on one of the next rows, and does not say which: they are taken one by one.
            async for row in self._singly(shard_id, after_seq, reason):
                after_seq = row.seq if isinstance(row, DamagedRow) else row[0]
                yield [row]

    async def _tail(self, shard_id: ShardId, after_seq: int) -> AsyncGenerator[list[Columns], None]:
        parameters = {"shard_id": shard_id, "after_seq": after_seq, "until_seq": _SEQ_MAX}
        async for rows in self._batches("select_journal_tail", parameters):
            yield rows

    async def _singly(self, shard_id: ShardId, after_seq: int, reason: str) -> AsyncIterator[Columns | DamagedRow]:
        """Rows up to and including the first that the driver cannot read."""
        while True:
            parameters = {"shard_id": shard_id, "after_seq": after_seq, "until_seq": _SEQ_MAX}
            try:
                row = await self._next_row(parameters)
            except UnreadableError:
                ((seq, epoch, portfolio_id, row_hash),) = await self._fetch_all(
                    "select_row_without_content", parameters
                )
                yield DamagedRow(seq, epoch, portfolio_id, row_hash, reason)
                return
            if row is None:
                return
            after_seq = row[0]
            yield row

    async def _next_row(self, parameters: Mapping[str, object]) -> Columns | None:
        async with aclosing(self._batches("select_journal_tail", parameters, size=1)) as batches:
            return (await anext(batches, [None]))[0]

    async def checkpoint(self, shard_id: ShardId) -> AsyncIterator[Sequence[SavedBook]]:
        """Every book of a shard's checkpoint, ordered by id, some hundreds at a time. Raises ValueError."""
        parameters = {"shard_id": shard_id}
        async with aclosing(self._batches("audit_positions", parameters)) as held:
            positions = _Grouped(held)
            async for rows in self._batches("audit_portfolios", parameters):
                yield [_saved(row, await positions.of(row[0])) for row in rows]

    async def row_counts(self, *, by_index: bool) -> dict[int, int]:
        """How many rows each shard has, by a scan of the table, or of the journal's primary key."""
        await self._choose(heap="off" if by_index else "on", index="on" if by_index else "off")
        try:
            return dict(await self._fetch_all("count_audited_rows"))
        finally:
            await self._choose(heap="on", index="on")

    async def repeated_keys(self) -> list[RepeatedKey]:
        """Idempotency keys that were accepted twice, by a scan of the table."""
        await self._choose(heap="on", index="off")
        try:
            return [RepeatedKey(*row) for row in await self._fetch_all("select_repeated_keys")]
        finally:
            await self._choose(heap="on", index="on")

    async def histories(self) -> AsyncIterator[Sequence[tuple[PortfolioId, int, bytes]]]:
        """The number and hash of every row, ordered by portfolio and version, by the index of versions."""
        await self._choose(heap="off", index="on")
        try:
            async for rows in self._batches("select_histories", {}):
                yield rows
        finally:
            await self._choose(heap="on", index="on")

    async def _choose(self, *, heap: str, index: str) -> None:
        await self._connection.execute(SQL["choose_scans"], {"heap": heap, "index": index})

    async def _fetch_all(self, statement: str, parameters: Mapping[str, object] | None = None) -> list[Columns]:
        with unavailable_on_error(f"reading {statement}"):
            return await (await self._connection.execute(SQL[statement], parameters)).fetchall()

    async def _batches(
        self, statement: str, parameters: Mapping[str, object], size: int = FETCH_ROWS
    ) -> AsyncGenerator[list[Columns], None]:
        """The rows of a statement by a cursor in the server. Raises ShardUnavailable or UnreadableError."""
        with unavailable_on_error(f"reading {statement}"):
            async with self._connection.cursor(name=f"{statement}_{next(self._cursors)}") as cursor:
                await cursor.execute(SQL[statement], parameters)
                while rows := await self._fetch(cursor, size):
                    yield rows

    async def _fetch(self, cursor: psycopg.AsyncServerCursor[Columns], size: int) -> list[Columns]:
        try:
            return await cursor.fetchmany(size)
        except psycopg.DataError as error:
            raise UnreadableError(first_line(error)) from error


class _Grouped:
    """Rows ordered by their first column, handed out by it."""

    def __init__(self, batches: AsyncIterator[list[Columns]]) -> None:
        self._batches = batches
        self._rows: list[Columns] = []
        self._place = 0

    async def of(self, name: str) -> list[Columns]:
        """The rows of `name`, which follows every name asked for before."""
        found: list[Columns] = []
        while (row := await self._next()) is not None and row[0] <= name:
            if row[0] == name:
                found.append(row)
            self._place += 1
        return found

    async def _next(self) -> Columns | None:
        if self._place == len(self._rows):
            self._rows, self._place = await anext(self._batches, []), 0
        return self._rows[self._place] if self._rows else None


@asynccontextmanager
async def audit(dsn: str) -> AsyncIterator[Audit]:
    """A snapshot of the database, held for as long as the block lasts. Raises ShardUnavailable."""
    with unavailable_on_error("connecting"):
        connection = await postgres.connect(dsn)
    async with connection:
        await connection.set_isolation_level(psycopg.IsolationLevel.REPEATABLE_READ)
        await connection.set_read_only(True)
        async with connection.transaction():
            found = Audit(connection)
            await found._fetch_all("hold_snapshot")
            yield found


def _shard(row: Columns) -> ShardRecord:
    shard_id, modulus, epoch, head_seq, head_hash, checkpoint_seq, parent, branch_seq, branch_hash = row
    return ShardRecord(
        shard_id=shard_id,
        modulus=modulus,
        epoch=epoch,
        head=Head(head_seq, head_hash),
        checkpoint_seq=checkpoint_seq,
        parent=parent,
        branch=Head(branch_seq, branch_hash),
    )


def _saved(row: Columns, held: Sequence[Columns]) -> SavedBook:
    positions: dict[InstrumentId, Position] = {}
    valued: list[ValuedColumns] = []
    for columns in held:
        position = decode_position(columns[1:_POSITION_COLUMNS])
        positions[position.instrument_id] = position
        valued.append(ValuedColumns(position.instrument_id, *columns[_POSITION_COLUMNS:]))
    return SavedBook(decode_book(row[:_PORTFOLIO_COLUMNS], positions), row[_PORTFOLIO_COLUMNS], valued)
