"""The checkpointer, on a store in memory that fails when told to."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from decimal import Decimal

import pytest

from actors.books import Books
from actors.checkpointer import Checkpointer
from actors.settings import Limits
from portfolio.book import Mark
from portfolio.commands import Command
from portfolio.errors import Deposed, ShardUnavailable
from portfolio.ids import PortfolioId, ShardId
from tests.oracles.builders import NOW, X, buy, sell
from tests.oracles.memory_store import MemoryCheckpointStore, MemoryDatabase
from tests.oracles.rows import Scribe, opened, portfolio, updated
from tests.support.shards import eventually

SHARD = ShardId(0)


class Vault:
    """A checkpointer of one shard, handed books as the writer would."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.scribe = Scribe()
        self.books = Books({}, {})
        self.database = MemoryDatabase()
        self.store = MemoryCheckpointStore(self.database, SHARD)
        self.announced_seq = 0
        self.epoch = 0
        self.checkpointer = Checkpointer(
            books=self.books,
            store=self.store,
            limits=limits or Limits(),
            checkpoint_seq=0,
            head_seq=0,
            epoch=lambda: self.epoch,
            announced_seq=lambda: self.announced_seq,
        )

    def commit(self, *commands: Command) -> None:
        """One batch of commands."""
        rows = [row for command in commands for row in self.scribe.rows(command)]
        changed = {command.portfolio_id: self.scribe.books[command.portfolio_id] for command in commands}
        for book in changed.values():
            self.books.replace(book)
        self.checkpointer.committed(list(changed.values()), self.checkpointer.head_seq + len(rows))

    @property
    def stored(self) -> dict[PortfolioId, int]:
        """The version of each book in the store."""
        return {name: book.version for name, book in self.database.shards[SHARD].books.items()}


@pytest.fixture
async def vault() -> Vault:
    """A checkpointer with ordinary limits."""
    return Vault()


async def test_what_changed_is_saved_once(vault: Vault) -> None:
    vault.commit(opened(1), opened(2))
    await vault.checkpointer.save()
    vault.commit(updated(2))
    await vault.checkpointer.save()
    await vault.checkpointer.save()
    assert vault.stored == {"P-1": 1, "P-2": 2}
    assert [checkpoint.seq for checkpoint in vault.store.saves] == [2, 3]
    assert vault.checkpointer.checkpoint_seq == 3


async def test_an_announcement_alone_is_saved_too(vault: Vault) -> None:
    vault.commit(opened(1))
    await vault.checkpointer.save()
    vault.announced_seq = 1
    await vault.checkpointer.save()
    await vault.checkpointer.save()
    assert [checkpoint.announced_seq for checkpoint in vault.store.saves] == [0, 1]


async def test_a_failed_save_is_made_good_by_the_next(vault: Vault) -> None:
    vault.commit(opened(1))
    vault.store.failures.append(ShardUnavailable("Postgres is away"))
    with pytest.raises(ShardUnavailable):
        await vault.checkpointer.save()
    assert vault.checkpointer.checkpoint_seq == 0
    vault.commit(opened(2))
    await vault.checkpointer.save()
    assert vault.stored == {"P-1": 1, "P-2": 1}


async def test_what_is_committed_during_a_save_is_saved_by_the_next(vault: Vault) -> None:
    vault.commit(opened(1))
    saving = asyncio.ensure_future(vault.checkpointer.save())
    await asyncio.sleep(0)
    vault.commit(updated(1))
    await saving
    assert (vault.stored, vault.checkpointer.checkpoint_seq) == ({"P-1": 1}, 1)
    await vault.checkpointer.save()
    assert (vault.stored, vault.checkpointer.checkpoint_seq) == ({"P-1": 2}, 2)


async def test_a_closed_position_is_deleted(vault: Vault) -> None:
    vault.commit(opened(1), updated(1, buy("2", "3")))
    await vault.checkpointer.save()
    vault.commit(updated(1, sell("2", "3")))
    await vault.checkpointer.save()
    assert vault.store.saves[-1].closed == [(portfolio(1), X)]
    assert vault.database.shards[SHARD].books[portfolio(1)].positions == {}


async def test_a_position_opened_and_closed_between_saves_needs_no_deletion(vault: Vault) -> None:
    vault.commit(opened(1))
    await vault.checkpointer.save()
    vault.commit(updated(1, buy("2", "3")))
    vault.commit(updated(1, sell("2", "3")))
    await vault.checkpointer.save()
    assert vault.store.saves[-1].closed == []


async def test_a_position_of_a_save_whose_answer_was_lost_is_deleted_when_it_closes(vault: Vault) -> None:
    vault.commit(opened(1))
    await vault.checkpointer.save()
    vault.commit(updated(1, buy("2", "3")))
    vault.store.lost_answers.append(ShardUnavailable("the connection went after the commit"))
    with pytest.raises(ShardUnavailable):
        await vault.checkpointer.save()
    vault.commit(updated(1, sell("2", "3")))
    await vault.checkpointer.save()
    assert vault.database.shards[SHARD].books[portfolio(1)].positions == {}


async def test_positions_recovered_from_a_checkpoint_are_known(vault: Vault) -> None:
    vault.scribe.rows(opened(1))
    vault.scribe.rows(updated(1, buy("2", "3")))
    saved = dict(vault.scribe.books)
    vault.database.shards[SHARD].books.update(saved)
    vault.scribe.rows(updated(1, sell("2", "3")))
    vault.books.replace(vault.scribe.books[portfolio(1)])
    positions = {name: frozenset(book.positions) for name, book in saved.items()}
    vault.checkpointer.restored(positions, [portfolio(1)])
    await vault.checkpointer.save()
    assert vault.database.shards[SHARD].books[portfolio(1)].positions == {}


async def test_saves_come_by_themselves_and_after_many_rows_sooner() -> None:
    vault = Vault(Limits(checkpoint_interval_s=3600, checkpoint_rows=3))
    life = asyncio.ensure_future(vault.checkpointer.run())
    await asyncio.sleep(0.01)
    vault.commit(opened(1))
    await asyncio.sleep(0.02)
    assert vault.stored == {}
    vault.commit(updated(1), updated(1))
    await eventually(lambda: vault.stored == {"P-1": 3})
    life.cancel()


async def test_a_save_that_fails_does_not_end_the_checkpointer() -> None:
    vault = Vault(Limits(checkpoint_interval_s=0.005))
    vault.store.failures += [
        ShardUnavailable("away"),
        Deposed("an epoch of our own passed by"),
        ShardUnavailable("away"),
    ]
    life = asyncio.ensure_future(vault.checkpointer.run())
    vault.commit(opened(1))
    await eventually(lambda: vault.stored == {"P-1": 1})
    assert not life.done()
    life.cancel()


async def test_marks_reach_the_checkpoint_at_their_own_pace() -> None:
    vault = Vault(Limits(checkpoint_interval_s=0.005, revalued_checkpoint_interval_s=0.05))
    vault.commit(opened(1), updated(1, buy("2", "3")))
    life = asyncio.ensure_future(vault.checkpointer.run())
    await eventually(lambda: len(vault.store.saves) == 1)
    vault.books.mark({X: Mark(Decimal(5), NOW + timedelta(minutes=1))})
    vault.checkpointer.revalued(vault.books.revalue())
    await eventually(lambda: len(vault.store.saves) == 2)
    await asyncio.sleep(0.03)
    assert len(vault.store.saves) == 2
    life.cancel()


async def test_a_deposed_owner_is_told(vault: Vault) -> None:
    vault.commit(opened(1))
    vault.database.shards[SHARD].epoch = 1
    with pytest.raises(Deposed):
        await vault.checkpointer.save()
    assert vault.stored == {}
