"""What the routes stand on: the shards through their gateway, and the journal's history."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import Request

from actors.gateway import Gateway
from persistence.history import PostgresHistory


@dataclass(frozen=True, slots=True)
class Backend:
    """The parts that one API replica shares among its requests."""

    gateway: Gateway
    history: PostgresHistory


def backend_of(request: Request) -> Backend:
    """The replica's backend."""
    backend: Backend = request.app.state.backend
    return backend
