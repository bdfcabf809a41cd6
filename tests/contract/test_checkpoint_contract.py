"""What every checkpoint store promises its shard."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from portfolio.book import Book
from portfolio.errors import Deposed
from portfolio.ids import InstrumentId, PortfolioId
from portfolio.ports import Checkpoint, ValuedBook
from portfolio.valuation import value
from tests.contract.conftest import Store
from tests.oracles.builders import X, buy, sell, split
from tests.oracles.rows import Scribe, opened, portfolio, updated
from tests.support.shards import exactly


def _checkpoint(
    seq: int, books: Iterable[Book], closed: tuple[tuple[PortfolioId, InstrumentId], ...] = (), announced_seq: int = 0
) -> Checkpoint:
    return Checkpoint(seq, announced_seq, (ValuedBook(book, value(book, {})) for book in books), closed)


async def test_nothing_is_loaded_where_nothing_was_saved(store: Store) -> None:
    assert (await store.checkpoints().load()).books == {}


async def test_books_come_back_to_the_last_digit(store: Store) -> None:
    scribe = Scribe()
    for number in range(300):
        scribe.rows(opened(number, cash=f"{number}.07"))
    scribe.rows(updated(3, buy("100.00000001", "20.12345678"), split("1:3"), sell("7", "61.5", fee="1.25")))
    claim = await store.journal().claim()
    await store.checkpoints().save(_checkpoint(601, scribe.books.values()), claim.epoch)
    loaded = (await store.checkpoints().load()).books
    assert {name: exactly(book) for name, book in loaded.items()} == {
        name: exactly(book) for name, book in scribe.books.items()
    }


async def test_a_claim_learns_what_the_checkpoint_covers(store: Store) -> None:
    first = await store.journal().claim()
    await store.checkpoints().save(_checkpoint(7, [], announced_seq=5), first.epoch)
    claim = await store.journal().claim()
    assert (claim.checkpoint_seq, claim.announced_seq) == (7, 5)


async def test_a_later_checkpoint_replaces_what_it_names_and_leaves_the_rest(store: Store) -> None:
    scribe, checkpoints = Scribe(), store.checkpoints()
    claim = await store.journal().claim()
    for number in (1, 2):
        scribe.rows(opened(number))
        scribe.rows(updated(number, buy("2", "3")))
    await checkpoints.save(_checkpoint(4, scribe.books.values()), claim.epoch)
    scribe.rows(updated(1, buy("1", "4")))
    await checkpoints.save(_checkpoint(5, [scribe.books[portfolio(1)]]), claim.epoch)
    assert (await checkpoints.load()).books == scribe.books


async def test_what_changed_since_an_earlier_checkpoint_is_loaded_alone(store: Store) -> None:
    scribe, checkpoints, journal = Scribe(), store.checkpoints(), store.journal()
    claim = await journal.claim()
    for number in (1, 2, 3):
        await journal.append(scribe.rows(opened(number)))
    await checkpoints.save(_checkpoint(3, scribe.books.values()), claim.epoch)
    await journal.append(scribe.rows(updated(1, buy("2", "3"))))
    before = scribe.books[portfolio(1)]
    # This one is in the journal, and not in the checkpoint yet.
    await journal.append(scribe.rows(updated(2, buy("2", "3"))))
    await checkpoints.save(_checkpoint(4, [before]), claim.epoch)
    changed = await checkpoints.load_changed(3)
    assert (changed.seq, changed.books) == (4, {portfolio(1): before})
    assert changed.positions == {portfolio(1): frozenset({X})}
    assert (await checkpoints.load_changed(0)).books.keys() == scribe.books.keys()
    assert (await checkpoints.load_changed(4)).books == {}


async def test_a_position_at_zero_leaves_the_checkpoint(store: Store) -> None:
    scribe, checkpoints = Scribe(), store.checkpoints()
    claim = await store.journal().claim()
    scribe.rows(opened(1))
    scribe.rows(updated(1, buy("2", "3")))
    await checkpoints.save(_checkpoint(2, scribe.books.values()), claim.epoch)
    scribe.rows(updated(1, sell("2", "4")))
    await checkpoints.save(_checkpoint(3, scribe.books.values(), ((portfolio(1), X),)), claim.epoch)
    assert (await checkpoints.load()).books[portfolio(1)].positions == {}


async def test_shards_have_checkpoints_of_their_own(store: Store) -> None:
    scribe = Scribe()
    for shard_id in (0, 1):
        claim = await store.journal(shard_id).claim()
        scribe.rows(opened(shard_id))
        checkpoint = _checkpoint(1, [scribe.books[portfolio(shard_id)]])
        await store.checkpoints(shard_id).save(checkpoint, claim.epoch)
    assert list((await store.checkpoints(0).load()).books) == [portfolio(0)]
    assert list((await store.checkpoints(1).load()).books) == [portfolio(1)]


async def test_a_deposed_owner_saves_nothing(store: Store) -> None:
    scribe, checkpoints = Scribe(), store.checkpoints()
    old = await store.journal().claim()
    await store.journal().claim()
    scribe.rows(opened(1))
    with pytest.raises(Deposed):
        await checkpoints.save(_checkpoint(9, scribe.books.values()), old.epoch)
    assert (await checkpoints.load()).books == {}
    assert (await store.journal().claim()).checkpoint_seq == 0
