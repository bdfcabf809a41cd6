"""Books lanes through a gateway: in order within a portfolio, many portfolios at once, again when a shard was away."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from actors.protocol import UpdateOutcome
from cluster.loading.gateway import LoadGateway
from cluster.loading.lanes import Lane, Step, grouped, one_call
from cluster.loading.report import LoadReport, Problem, Problems
from cluster.patience import Backoff, Patience, is_passing
from portfolio.commands import OpenPortfolio, UpdatePortfolio
from portfolio.errors import PortfolioError, VersionMismatch

GROUPS_AT_ONCE: Final = 4
"""With 5,000 transactions each they fill a tenth of a shard's queue, should all be for the same one."""
REBASES_MAX: Final = 100


class Booker:
    """Books lanes and counts what became of their transactions. `advance` is told of transactions as they are settled."""

    def __init__(
        self,
        gateway: LoadGateway,
        problems: Problems,
        *,
        patience: Patience,
        advance: Callable[[int], None] = lambda count: None,
    ) -> None:
        self._gateway = gateway
        self._problems = problems
        self._patience = patience
        self._advance = advance
        self.booked = 0
        self.skipped = 0
        self.updates_booked = 0
        self.portfolios_opened = 0
        self.gave_up: str | None = None

    def skip(self, transactions: int) -> None:
        """Count transactions that an earlier load has booked."""
        self.skipped += transactions
        self._advance(transactions)

    def report(self, *, rows_read: int, elapsed_s: float, is_dry_run: bool = False) -> LoadReport:
        """What the load came to, its problems in the order of the file."""
        kept = sorted(self._problems.kept, key=lambda problem: problem.line or 0)
        return LoadReport(
            rows_read=rows_read,
            booked=self.booked,
            skipped=self.skipped,
            bad=self._problems.rows,
            problems=tuple(kept),
            problem_count=self._problems.count,
            updates_booked=self.updates_booked,
            portfolios_opened=self.portfolios_opened,
            elapsed_s=elapsed_s,
            is_dry_run=is_dry_run,
            gave_up=self.gave_up,
        )

    async def book(self, lanes: Iterable[Lane]) -> None:
        """Book every step of `lanes`, or record why not. At the end of patience it stops, and `gave_up` says why."""
        groups = grouped(lanes)
        workers = [asyncio.ensure_future(self._work(groups)) for _ in range(GROUPS_AT_ONCE)]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()

    async def _work(self, groups: Iterator[Sequence[Lane]]) -> None:
        for group in groups:
            await self._book_group(group)
            if self.gave_up is not None:
                return

    async def _book_group(self, group: Sequence[Lane]) -> None:
        backoff = Backoff(self._patience)
        while (lanes := [lane for lane in group if lane.is_open]) and self.gave_up is None:
            steps_done = sum(lane.done for lane in lanes)
            failures = [*await self._write_others(lanes), *await self._write_updates(lanes)]
            if sum(lane.done for lane in lanes) > steps_done:
                backoff.succeeded()
            if failures:
                await self._pause(backoff, failures[0])

    async def _pause(self, backoff: Backoff, failure: PortfolioError) -> None:
        try:
            await backoff.pause(failure)
        except PortfolioError as error:
            self.gave_up = f"{error.code}: {error.detail}"

    async def _write_others(self, lanes: Sequence[Lane]) -> list[PortfolioError]:
        """Send each lane's next command that is no update; gives the failures that may pass."""
        waiting = [lane for lane in lanes if not isinstance(lane.next.command, UpdatePortfolio)]
        failures = await asyncio.gather(*map(self._write_other, waiting))
        return [failure for failure in failures if failure is not None]

    async def _write_other(self, lane: Lane) -> PortfolioError | None:
        first = lane.done
        try:
            answer = await self._gateway.write(lane.next.command)
        except PortfolioError as error:
            return self._failed(lane, error)
        else:
            self._succeeded(lane, answer.replayed)
            return None
        finally:
            lane.sent = max(lane.sent, first + 1)

    async def _write_updates(self, lanes: Sequence[Lane]) -> list[PortfolioError]:
        """Send one call full of updates; gives the failures that may pass."""
        chosen = one_call(lane for lane in lanes if lane.is_open)
        commands = [command for _, updates in chosen for command in updates]
        outcomes = iter(await self._gateway.update_many(commands) if commands else ())
        failures = [self._settle(lane, [next(outcomes) for _ in updates]) for lane, updates in chosen]
        return [failure for failure in failures if failure is not None]

    def _settle(self, lane: Lane, outcomes: Sequence[UpdateOutcome]) -> PortfolioError | None:
        first = lane.done
        try:
            for outcome in outcomes:
                if outcome.fault is not None:
                    # Those after it were for later versions, so they were refused and are sent again.
                    return self._failed(lane, outcome.fault.error())
                self._succeeded(lane, outcome.replayed)
            return None
        finally:
            lane.sent = max(lane.sent, first + len(outcomes))

    def _succeeded(self, lane: Lane, is_repeat: bool) -> None:
        step = lane.next
        if is_repeat and lane.done >= lane.sent:
            self.skip(step.transaction_count)
        else:
            self._advance(step.transaction_count)
            self.booked += step.transaction_count
            self.updates_booked += isinstance(step.command, UpdatePortfolio)
            self.portfolios_opened += isinstance(step.command, OpenPortfolio)
        lane.version += step.entry_count
        lane.done += 1
        lane.rebases = 0

    def _failed(self, lane: Lane, error: PortfolioError) -> PortfolioError | None:
        """The error, if it may pass. Otherwise the lane ends here, unless it only has to catch up with another writer."""
        if is_passing(error):
            return error
        version = error.cause.get("version")
        if isinstance(error, VersionMismatch) and isinstance(version, int) and lane.rebases < REBASES_MAX:
            # Somebody else books in this portfolio too. What is left is valid or not in its present state; the shard
            # decides, and keys keep it from being booked twice.
            lane.version = version
            lane.rebases += 1
            return None
        self._problems.add_row([_problem(lane.portfolio_id, lane.next, error)])
        self._advance(lane.transactions_left)
        lane.done = len(lane.steps)
        return None


def _problem(portfolio_id: str, step: Step, error: PortfolioError) -> Problem:
    index, field = error.cause.get("index"), error.cause.get("field")
    line = None
    if step.lines:
        line = step.lines[index if isinstance(index, int) else -1]
    return Problem(
        portfolio_id=portfolio_id,
        line=line,
        field=field if isinstance(field, str) else None,
        reason=f"{error.code}: {error.detail}",
    )
