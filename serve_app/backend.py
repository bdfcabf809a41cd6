"""What the routes stand on: the shards through their gateway, the journal's history, and daily prices."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import Request

from actors.gateway import Gateway
from persistence.history import PostgresHistory
from persistence.price_store import PostgresPriceStore


@dataclass(frozen=True, slots=True)
class Backend:
    """The parts that one API replica shares among its requests."""

    gateway: Gateway
    history: PostgresHistory
    prices: PostgresPriceStore


def backend_of(request: Request) -> Backend:
    """The replica's backend."""
    backend: Backend = request.app.state.backend
    return backend
