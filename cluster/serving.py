"""Ray, shards and the REST front, on servers that are there: from start to orderly stop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterator
from contextlib import (
    AbstractContextManager,
    ExitStack,
    contextmanager,
    nullcontext,
    redirect_stderr,
    redirect_stdout,
)
from io import StringIO
from typing import Final

import ray
from ray import serve

from actors.gateway import Gateway
from actors.names import NAMESPACE, actor_name
from actors.settings import Limits, ShardConfig, StandbyConfig, Surroundings
from cluster import front, placement
from cluster.attaching import check_listening
from cluster.balance import spread
from cluster.console import Report
from cluster.handles import HandleCaller
from cluster.nodes import alive_nodes
from cluster.ray_start import start_ray
from cluster.runtime_dir import RuntimeDir
from cluster.settings import Settings
from cluster.shard_watch import SILENCE_LEASES, ShardWatch
from cluster.signals import signals_kept
from cluster.standbys import Standbys, end_spare
from persistence.migrate import Cluster, read_cluster
from persistence.signs_of_life import read_signs_of_life
from portfolio.errors import ShardUnavailable
from portfolio.ids import ShardId

SHARD_STOP_S: Final = 10.0
START_TIMEOUT_S: Final = 600.0
LOOPBACK: Final = "127.0.0.1"


class Serving:
    """The part of a service that is Ray's. `settings` name both servers, as `hosting` gives them.

    `watching_ray` is entered for as long as this process is part of Ray.
    """

    def __init__(
        self,
        settings: Settings,
        report: Report,
        watching_ray: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        assert settings.postgres_dsn
        assert settings.redis_url
        self.settings = settings
        self.postgres_dsn = settings.postgres_dsn
        self._redis_url = settings.redis_url
        self._report = report
        self._watching_ray = watching_ray
        self._runtime = RuntimeDir(settings.data_dir)
        self._has_front = False

    @contextmanager
    def running(self) -> Iterator[Gateway]:
        """Shards that serve, on Ray; stopped in good order at the end."""
        with ExitStack() as stack:
            cluster = read_cluster(self.postgres_dsn)
            self._report("starting Ray")
            # Stopped even if it does not start: it may have come halfway.
            stack.callback(ray.shutdown)
            with signals_kept():
                self._start_ray()
            stack.enter_context(self._watching_ray())
            self._report(f"starting {len(cluster.shards)} shards")
            stack.callback(self._stop_shards, cluster)
            gateway = self._start_shards(cluster)
            stack.enter_context(self._watch(cluster).watching())
            yield gateway

    def _start_ray(self) -> None:
        for chatty in ("ray", "ray.serve"):
            logging.getLogger(chatty).setLevel(logging.ERROR)
        if self.settings.ray_address is not None:
            check_listening(self.settings.ray_address)
            ray.init(address=self.settings.ray_address, namespace=NAMESPACE, log_to_driver=False)
            return
        address = start_ray(self._runtime, self.settings.compiled_dir, self._report)
        self.settings.ray_address_file.write_text(address, encoding="ascii")

    def _start_shards(self, cluster: Cluster) -> Gateway:
        nodes = [node.node_id for node in alive_nodes()]
        targets = spread((shard.shard_id for shard in cluster.shards), {}, nodes)
        handles = {
            shard.shard_id: placement.place(
                self.shard_config(shard.shard_id, shard.actor or actor_name(shard.shard_id), cluster),
                node_id=targets[shard.shard_id],
            )
            for shard in cluster.shards
        }
        gateway = Gateway(HandleCaller(handles), cluster.shard_map)
        asyncio.run(placement.wait_until_serving(gateway, START_TIMEOUT_S, self._report))
        return gateway

    def shard_config(self, shard_id: ShardId, actor: str, cluster: Cluster) -> ShardConfig:
        """What a shard of this service is told when it starts."""
        return ShardConfig(shard_id=shard_id, actor=actor, **self._surroundings(cluster).shared())

    def standby_config(self, actor: str, node: str, cluster: Cluster) -> StandbyConfig:
        """What the standby of a node is told when it starts."""
        return StandbyConfig(actor=actor, node=node, **self._surroundings(cluster).shared())

    def _surroundings(self, cluster: Cluster) -> Surroundings:
        return Surroundings(
            postgres_dsn=self.postgres_dsn,
            redis_url=self._redis_url,
            link_secret=cluster.link_secret,
            socket_dir=self._runtime.links,
            log_dir=self.settings.data_dir / "log",
            link_host=self._link_host,
        )

    @property
    def _link_host(self) -> str | None:
        return self.settings.link_host or (LOOPBACK if self.settings.ray_address is None else None)

    def _watch(self, cluster: Cluster) -> ShardWatch:
        def place(shard_id: ShardId, actor: str) -> None:
            placement.place(self.shard_config(shard_id, actor, cluster))

        def see_to_standbys(alive: Collection[str], owners: Collection[str]) -> None:
            # A start is not held up by processes that nobody needs yet.
            if self._has_front:
                standbys.see_to(alive, owners)

        standbys = Standbys(
            lambda actor, node: self.standby_config(actor, node, cluster), is_wanted=self.settings.standby
        )
        return ShardWatch(
            look=lambda: read_signs_of_life(self.postgres_dsn),
            actors=placement.actor_names,
            place=place,
            silence_s=SILENCE_LEASES * Limits().lease_s,
            see_to_standbys=see_to_standbys,
        )

    def _stop_shards(self, started: Cluster) -> None:
        async def stop() -> None:
            await asyncio.gather(*(placement.stop(shard.shard_id, SHARD_STOP_S) for shard in shards))

        cluster: Cluster | None
        try:
            cluster = read_cluster(self.postgres_dsn)
        except ShardUnavailable:
            cluster = None
        # Some may have come of doubling since the start.
        shards = (cluster or started).shards
        # First, because a shard that does not stop in time is killed, and would have a successor.
        end_spare(cluster)
        asyncio.run(stop())

    @contextmanager
    def front(self) -> Iterator[None]:
        """The REST front, on top of running shards."""
        settings = self.settings
        self._report("starting the REST front")
        serve.start(http_options={"host": settings.http_host, "port": settings.http_port})
        try:
            front.deploy(settings, self.postgres_dsn)
            self._has_front = True
            yield
        finally:
            # The service is stopping, and needs no more standbys.
            self._has_front = False
            # Ray prints, whatever its log level, that the call which ended Serve's controller did not come back.
            with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
                serve.shutdown()  # type: ignore[no-untyped-call]  # it has no annotations
