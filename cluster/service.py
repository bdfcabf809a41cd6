"""One running service: servers, Ray, shards and the REST front, from start to orderly stop."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from io import StringIO
from types import FrameType
from typing import Final

import ray
from ray import serve

from actors.gateway import Gateway
from actors.names import NAMESPACE, actor_name
from actors.settings import ShardConfig
from cluster import leftovers, placement, ray_profile
from cluster.handles import HandleCaller
from cluster.runtime_dir import RuntimeDir
from cluster.servers import Servers
from cluster.settings import Settings
from persistence.data_dir_lock import DataDirLock
from persistence.migrate import Cluster, PlacedShard, migrate, set_up_cluster
from serve_app.app import Arguments, build

APPLICATION: Final = "portfolio"
OBJECT_STORE_BYTES: Final = 200 * 1024 * 1024
SHARD_STOP_S: Final = 10.0
START_TIMEOUT_S: Final = 600.0
READY_TIMEOUT_S: Final = 30.0
_READY_PAUSE_S: Final = 0.05
_WATCH_S: Final = 0.25
_WATCH_END_S: Final = 5.0

Report = Callable[[str], None]


class Service:
    """What `portfolio-state up` runs. `running` starts everything but the REST front, which `serve` adds."""

    def __init__(self, settings: Settings, report: Report) -> None:
        self.settings = settings
        self._report = report
        self._runtime = RuntimeDir(settings.data_dir)
        self._postgres_dsn = ""

    @contextmanager
    def running(self) -> Iterator[Gateway]:
        """The service with its shards serving; stopped in good order at the end, whatever happened."""
        settings = self.settings
        # Root's Postgres runs under another user, who has to get through.
        settings.data_dir.mkdir(mode=0o711 if os.geteuid() == 0 else 0o700, parents=True, exist_ok=True)
        with ExitStack() as stack:
            stack.enter_context(DataDirLock(settings.data_dir))
            if settings.ray_address is None:
                leftovers.end_leftovers(self._runtime.path)
                self._runtime.remove()
            # On a Ray that was given, shards may have outlived the last run; their sockets are in there.
            self._runtime.create()
            stack.callback(self._runtime.remove)
            self._report("starting Postgres and Valkey")
            servers = stack.enter_context(Servers(settings, self._report))
            migrate(servers.postgres_dsn)
            cluster = set_up_cluster(servers.postgres_dsn, settings.shard_count)
            if cluster.shard_count != settings.shard_count:
                self._report(
                    f"this database has {cluster.shard_count} shards; PORTFOLIO_SHARD_COUNT does not change that"
                )
            self._report("starting Ray")
            # Stopped even if it does not start: it may have come halfway.
            stack.callback(self._stop_ray)
            with signals_kept():
                self._start_ray()
            self._watch(servers, stack)
            self._report(f"starting {len(cluster.shards)} shards")
            stack.callback(self._stop_shards, cluster)
            yield self._start_shards(servers, cluster)
            self._report("stopping")

    def _start_ray(self) -> None:
        for chatty in ("ray", "ray.serve"):
            logging.getLogger(chatty).setLevel(logging.ERROR)
        if self.settings.ray_address is None:
            ray_profile.apply(ray_profile.environment(self._runtime.haproxy))
            if not ray_profile.has_haproxy():
                self._report("HAProxy is not installed: Serve's own proxy is used, which is slower")
            ray.init(
                namespace=NAMESPACE,
                include_dashboard=False,
                log_to_driver=False,
                configure_logging=False,
                object_store_memory=OBJECT_STORE_BYTES,
                _temp_dir=str(self._runtime.ray),
            )
            address = ray.get_runtime_context().gcs_address
            self.settings.ray_address_file.write_text(address, encoding="ascii")
        else:
            ray.init(address=self.settings.ray_address, namespace=NAMESPACE, log_to_driver=False)

    def _stop_ray(self) -> None:
        self.settings.ray_address_file.unlink(missing_ok=True)
        ray.shutdown()
        if self.settings.ray_address is None:
            leftovers.end_leftovers(self._runtime.path)

    def _start_shards(self, servers: Servers, cluster: Cluster) -> Gateway:
        handles = {shard.shard_id: placement.place(self._config(shard, servers, cluster)) for shard in cluster.shards}
        gateway = Gateway(HandleCaller(handles), cluster.shard_map)
        asyncio.run(placement.wait_until_serving(gateway, START_TIMEOUT_S, self._report))
        self._postgres_dsn = servers.postgres_dsn
        return gateway

    def _config(self, shard: PlacedShard, servers: Servers, cluster: Cluster) -> ShardConfig:
        return ShardConfig(
            shard_id=shard.shard_id,
            actor=shard.actor or actor_name(shard.shard_id),
            postgres_dsn=servers.postgres_dsn,
            redis_url=servers.redis_url,
            link_secret=cluster.link_secret,
            socket_dir=self._runtime.links,
            log_dir=self.settings.data_dir / "log",
            link_host=self.settings.link_host,
        )

    def _stop_shards(self, cluster: Cluster) -> None:
        async def stop() -> None:
            await asyncio.gather(*(placement.stop(shard.shard_id, SHARD_STOP_S) for shard in cluster.shards))

        asyncio.run(stop())

    def _watch(self, servers: Servers, stack: ExitStack) -> None:
        ended = threading.Event()

        def watch() -> None:
            while not ended.wait(_WATCH_S):
                servers.revive()

        thread = threading.Thread(target=watch, name="server-watch", daemon=True)
        thread.start()

        def end() -> None:
            ended.set()
            # It may be waiting for Postgres to recover, which stopping the servers ends.
            thread.join(_WATCH_END_S)

        stack.callback(end)

    @contextmanager
    def serving(self) -> Iterator[None]:
        """The REST front, on top of a running service."""
        settings = self.settings
        self._report("starting the REST front")
        serve.start(http_options={"host": settings.http_host, "port": settings.http_port})
        try:
            serve.run(build(Arguments(postgres_dsn=self._postgres_dsn)), name=APPLICATION, route_prefix="/")
            self._wait_until_ready()
            yield
        finally:
            # Ray prints, whatever its log level, that the call which ended Serve's controller did not come back.
            with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
                serve.shutdown()  # type: ignore[no-untyped-call]  # it has no annotations

    def _wait_until_ready(self) -> None:
        """Return once the REST front itself says that all is there. Raises TimeoutError."""
        host = self.settings.http_host
        url = f"http://{f'[{host}]' if ':' in host else host}:{self.settings.http_port}/readyz"
        deadline = time.monotonic() + READY_TIMEOUT_S
        while True:
            try:
                with urllib.request.urlopen(url, timeout=READY_TIMEOUT_S) as answer:
                    answer.read()
                return
            except OSError as error:
                if time.monotonic() > deadline:
                    raise TimeoutError(f"{url} does not answer as it should: {error}") from error
            time.sleep(_READY_PAUSE_S)


@contextmanager
def signals_kept() -> Iterator[None]:
    """Give TERM and Ctrl-C back to whom they belonged before.

    When Ray starts, its core puts a handler for TERM beneath Python's, which aborts the process and leaves all the rest.
    """
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    if threading.current_thread() is threading.main_thread():
        for number, handler in handlers.items():
            signal.signal(number, handler)


def interrupt_on_term() -> None:
    """Let TERM end the service as Ctrl-C does; once it is stopping, more of either do not disturb that."""

    def interrupt(number: int, _: FrameType | None) -> None:
        for known in (signal.SIGINT, signal.SIGTERM):
            signal.signal(known, signal.SIG_IGN)
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)
