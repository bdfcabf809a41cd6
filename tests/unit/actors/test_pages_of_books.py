"""Whole books in pages, for those who check all of them: none is left out, and no page grows without bound."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain

import pytest

from actors.gateway import Gateway
from actors.protocol import Answer, Method
from actors.service import Service
from portfolio.ids import PortfolioId, ShardId
from portfolio.sharding import ShardMap
from tests.oracles.builders import buy
from tests.oracles.rows import opened, portfolio, updated
from tests.support.shards import RunningShard


@dataclass(slots=True)
class OneShard:
    """Calls the only shard there is."""

    service: Service

    async def call(self, shard_id: ShardId, method: Method, payload: bytes) -> Answer:
        return (await self.service.answer(method, payload)).raised()


@pytest.fixture
def gateway(service: Service) -> Gateway:
    """That shard, as a gateway reaches it."""
    return Gateway(OneShard(service), ShardMap.even(1))


async def _pages(gateway: Gateway, limit: int) -> list[list[PortfolioId]]:
    pages: list[list[PortfolioId]] = []
    after = ""
    while page := await gateway.books(ShardId(0), after, limit):
        pages.append([book.portfolio_id for book in page])
        after = page[-1].portfolio_id
    return pages


async def test_books_come_whole_in_the_order_of_their_ids(gateway: Gateway, running: RunningShard) -> None:
    for number in range(7):
        await running.book(opened(number, cash="1"))
        await running.book(updated(number, buy("0.00000001", "7.5")))
    assert [len(page) for page in await _pages(gateway, 3)] == [3, 3, 1]
    assert [*chain.from_iterable(await _pages(gateway, 2))] == [portfolio(number) for number in range(7)]
    for book in await gateway.books(ShardId(0), "", 7):
        assert book == running.shard.books.get(book.portfolio_id)


async def test_a_page_is_bounded_in_books_and_in_bytes(
    gateway: Gateway, running: RunningShard, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        await running.book(opened(number))
    monkeypatch.setattr("actors.service.BOOKS_MAX", 2)
    assert [len(page) for page in await _pages(gateway, 100)] == [2, 2, 1]
    monkeypatch.setattr("actors.service.BOOKS_BYTES_MAX", 1)
    assert [len(page) for page in await _pages(gateway, 100)] == [1] * 5
    assert await gateway.books(ShardId(0), "", -1) == []
