"""The Ray Serve application: the routes, what they stand on, and the builder that Serve's config names."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final

from fastapi import FastAPI
from pydantic import BaseModel
from pydantic_settings import BaseSettings, SettingsConfigDict
from ray import serve

from actors.garbage import look_rarely
from actors.stalls import stalls_watched
from analytics.document import AnalysisTerms
from persistence.history import PostgresHistory
from persistence.price_store import PostgresPriceStore
from portfolio import ids
from serve_app import analytics, batches, health, openapi, portfolios, problems, queries
from serve_app.analysing import analysing
from serve_app.backend import Backend
from serve_app.hot_routes import with_hot_routes
from serve_app.querying import Queries
from serve_app.reaching import reached

ONGOING_MAX: Final = 100_000
"""Serve lets requests beyond this wait; `admission` refuses them long before, so that none waits for others."""
LOGGING: Final = {"enable_access_log": False, "log_level": "WARNING"}
"""An access log is buffered and then written inside the event loop, which holds every request up for 15-30 ms. Switched off
alone, its line is still made for every request, and then thrown away; the level spares that.
"""
_POOL_SIZE: Final = 4


class Environment(BaseSettings):
    """What a replica takes from its environment where Serve's config says nothing."""

    model_config = SettingsConfigDict(env_prefix="PORTFOLIO_")

    postgres_dsn: str = ""
    benchmark: str | None = None


class Arguments(BaseModel):
    """Arguments of the application in Serve's config."""

    postgres_dsn: str | None = None
    benchmark: str | None = None


@asynccontextmanager
async def connected(dsn: str, benchmark: str | None) -> AsyncIterator[Backend]:
    """The backend of one replica: links to the shards of this Ray cluster, reads of journal and prices, and workers."""
    _log_warnings()
    async with reached(dsn, _POOL_SIZE) as found:
        look_rarely()
        with stalls_watched():
            queries = await asyncio.to_thread(Queries, dsn)
            async with analysing(found, dsn, AnalysisTerms(benchmark=benchmark)) as analyst:
                yield Backend(
                    gateway=found.gateway,
                    history=PostgresHistory(found.connections),
                    prices=PostgresPriceStore(found.connections),
                    queries=queries,
                    analyst=analyst,
                )


def _log_warnings() -> None:
    """Write warnings to the process' own standard error. Serve takes `sys.stderr` for its log, below the level of that."""
    line = "%(asctime)s %(levelname)s %(name)s %(message)s"
    logging.basicConfig(level=logging.WARNING, format=line, stream=sys.__stderr__)


def create_api(connect: Callable[[], AbstractAsyncContextManager[Backend]]) -> FastAPI:
    """Every route and its documentation; `connect` makes the backend when it starts."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with connect() as backend:
            app.state.backend = backend
            yield

    app = FastAPI(
        title="Portfolio State Service",
        description=openapi.DESCRIPTION,
        version=openapi.CONTRACT_VERSION,
        lifespan=lifespan,
        # A redirect would send callers to whatever host they named, by a way that the contract does not know.
        redirect_slashes=False,
    )
    routers = [part.router for part in (portfolios, analytics, batches, queries, health)]
    for router in routers:
        app.include_router(router)
    problems.install(app)
    openapi.install(app, routers)
    return app


def build(arguments: Arguments) -> serve.Application:
    """The application as `ray_config.yaml` and `portfolio-state up` deploy it. Raises InvalidRequest for a benchmark's id."""
    dsn = arguments.postgres_dsn or Environment().postgres_dsn
    if not dsn:
        raise ValueError("no Postgres: set postgres_dsn in the application's args, or PORTFOLIO_POSTGRES_DSN")
    benchmark = arguments.benchmark or Environment().benchmark
    if benchmark is not None:
        ids.instrument_id(benchmark)
    ingress = serve.ingress(lambda: with_hot_routes(create_api(lambda: connected(dsn, benchmark))))
    deployment = serve.deployment(
        name="api",
        max_ongoing_requests=ONGOING_MAX,
        # A new version's replica is there before the old one's goes.
        max_surge_percent=100,
        # A killed replica is noticed within a second; one that hangs for half a minute is made anew.
        health_check_period_s=1,
        health_check_timeout_s=10,
        ray_actor_options={"num_cpus": 0},
        logging_config=LOGGING,
    )
    application: serve.Application = deployment(ingress(_Api)).bind()
    return application


class _Api:
    """The ingress deployment; everything is in the ASGI application."""
