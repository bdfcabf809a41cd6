"""The Python client for code that awaits."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, Self, TypeVar

import msgspec
from pydantic import ValidationError

from actors.documents import PositionDocument, StateDocument
from actors.gateway import Gateway, MarkCounts
from actors.protocol import UpdateOutcome
from actors.shard_status import ShardStatus
from analytics.document import WINDOW_DEFAULT, AnalysisTerms, PortfolioAnalytics
from analytics.optimise.answer import OptimiseAnswer
from analytics.optimise.request import OptimiseRequest
from cluster.attaching import attach, gateway_by_handles
from cluster.client_analyst import client_analyst
from cluster.settings import Settings
from portfolio import ids
from portfolio.commands import ChangeStatus, OpenPortfolio, UpdatePortfolio
from portfolio.errors import OutcomeUnknown, PortfolioError, Unavailable
from portfolio.ids import IdempotencyKey, PortfolioId
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
_COMPUTING: Final = 3
"""Times the patience for analytics: the first of a process waits for a worker to start and to compile."""
_PAUSE_S: Final = (0.05, 0.1, 0.2, 0.5, 1.0)
_STATES: Final = msgspec.json.Decoder(StateDocument)
_POSITIONS: Final = msgspec.json.Decoder(list[PositionDocument])
_ANALYTICS: Final = msgspec.json.Decoder(PortfolioAnalytics)
_OPTIMISED: Final = msgspec.json.Decoder(OptimiseAnswer)


class AsyncClient:
    """Every call is safe to repeat, and is repeated for `patience_s` while the shard is away, analytics for longer.

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
        answer = await self._computed(lambda: analyst.analytics(ids.portfolio_id(portfolio_id), terms))
        return _ANALYTICS.decode(answer.body or b"")

    async def optimize(self, portfolio_id: str, wanted: OptimiseRequest | Mapping[str, Any]) -> OptimiseAnswer:
        """The best weights within limits, and the trades that lead there, as `update` takes them. Nothing is booked.

        Raises PortfolioNotFound, InvalidRequest, StatusForbids or AnalyticsUnavailable.
        """
        request = _formed(OptimiseRequest.model_validate, wanted)
        analyst = await self._analyst_of_this()
        answer = await self._computed(lambda: analyst.optimise(ids.portfolio_id(portfolio_id), request))
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

    async def _computed(self, call: Callable[[], Awaitable[Result]]) -> Result:
        return await _patiently(call, _COMPUTING * self._patience_s)


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
