"""What every store promises a shard that has to set single books apart."""

from __future__ import annotations

import pytest

from portfolio.commands import Command
from portfolio.errors import Deposed
from portfolio.ids import PortfolioId
from portfolio.ports import Checkpoint, DamagedRow, StoredRow, ValuedBook
from portfolio.valuation import value
from tests.contract.conftest import Store
from tests.oracles.builders import X, buy
from tests.oracles.rows import Scribe, opened, portfolio, updated


async def _written(store: Store) -> Scribe:
    """Shard 0 with rows 1 to 6: openings of two portfolios, then two updates of each."""
    scribe, journal = Scribe(), store.journal()
    await journal.claim()
    for command in (opened(1), opened(2), updated(1), updated(2), updated(1), updated(2)):
        await journal.append(scribe.rows(command))
    return scribe


async def test_a_life_is_one_portfolios_rows_by_version(store: Store) -> None:
    await _written(store)
    life = [row async for row in store.journal().life(portfolio(2))]
    assert [(row.seq, row.entry.version) for row in life if isinstance(row, StoredRow)] == [(2, 1), (4, 2), (6, 3)]
    assert [row async for row in store.journal().life(portfolio(3))] == []


async def test_a_life_goes_on_across_shards(store: Store) -> None:
    scribe = Scribe()
    commands: list[Command] = [opened(1), updated(1)]
    for shard_id, command in enumerate(commands):
        journal = store.journal(shard_id)
        await journal.claim()
        await journal.append(scribe.rows(command))
    life = [row async for row in store.journal().life(portfolio(1))]
    assert [row.entry.version for row in life if isinstance(row, StoredRow)] == [1, 2]


async def test_a_damaged_row_is_told_and_the_next_is_checked_against_its_stored_hash(store: Store) -> None:
    await _written(store)
    store.spoil_row(3)
    journal = store.journal()
    claim = await journal.claim()
    rows = [row async for row in journal.tail(claim, 0)]
    assert [row.seq for row in rows] == [1, 2, 3, 4, 5, 6]
    (damaged,) = [row for row in rows if isinstance(row, DamagedRow)]
    assert (damaged.seq, damaged.portfolio_id, damaged.version) == (3, portfolio(1), 2)
    assert "3 does not match its hash" in damaged.reason


async def test_a_damaged_row_stands_in_its_portfolios_life_alone(store: Store) -> None:
    await _written(store)
    store.spoil_row(3)
    journal = store.journal()
    assert [type(row) for row in [row async for row in journal.life(portfolio(1))]] == [
        StoredRow,
        DamagedRow,
        StoredRow,
    ]
    assert not [row async for row in journal.life(portfolio(2)) if isinstance(row, DamagedRow)]


async def test_what_is_set_apart_is_known_to_its_shard_until_its_book_is_saved(store: Store) -> None:
    scribe = await _written(store)
    claim, checkpoints = await store.journal().claim(), store.checkpoints()
    assert await checkpoints.quarantined() == {}
    await checkpoints.set_apart({portfolio(1): "first", portfolio(2): "second"}, claim.epoch)
    await checkpoints.set_apart({portfolio(1): "again"}, claim.epoch)
    assert await checkpoints.quarantined() == {portfolio(1): "again", portfolio(2): "second"}
    assert await store.checkpoints(1).quarantined() == {}
    # A checkpoint says with one breath what it holds and what it has passed by.
    for saved in (await checkpoints.load(), await checkpoints.load_changed(0)):
        assert saved.quarantined == {portfolio(1): "again", portfolio(2): "second"}
    assert (await store.checkpoints(1).load()).quarantined == {}
    await checkpoints.save(_checkpoint(scribe, portfolio(1), released=[portfolio(1)]), claim.epoch)
    assert await checkpoints.quarantined() == {portfolio(2): "second"}


def _checkpoint(scribe: Scribe, portfolio_id: PortfolioId, released: list[PortfolioId]) -> Checkpoint:
    book = scribe.books[portfolio_id]
    return Checkpoint(6, 6, [ValuedBook(book, value(book, {}))], (), released)


async def test_a_deposed_owner_sets_nothing_apart_and_releases_nothing(store: Store) -> None:
    scribe = await _written(store)
    checkpoints = store.checkpoints()
    first = await store.journal().claim()
    await checkpoints.set_apart({portfolio(1): "it is bad"}, first.epoch)
    await store.journal().claim()
    with pytest.raises(Deposed):
        await checkpoints.set_apart({portfolio(2): "it is bad"}, first.epoch)
    with pytest.raises(Deposed):
        await checkpoints.save(_checkpoint(scribe, portfolio(1), released=[portfolio(1)]), first.epoch)
    assert await checkpoints.quarantined() == {portfolio(1): "it is bad"}


async def test_a_book_that_cannot_be_read_is_named_and_its_positions_are_known(store: Store) -> None:
    scribe, checkpoints = Scribe(), store.checkpoints()
    claim = await store.journal().claim()
    for number in (1, 2):
        scribe.rows(opened(number))
        scribe.rows(updated(number, buy("2", "3")))
    books = [ValuedBook(book, value(book, {})) for book in scribe.books.values()]
    await checkpoints.save(Checkpoint(4, 4, books, ()), claim.epoch)
    store.spoil_checkpoint(portfolio(1))
    saved = await checkpoints.load()
    assert list(saved.books) == [portfolio(2)]
    assert list(saved.unreadable) == [portfolio(1)]
    assert saved.positions == {portfolio(1): {X}, portfolio(2): {X}}
    await checkpoints.save(Checkpoint(4, 4, [books[0]], ()), claim.epoch)
    assert (await checkpoints.load()).books == scribe.books
