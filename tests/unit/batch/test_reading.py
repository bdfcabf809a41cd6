"""What a task reads: its portfolios wherever they are by now, with just the rows that made their books."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import pytest

from cluster.batch import reading
from cluster.batch.chunks import Chunk, Page
from cluster.batch.reading import Found, Reader
from cluster.patience import Patience
from persistence.history import PostgresHistory
from portfolio.book import MarkedBook
from portfolio.entries import Entry
from portfolio.errors import PortfolioNotFound, PortfolioQuarantined, ShardUnavailable
from portfolio.ids import PortfolioId, ShardId
from tests.oracles.rows import Scribe, opened, portfolio, updated

BRIEF = Patience(total_s=0.05, pause_first_s=0.001, pause_max_s=0.001)


class Service:
    """Shards and journal in memory. `home` says where each portfolio is; what is asked fails first `failures` times."""

    def __init__(self, count: int) -> None:
        scribe = Scribe()
        self.entries = {
            portfolio(n): [row.entry for command in (opened(n), updated(n), updated(n)) for row in scribe.rows(command)]
            for n in range(count)
        }
        self.books = {name: MarkedBook(book, {}) for name, book in scribe.books.items()}
        self.home = dict.fromkeys(self.books, ShardId(0))
        self.quarantined: set[PortfolioId] = set()
        self.failures = 0
        self.asked_one_by_one: list[PortfolioId] = []
        self.spans: list[Mapping[PortfolioId, tuple[int, int]]] = []

    def _fail(self) -> None:
        if self.failures:
            self.failures -= 1
            raise ShardUnavailable("it is away")

    async def marked_books(self, shard_id: ShardId, after: str, limit: int) -> list[MarkedBook]:
        self._fail()
        there = [name for name in sorted(self.books) if self.home[name] == shard_id and name not in self.quarantined]
        # As a shard cuts a page that has become too large.
        return [self.books[name] for name in there if name > after][: min(limit, 2)]

    async def marked_book(self, portfolio_id: PortfolioId) -> MarkedBook:
        self._fail()
        self.asked_one_by_one.append(portfolio_id)
        if portfolio_id in self.quarantined:
            raise PortfolioQuarantined("it is in quarantine", portfolio_id=portfolio_id, reason="row 3")
        if portfolio_id not in self.books:
            raise PortfolioNotFound("there is none", portfolio_id=portfolio_id)
        return self.books[portfolio_id]

    async def later_entries(
        self, spans: Mapping[PortfolioId, tuple[int, int]]
    ) -> Mapping[PortfolioId, Sequence[Entry]]:
        self._fail()
        self.spans.append(spans)
        return {name: self.entries[name][after:through] for name, (after, through) in spans.items()}

    def reader(self) -> Reader:
        return Reader(self, cast(PostgresHistory, self), BRIEF)


def _names(first: int, last: int) -> tuple[PortfolioId, ...]:
    return tuple(portfolio(number) for number in range(first, last + 1))


def _page(after: str = "") -> Page:
    return Page(ShardId(0), after)


async def test_a_page_is_read_in_as_many_answers_as_it_takes() -> None:
    service = Service(9)
    found = await service.reader().books(Chunk(_names(3, 7), _page(portfolio(2))))
    assert found == Found({name: service.books[name] for name in _names(3, 7)})
    assert service.asked_one_by_one == []


async def test_portfolios_opened_since_the_list_was_made_are_not_taken_along() -> None:
    service = Service(9)
    found = await service.reader().books(Chunk((portfolio(3), portfolio(7)), _page(portfolio(2))))
    assert sorted(found.books) == [portfolio(3), portfolio(7)]


async def test_those_that_have_gone_to_another_shard_are_found_there() -> None:
    service = Service(6)
    service.home |= {portfolio(1): ShardId(2), portfolio(5): ShardId(2)}
    found = await service.reader().books(Chunk(_names(0, 5), _page()))
    assert sorted(found.books) == list(_names(0, 5))
    assert service.asked_one_by_one == [portfolio(1), portfolio(5)]


async def test_one_in_quarantine_is_told_apart() -> None:
    service = Service(4)
    service.quarantined = {portfolio(1)}
    found = await service.reader().books(Chunk(_names(0, 3), _page()))
    assert found.quarantined == {portfolio(1): "row 3"}
    assert sorted(found.books) == [portfolio(0), portfolio(2), portfolio(3)]


async def test_one_that_is_named_and_not_there_is_an_error() -> None:
    with pytest.raises(PortfolioNotFound):
        await Service(1).reader().books(Chunk((portfolio(0), PortfolioId("NONE"))))


async def test_a_service_that_is_away_for_a_moment_is_waited_for() -> None:
    service = Service(3)
    service.failures = 2
    reader = service.reader()
    found = await reader.books(Chunk(_names(0, 2), _page()))
    service.failures = 2
    assert [len(lives) async for lives in reader.lives(found.books.values())] == [3]
    service.failures = 1_000_000
    with pytest.raises(ShardUnavailable):
        await reader.books(Chunk(_names(0, 2), _page()))


async def test_a_life_ends_with_the_version_of_its_book() -> None:
    service = Service(1)
    now = service.books[portfolio(0)]
    later = updated(0)
    scribe = Scribe()
    scribe.books[portfolio(0)] = now.book
    service.entries[portfolio(0)] += [row.entry for row in scribe.rows(later)]
    async for ((entries, live),) in service.reader().lives([now]):
        assert live is now
        assert [entry.version for entry in entries] == [1, 2, 3] == list(range(1, now.book.version + 1))


async def test_journals_are_read_as_many_rows_at_a_time_as_may_be_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    service = Service(5)
    # Three rows each.
    monkeypatch.setattr(reading, "ROWS_MAX", 7)
    groups = [lives async for lives in service.reader().lives(service.books.values())]
    assert [len(lives) for lives in groups] == [2, 2, 1]
    assert [life[1] for lives in groups for life in lives] == list(service.books.values())
    monkeypatch.setattr(reading, "ROWS_MAX", 1)
    assert [len(lives) async for lives in service.reader().lives(service.books.values())] == [1] * 5
