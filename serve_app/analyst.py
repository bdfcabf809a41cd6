"""Analytics of one portfolio: found in the cache, or computed by a worker while this process does something else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from functools import partial
from hashlib import blake2b
from typing import Any, Final, Protocol, TypeVar

import msgspec
from ray import ObjectRef

from actors.gateway import Gateway
from actors.protocol import Answer
from analytics.document import AnalysisTerms
from analytics.optimise.request import OptimiseRequest
from analytics.tasks import Job, Workers
from persistence.analytics_cache import Figures, RedisAnalyticsCache
from persistence.analytics_source import PostgresSource
from portfolio.errors import AnalyticsUnavailable, Overloaded, Unavailable
from portfolio.ids import PortfolioId
from serve_app import analytics_jobs
from serve_app.analytics_jobs import Computed

UNDER_WAY_MAX: Final = 32
"""Computations that one process has asked for. Each takes some 20 ms of a worker's time, so the last waits about a second."""
ANSWER_S: Final = 30.0
"""How long a caller waits. A worker's first task loads JAX and compiles, which takes some 6 s of a core."""
JOB_S: Final = 300.0
"""After so long a worker is taken to hang, and ended. One that is only slow goes on, for whoever asks again."""
WARM_UP_PORTFOLIOS: Final = 20
FORMAT: Final = 2
"""Grows when the same state gives other figures, or a document of another form."""
Result = TypeVar("Result")


class Prices(Protocol):
    """Where prices are kept."""

    async def generation(self) -> int:
        """A number that grows whenever they change. Raises ShardUnavailable."""


class Analyst:
    """What one process needs to have analytics computed."""

    def __init__(
        self,
        gateway: Gateway,
        prices: Prices,
        source: PostgresSource,
        workers: Workers,
        usual_terms: AnalysisTerms,
    ) -> None:
        self.usual_terms = usual_terms
        self.cache: RedisAnalyticsCache | None = None
        self._gateway = gateway
        self._prices = prices
        self._source = source
        self._workers = workers
        self._panel = _KeptPanel(partial(workers.submit, analytics_jobs.panel, source))
        self._under_way: dict[object, asyncio.Task[Any]] = {}
        self._keeping: set[asyncio.Task[None]] = set()

    async def analytics(self, portfolio_id: PortfolioId, terms: AnalysisTerms, known: tuple[str, ...] = ()) -> Answer:
        """The document as JSON; without it for a caller who has one of the `known` tags, or any if that is ("*",).

        Raises PortfolioNotFound, AnalyticsUnavailable, Overloaded, or what the shard raises.
        """
        state, generation = await asyncio.gather(self._gateway.state(portfolio_id), self._prices.generation())
        wanted = self._figures(portfolio_id, state, generation, terms)
        if known == ("*",) or _tag(wanted) in known:
            return Answer(None, _tag(wanted), owner=state.owner)
        body = await self.cache.find(wanted) if self.cache is not None else None
        if body is not None:
            return Answer(body, _tag(wanted), owner=state.owner)
        # Whoever asks for the same meanwhile waits for the same.
        computed = await self._once(wanted, partial(self._analysed, wanted, terms))
        return msgspec.structs.replace(computed, owner=state.owner)

    async def optimise(self, portfolio_id: PortfolioId, request: OptimiseRequest) -> Answer:
        """The answer as JSON, and the entity tag of the state that its trades are for.

        Raises InvalidRequest, StatusForbids, and as `analytics` does.
        """
        state, generation = await asyncio.gather(self._gateway.state(portfolio_id), self._prices.generation())
        # A caller who gave up waiting and asks again gets what was begun for it.
        asked = (portfolio_id, state.etag, generation, request.model_dump_json())
        return await self._once(asked, partial(self._optimised, portfolio_id, generation, request))

    async def warm_up(self) -> None:
        """Have a worker load what it needs for these portfolios, which is most of what it needs for any."""
        await self._workers.run(analytics_jobs.load, timeout_s=JOB_S)
        for summary in await self._gateway.page("", WARM_UP_PORTFOLIOS, None):
            await self.analytics(PortfolioId(summary.portfolio_id), self.usual_terms)

    def _figures(self, portfolio_id: PortfolioId, state: Answer, generation: int, terms: AnalysisTerms) -> Figures:
        version, _, revaluation = (state.etag or "").strip('"').partition(".")
        return Figures(
            portfolio_id=portfolio_id,
            version=int(version),
            revaluation=int(revaluation),
            generation=generation,
            terms=_digest(terms),
            is_usual=terms == self.usual_terms,
        )

    async def _once(self, key: object, make: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
        """What `make` gives. It goes on when its caller goes away, as its job does. Raises Overloaded or AnalyticsUnavailable."""
        task = self._under_way.get(key)
        if task is None:
            if len(self._under_way) >= UNDER_WAY_MAX:
                raise Overloaded(f"{UNDER_WAY_MAX} computations are under way", limit=UNDER_WAY_MAX)
            task = self._under_way[key] = asyncio.create_task(make())
            task.add_done_callback(partial(self._ended, key))
        try:
            async with asyncio.timeout(ANSWER_S):
                result: Result = await asyncio.shield(task)
        except TimeoutError as error:
            raise AnalyticsUnavailable(f"there is no result after {ANSWER_S:g} s") from error
        return result

    def _ended(self, key: object, task: asyncio.Task[Any]) -> None:
        del self._under_way[key]
        if not task.cancelled():
            # All who waited may have gone; asyncio would complain of an error that nobody has seen.
            task.exception()

    async def _analysed(self, wanted: Figures, terms: AnalysisTerms) -> Answer:
        packed_book = await self._gateway.packed_book(wanted.portfolio_id)
        found = await self._worked(wanted.generation, analytics_jobs.analysed, packed_book, self._source, terms)
        # The portfolio may have changed since it was asked for its state.
        figures = replace(wanted, version=found.version, revaluation=found.revaluation)
        self._keep(figures, found.body)
        return Answer(found.body, _tag(figures))

    async def _optimised(self, portfolio_id: PortfolioId, generation: int, request: OptimiseRequest) -> Answer:
        packed_book = await self._gateway.packed_book(portfolio_id)
        found = await self._worked(generation, analytics_jobs.optimised, packed_book, request)
        return Answer(found.body, f'"{found.version}.{found.revaluation}"')

    async def _worked(self, generation: int, job: Job, *arguments: Any) -> Computed:
        """What `job` makes of the prices and these arguments."""
        prices = self._panel.of(generation)
        try:
            found: Computed = await self._workers.run(job, prices, *arguments, timeout_s=JOB_S)
        except Unavailable:
            # It may have been for want of prices; they are read again next time.
            self._panel.forget(prices)
            raise
        return found

    def _keep(self, figures: Figures, body: bytes) -> None:
        """Show it in the cache, which the caller does not wait for."""
        if self.cache is not None:
            keeping = asyncio.create_task(self.cache.keep(figures, body))
            self._keeping.add(keeping)
            keeping.add_done_callback(self._keeping.discard)


class _KeptPanel:
    """The prices as one Ray object, read by a worker, for as long as no others are loaded."""

    def __init__(self, read: Callable[[], ObjectRef[Any]]) -> None:
        self._read = read
        self._generation = -1
        self._panel: ObjectRef[Any] | None = None

    def of(self, generation: int) -> ObjectRef[Any]:
        """The prices of this generation, or newer ones."""
        if self._panel is None or generation > self._generation:
            self._panel, self._generation = self._read(), generation
        return self._panel

    def forget(self, panel: ObjectRef[Any]) -> None:
        """Read anew when next asked, unless others have been read since."""
        if self._panel is panel:
            self._panel = None


def _digest(terms: AnalysisTerms) -> str:
    return blake2b(f"{FORMAT} {terms}".encode(), digest_size=6).hexdigest()


def _tag(figures: Figures) -> str:
    return f'"{figures.version}.{figures.revaluation}.{figures.generation}.{figures.terms}"'
