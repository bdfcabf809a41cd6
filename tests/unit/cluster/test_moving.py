"""How an owner is found for an order to its shard."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cluster import moving
from cluster.moving import owner_of
from portfolio.errors import ShardUnavailable
from portfolio.ids import ShardId

SILENT = ShardUnavailable("shard 0 is on the move", shard=0, moving=True)
MISSING = ShardUnavailable("shard 0 is not running", shard=0)


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moving, "SILENCE", replace(moving.SILENCE, pause_first_s=0.0))


def answering(monkeypatch: pytest.MonkeyPatch, *answers: str | ShardUnavailable) -> None:
    """Each look gives the next of these."""
    left = iter(answers)

    async def find(_: ShardId) -> str:
        found = next(left)
        if isinstance(found, ShardUnavailable):
            raise found
        return found

    monkeypatch.setattr(moving, "find_shard", find)


async def test_one_that_is_silent_for_a_while_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, SILENT, SILENT, "owner")
    assert await owner_of(ShardId(0)) == "owner"


async def test_one_that_is_not_there_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, SILENT, MISSING)
    with pytest.raises(ShardUnavailable, match="not running"):
        await owner_of(ShardId(0))


async def test_the_wait_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moving, "SILENCE", replace(moving.SILENCE, total_s=0.0))
    answering(monkeypatch, SILENT)
    with pytest.raises(ShardUnavailable, match="on the move"):
        await owner_of(ShardId(0))
