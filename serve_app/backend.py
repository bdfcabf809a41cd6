"""What the routes stand on: the shards through their gateway, the journal's history, daily prices, and the workers."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import Request

from actors.gateway import Gateway
from persistence.history import PostgresHistory
from persistence.price_store import PostgresPriceStore
from serve_app.analyst import Analyst
from serve_app.querying import Queries


@dataclass(frozen=True, slots=True)
class Backend:
    """The parts that one API replica shares among its requests."""

    gateway: Gateway
    history: PostgresHistory
    prices: PostgresPriceStore
    queries: Queries
    analyst: Analyst


def backend_of(request: Request) -> Backend:
    """The replica's backend."""
    backend: Backend = request.app.state.backend
    return backend
