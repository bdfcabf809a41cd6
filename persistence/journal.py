"""The write-ahead log in Postgres as its owner has it: claims, leases, and fenced appends whose outcome is always known."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, Final, LiteralString

import psycopg
from psycopg import errors as pg_errors
from psycopg_pool import AsyncConnectionPool

from persistence import postgres, row_codec
from persistence.array_literal import bytes_text
from persistence.journal_reader import SEQ_MAX, JournalReader
from persistence.postgres import Connection, first_line, severed_after, unavailable_on_error
from persistence.prepared import PreparedStatement
from persistence.row_codec import Batch
from persistence.statements import SQL
from portfolio.errors import Corrupt, Deposed, ShardUnavailable
from portfolio.ids import PortfolioId, ShardId
from portfolio.ports import NO_ROWS, Claim, DamagedRow, DuplicateKeys, Head, PendingRow, StoredRow

_log = logging.getLogger(__name__)

APPEND_TIMEOUT_S: Final = 20.0
"""Longer than statement_timeout, so that a slow server answers for itself; a silent one is given up."""
_RECONNECT_PAUSE_S: Final = (0.02, 0.05, 0.1, 0.2, 0.5)
_OWNER_TIMEOUT_S: Final = 2.0
"""Less than a lease: whoever waits longer for its renewal has time for another try on a new connection."""


class PostgresJournal(JournalReader):
    """One incarnation's hold on one shard's journal. `owner` names the incarnation, and no other ever.

    `actor` is the name under which it is known to Ray; with None it claims the shard whoever is meant to have it.
    """

    def __init__(
        self,
        dsn: str,
        shard_id: ShardId,
        owner: str,
        readers: AsyncConnectionPool[Connection],
        actor: str | None = None,
    ) -> None:
        super().__init__(shard_id, readers)
        self._dsn = dsn
        self._owner = owner
        self._actor = actor
        self._connection: Connection | None = None
        self._appending: PreparedStatement | None = None
        # The lease has a connection of its own: it must neither wait behind an append nor for a pool to take heart again.
        self._lease_connection: Connection | None = None
        self._proving = asyncio.Lock()
        """One statement at a time: a renewal and a release may fall together."""
        self._head = NO_ROWS
        self._modulus = 0
        self.epoch = 0

    async def claim(self) -> Claim:
        """Take the shard; see ports.Journal. Raises ShardUnavailable."""
        with unavailable_on_error(f"claiming shard {self._shard_id}"):
            connection = await self._connected()
            with severed_after(connection, APPEND_TIMEOUT_S):
                cursor = await connection.execute(SQL["claim_shard"], {**self._me(), "actor": self._actor})
            row = await cursor.fetchone()
        if row is None:
            actor = await self.designated()
            if actor is None:
                raise Corrupt(f"the database has no shard {self._shard_id}")
            raise Deposed(f"shard {self._shard_id} is meant for {actor}, not for {self._actor}")
        claim = self._claim_of(row)
        self.epoch, self._head, self._modulus = claim.epoch, claim.head, claim.modulus
        return claim

    async def look(self) -> Claim:
        """What a claim would give now; see ports.Journal. Raises ShardUnavailable."""
        row = await self._fetch_one("look_at_shard", {"shard_id": self._shard_id})
        if row is None:
            raise Corrupt(f"the database has no shard {self._shard_id}")
        return self._claim_of(row)

    def _claim_of(self, row: Sequence[Any]) -> Claim:
        epoch, seq, row_hash, checkpoint_seq, announced_seq, modulus, *branch, answering, lease_ms = row
        return Claim(
            epoch=epoch,
            head=Head(seq, row_hash),
            checkpoint_seq=checkpoint_seq,
            announced_seq=announced_seq,
            modulus=modulus,
            branch=Head(*branch),
            # Its own lease needs no outlasting: the answer to an earlier attempt to begin may have been lost.
            answering=None if answering == self._owner else answering,
            lease_s=lease_ms / 1_000,
        )

    def _me(self) -> dict[str, object]:
        return {"shard_id": self._shard_id, "owner": self._owner}

    async def designated(self) -> str | None:
        """The actor that is meant to own the shard; None if there has been none, or if there is no such shard yet."""
        row = await self._fetch_one("select_actor", {"shard_id": self._shard_id})
        return row[0] if row is not None else None

    async def begin_answering(self, lease_s: float) -> None:
        """Say that this owner serves now; see ports.Journal."""
        await self._as_owner(SQL["begin_answering"], {"lease_ms": round(lease_s * 1_000)})

    async def renew(self) -> None:
        """Prove to own the shard; see ports.Journal."""
        await self._as_owner(SQL["renew_lease"], {})

    async def release(self, successor: str | None) -> None:
        """Let go of the shard; see ports.Journal."""
        await self._as_owner(SQL["release_shard"], {"successor": successor})

    async def split(self, moving: Sequence[PortfolioId], actor: str) -> None:
        """Let a new shard branch off; see ports.Journal."""
        try:
            with unavailable_on_error(f"splitting shard {self._shard_id}"):
                await self._split(moving, actor)
        except ShardUnavailable as error:
            _log.warning("shard %s: %s", self._shard_id, error)
            if await self._modulus_now() == self._modulus:
                raise
        self._modulus *= 2

    async def _split(self, moving: Sequence[PortfolioId], actor: str) -> None:
        parameters = {**self._me(), "modulus": self._modulus, "moving": list(moving), "actor": actor}
        async with self._readers.connection() as connection, connection.transaction():
            doubled = await connection.execute(SQL["double_modulus"], parameters)
            if doubled.rowcount != 1:
                raise ShardUnavailable(
                    f"shard {self._shard_id} cannot split: its checkpoint is behind, or it was deposed"
                )
            for statement in (SQL["insert_branch"], SQL["move_checkpoints"], SQL["move_quarantine"]):
                await connection.execute(statement, parameters)

    async def _modulus_now(self) -> int:
        """The modulus as Postgres has it, once it answers. Raises Deposed if another incarnation owns the shard."""
        attempt = 0
        while True:
            try:
                row = await self._fetch_one("select_modulus", self._me())
            except ShardUnavailable as error:
                _log.warning("shard %s: whether it has split is not known yet: %s", self._shard_id, error)
                await asyncio.sleep(_pause_s(attempt))
                attempt += 1
                continue
            if row is None:
                raise Deposed(f"shard {self._shard_id}: another incarnation has claimed it from {self._owner}")
            modulus: int = row[0]
            return modulus

    async def _as_owner(self, statement: LiteralString, parameters: Mapping[str, object]) -> None:
        """Run an update of the shard's row as its owner. Raises Deposed if it is not, or ShardUnavailable."""
        async with self._proving:
            try:
                changed = await self._over_lease_connection(statement, {**self._me(), **parameters})
            except ShardUnavailable:
                await _close(self._lease_connection)
                self._lease_connection = None
                raise
        if changed != 1:
            raise await self._not_owner()

    async def _over_lease_connection(self, statement: LiteralString, parameters: Mapping[str, object]) -> int:
        with unavailable_on_error(f"proving the ownership of shard {self._shard_id}"):
            if self._lease_connection is None or self._lease_connection.closed:
                async with asyncio.timeout(_OWNER_TIMEOUT_S):
                    self._lease_connection = await postgres.connect(self._dsn)
            with severed_after(self._lease_connection, _OWNER_TIMEOUT_S):
                return (await self._lease_connection.execute(statement, parameters)).rowcount

    async def _not_owner(self) -> Deposed | Corrupt:
        """Why the shard is not this owner's any more: the epoch only ever grows, unless the database itself goes back."""
        claim = await self.look()
        if (claim.epoch, claim.head.seq) < (self.epoch, self._head.seq):
            return Corrupt(
                f"shard {self._shard_id}: the database is at epoch {claim.epoch} and row {claim.head.seq}, this owner at "
                f"epoch {self.epoch} and row {self._head.seq}: a replica that was behind has taken its place"
            )
        return Deposed(f"shard {self._shard_id}: epoch {claim.epoch} has claimed it from {self._owner}")

    async def close(self) -> None:
        """Let go of the connections."""
        await _close(self._connection)
        await _close(self._lease_connection)

    async def append(self, rows: Sequence[PendingRow]) -> None:
        """Commit rows after the head; see ports.Journal."""
        batch = await self._encoded(rows)
        while True:
            try:
                await self._send(batch)
                break
            except _ConnectionLostError as error:
                _log.warning("shard %s: connection lost in an append: %s", self._shard_id, first_line(error))
                if await self._committed_after_all(batch):
                    break
        self._head = batch.head

    async def _encoded(self, rows: Sequence[PendingRow]) -> Batch:
        steps = row_codec.encoding(rows, self._head)
        while True:
            try:
                next(steps)
            except StopIteration as done:
                batch: Batch = done.value
                return batch
            await asyncio.sleep(0)

    async def _send(self, batch: Batch) -> None:
        try:
            statement = await self._prepared()
            with severed_after(statement.connection, APPEND_TIMEOUT_S):
                appended = await statement.run(self._parameters(batch))
        except pg_errors.UniqueViolation as error:
            raise self._duplicate(error) from error
        except (psycopg.Error, OSError, TimeoutError) as error:
            if self._is_lost(error):
                raise _ConnectionLostError(first_line(error)) from error
            raise ShardUnavailable(f"Postgres refused an append: {first_line(error)}") from error
        if appended != batch.count:
            raise await self._not_owner()

    async def _prepared(self) -> PreparedStatement:
        """The append, on the present connection."""
        if self._appending is None or self._appending.connection.closed:
            async with asyncio.timeout(APPEND_TIMEOUT_S):
                connection = await self._connected()
            with severed_after(connection, APPEND_TIMEOUT_S):
                self._appending = await PreparedStatement.prepare(connection, "append_journal", SQL["append_journal"])
        return self._appending

    def _parameters(self, batch: Batch) -> dict[str, object]:
        return {
            **batch.columns,
            "shard_id": self._shard_id,
            "epoch": self.epoch,
            "count": batch.count,
            "head_seq": self._head.seq,
            "head_hash": bytes_text(batch.head.row_hash),
        }

    def _duplicate(self, error: pg_errors.UniqueViolation) -> DuplicateKeys | Corrupt:
        constraint = error.diag.constraint_name
        if constraint in ("journal_idempotency_key", "journal_transaction_id_key"):
            return DuplicateKeys(f"shard {self._shard_id}: {first_line(error)}")
        return Corrupt(f"shard {self._shard_id}: an append repeats what the journal has: {first_line(error)}")

    def _is_lost(self, error: Exception) -> bool:
        """Whether the server may have done what was asked, although it has not said so."""
        return isinstance(error, TimeoutError) or self._connection is None or self._connection.closed

    async def _committed_after_all(self, batch: Batch) -> bool:
        """Settle an append whose answer was lost: claim again, and look where the journal ends now.

        The claim waits for whatever the lost connection still has in hand, because both need the shard's row; what
        comes after the claim fails the fence. Tries until Postgres answers. Raises Deposed if another incarnation owns
        the shard and the batch is not there.
        """
        head = await self._reclaim(batch)
        if head == batch.head:
            return True
        if head != self._head:
            raise Corrupt(
                f"shard {self._shard_id}: the journal ends at row {head.seq}, "
                f"expected {self._head.seq} or {batch.head.seq}"
            )
        return False

    async def _reclaim(self, batch: Batch) -> Head:
        attempt = 0
        while True:
            await self._disconnect()
            try:
                async with asyncio.timeout(APPEND_TIMEOUT_S):
                    connection = await self._connected()
                with severed_after(connection, APPEND_TIMEOUT_S):
                    return await self._reclaim_once(connection, batch)
            except (psycopg.Error, OSError, TimeoutError) as error:
                _log.warning("shard %s: Postgres is not back yet: %s", self._shard_id, first_line(error))
                await asyncio.sleep(_pause_s(attempt))
                attempt += 1

    async def _reclaim_once(self, connection: Connection, batch: Batch) -> Head:
        shard = {"shard_id": self._shard_id}
        row = await (await connection.execute(SQL["reclaim_shard"], {**shard, "owner": self._owner})).fetchone()
        if row is not None:
            self.epoch, seq, row_hash = row
            return Head(seq, row_hash)
        # Whoever took the shard did so before the lost append, which failed then, or after it, and its rows are there.
        row = await (await connection.execute(SQL["select_row_hash"], {**shard, "seq": batch.head.seq})).fetchone()
        if row is None or row[0] != batch.head.row_hash:
            raise await self._not_owner()
        return batch.head

    async def _connected(self) -> Connection:
        if self._connection is None or self._connection.closed:
            self._connection = await postgres.connect(self._dsn)
        return self._connection

    async def _disconnect(self) -> None:
        await _close(self._connection)
        self._connection = None

    async def check_ownership(self) -> None:
        """Raises Deposed if another incarnation has taken the shard, ShardUnavailable if nobody can say."""
        row = await self._fetch_one("select_owner", {"shard_id": self._shard_id})
        # The epoch does not tell: a reclaim of our own may have raised it, and its answer be lost or on its way.
        if row is None or row[0] != self._owner:
            raise Deposed(f"shard {self._shard_id}: {row and row[0]} has claimed it from {self._owner}")

    async def tail(self, claim: Claim, after_seq: int) -> AsyncGenerator[StoredRow | DamagedRow, None]:
        """Rows after `after_seq`, checked; see ports.Journal."""
        # While another one owns the shard, its newer rows are left for later; in a shard of one's own there must be none.
        until_seq = SEQ_MAX if claim.epoch == self.epoch else claim.head.seq
        end = after = Head(after_seq, await self.row_hash(after_seq, claim.branch))
        async with contextlib.aclosing(self.rows(claim.branch, after, until_seq)) as rows:
            async for row in rows:
                end = Head(row.seq, row.row_hash)
                yield row
        if end != claim.head:
            # Rows of somebody who has claimed the shard meanwhile are no corruption.
            await self.check_ownership()
            raise Corrupt(
                f"shard {self._shard_id}: the journal ends at row {end.seq}, expected {claim.head.seq} "
                "with the hash that its owner left"
            )


def _pause_s(attempt: int) -> float:
    return _RECONNECT_PAUSE_S[min(attempt, len(_RECONNECT_PAUSE_S) - 1)]


async def _close(connection: Connection | None) -> None:
    if connection is not None:
        with contextlib.suppress(psycopg.Error, OSError):
            await connection.close()


class _ConnectionLostError(Exception):
    """The connection went while an append was under way: whether it was committed is not known yet."""
