"""The Ray actor around a shard: it starts it, answers handles, and says where the link listens."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import uuid
from collections.abc import Sequence
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError

from actors import owner
from actors.garbage import look_rarely
from actors.lease import boot_clock
from actors.link_server import LinkServer
from actors.names import NAMESPACE, node_digits
from actors.owner import Owner
from actors.protocol import Answer, Endpoint, pack, refusal
from actors.service import Service
from actors.settings import ShardConfig, Surroundings
from actors.shard import Shard
from actors.stalls import StallWatcher
from persistence import postgres
from persistence.checkpoint import PostgresCheckpointStore
from persistence.journal import PostgresJournal
from persistence.mark_store import PostgresMarkStore
from persistence.redis_mirror import RedisMirror
from portfolio.errors import Corrupt, Deposed, PortfolioError, ShardUnavailable

_log = logging.getLogger(__name__)
_RETRY_S = 0.25
_FAREWELL_S = 0.5
_KILL_S = 5.0
_LOOK_S = 0.05
_TAKE_OVER_S = 30.0
_MEANT_S = 0.5


def log_to(log_dir: Path, name: str) -> None:
    """Keep the log where an operator finds it after Ray's own session directory is gone."""
    log_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    handler = RotatingFileHandler(log_dir / f"{name}.log", maxBytes=10_000_000, backupCount=3, encoding="utf-8")
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s", handlers=[handler], force=True
    )


class ShardActor:
    """One shard in a process of its own. Ray restarts the process when it dies; a deposed one is not restarted."""

    def __init__(self, config: ShardConfig) -> None:
        self._set_up(config)
        self._become(config, *self._new_shard(config))
        self._begin()

    def _set_up(self, surroundings: Surroundings) -> None:
        """Make ready what does not depend on which shard it is."""
        self._incarnation = uuid.uuid4().hex
        self._node_id = str(ray.get_runtime_context().get_node_id())
        self._me = Owner.here(node_digits(self._node_id), self._incarnation)
        self._connections = postgres.pool(surroundings.postgres_dsn, size_max=3)
        self._mirror = RedisMirror(surroundings.redis_url)
        self._link_host = surroundings.link_host or str(ray.util.get_node_ip_address())  # type: ignore[no-untyped-call]  # it has no annotations
        self._stalls = StallWatcher()
        self._stalls.start()
        self._endpoint: asyncio.Future[Endpoint] = asyncio.get_running_loop().create_future()
        self._ready = asyncio.Event()
        self._called = asyncio.Event()
        self._serving = asyncio.Event()

    def _become(self, config: ShardConfig, journal: PostgresJournal, shard: Shard) -> None:
        """Be one shard from now on."""
        log_to(config.log_dir, f"shard-{config.shard_id}")
        self._config = config
        self._journal = journal
        self._shard = shard
        self._service = Service(shard, self._stalls.seen)
        self._link = LinkServer(self._service, config.link_secret, config.socket_dir, self._link_host)

    def _begin(self) -> None:
        # Ray runs this on the actor's event loop, which must not be held: recovery is a task, methods await it.
        self._life = asyncio.create_task(self._live())

    def _new_shard(self, config: ShardConfig) -> tuple[PostgresJournal, Shard]:
        journal = PostgresJournal(config.postgres_dsn, config.shard_id, str(self._me), self._connections, config.actor)
        shard = Shard(
            shard_id=config.shard_id,
            journal=journal,
            epoch=lambda: journal.epoch,
            checkpoints=PostgresCheckpointStore(config.shard_id, self._connections),
            marks=PostgresMarkStore(self._connections),
            mirror=self._mirror,
            limits=config.limits,
            is_gone=owner.is_gone,
        )
        return journal, shard

    async def _live(self) -> None:
        try:
            await self._connections.open()
            await self._lead()
        except Deposed as error:
            _log.error("stopping for good: %s", error)
            await self._leave_for_good()
        except Corrupt as error:
            # Starting again would read the same rows: stay, answer nothing, and let readiness say why.
            _log.critical("stopped until an operator has looked: %s", error)
        except Exception:  # noqa: BLE001 - whatever it is, the journal knows better than this process.
            _log.exception("stopping, to be restarted and recover from the journal")
            os._exit(1)

    async def _lead(self) -> None:
        """What the actor does all its life. Raises Deposed or Corrupt."""
        self._endpoint.set_result(await self._listen())
        if self._config.is_successor:
            await self._stand_by()
        await self._serve()

    async def _serve(self) -> None:
        await self._recover()
        self._ready.set()
        self._serving.set()
        look_rarely()
        await self._shard.run()

    async def _stand_by(self) -> None:
        """Return once the shard is meant for this actor. Raises Deposed if it has not been for a long time."""
        stand_by_s = self._config.limits.stand_by_s
        until = boot_clock() + stand_by_s
        while not (is_meant := await self._is_meant()):
            if is_meant is None:
                # It may have been the owner for long, and been restarted while Postgres is away.
                until = boot_clock() + stand_by_s
            if boot_clock() > until:
                raise Deposed(f"shard {self._config.shard_id} was not handed over to {self._config.actor}")
            await self._read_ahead()
            self._ready.set()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._called.wait(), _LOOK_S)

    async def _read_ahead(self) -> None:
        try:
            await self._shard.read_ahead()
        except (ShardUnavailable, Corrupt) as error:
            # A shard that is to branch off is not there yet; of any other, the owner knows what is wrong.
            _log.info("nothing is read ahead: %s", error)

    async def _is_meant(self) -> bool | None:
        """Whether this actor is to own the shard, which only a successor needs a word for; None if nobody can say."""
        try:
            # Callers wait a second for an answer, and for a connection to a Postgres that is away the pool waits longer.
            async with asyncio.timeout(_MEANT_S):
                actor = await self._journal.designated()
        except (ShardUnavailable, TimeoutError) as error:
            _log.warning("nobody can say whether %s is meant: %r", self._config.actor, error)
            return None
        return actor == self._config.actor or (actor is None and not self._config.is_successor)

    async def _listen(self) -> Endpoint:
        socket_path, port = await self._link.start()
        return Endpoint(
            node_id=self._node_id,
            socket_path=str(socket_path),
            host=self._link_host,
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
        self._link.hang_up()
        await self._end_for_good()

    async def _end_for_good(self) -> None:
        # Those who wait have just been refused, and would not learn that nothing was booked if the process ended now.
        await asyncio.sleep(_FAREWELL_S)
        # The head node may be as far away as Postgres was when another owner took over.
        asyncio.get_running_loop().call_later(_KILL_S, os._exit, 1)
        await asyncio.to_thread(ray.kill, ray.get_runtime_context().current_actor, no_restart=True)

    async def endpoint(self) -> Endpoint:
        """Where the link to this shard listens."""
        return await asyncio.shield(self._endpoint)

    async def calls(self, requests: Sequence[tuple[str, bytes]]) -> list[bytes]:
        """The packed answers to methods and their payloads; see protocol.Method."""
        answers = await asyncio.gather(*(self._service.answer(method, payload) for method, payload in requests))
        return [pack(answer) for answer in answers]

    async def config(self) -> ShardConfig:
        """What the shard was told, for one that takes over from it or branches off it."""
        return self._config

    async def is_owner(self, shard_id: int) -> bool:
        """Whether this actor owns that shard, or is about to, rather than standing by or leaving."""
        if shard_id != self._config.shard_id or self._shard.has_let_go:
            return False
        if self._serving.is_set():
            return True
        is_meant = await self._is_meant()
        return not self._config.is_successor if is_meant is None else is_meant

    async def ready(self) -> None:
        """Return once a successor stands by, or has taken over already."""
        await self._ready.wait()

    async def take_over(self) -> None:
        """Told by the owner before, which has let go; returns once this one serves."""
        self._called.set()
        await self._serving.wait()

    async def hand_over(self, successor: str) -> bytes:
        """Let the actor of that name, which stands by, take the shard over, and leave for good.

        The packed answer holds the seconds for which nothing was served, or why it cannot be done now.
        """
        heir: Any = await asyncio.to_thread(ray.get_actor, successor, NAMESPACE)
        try:
            await self._shard.hand_over(successor)
        except Exception as error:
            if self._shard.has_let_go:
                # It may have been let go of all the same: Postgres tells whoever starts next.
                _log.critical("the hand-over was interrupted", exc_info=error)
                os._exit(1)
            if isinstance(error, PortfolioError):
                return pack(refusal(error))
            raise
        # If it dies on the way, it comes back and takes over by itself.
        with contextlib.suppress(RayError, TimeoutError):
            async with asyncio.timeout(_TAKE_OVER_S):
                await heir.take_over.remote()
        paused_s = boot_clock() - self._shard.stood_still_at
        self._farewell = asyncio.create_task(self._leave_for_good())
        return pack(Answer(pack(paused_s)))

    async def split(self, modulus: int) -> bytes:
        """Give half of the portfolios to a new shard, unless `modulus` is the shard's already.

        The packed answer holds the seconds for which nothing was booked, or why it cannot be done now.
        """
        try:
            await self._shard.split(modulus)
        except PortfolioError as error:
            return pack(refusal(error))
        return pack(Answer(pack(boot_clock() - self._shard.stood_still_at)))

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
