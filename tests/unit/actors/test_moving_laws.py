"""Whatever shards do meanwhile, split, move, die, every portfolio has one life, and its book is what that life comes to."""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import Enum, auto
from typing import Final

from hypothesis import given, settings
from hypothesis import strategies as st

from actors.writer import Outcome
from portfolio.commands import Command
from portfolio.entries import Entry
from portfolio.errors import Conflict, Rejected
from portfolio.ids import IdempotencyKey, PortfolioId, ShardId
from portfolio.ledger import replay
from portfolio.sharding import ShardMap
from tests.oracles.memory_gateway import MemoryGateway
from tests.oracles.memory_store import MemoryDatabase, newest_row_damaged
from tests.oracles.rows import portfolio
from tests.oracles.strategies import histories
from tests.support.shards import IdleShard, RunningShard, exactly, idle_memory_shard

PORTFOLIOS: Final = 4
MODULUS_MAX: Final = 4


class Deed(Enum):
    """What becomes of a shard between two commands."""

    SPLIT = auto()
    LOOK = auto()
    """A successor reads ahead."""
    FOLLOW = auto()
    """It follows the checkpoints instead, as a standby does."""
    HAND_OVER = auto()
    SAVE = auto()
    KILL = auto()
    STOP = auto()
    LOSE_CHECKPOINT = auto()
    """It dies, and its checkpoint with it."""
    SET_APART = auto()
    """It dies, and a row cannot be read when it comes back; then it can, and the portfolio is put back."""


@dataclass(frozen=True, slots=True)
class Happening:
    """A deed to the shard that has a portfolio."""

    deed: Deed
    portfolio_id: PortfolioId


HAPPENINGS: Final = st.builds(Happening, st.sampled_from(Deed), st.integers(0, PORTFOLIOS - 1).map(portfolio))


@st.composite
def stories(draw: st.DrawFn) -> list[Command | Happening]:
    """The lives of a few portfolios, mixed, with repeats of what was asked before, and what becomes of their shards."""
    queues: list[list[Command]] = []
    for number in range(PORTFOLIOS):
        history = draw(histories(steps_max=5))
        commands: list[Command] = [history.opening, *(step.command for step in history.steps)]
        queues.append(
            [
                replace(command, portfolio_id=portfolio(number), idempotency_key=IdempotencyKey(f"{turn}"))
                for turn, command in enumerate(commands)
            ]
        )
    asked: list[Command] = []
    story: list[Command | Happening] = []
    while queues:
        queue = draw(st.sampled_from(queues))
        asked.append(queue.pop(0))
        story.append(asked[-1])
        queues = [left for left in queues if left]
        if not draw(st.integers(0, 4)):
            story.append(draw(st.sampled_from(asked)))
        story += draw(st.lists(HAPPENINGS, max_size=2))
    return story


class Fleet:
    """Every shard of one database."""

    def __init__(self, database: MemoryDatabase, stack: contextlib.AsyncExitStack) -> None:
        self._database = database
        self._stack = stack
        self._heirs: dict[ShardId, IdleShard] = {}
        self.shards = ShardMap.even(1)
        self.running: dict[ShardId, RunningShard] = {}

    async def start(self, shard_id: ShardId, idle: IdleShard | None = None) -> None:
        """Serve a shard, by the one that stood by for it if there is one."""
        idle = idle or idle_memory_shard(self._database, shard_id=shard_id)
        self.running[shard_id] = await self._stack.enter_async_context(idle.serving())

    def owner(self, portfolio_id: PortfolioId) -> RunningShard:
        """The shard of a portfolio."""
        return self.running[self.shards.shard_of(portfolio_id)]

    async def meet(self, happening: Happening) -> None:
        """Let something become of a shard."""
        shard_id = self.shards.shard_of(happening.portfolio_id)
        running = self.running[shard_id]
        match happening.deed:
            case Deed.SPLIT:
                await self._split(shard_id)
            case Deed.LOOK:
                await self._heir(shard_id).shard.read_ahead()
            case Deed.FOLLOW:
                await self._heir(shard_id).shard.follow()
            case Deed.HAND_OVER:
                await running.shard.hand_over("successor")
                await self.start(shard_id, self._heirs.pop(shard_id, None))
            case Deed.SAVE:
                await running.save()
            case Deed.KILL:
                await running.kill()
                await self.start(shard_id, self._heirs.pop(shard_id, None))
            case Deed.STOP:
                await running.stop()
                await self.start(shard_id)
            case Deed.LOSE_CHECKPOINT:
                await running.kill()
                stored = self._database.shards[shard_id]
                stored.books, stored.checkpoint_seq = {}, 0
                self._heirs.pop(shard_id, None)
                await self.start(shard_id)
            case Deed.SET_APART:
                await running.kill()
                with newest_row_damaged(self._database.shards[shard_id], happening.portfolio_id):
                    await self.start(shard_id)
                    await self.running[shard_id].save()
                    await self._heir(shard_id).shard.follow()
                await self.running[shard_id].shard.rebuild(happening.portfolio_id)

    def _heir(self, shard_id: ShardId) -> IdleShard:
        return self._heirs.setdefault(shard_id, idle_memory_shard(self._database, shard_id=shard_id))

    async def _split(self, shard_id: ShardId) -> None:
        modulus = self.shards.moduli[shard_id]
        if modulus < MODULUS_MAX:
            await self.running[shard_id].shard.split(2 * modulus)
            self.shards = self.shards.split(shard_id)
            await self.start(ShardId(shard_id + modulus))

    def books(self) -> dict[PortfolioId, str]:
        """Every book, to the last digit. Fails if two shards have the same portfolio."""
        found = [book for running in self.running.values() for book in running.shard.books]
        assert len({book.portfolio_id for book in found}) == len(found)
        return {book.portfolio_id: exactly(book) for book in found}


async def _agree(fleet: Fleet, model: MemoryGateway, command: Command) -> None:
    """The shard and the model book the command, find it repeated, or refuse it, alike."""
    try:
        replayed = model.execute(command)
    except (Rejected, Conflict) as error:
        expected: object = type(error)
    else:
        expected = (model.books[command.portfolio_id].version, replayed)
    (outcome,) = await asyncio.gather(fleet.owner(command.portfolio_id).shard.submit(command), return_exceptions=True)
    found = (outcome.book.version, outcome.replayed) if isinstance(outcome, Outcome) else type(outcome)
    assert found == expected


def _lives(database: MemoryDatabase) -> dict[PortfolioId, str]:
    """What the rows of each portfolio come to, of whatever shard they are."""
    entries: dict[PortfolioId, list[Entry]] = defaultdict(list)
    for row in sorted(database.all_rows(), key=lambda row: row.entry.version):
        entries[row.entry.portfolio_id].append(row.entry)
    return {portfolio_id: exactly(replay(None, life)) for portfolio_id, life in entries.items()}


@settings(max_examples=settings().max_examples // 2)
@given(story=stories())
async def test_books_are_what_the_rows_of_each_portfolio_come_to(story: list[Command | Happening]) -> None:
    database = MemoryDatabase()
    model = MemoryGateway(now=datetime.now(UTC))
    async with contextlib.AsyncExitStack() as stack:
        fleet = Fleet(database, stack)
        await fleet.start(ShardId(0))
        for item in story:
            if isinstance(item, Happening):
                await fleet.meet(item)
            else:
                await _agree(fleet, model, item)
        assert fleet.books() == _lives(database)
        for shard_id, running in list(fleet.running.items()):
            await running.stop()
            await fleet.start(shard_id)
        assert fleet.books() == _lives(database)
        assert {running.shard.status().tail_rows_recovered for running in fleet.running.values()} == {0}
