"""What every journal promises its shard."""

from __future__ import annotations

from uuid import uuid4

import pytest

from portfolio.commands import Command, request_hash
from portfolio.errors import Deposed
from portfolio.ids import IdempotencyKey
from portfolio.ports import DuplicateKeys, Journal, PendingRow, StoredRow
from tests.contract.conftest import Store
from tests.oracles.builders import buy, deposit
from tests.oracles.rows import Scribe, opened, portfolio, updated


async def _all_rows(store: Store, shard_id: int = 0) -> list[StoredRow]:
    journal = store.journal(shard_id)
    claim = await journal.claim()
    rows = [row async for row in journal.tail(claim, 0)]
    assert all(isinstance(row, StoredRow) for row in rows)
    return [row for row in rows if isinstance(row, StoredRow)]


async def _appended(journal: Journal, scribe: Scribe, number: int, count: int) -> None:
    await journal.append(scribe.rows(opened(number)))
    for _ in range(count):
        await journal.append(scribe.rows(updated(number)))


async def test_a_shard_never_written_ends_at_row_0(store: Store) -> None:
    claim = await store.journal().claim()
    assert (claim.head.seq, claim.head.row_hash, claim.checkpoint_seq, claim.announced_seq) == (0, b"", 0, 0)


async def test_each_claim_has_a_greater_epoch(store: Store) -> None:
    epochs = [(await store.journal().claim()).epoch for _ in range(3)]
    assert epochs == sorted(set(epochs))


async def test_rows_come_back_as_they_were_written_and_numbered_without_gaps(store: Store) -> None:
    scribe, journal = Scribe(), store.journal()
    await journal.claim()
    batches = [
        scribe.rows(opened(1, cash="100")),
        scribe.rows(updated(1, deposit("0.01"), buy("3", "7"), key="k")) + scribe.rows(opened(2)),
    ]
    for batch in batches:
        await journal.append(batch)
    written = [row for batch in batches for row in batch]
    found = await _all_rows(store)
    assert [PendingRow(row.entry, row.idempotency_key, row.request_hash) for row in found] == written
    assert [row.seq for row in found] == list(range(1, len(written) + 1))


async def test_the_next_claim_learns_where_the_journal_ends(store: Store) -> None:
    journal = store.journal()
    await journal.claim()
    await _appended(journal, Scribe(), 1, 3)
    claim = await store.journal().claim()
    rows = await _all_rows(store)
    assert (claim.head.seq, claim.head.row_hash) == (4, rows[-1].row_hash)


async def test_the_tail_begins_after_the_row_that_is_named(store: Store) -> None:
    scribe, journal = Scribe(), store.journal()
    await journal.claim()
    await _appended(journal, scribe, 1, 4)
    reader = store.journal()
    claim = await reader.claim()
    assert [row.seq async for row in reader.tail(claim, 3)] == [4, 5]
    assert [row.seq async for row in reader.tail(claim, 5)] == []


async def test_shards_have_journals_of_their_own(store: Store) -> None:
    scribe = Scribe()
    for shard_id in (0, 1):
        journal = store.journal(shard_id)
        await journal.claim()
        await journal.append(scribe.rows(opened(shard_id)))
    assert [row.entry.portfolio_id for row in await _all_rows(store, 0)] == [portfolio(0)]
    assert [row.entry.portfolio_id for row in await _all_rows(store, 1)] == [portfolio(1)]


async def test_a_second_claim_deposes_the_first(store: Store) -> None:
    scribe, first, second = Scribe(), store.journal(), store.journal()
    await first.claim()
    await first.append(scribe.rows(opened(1)))
    await second.claim()
    with pytest.raises(Deposed):
        await first.append(scribe.rows(updated(1)))
    with pytest.raises(Deposed):
        await first.check_ownership()
    await second.check_ownership()
    assert len(await _all_rows(store)) == 1


async def test_a_repeated_idempotency_key_appends_nothing_of_its_batch(store: Store) -> None:
    scribe, journal = Scribe(), store.journal()
    await journal.claim()
    await journal.append(scribe.rows(opened(1)))
    await journal.append(scribe.rows(updated(1, key="again")))
    before = scribe.books[portfolio(1)]
    batch = scribe.rows(updated(1)) + scribe.rows(updated(1, key="again"))
    with pytest.raises(DuplicateKeys):
        await journal.append(batch)
    scribe.undo(before)
    await journal.append(scribe.rows(updated(1, key="another")))
    assert [row.entry.version for row in await _all_rows(store)] == [1, 2, 3]


async def test_the_same_key_in_two_portfolios_is_two_keys(store: Store) -> None:
    scribe, journal = Scribe(), store.journal()
    await journal.claim()
    await journal.append(scribe.rows(opened(1, key="same")) + scribe.rows(opened(2, key="same")))
    known = await journal.find_keys([(portfolio(1), IdempotencyKey("same")), (portfolio(2), IdempotencyKey("same"))])
    assert len(set(known.values())) == 2


async def test_all_rows_of_an_update_may_bear_its_key(store: Store) -> None:
    scribe, journal = Scribe(), store.journal()
    await journal.claim()
    await journal.append(scribe.rows(opened(1, key="open", cash="5")))
    await journal.append(scribe.rows(updated(1, deposit("1"), deposit("2"), key="two")))
    assert [row.idempotency_key for row in await _all_rows(store)] == ["open", "open", "two", "two"]


async def test_a_repeated_transaction_id_appends_nothing_even_in_another_shard(store: Store) -> None:
    scribe, given = Scribe(), uuid4()
    for shard_id in (0, 1):
        journal = store.journal(shard_id)
        await journal.claim()
        await journal.append(scribe.rows(opened(shard_id)))
        again = scribe.rows(updated(shard_id, transaction_id=given))
        if shard_id == 0:
            await journal.append(again)
        else:
            with pytest.raises(DuplicateKeys):
                await journal.append(again)
            assert await journal.find_transaction_ids([given, uuid4()]) == {given}
    assert len(await _all_rows(store, 1)) == 1


async def test_keys_are_found_with_the_hash_of_what_they_asked(store: Store) -> None:
    scribe, journal = Scribe(), store.journal()
    await journal.claim()
    commands: list[Command] = [opened(1, key="a"), updated(1, key="b"), updated(1), updated(1, key='c "\\{},')]
    for command in commands:
        await journal.append(scribe.rows(command))
    expected = {(portfolio(1), item.idempotency_key): request_hash(item) for item in commands if item.idempotency_key}
    assert await journal.find_keys([*expected, (portfolio(1), IdempotencyKey("unknown"))]) == expected
    assert await journal.recent_keys(0) == expected
    assert list(await journal.recent_keys(2)) == [(portfolio(1), 'c "\\{},')]
    assert await journal.find_keys([]) == {}


async def test_our_own_transaction_ids_are_not_reported_as_given(store: Store) -> None:
    scribe, journal = Scribe(), store.journal()
    await journal.claim()
    rows = scribe.rows(opened(1, cash="1"))
    await journal.append(rows)
    derived = getattr(rows[1].entry, "transaction_id")  # noqa: B009 - the second row is the deposit.
    assert await journal.find_transaction_ids([derived]) == frozenset()


async def test_portfolios_with_rows_after_the_announced_one_are_named_once(store: Store) -> None:
    scribe, journal = Scribe(), store.journal()
    await journal.claim()
    await _appended(journal, scribe, 1, 1)
    await _appended(journal, scribe, 2, 3)
    assert sorted(await journal.unannounced(0)) == [portfolio(1), portfolio(2)]
    assert await journal.unannounced(3) == [portfolio(2)]
    assert await journal.unannounced(6) == []
