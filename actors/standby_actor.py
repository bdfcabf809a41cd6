"""The Ray actor of a node's standby: a spare process that becomes whichever shard of its node has lost its owner."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import ray
from ray.exceptions import RayError

from actors.names import NAMESPACE
from actors.protocol import pack, refusal
from actors.settings import ShardConfig, StandbyConfig
from actors.shard import Shard
from actors.shard_actor import ShardActor, log_to
from actors.standby import Standby, Ward, shard_of_actor
from persistence.journal import PostgresJournal
from persistence.succession import Succession
from portfolio.errors import ShardUnavailable
from portfolio.ids import ShardId

_log = logging.getLogger(__name__)
_RETRY_S: Final = 0.1
_COMM: Final = Path("/proc/self/comm")
_SHARD_TITLE: Final = "ray::ShardActor"


@dataclass(frozen=True, slots=True)
class StandbyStatus:
    """How a standby is doing: the shards that it follows, or the one that it has become."""

    actor: str
    node: str
    shard_id: ShardId | None
    follows: tuple[ShardId, ...]


class StandbyActor(ShardActor):
    """A process that is spare until an owner on its node dies. Then it is that shard, for the rest of its life.

    Postgres alone decides: restarted, it is the shard that is meant for it there, if there is one.
    """

    def __init__(self, config: StandbyConfig) -> None:
        log_to(config.log_dir, config.actor)
        self._standby_config = config
        self._spares: dict[ShardId, PostgresJournal] = {}
        self._shard_id: ShardId | None = None
        # It may be a shard already, until Postgres has said that it is not.
        self._is_taking = True
        self._is_dismissed = False
        self._set_up(config)
        self._succession = Succession(self._connections)
        self._standby = Standby(
            me=self._me, look=self._succession.owners, follower=self._follower, limits=config.limits
        )
        self._begin()

    def _follower(self, shard_id: ShardId) -> Shard:
        journal, shard = self._new_shard(self._standby_config.of_shard(shard_id))
        self._spares[shard_id] = journal
        return shard

    async def _lead(self) -> None:
        config = self._standby_config
        self._shard_id = await self._mine()
        if self._shard_id is not None:
            own = config.of_shard(self._shard_id)
            self._become(own, *self._new_shard(own))
            _look_like_a_shard()
        elif self._me.node != config.node:
            # Its node is lost. The one that it was brought to has a standby of its own.
            await self._end_for_good()
            return
        else:
            self._take_nothing()
            await self._succeed(await self._bereaved())
        self._endpoint.set_result(await self._listen())
        await self._serve()

    async def _mine(self) -> ShardId | None:
        """The shard that this actor became in an earlier life, and owns as far as Postgres knows."""
        while True:
            try:
                return shard_of_actor(self._standby_config.actor, await self._succession.owners())
            except ShardUnavailable as error:
                _log.warning("whether a shard is meant for %s is not known: %s", self._standby_config.actor, error)
                await asyncio.sleep(_RETRY_S)

    async def _bereaved(self) -> Ward:
        """The ward that this actor is to own from now on, as Postgres has it."""
        while True:
            ward = await self._standby.bereaved()
            _log.warning("shard %s: the process of its owner %s has ended", ward.shard_id, ward.owner)
            self._is_taking = True
            try:
                heir = self._standby_config.actor
                if await self._succession.designate(ward.shard_id, predecessor=ward.owner, actor=ward.actor, heir=heir):
                    return ward
                _log.info("shard %s was let go of, or another one was quicker", ward.shard_id)
                self._standby.give_up(ward)
                self._take_nothing()
            except ShardUnavailable as error:
                _log.warning("shard %s cannot be taken over yet: %s", ward.shard_id, error)
                await asyncio.sleep(_RETRY_S)

    async def _succeed(self, ward: Ward) -> None:
        shard = self._standby.followers[ward.shard_id]
        assert isinstance(shard, Shard)
        self._become(self._standby_config.of_shard(ward.shard_id), self._spares[ward.shard_id], shard)
        self._shard_id = ward.shard_id
        self._standby.close()
        self._standby.followers.clear()
        self._spares.clear()
        _look_like_a_shard()
        self._replaced = asyncio.create_task(asyncio.to_thread(_end, ward.actor))

    async def is_owner(self, shard_id: int) -> bool:
        """Whether this actor owns that shard, or is about to."""
        if self._shard_id is None:
            return self._standby.orphan(ShardId(shard_id)) is not None
        return await super().is_owner(shard_id)

    async def calls(self, requests: Sequence[tuple[str, bytes]]) -> list[bytes]:
        """The packed answers to methods and their payloads; see protocol.Method."""
        if self._shard_id is None:
            return [pack(refusal(self._standing_by())) for _ in requests]
        return await super().calls(requests)

    async def config(self) -> ShardConfig:
        """What it goes by as a shard. Raises ShardUnavailable before, even if it is about to be one."""
        if self._shard_id is None:
            raise self._standing_by()
        return await super().config()

    async def hand_over(self, successor: str) -> bytes:
        """See ShardActor; refused while it is no shard."""
        return pack(refusal(self._standing_by())) if self._shard_id is None else await super().hand_over(successor)

    async def split(self, modulus: int) -> bytes:
        """See ShardActor; refused while it is no shard."""
        return pack(refusal(self._standing_by())) if self._shard_id is None else await super().split(modulus)

    def _standing_by(self) -> ShardUnavailable:
        return ShardUnavailable(f"{self._standby_config.actor} stands by", moving=True)

    async def standby_status(self) -> StandbyStatus:
        """Which shards it follows, or which it has become."""
        config = self._standby_config
        return StandbyStatus(config.actor, config.node, self._shard_id, tuple(sorted(self._standby.held)))

    async def dismiss(self) -> None:
        """End for good, unless it has become a shard; if it may be about to, once that is known."""
        self._is_dismissed = True
        self._leave_if_dismissed()

    def _take_nothing(self) -> None:
        self._is_taking = False
        self._leave_if_dismissed()

    def _leave_if_dismissed(self) -> None:
        if self._is_dismissed and self._shard_id is None and not self._is_taking:
            self._life.cancel()
            self._farewell = asyncio.create_task(self._end_for_good())


def _look_like_a_shard() -> None:
    """Have whoever looks for shards among the machine's processes find this one."""
    with suppress(OSError):
        _COMM.write_text(_SHARD_TITLE, encoding="ascii")


def _end(actor: str | None) -> None:
    """End the actor of the dead owner for good, which Ray is about to restart.

    It would find another one in its place and leave. Until then, Ray holds back what its callers ask of it.
    """
    if actor is not None:
        with suppress(ValueError, RayError):
            ray.kill(ray.get_actor(actor, NAMESPACE), no_restart=True)
