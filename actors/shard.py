"""One shard of portfolios: its state in memory, its single writer, and what follows each commit."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

from actors.books import Books
from actors.ground import SLOW_COMMIT, earlier
from actors.jobs import end, first_to_end
from actors.lease import Lease
from actors.line import Place
from actors.names import actor_name
from actors.pacing import Pacer
from actors.rebuilding import rebuilt
from actors.recovery import Recovered, Recovery
from actors.serving import Serving, assembled
from actors.settings import Limits
from actors.shard_status import Phase, ShardStatus, status_of
from actors.writer import Outcome
from portfolio.book import Mark
from portfolio.commands import Command
from portfolio.errors import (
    Corrupt,
    InvalidRequest,
    PortfolioError,
    PortfolioQuarantined,
    ShardUnavailable,
    Unavailable,
    WrongShard,
)
from portfolio.ids import InstrumentId, PortfolioId, ShardId
from portfolio.ports import CheckpointStore, Claim, Journal, MarkStore, Mirror, RequestKey
from portfolio.sharding import shard_of, sibling_of

_log = logging.getLogger(__name__)
_LOOK_AGAIN_S: Final = 0.1
_UNCONFIRMED: Final = "the lease has ended and Postgres does not confirm it"


class Shard:
    """The owner of one shard. `start` claims and recovers; `run` then serves until it must stop.

    `is_gone` tells of another owner, by its name, whether it is known to have ended.
    """

    def __init__(
        self,
        *,
        shard_id: ShardId,
        journal: Journal,
        epoch: Callable[[], int],
        checkpoints: CheckpointStore,
        marks: MarkStore,
        mirror: Mirror,
        limits: Limits,
        is_gone: Callable[[str], bool],
    ) -> None:
        self.shard_id = shard_id
        self._modulus = 1
        self._splitting_to: int | None = None
        self._journal = journal
        self._epoch = epoch
        self._checkpoints = checkpoints
        self._marks = marks
        self._mirror = mirror
        self._limits = limits
        self._is_gone = is_gone
        self._lease = Lease(limits.lease_s)
        self._serving: Serving | None = None
        self._reason: PortfolioError | None = None
        self._let_go = asyncio.Event()
        self._ahead: Recovery | None = None
        self._is_successor = False
        self._standing_still = asyncio.Lock()
        self.stood_still_at = 0.0
        """When the last move or split began to hold up writes, on `lease.boot_clock`."""
        self._recovery_s = 0.0

    @property
    def books(self) -> Books:
        """The committed state. Raises ShardUnavailable while recovering, without the lease, and once stopped."""
        return self._served().books

    @property
    def has_let_go(self) -> bool:
        """Whether the shard is another's now, or may be."""
        return self._let_go.is_set()

    @property
    def signature(self) -> str:
        """Who answers: the shard and the epoch under which it is owned."""
        return f"{self.shard_id}/{self._epoch()}"

    def pacer(self) -> Pacer:
        """For a caller's long work on this shard's loop."""
        return Pacer(self._limits.loop_slice_ms)

    def submit(self, command: Command, place: Place | None = None) -> asyncio.Future[Outcome]:
        """Queue a command for the writer; see Writer.submit."""
        try:
            serving = self._served()
            # Two shards that book one portfolio would repeat its versions, which stops the later one.
            self._check_mine(command.portfolio_id)
            # Also for a repeat of what was booked long ago: its answer would be a book that nobody can trust.
            serving.books.check_not_quarantined(command.portfolio_id)
            return serving.writer.submit(command, place)
        except Unavailable:
            if place is not None:
                place.turn_away()
            raise

    def books_with(self, portfolio_id: PortfolioId) -> Books:
        """The committed state, among which the portfolio is if it exists. Raises ShardUnavailable or WrongShard."""
        books = self.books
        self._check_mine(portfolio_id)
        return books

    def check_modulus(self, modulus: int) -> None:
        """Raises WrongShard if a caller takes the shard for one of another modulus, ShardUnavailable if it cannot tell."""
        self._served()
        if self._splitting_to is not None:
            raise self._splitting()
        if modulus != self._modulus:
            raise WrongShard(
                f"shard {self.shard_id} is one of {self._modulus}, not of {modulus}",
                shard=self.shard_id,
                modulus=self._modulus,
            )

    def _check_mine(self, portfolio_id: PortfolioId) -> None:
        owner = shard_of(portfolio_id, self._modulus)
        if owner != self.shard_id:
            raise WrongShard(
                f"portfolio {portfolio_id} is of shard {owner} of {self._modulus}, not {self.shard_id}",
                shard=owner,
                modulus=self._modulus,
            )
        # The other half may have begun to serve before this one hears that the split is done.
        if self._splitting_to is not None and shard_of(portfolio_id, self._splitting_to) != self.shard_id:
            raise self._splitting()

    def _splitting(self) -> ShardUnavailable:
        return ShardUnavailable(f"shard {self.shard_id} is splitting", shard=self.shard_id, moving=True)

    def _served(self) -> Serving:
        """The parts that answer callers. Raises ShardUnavailable unless this shard certainly has no newer owner."""
        serving = self._recovered()
        if not self._lease.is_held:
            # A process that stood still for longer than its lease is about to ask, and most often is the owner still.
            confirming = {} if self._lease.is_doubted else {"confirming": True}
            raise ShardUnavailable(f"shard {self.shard_id}: {_UNCONFIRMED}", shard=self.shard_id, **confirming)
        return serving

    def _recovered(self) -> Serving:
        if self._reason is not None:
            moving = {"moving": True} if self.has_let_go else {}
            raise ShardUnavailable(f"shard {self.shard_id} has stopped: {self._reason}", shard=self.shard_id, **moving)
        if self._serving is None:
            # What was read ahead is soon complete.
            moving = {"moving": True} if self._is_successor else {}
            raise ShardUnavailable(f"shard {self.shard_id} is recovering", shard=self.shard_id, **moving)
        return self._serving

    def _recovery(self) -> Recovery:
        return Recovery(
            shard_id=self.shard_id,
            journal=self._journal,
            checkpoints=self._checkpoints,
            marks=self._marks,
            limits=self._limits,
        )

    async def read_ahead(self) -> None:
        """Bring what another owner has committed into memory, so that little is left for `start`.

        Raises ShardUnavailable, or Corrupt, after which it begins from nothing.
        """
        await self._go_ahead(Recovery.read_ahead)

    async def follow(self) -> None:
        """Bring what another owner has saved into memory, which costs less than its every row, and leaves more for `start`.

        Raises as `read_ahead` does.
        """
        await self._go_ahead(Recovery.follow)

    async def _go_ahead(self, step: Callable[[Recovery], Awaitable[None]]) -> None:
        self._is_successor = True
        if self._ahead is None:
            self._ahead = self._recovery()
        try:
            await step(self._ahead)
        except Corrupt:
            self._ahead = None
            raise

    async def start(self) -> None:
        """Claim the shard and bring its state into memory. Raises Corrupt or ShardUnavailable."""
        began = self._lease.now()
        try:
            claim = await self._journal.claim()
            claimed_at = self._lease.now()
            self._modulus = claim.modulus
            recovery = self._ahead if self._ahead is not None and self._ahead.leads_to(claim) else self._recovery()
            # It is used up by this, also if this fails on the way.
            self._ahead = None
            recovered = await recovery.complete(claim)
            serving = self._assembled(claim, recovered)
            unannounced = await self._journal.unannounced(claim.announced_seq)
        except Corrupt as error:
            # What looks broken may be the work of a newer owner, who has saved a checkpoint since the claim.
            await self._journal.check_ownership()
            self._reason = error
            raise
        # Of a shard that has split, or came of a split, some have their home elsewhere now.
        announced = dict.fromkeys([*unannounced, *recovered.rebuilt])
        books = [book for name in announced if (book := serving.books.held(name))]
        serving.publisher.committed(books, claim.announced_seq + 1, claim.head.seq)
        self._recovery_s = self._lease.now() - began
        await self._outlast(claim, claimed_at)
        await self._begin()
        self._serving = serving
        _log.info(
            "shard %s: epoch %s, %s portfolios, %s rows replayed, %.2f s",
            *(self.shard_id, claim.epoch, len(serving.books), recovered.tail_rows, self._recovery_s),
        )

    async def _outlast(self, claim: Claim, claimed_at: float) -> None:
        """Return once the owner before cannot be answering any more."""
        while claim.answering is not None:
            left_s = claimed_at + claim.lease_s - self._lease.now()
            if left_s <= 0 or self._is_gone(claim.answering):
                return
            await asyncio.sleep(min(_LOOK_AGAIN_S, left_s))

    async def _begin(self) -> None:
        asked_at = self._lease.now()
        await self._journal.begin_answering(self._lease.duration_s)
        self._lease.proven(asked_at)

    def _assembled(self, claim: Claim, recovered: Recovered) -> Serving:
        return assembled(
            claim,
            recovered,
            journal=self._journal,
            checkpoints=self._checkpoints,
            mirror=self._mirror,
            lease=self._lease,
            limits=self._limits,
            shard_id=self.shard_id,
            epoch=self._epoch,
        )

    async def run(self) -> None:
        """Serve until cancelled. Raises Deposed or Corrupt, after which the shard answers nothing any more."""
        serving = self._recovered()
        jobs: Sequence[Callable[[], Awaitable[None]]] = (
            serving.writer.run,
            serving.checkpointer.run,
            serving.publisher.run_mirror,
            serving.publisher.run_events,
            self._revalue,
            self._refresh_marks,
            self._keep_lease,
            self._until_let_go,
        )
        tasks = [asyncio.ensure_future(job()) for job in jobs]
        try:
            await first_to_end(tasks)
        except PortfolioError as error:
            self._reason = error
            raise
        except Exception as error:
            self._reason = ShardUnavailable(f"shard {self.shard_id} failed: {error!r}")
            raise
        finally:
            await end(tasks)

    async def stop(self) -> None:
        """Save a last checkpoint, so that the next start has nothing to replay, and let go of the shard.

        It answers nothing any more, and `run` must have ended.
        """
        serving, self._serving = self._serving, None
        if serving is not None and self._reason is None:
            await serving.checkpointer.save()
            await self._journal.release(None)

    async def hand_over(self, successor: str) -> None:
        """Let go of the shard in favour of the actor of that name; this one answers nothing any more.

        Raises ShardUnavailable, and goes on serving, if it cannot be done now. Once the shard has been let go of, or
        may have been, `run` ends.
        """
        serving = self._served()
        async with self._standstill(serving, f"shard {self.shard_id} is moving"):
            self._reason = ShardUnavailable(f"it has moved to {successor}")
            self._let_go.set()
            self._lease.give_up()
            await self._journal.release(successor)

    async def split(self, modulus: int) -> None:
        """Give half of the portfolios to a new shard, which branches off here; see ports.Journal.split.

        `modulus` is twice the present one; a shard that has it already has split, and stays as it is. Raises
        ShardUnavailable, with everything as it was, if it cannot be done now.
        """
        serving = self._served()
        self.stood_still_at = self._lease.now()
        if modulus == self._modulus:
            return
        if modulus != 2 * self._modulus:
            raise InvalidRequest(f"shard {self.shard_id} is one of {self._modulus}, and cannot split to {modulus}")
        async with self._standstill(serving, f"shard {self.shard_id} is splitting"):
            await self._split(serving, modulus)

    async def _split(self, serving: Serving, modulus: int) -> None:
        moving = [found for found in serving.books.portfolio_ids() if shard_of(found, modulus) != self.shard_id]
        self._splitting_to = modulus
        try:
            await self._journal.split(moving, actor_name(sibling_of(self.shard_id, self._modulus)))
        except ShardUnavailable:
            # Nothing has changed; after any other error, nobody knows.
            self._splitting_to = None
            raise
        self._modulus, self._splitting_to = modulus, None
        for part in (serving.books, serving.publisher, serving.checkpointer):
            part.drop(moving)

    @asynccontextmanager
    async def _standstill(self, serving: Serving, why: str) -> AsyncIterator[None]:
        """Meanwhile nothing is committed, saved or announced, and the checkpoint has reached the journal's head.

        Raises ShardUnavailable, and goes on as before, if that cannot be reached in time.
        """
        if self._standing_still.locked():
            raise ShardUnavailable(f"shard {self.shard_id} is moving or splitting already", shard=self.shard_id)
        async with self._standing_still, AsyncExitStack() as rest:
            # Most of it is saved while commands still flow, so that little is left for the standstill.
            await serving.checkpointer.save()
            await serving.checkpointer.save()
            await self._come_to_rest(serving, why, rest)
            # Meanwhile it may have been deposed.
            self._served()
            yield

    async def _come_to_rest(self, serving: Serving, why: str, rest: AsyncExitStack) -> None:
        try:
            async with asyncio.timeout(self._limits.standstill_timeout_s):
                # First what waits for Redis, which must not hold up writes.
                await rest.enter_async_context(serving.publisher.silence())
                self.stood_still_at = self._lease.now()
                rest.callback(serving.writer.unseal)
                await serving.writer.seal(why)
                await rest.enter_async_context(serving.checkpointer.at_rest())
        except TimeoutError as error:
            raise ShardUnavailable(f"{why}: it takes too long now", shard=self.shard_id) from error

    async def record_marks(self, marks: Mapping[InstrumentId, Mark]) -> frozenset[InstrumentId]:
        """Make marks durable for the whole cluster; gives the instruments whose mark was news."""
        self._served()
        return await self._marks.record(marks)

    async def find_keys(self, keys: Sequence[RequestKey]) -> Mapping[RequestKey, bytes]:
        """Request hashes of those idempotency keys that were used."""
        self._served()
        return await self._journal.find_keys(keys)

    async def moduli(self) -> Mapping[ShardId, int]:
        """The modulus of every shard of the cluster."""
        return await self._journal.moduli()

    async def rebuild(self, portfolio_id: PortfolioId) -> None:
        """Make a portfolio in quarantine anew from its rows, which may have been mended, and serve it if it is sound.

        Raises PortfolioQuarantined with what is wrong now. A portfolio that is not in quarantine stays as it is.
        """
        books = self.books_with(portfolio_id)
        if portfolio_id not in books.quarantined:
            return
        try:
            found = await rebuilt(portfolio_id, self._journal, self.pacer())
        except PortfolioQuarantined as error:
            if portfolio_id in books.quarantined:
                books.keep_quarantined(portfolio_id, error.detail)
            books.check_not_quarantined(portfolio_id)
            return
        # Meanwhile the shard may have stopped, or another call have lifted the quarantine and writes have followed.
        serving = self._served()
        if portfolio_id in serving.books.quarantined:
            serving.lift(found)
            _log.warning("portfolio %s is out of quarantine at version %s", portfolio_id, found.book.version)

    def show_marks(self, marks: Mapping[InstrumentId, Mark]) -> None:
        """Value this shard's books at marks that are durable; documents show them within a revaluation interval."""
        self._served().books.mark(marks)

    async def _revalue(self) -> None:
        serving = self._recovered()
        while True:
            await asyncio.sleep(self._limits.revaluation_interval_s)
            touched = serving.books.revalue()
            serving.publisher.refresh(touched)
            serving.checkpointer.revalued(touched)

    async def _refresh_marks(self) -> None:
        """Find marks whose recorder died before it could tell this shard."""
        serving = self._recovered()
        seen = serving.marks_seen
        while True:
            await asyncio.sleep(self._limits.mark_refresh_interval_s)
            try:
                recorded = await self._marks.since(earlier(seen, SLOW_COMMIT))
            except ShardUnavailable as error:
                _log.warning("shard %s: marks may be late: %s", self.shard_id, error)
                continue
            serving.books.mark({found.instrument_id: found.mark for found in recorded})
            seen = max([seen, *(found.recorded_at for found in recorded)])

    async def _keep_lease(self) -> None:
        """Prove the ownership wherever commits have not done so lately. Raises Deposed."""
        while True:
            asked_at = self._lease.now()
            if asked_at < (due_at := self._lease.proven_at + self._limits.heartbeat_interval_s):
                await asyncio.sleep(due_at - asked_at)
                continue
            try:
                await self._journal.renew()
            except ShardUnavailable as error:
                if not self._lease.is_doubted:
                    _log.warning("shard %s: the lease is not renewed: %s", self.shard_id, error)
                self._lease.doubt()
                await asyncio.sleep(_LOOK_AGAIN_S)
                continue
            self._lease.proven(asked_at)

    async def _until_let_go(self) -> None:
        await self._let_go.wait()

    def _phase(self) -> Phase:
        if self._reason is not None:
            return Phase.STOPPED
        if self._serving is None:
            return Phase.RECOVERING
        return Phase.SERVING if self._lease.is_held else Phase.UNCONFIRMED

    def _why(self) -> str | None:
        if self._reason is not None:
            return str(self._reason)
        return _UNCONFIRMED if self._phase() is Phase.UNCONFIRMED else None

    def status(self) -> ShardStatus:
        """How the shard is doing, now."""
        return status_of(
            self._serving,
            shard_id=self.shard_id,
            modulus=self._modulus,
            phase=self._phase(),
            reason=self._why(),
            epoch=self._epoch(),
            recovery_s=self._recovery_s,
        )
