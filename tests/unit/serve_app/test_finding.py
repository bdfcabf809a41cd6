"""Which of several actors is taken for the owner of a shard."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

import pytest
from ray.exceptions import RayActorError

from portfolio.errors import ShardUnavailable
from portfolio.ids import ShardId
from serve_app import finding
from serve_app.finding import any_config, find_shard

ZERO = ShardId(0)


@dataclass(frozen=True, slots=True)
class Actor:
    """An actor's handle: what it says of being the owner, or how it fails, and how long that takes."""

    says: bool | Exception
    after_s: float = 0.0
    asked: list[int] = field(default_factory=list)

    @property
    def is_owner(self) -> Self:
        if isinstance(self.says, AttributeError):
            raise self.says
        return self

    async def remote(self, shard_id: int) -> bool:
        self.asked.append(shard_id)
        await asyncio.sleep(self.after_s)
        if isinstance(self.says, Exception):
            raise self.says
        return self.says


async def found(monkeypatch: pytest.MonkeyPatch, *candidates: Actor) -> Actor:
    """The one that is taken for the owner."""

    def those(_: ShardId) -> Sequence[Actor]:
        return candidates

    monkeypatch.setattr(finding, "_candidates", those)
    owner = await find_shard(ZERO)
    assert isinstance(owner, Actor)
    return owner


async def test_of_two_that_say_yes_the_first_in_line_is_the_owner(monkeypatch: pytest.MonkeyPatch) -> None:
    newer, older = Actor(True, after_s=0.005), Actor(True)
    assert await found(monkeypatch, Actor(False), newer, older) is newer
    assert newer.asked == [ZERO]


async def test_nobody_waits_for_one_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finding, "_ASK_TIMEOUT_S", 60.0)
    owner = Actor(True)
    async with asyncio.timeout(10):
        assert await found(monkeypatch, Actor(True, after_s=60.0), owner, Actor(True, after_s=60.0)) is owner


@pytest.mark.parametrize(
    "error", [RayActorError(), TypeError("too many positional arguments"), AttributeError("no is_owner")]
)
async def test_an_actor_of_other_code_is_not_the_owner(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    owner = Actor(True)
    assert await found(monkeypatch, Actor(error), owner) is owner
    with pytest.raises(ShardUnavailable, match="on the move"):
        await found(monkeypatch, Actor(error), Actor(False))


def test_standbys_are_believed_before_the_shards_own_actors_the_newest_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finding, "_names", lambda: ["shard-0", "shard-0.2", "standby-abc.1", "shard-0.10", "shard-1"])
    monkeypatch.setattr(finding, "_handles", list)
    assert finding._candidates(ZERO) == ["standby-abc.1", "shard-0.10", "shard-0.2", "shard-0"]


async def test_a_ray_that_does_not_answer_is_an_error_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    def away() -> Sequence[str]:
        raise RayActorError(error_msg="the head node is away")

    monkeypatch.setattr(finding, "_names", away)
    with pytest.raises(ShardUnavailable, match="head node is away"):
        await any_config()
