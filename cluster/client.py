"""The Python client: the same operations and results as REST, over actor handles, for code that can reach Ray.

from cluster.client import connect

with connect() as client:
    client.create("GROWTH-1", cash_balance="50000.00")
    state = client.update("GROWTH-1", [{"instrument_id": "AAPL", "quantity_change": 10, "price": "196.45",
                                        "transaction_type": "BUY"}])
    print(state.version, state.total_value)
"""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from cluster.async_client import AsyncClient
from cluster.settings import Settings

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def _waiting(
    method: Callable[Concatenate[AsyncClient, Arguments], Coroutine[Any, Any, Result]],
) -> Callable[Concatenate[Client, Arguments], Result]:
    """The same method of a client that does not await."""

    @functools.wraps(method)
    def wait(client: Client, /, *positional: Arguments.args, **named: Arguments.kwargs) -> Result:
        return client._wait(method(client._awaiting, *positional, **named))

    return wait


class Client:
    """AsyncClient for code that does not await: the same methods, each returning its result."""

    def __init__(self, settings: Settings | None = None) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="portfolio-client", daemon=True)
        self._thread.start()
        try:
            self._awaiting = self._wait(AsyncClient.connect(settings))
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of what the client holds; Ray stays joined."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _wait(self, call: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(call, self._loop).result()

    create = _waiting(AsyncClient.create)
    update = _waiting(AsyncClient.update)
    change_status = _waiting(AsyncClient.change_status)
    update_many = _waiting(AsyncClient.update_many)
    state = _waiting(AsyncClient.state)
    positions = _waiting(AsyncClient.positions)
    analytics = _waiting(AsyncClient.analytics)
    optimize = _waiting(AsyncClient.optimize)
    update_marks = _waiting(AsyncClient.update_marks)
    shard_statuses = _waiting(AsyncClient.shard_statuses)


def connect(settings: Settings | None = None) -> Client:
    """A client of the service that runs here, or at PORTFOLIO_RAY_ADDRESS."""
    return Client(settings)


__all__ = ["AsyncClient", "Client", "connect"]
