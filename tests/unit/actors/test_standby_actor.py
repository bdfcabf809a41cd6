"""What a standby's actor answers while it is no shard, and when it may be ended."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import pytest

from actors import standby_actor
from actors.owner import Owner
from actors.protocol import unpack_answer
from actors.settings import StandbyConfig, Surroundings
from actors.standby_actor import StandbyActor
from persistence.succession import OwnedShard, Succession
from portfolio.errors import ShardUnavailable

NAME = "standby-node.1"


class KnownOwners:
    """What Postgres says, once it does."""

    def __init__(self) -> None:
        self.answers = asyncio.Event()
        self.shards: list[OwnedShard] = []

    async def owners(self) -> list[OwnedShard]:
        await self.answers.wait()
        return self.shards


class Alone(StandbyActor):
    """A standby without Ray and Postgres. `has_ended` says that it has ended for good."""

    has_ended = False

    def __init__(self, config: StandbyConfig, known: KnownOwners) -> None:
        self.known = known
        super().__init__(config)

    def _set_up(self, surroundings: Surroundings) -> None:
        self._me = Owner.here("node", "me")
        self._connections = None  # type: ignore[assignment]  # nothing here asks them

    def _begin(self) -> None:
        self._succession = cast(Succession, self.known)
        self._standby._look = self.known.owners
        self._life = asyncio.create_task(self._lead())

    async def _end_for_good(self) -> None:
        self.has_ended = True


@pytest.fixture
async def actor(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[Alone]:
    monkeypatch.setattr(standby_actor, "log_to", lambda *_: None)
    config = StandbyConfig(
        actor=NAME, node="node", postgres_dsn="", redis_url="", link_secret=b"", socket_dir=tmp_path, log_dir=tmp_path
    )
    made = Alone(config, KnownOwners())
    await asyncio.sleep(0)
    yield made
    made._life.cancel()
    await asyncio.gather(made._life, return_exceptions=True)


async def test_while_it_is_no_shard_it_cannot_be_moved_or_split(actor: Alone) -> None:
    with pytest.raises(ShardUnavailable) as refused:
        await actor.config()
    assert pickle.loads(pickle.dumps(refused.value)).cause == {"moving": True}
    for packed in (await actor.hand_over("shard-0.1"), await actor.split(2)):
        with pytest.raises(ShardUnavailable):
            unpack_answer(packed).raised()


async def test_one_that_may_be_a_shard_already_is_not_ended_before_postgres_says(actor: Alone) -> None:
    await actor.dismiss()
    await asyncio.sleep(0.01)
    assert not actor.has_ended
    actor.known.answers.set()
    await asyncio.gather(actor._life, return_exceptions=True)
    await asyncio.sleep(0)
    assert actor.has_ended


async def test_one_that_stands_by_is_ended_at_once(actor: Alone) -> None:
    actor.known.answers.set()
    await asyncio.sleep(0.01)
    await actor.dismiss()
    await asyncio.gather(actor._life, return_exceptions=True)
    assert actor.has_ended
