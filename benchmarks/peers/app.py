"""The comparison service, as a team would write it without shards: FastAPI, a Postgres pool, a Redis cache.

Its routes, bodies, arithmetic and documents are those of the service, so that what is compared is how the state is kept:
here in tables, changed under a row lock in one transaction an update, and read from a cache.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal

import msgspec
from fastapi import FastAPI, Request, Response
from redis.asyncio import Redis

from actors.rendering import encode
from benchmarks.peers.cache import Cache
from benchmarks.peers.store import Store, pool
from portfolio import money
from portfolio.book import Book
from portfolio.commands import OpenPortfolio, UpdatePortfolio
from portfolio.ids import InstrumentId, PortfolioId
from portfolio.transactions import Transaction, TransactionType
from serve_app import problems


class Opening(msgspec.Struct):
    """The body that opens a portfolio."""

    portfolio_id: str
    cash_balance: Decimal = money.ZERO_2


class PositionUpdate(msgspec.Struct):
    """One transaction of an update."""

    instrument_id: str
    quantity_change: Decimal
    price: Decimal
    transaction_type: TransactionType
    fee: Decimal = money.ZERO_2


class Update(msgspec.Struct):
    """The body of an update."""

    updates: list[PositionUpdate]


_OPENINGS = msgspec.json.Decoder(Opening)
_UPDATES = msgspec.json.Decoder(Update)


def create_app(postgres_dsn: str, redis_url: str) -> FastAPI:
    """The ASGI application on its own database and cache."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with connections, redis:
            yield

    connections, redis = pool(postgres_dsn), Redis.from_url(redis_url)
    store, cache = Store(connections), Cache(redis)
    app = FastAPI(title="Comparison service", lifespan=lifespan)
    problems.install(app)

    @app.post("/api/v1/portfolios")
    async def open_portfolio(request: Request) -> Response:
        opening = _OPENINGS.decode(await request.body())
        command = OpenPortfolio(
            portfolio_id=PortfolioId(opening.portfolio_id),
            portfolio_name=opening.portfolio_id,
            cash_balance=opening.cash_balance,
        )
        return _json(await _shown(await store.open(command)), 201)

    @app.post("/api/v1/portfolio/{portfolio_id}/update")
    async def update_portfolio(portfolio_id: str, request: Request) -> Response:
        asked = _UPDATES.decode(await request.body())
        command = UpdatePortfolio(
            portfolio_id=PortfolioId(portfolio_id), transactions=tuple(map(_transaction, asked.updates))
        )
        return _json(await _shown(await store.update(command)))

    @app.get("/api/v1/portfolio/{portfolio_id}/state")
    async def read_state(portfolio_id: str) -> Response:
        known = await cache.get(PortfolioId(portfolio_id))
        return _json(known or await _shown(await store.book(PortfolioId(portfolio_id))))

    async def _shown(book: Book) -> bytes:
        """The state of a committed book, in the cache from now on."""
        state = encode(book, {}).state
        await cache.put(book.portfolio_id, book.version, state)
        return state

    return app


def _transaction(asked: PositionUpdate) -> Transaction:
    return Transaction(
        transaction_type=asked.transaction_type,
        instrument_id=InstrumentId(asked.instrument_id),
        quantity=asked.quantity_change,
        price=asked.price,
        fee=asked.fee,
    )


def _json(body: bytes, status: int = 200) -> Response:
    return Response(body, status, media_type="application/json")
