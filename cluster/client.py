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
import logging
import socket
import threading
import uuid
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import msgspec
import ray
from pydantic import ValidationError
from ray._private.authentication.authentication_token_setup import maybe_enable_token_auth_if_token_available

from actors.documents import PositionDocument, StateDocument
from actors.gateway import Gateway, MarkCounts
from actors.names import NAMESPACE
from actors.protocol import Method, UpdateOutcome, pack
from actors.shard_status import ShardStatus
from analytics.document import WINDOW_DEFAULT, AnalysisTerms, PortfolioAnalytics
from analytics.optimise.answer import OptimiseAnswer
from analytics.optimise.request import OptimiseRequest
from cluster.client_analyst import client_analyst
from cluster.handles import HandleCaller
from cluster.settings import Settings
from portfolio import ids
from portfolio.commands import ChangeStatus, OpenPortfolio, UpdatePortfolio
from portfolio.errors import OutcomeUnknown, PortfolioError, Unavailable
from portfolio.ids import IdempotencyKey, PortfolioId, ShardId
from portfolio.sharding import ShardMap
from serve_app.analyst import Analyst
from serve_app.batches import newest_marks, result_of
from serve_app.problems import form_error
from serve_app.schemas import (
    AnalysisQuery,
    KeyedUpdate,
    MarkUpdate,
    PortfolioOpening,
    PortfolioUpdate,
    PositionUpdate,
    StatusChange,
)
from serve_app.wire import UpdateResult

Number = Decimal | int | str
Result = TypeVar("Result")
PATIENCE_S: Final = 30.0
_LISTENING_S: Final = 3.0
_PAUSE_S: Final = (0.05, 0.1, 0.2, 0.5, 1.0)
_STATES: Final = msgspec.json.Decoder(StateDocument)
_POSITIONS: Final = msgspec.json.Decoder(list[PositionDocument])
_ANALYTICS: Final = msgspec.json.Decoder(PortfolioAnalytics)
_OPTIMISED: Final = msgspec.json.Decoder(OptimiseAnswer)
_MODULI: Final = msgspec.msgpack.Decoder(dict[ShardId, int])


def attach(settings: Settings | None = None) -> None:
    """Join the Ray cluster of the service as a driver, unless this process is part of it already.

    The address is PORTFOLIO_RAY_ADDRESS, or that of the service which runs on this machine's data directory.
    Raises ConnectionError.
    """
    if ray.is_initialized():
        return
    wanted = settings or Settings()
    logging.getLogger("ray").setLevel(logging.ERROR)
    address = wanted.ray_address
    if address is None and wanted.ray_address_file.exists():
        address = wanted.ray_address_file.read_text(encoding="ascii").strip()
        # The service's Ray asks for the user's token. Ray sends it by itself only to a cluster that it finds by itself,
        # which on a machine with several services may be the wrong one.
        # RAY_AUTH_MODE set here would come too late: Ray's core read its settings when it was imported.
        maybe_enable_token_auth_if_token_available(warn_if_disabled=False)
    if address is None:
        raise ConnectionError(f"no service runs on {wanted.data_dir}: start one, or set PORTFOLIO_RAY_ADDRESS")
    check_listening(address)
    ray.init(address=address, namespace=NAMESPACE, log_to_driver=False, configure_logging=False)


def check_listening(address: str) -> None:
    """Ray itself would try an address where nobody listens for minutes. Raises ConnectionError."""
    host, _, port = address.rpartition(":")
    if not port.isdigit():
        return
    try:
        socket.create_connection((host, int(port)), timeout=_LISTENING_S).close()
    except OSError as error:
        raise ConnectionError(f"no Ray answers at {address}: {error}") from error


async def gateway_by_handles() -> Gateway:
    """The gateway of the Ray cluster that this process has joined. Raises ShardUnavailable."""
    caller = HandleCaller()
    # Every shard knows all of them, and shard 0 is always there.
    answer = await caller.call(ShardId(0), Method.SHARD_MAP, pack(None))
    return Gateway(caller, ShardMap(_MODULI.decode(answer.body or b"")))


class AsyncClient:
    """Every call is safe to repeat, and is repeated for `patience_s` while the shard is away.

    A write without an `idempotency_key` gets one of its own, so that a lost answer never books twice. Numbers are
    Decimal, int or text; a float is refused, because it may not be the number that was meant.
    """

    def __init__(self, gateway: Gateway, patience_s: float = PATIENCE_S, benchmark: str | None = None) -> None:
        self._gateway = gateway
        self._patience_s = patience_s
        self._usual_terms = AnalysisTerms(benchmark=benchmark)
        self._analyst: Analyst | None = None

    @classmethod
    async def connect(cls, settings: Settings | None = None) -> Self:
        """A client of the service that runs here, or at PORTFOLIO_RAY_ADDRESS. Raises ConnectionError."""
        wanted = settings or Settings()
        await asyncio.to_thread(attach, wanted)
        return cls(await _patiently(gateway_by_handles, PATIENCE_S), benchmark=wanted.benchmark)

    async def create(
        self,
        portfolio_id: str,
        *,
        portfolio_name: str | None = None,
        base_currency: str = "USD",
        cash_balance: Number = 0,
        allow_short: bool = True,
        min_cash: Number | None = None,
        idempotency_key: str | None = None,
    ) -> StateDocument:
        """Open a portfolio. Raises InvalidRequest or PortfolioExists."""
        opening = _formed(
            PortfolioOpening.model_validate,
            {
                "portfolio_id": portfolio_id,
                "portfolio_name": portfolio_name,
                "base_currency": base_currency,
                "cash_balance": cash_balance,
                "allow_short": allow_short,
                "min_cash": min_cash,
            },
        )
        return await self._written(opening.command(_key(idempotency_key)))

    async def update(
        self,
        portfolio_id: str,
        updates: Iterable[PositionUpdate | Mapping[str, Any]],
        *,
        timestamp: datetime | None = None,
        idempotency_key: str | None = None,
        expected_version: int | None = None,
    ) -> StateDocument:
        """Book transactions, in order, all or none; gives the state after them. Raises a Rejected or a Conflict."""
        update = _formed(PortfolioUpdate.model_validate, {"updates": list(updates), "timestamp": _text(timestamp)})
        command = update.command(ids.portfolio_id(portfolio_id), _key(idempotency_key), expected_version)
        return await self._written(command)

    async def change_status(
        self, portfolio_id: str, status: str, *, expected_version: int | None = None
    ) -> StateDocument:
        """Give a portfolio another status. Raises InvalidRequest or IllegalStatusChange."""
        change = _formed(StatusChange.model_validate, {"status": status})
        return await self._written(change.command(ids.portfolio_id(portfolio_id), _key(None), expected_version))

    async def _written(self, command: OpenPortfolio | UpdatePortfolio | ChangeStatus) -> StateDocument:
        answer = await self._asked(lambda: self._gateway.write(command))
        return _STATES.decode(answer.body or b"")

    async def update_many(self, updates: Sequence[KeyedUpdate | Mapping[str, Any]]) -> list[UpdateResult]:
        """Book up to 1,000 updates, each a unit of its own; results in order. What failed for a moment is repeated."""
        formed = [_formed(KeyedUpdate.model_validate, update) for update in updates]
        commands = [
            update.command(PortfolioId(update.portfolio_id), _key(update.idempotency_key), None) for update in formed
        ]
        return [result_of(outcome) for outcome in await self.book_many(commands)]

    async def book_many(self, commands: Sequence[UpdatePortfolio]) -> list[UpdateOutcome]:
        """`update_many` for commands that are made already; every one must have an idempotency key."""
        outcomes = await self._gateway.update_many(commands)
        deadline = asyncio.get_running_loop().time() + self._patience_s
        attempt = 0
        while again := [index for index, outcome in enumerate(outcomes) if _is_passing(outcome)]:
            if asyncio.get_running_loop().time() > deadline:
                break
            await asyncio.sleep(_PAUSE_S[min(attempt, len(_PAUSE_S) - 1)])
            attempt += 1
            for index, outcome in zip(
                again, await self._gateway.update_many([commands[index] for index in again]), strict=True
            ):
                outcomes[index] = outcome
        return outcomes

    async def state(self, portfolio_id: str) -> StateDocument:
        """The state now, never older than an acknowledged write. Raises PortfolioNotFound."""
        answer = await self._asked(lambda: self._gateway.state(ids.portfolio_id(portfolio_id)))
        return _STATES.decode(answer.body or b"")

    async def positions(self, portfolio_id: str) -> list[PositionDocument]:
        """The positions now, cash among them. Raises PortfolioNotFound."""
        answer = await self._asked(lambda: self._gateway.positions(ids.portfolio_id(portfolio_id)))
        return _POSITIONS.decode(answer.body or b"")

    async def analytics(
        self,
        portfolio_id: str,
        *,
        window: int = WINDOW_DEFAULT,
        benchmark: str | None = None,
        risk_free_rate: float = 0.0,
    ) -> PortfolioAnalytics:
        """Performance, risk and stress of the state now. The first call of a process waits for a worker to start.

        Raises PortfolioNotFound, InvalidRequest or AnalyticsUnavailable.
        """
        asked = {"window": window, "benchmark": benchmark, "risk_free_rate": risk_free_rate}
        query = _formed(AnalysisQuery.model_validate, asked)
        analyst = await self._analyst_of_this()
        terms = query.terms(analyst.usual_terms)
        answer = await self._asked(lambda: analyst.analytics(ids.portfolio_id(portfolio_id), terms))
        return _ANALYTICS.decode(answer.body or b"")

    async def optimize(self, portfolio_id: str, wanted: OptimiseRequest | Mapping[str, Any]) -> OptimiseAnswer:
        """The best weights within limits, and the trades that lead there, as `update` takes them. Nothing is booked.

        Raises PortfolioNotFound, InvalidRequest, StatusForbids or AnalyticsUnavailable.
        """
        request = _formed(OptimiseRequest.model_validate, wanted)
        analyst = await self._analyst_of_this()
        answer = await self._asked(lambda: analyst.optimise(ids.portfolio_id(portfolio_id), request))
        return _OPTIMISED.decode(answer.body or b"")

    async def _analyst_of_this(self) -> Analyst:
        known = self._analyst
        if known is None:
            made = await self._asked(lambda: client_analyst(self._gateway, self._usual_terms))
            # Another call may have made one meanwhile.
            known = self._analyst = self._analyst or made
        return known

    async def update_marks(self, marks: Iterable[MarkUpdate | Mapping[str, Any]]) -> MarkCounts:
        """Set market prices; of several for one instrument the newest counts. Durable when it returns."""
        formed = [_formed(MarkUpdate.model_validate, mark) for mark in marks]
        newest = newest_marks(formed)
        counts = await self._asked(lambda: self._gateway.update_marks(newest))
        return MarkCounts(counts.accepted, len(formed) - counts.accepted)

    async def shard_statuses(self) -> list[ShardStatus | PortfolioError]:
        """How each shard is doing."""
        return list((await self._gateway.statuses()).values())

    async def _asked(self, call: Callable[[], Awaitable[Result]]) -> Result:
        return await _patiently(call, self._patience_s)


class Client:
    """AsyncClient for code that does not await: the same methods, each returning its result."""

    def __init__(self, settings: Settings | None = None) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="portfolio-client", daemon=True)
        self._thread.start()
        try:
            self._client = self._wait(AsyncClient.connect(settings))
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

    def create(self, portfolio_id: str, **opening: Any) -> StateDocument:
        """See AsyncClient.create."""
        return self._wait(self._client.create(portfolio_id, **opening))

    def update(
        self, portfolio_id: str, updates: Iterable[PositionUpdate | Mapping[str, Any]], **how: Any
    ) -> StateDocument:
        """See AsyncClient.update."""
        return self._wait(self._client.update(portfolio_id, updates, **how))

    def change_status(self, portfolio_id: str, status: str, **how: Any) -> StateDocument:
        """See AsyncClient.change_status."""
        return self._wait(self._client.change_status(portfolio_id, status, **how))

    def update_many(self, updates: Sequence[KeyedUpdate | Mapping[str, Any]]) -> list[UpdateResult]:
        """See AsyncClient.update_many."""
        return self._wait(self._client.update_many(updates))

    def state(self, portfolio_id: str) -> StateDocument:
        """See AsyncClient.state."""
        return self._wait(self._client.state(portfolio_id))

    def positions(self, portfolio_id: str) -> list[PositionDocument]:
        """See AsyncClient.positions."""
        return self._wait(self._client.positions(portfolio_id))

    def analytics(self, portfolio_id: str, **terms: Any) -> PortfolioAnalytics:
        """See AsyncClient.analytics."""
        return self._wait(self._client.analytics(portfolio_id, **terms))

    def optimize(self, portfolio_id: str, wanted: OptimiseRequest | Mapping[str, Any]) -> OptimiseAnswer:
        """See AsyncClient.optimize."""
        return self._wait(self._client.optimize(portfolio_id, wanted))

    def update_marks(self, marks: Iterable[MarkUpdate | Mapping[str, Any]]) -> MarkCounts:
        """See AsyncClient.update_marks."""
        return self._wait(self._client.update_marks(marks))


def connect(settings: Settings | None = None) -> Client:
    """A client of the service that runs here, or at PORTFOLIO_RAY_ADDRESS."""
    return Client(settings)


async def _patiently(call: Callable[[], Awaitable[Result]], patience_s: float) -> Result:
    """The call's result, the call repeated for `patience_s` while a shard is away."""
    deadline = asyncio.get_running_loop().time() + patience_s
    attempt = 0
    while True:
        try:
            return await call()
        except (Unavailable, OutcomeUnknown):
            if asyncio.get_running_loop().time() > deadline:
                raise
        await asyncio.sleep(_PAUSE_S[min(attempt, len(_PAUSE_S) - 1)])
        attempt += 1


def _formed(validate: Callable[[Any], Result], content: Any) -> Result:
    try:
        return validate(content)
    except ValidationError as error:
        raise form_error(error.errors()) from error


def _key(given: str | None) -> IdempotencyKey:
    return ids.idempotency_key(given) if given is not None else IdempotencyKey(uuid.uuid4().hex)


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def _is_passing(outcome: UpdateOutcome) -> bool:
    return outcome.fault is not None and isinstance(outcome.fault.error(), Unavailable | OutcomeUnknown)


__all__ = ["AsyncClient", "Client", "attach", "connect", "gateway_by_handles"]
