"""A node's standby: it follows the shards of its node, and says which of them has lost its owner."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from actors.deaths import Deaths
from actors.garbage import look_rarely
from actors.jobs import end
from actors.owner import Owner, is_gone
from actors.settings import Limits
from portfolio.errors import PortfolioError, ShardUnavailable
from portfolio.ids import ShardId

_log = logging.getLogger(__name__)


class Owned(Protocol):
    """What Postgres says of a shard; see persistence.succession.OwnedShard."""

    @property
    def shard_id(self) -> ShardId: ...
    @property
    def owner(self) -> str | None: ...
    @property
    def actor(self) -> str | None: ...


class Follower(Protocol):
    """A shard that is another one's still."""

    async def follow(self) -> None:
        """Bring what its owner has saved into memory. Raises ShardUnavailable or Corrupt."""


@dataclass(frozen=True, slots=True)
class Ward:
    """A shard of the standby's node under one owner, whose actor has the name `actor`."""

    shard_id: ShardId
    owner: str
    actor: str | None


class Standby:
    """Follows shards until one of them needs a new owner.

    `look` reads the owners in Postgres, `follower` makes what follows a shard.
    """

    def __init__(
        self,
        *,
        me: Owner,
        look: Callable[[], Awaitable[Sequence[Owned]]],
        follower: Callable[[ShardId], Follower],
        limits: Limits,
    ) -> None:
        self._me = me
        self._look = look
        self._make_follower = follower
        self._limits = limits
        self._deaths = Deaths()
        self._wards: dict[ShardId, Ward] = {}
        self.followers: dict[ShardId, Follower] = {}
        self.held: frozenset[ShardId] = frozenset()
        """The shards whose newest checkpoint is in memory, or one of a moment ago."""

    async def bereaved(self) -> Ward:
        """A ward whose owner's process has ended, once there is one. Raises whatever ends the following of the others."""
        following = asyncio.ensure_future(self._follow())
        try:
            while (found := self.orphan()) is None:
                if following.done():
                    following.result()
                await self._take_stock()
                await self._until_news()
            return found
        finally:
            await end([following])

    def orphan(self, shard_id: ShardId | None = None) -> Ward | None:
        """A ward, or that of one shard, whose owner is known to have ended."""
        wards = self._wards.values() if shard_id is None else filter(None, [self._wards.get(shard_id)])
        return next((ward for ward in wards if is_gone(ward.owner)), None)

    def give_up(self, ward: Ward) -> None:
        """Another one was quicker, or the owner had let go of the shard: whose it is now, the next look tells."""
        self._wards.pop(ward.shard_id, None)

    async def _until_news(self) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._deaths.news.wait(), self._limits.standby_look_s)

    async def _take_stock(self) -> None:
        self._deaths.news.clear()
        try:
            self._wards = wards_of(self._me, await self._look())
        except ShardUnavailable as error:
            _log.warning("nobody can say whose the shards are: %s", error)
            return
        self._deaths.watch([ward.owner for ward in self._wards.values()])
        for shard_id in self.followers.keys() - self._wards.keys():
            del self.followers[shard_id]
        for shard_id in self._wards.keys() - self.followers.keys():
            self.followers[shard_id] = self._make_follower(shard_id)
        self.held = self.held.intersection(self._wards)

    async def _follow(self) -> None:
        while True:
            began = time.thread_time()
            known = dict(self.followers)
            held = frozenset([shard_id for shard_id, follower in known.items() if await _is_held(shard_id, follower)])
            if held - self.held:
                # What was read of a shard stays: the collector need not look at it again, least of all in a takeover.
                look_rarely()
            # Meanwhile some may have gone elsewhere.
            self.held = held.intersection(self._wards)
            await asyncio.sleep(self._rest_s(time.thread_time() - began))

    def _rest_s(self, took_s: float) -> float:
        """Long enough for following to keep to its share: 0.1 s of work, and about as much of Postgres', rest for 4 s."""
        rest_s = 2 * took_s / self._limits.standby_share
        return min(max(rest_s, self._limits.standby_look_s), self._limits.standby_rest_max_s)

    def close(self) -> None:
        """Watch nobody any more."""
        self._deaths.close()


async def _is_held(shard_id: ShardId, follower: Follower) -> bool:
    try:
        await follower.follow()
    except PortfolioError as error:
        _log.info("shard %s is not followed: %s", shard_id, error)
        return False
    return True


def wards_of(me: Owner, shards: Iterable[Owned]) -> dict[ShardId, Ward]:
    """The shards whose owner is another process of this one's node, and of this machine's present run."""
    wards: dict[ShardId, Ward] = {}
    for shard in shards:
        owner = Owner.parse(shard.owner) if shard.owner is not None else None
        is_near = owner is not None and (owner.node, owner.host) == (me.node, me.host)
        # Not by its process' number, which may have been that of one which is dead.
        if owner is not None and is_near and owner.incarnation != me.incarnation:
            wards[shard.shard_id] = Ward(shard.shard_id, str(owner), shard.actor)
    return wards


def shard_of_actor(actor: str, shards: Iterable[Owned]) -> ShardId | None:
    """The shard that an actor is meant to own, if there is one."""
    return next((shard.shard_id for shard in shards if shard.actor == actor), None)
