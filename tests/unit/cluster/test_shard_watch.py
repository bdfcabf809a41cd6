"""Which shards are placed anew, and which are left alone."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from cluster.shard_watch import ShardWatch, Vigil
from persistence.signs_of_life import SignOfLife
from portfolio.ids import ShardId

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ZERO, ONE, FOUR = (
    SignOfLife(ShardId(number), f"shard-{number}", epoch=1, head_seq=10, renewed_at=NOW) for number in (0, 1, 4)
)
SILENCE_S = 9.0


def test_a_shard_is_silent_once_its_row_has_been_the_same_for_long_enough() -> None:
    vigil = Vigil(SILENCE_S)
    assert vigil.silent([ZERO], 100.0) == []
    assert vigil.silent([ZERO], 108.9) == []
    assert vigil.silent([ZERO], 109.0) == [ShardId(0)]


def test_a_claim_a_commit_and_a_heartbeat_are_signs_of_life() -> None:
    for sign in (
        replace(ZERO, epoch=2),
        replace(ZERO, head_seq=11),
        replace(ZERO, renewed_at=NOW + timedelta(seconds=1)),
    ):
        vigil = Vigil(SILENCE_S)
        vigil.silent([ZERO], 100.0)
        assert vigil.silent([sign], 109.0) == []
        assert vigil.silent([sign], 118.0) == [ShardId(0)]


def test_every_shard_has_a_silence_of_its_own() -> None:
    vigil = Vigil(SILENCE_S)
    vigil.silent([ZERO, ONE], 100.0)
    vigil.silent([ZERO, replace(ONE, head_seq=11), FOUR], 105.0)
    assert vigil.silent([ZERO, replace(ONE, head_seq=11), FOUR], 110.0) == [ShardId(0)]
    assert vigil.silent([ZERO, replace(ONE, head_seq=11), FOUR], 114.0) == [ShardId(0), ShardId(1), ShardId(4)]


def test_time_without_sight_is_no_silence() -> None:
    vigil = Vigil(SILENCE_S)
    vigil.silent([ZERO], 100.0)
    vigil.forget()
    assert vigil.silent([ZERO], 120.0) == []
    assert vigil.silent([ZERO], 129.0) == [ShardId(0)]


def test_a_silent_shard_is_placed_only_if_its_actor_is_gone_for_good() -> None:
    unowned = replace(FOUR, actor=None)
    moved = replace(ONE, actor="shard-1.2")
    placed: list[tuple[ShardId, str]] = []

    def watch(names: Collection[str]) -> None:
        watch = ShardWatch(
            look=lambda: [ZERO, moved, unowned],
            actors=lambda: names,
            place=lambda shard_id, name: placed.append((shard_id, name)),
            silence_s=0.0,
        )
        watch.look_once()

    watch(["shard-0", "shard-1.2", "shard-4"])
    assert placed == []
    watch(["shard-1"])
    assert placed == [(ShardId(0), "shard-0"), (ShardId(1), "shard-1.2"), (ShardId(4), "shard-4")]


def test_a_shard_that_was_placed_has_time_to_claim() -> None:
    vigil = Vigil(SILENCE_S)
    vigil.silent([ZERO, ONE], 100.0)
    vigil.forget(ShardId(0))
    assert vigil.silent([ZERO, ONE], 109.0) == [ShardId(1)]
    assert vigil.silent([ZERO, ONE], 118.0) == [ShardId(0), ShardId(1)]
