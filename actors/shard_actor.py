"""The Ray actor around a shard: it starts it, answers handles, and says where the link listens."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import uuid
from logging.handlers import RotatingFileHandler

import ray

from actors import owner
from actors.link_server import LinkServer
from actors.owner import Owner
from actors.protocol import Endpoint, pack
from actors.service import Service
from actors.settings import ShardConfig
from actors.shard import Shard
from persistence import postgres
from persistence.checkpoint import PostgresCheckpointStore
from persistence.journal import PostgresJournal
from persistence.mark_store import PostgresMarkStore
from persistence.redis_mirror import RedisMirror
from portfolio.errors import Corrupt, Deposed, PortfolioError, ShardUnavailable

_log = logging.getLogger(__name__)
_RETRY_S = 0.25
_FAREWELL_S = 0.5


def _log_to(config: ShardConfig) -> None:
    """Keep the shard's log where an operator finds it after Ray's own session directory is gone."""
    config.log_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    handler = RotatingFileHandler(
        config.log_dir / f"shard-{config.shard_id}.log", maxBytes=10_000_000, backupCount=3, encoding="utf-8"
    )
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s", handlers=[handler], force=True
    )


class ShardActor:
    """One shard in a process of its own. Ray restarts the process when it dies; a deposed one is not restarted."""

    def __init__(self, config: ShardConfig) -> None:
        _log_to(config)
        self._config = config
        self._incarnation = uuid.uuid4().hex
        self._connections = postgres.pool(config.postgres_dsn, size_max=3)
        self._mirror = RedisMirror(config.redis_url)
        self._shard = self._new_shard()
        self._service = Service(self._shard)
        self._link = LinkServer(self._service, config.link_secret, config.socket_dir, config.link_host)
        self._endpoint: asyncio.Future[Endpoint] = asyncio.get_running_loop().create_future()
        # Ray runs this on the actor's event loop, which must not be held: recovery is a task, methods await it.
        self._life = asyncio.create_task(self._live())

    def _new_shard(self) -> Shard:
        config = self._config
        self._journal = PostgresJournal(config.postgres_dsn, config.shard_id, self._owner(), self._connections)
        return Shard(
            shard_id=config.shard_id,
            shard_count=config.shard_count,
            journal=self._journal,
            epoch=lambda: self._journal.epoch,
            checkpoints=PostgresCheckpointStore(config.shard_id, self._connections),
            marks=PostgresMarkStore(self._connections),
            mirror=self._mirror,
            limits=config.limits,
            is_gone=owner.is_gone,
        )

    def _owner(self) -> str:
        return str(Owner.here(ray.get_runtime_context().get_node_id()[:12], self._incarnation))

    async def _live(self) -> None:
        try:
            await self._connections.open()
            self._endpoint.set_result(await self._listen())
            await self._recover()
            # What recovery made lives as long as the process: the collector need not look at it again.
            gc.collect()
            gc.freeze()
            await self._shard.run()
        except Deposed as error:
            _log.error("stopping for good: %s", error)
            await self._leave_for_good()
        except Corrupt as error:
            # Starting again would read the same rows: stay, answer nothing, and let readiness say why.
            _log.critical("stopped until an operator has looked: %s", error)
        except Exception:  # noqa: BLE001 - whatever it is, the journal knows better than this process.
            _log.exception("stopping, to be restarted and recover from the journal")
            os._exit(1)

    async def _listen(self) -> Endpoint:
        socket_path, port = await self._link.start()
        return Endpoint(
            node_id=ray.get_runtime_context().get_node_id(),
            socket_path=str(socket_path),
            host=self._config.link_host,
            port=port,
            incarnation=self._incarnation,
        )

    async def _recover(self) -> None:
        while True:
            try:
                await self._shard.start()
                return
            except ShardUnavailable as error:
                _log.warning("recovery waits: %s", error)
                await asyncio.sleep(_RETRY_S)

    async def _leave_for_good(self) -> None:
        self._link.close()
        # Those who wait have just been refused, and would not learn that nothing was booked if the process ended now.
        await asyncio.sleep(_FAREWELL_S)
        ray.kill(ray.get_runtime_context().current_actor, no_restart=True)

    async def endpoint(self) -> Endpoint:
        """Where the link to this shard listens."""
        return await asyncio.shield(self._endpoint)

    async def call(self, method: str, payload: bytes) -> bytes:
        """The packed answer to a method; see protocol.Method."""
        return pack(await self._service.answer(method, payload))

    async def stop(self) -> None:
        """Stop serving in good order: no more writes, a last checkpoint, no socket left behind."""
        self._life.cancel()
        await asyncio.gather(self._life, return_exceptions=True)
        with contextlib.suppress(PortfolioError):
            await self._shard.stop()
        self._link.close()
        await self._journal.close()
        await self._mirror.close()
        await self._connections.close()

    async def pid(self) -> int:
        """The process that serves this shard."""
        return os.getpid()
