"""One whole service for the tests of this folder, and this process joined to its Ray."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

import pytest
import ray

from actors.gateway import Gateway
from actors.names import actor_name
from actors.settings import ShardConfig
from cluster.attaching import attach
from cluster.client import Client
from cluster.handles import HandleCaller
from persistence.embedded.home import open_home
from persistence.embedded.valkey_launch import SOCKET_NAME
from persistence.migrate import read_cluster
from portfolio.ids import PortfolioId, ShardId
from portfolio.sharding import ShardMap, shard_of
from tests.cluster.service_process import ServiceProcess, service_process


@contextmanager
def joined_service(*, standby: bool = False) -> Iterator[ServiceProcess]:
    """A service of two shards that runs for as long as the block, and this process joined to no Ray but its.

    Without a standby, so that it is Ray that brings back what dies, and no actor comes that a test did not make.
    """
    ray.shutdown()
    with service_process(variables={"PORTFOLIO_STANDBY": str(standby)}) as service:
        service.start()
        attach(service.settings)
        try:
            yield service
        finally:
            ray.shutdown()
            service.stop()


@pytest.fixture(scope="session")
def service() -> Iterator[ServiceProcess]:
    """A service of two shards, joined; tests leave it serving."""
    with joined_service() as service:
        yield service


@pytest.fixture(scope="module")
def joined(service: ServiceProcess) -> ServiceProcess:
    """The service, joined anew: other modules have services of their own, and a process joins one at a time."""
    ray.shutdown()
    attach(service.settings)
    return service


@pytest.fixture(scope="module")
def client(joined: ServiceProcess) -> Iterator[Client]:
    """A client of the service."""
    with Client(joined.settings) as client:
        yield client


@pytest.fixture
def gateway(service: ServiceProcess) -> Gateway:
    """The service over handles, without the client's patience: every error shows."""
    return Gateway(HandleCaller(), ShardMap.even(service.settings.shard_count))


@pytest.fixture
def portfolio_id() -> PortfolioId:
    """An id that no other test uses."""
    return PortfolioId(f"P-{uuid4().hex[:12]}")


@pytest.fixture
def config_of_shard_0(service: ServiceProcess) -> ShardConfig:
    """What the service told its first shard."""
    data_dir = service.settings.data_dir
    valkey = open_home(data_dir, "valkey", account=None)
    cluster = read_cluster(service.postgres_dsn)
    return ShardConfig(
        shard_id=ShardId(0),
        actor=actor_name(0),
        postgres_dsn=service.postgres_dsn,
        redis_url=f"unix://:{valkey.secret('password')}@{valkey.path / 'run' / SOCKET_NAME}?db=0",
        link_secret=cluster.link_secret,
        socket_dir=service.runtime_dir / "links",
        log_dir=data_dir / "log",
    )


def id_in_shard(shard_id: int) -> PortfolioId:
    """A new portfolio's id that belongs to a shard of two."""
    while shard_of(portfolio_id := PortfolioId(f"P-{uuid4().hex[:12]}"), 2) != shard_id:
        pass
    return portfolio_id
