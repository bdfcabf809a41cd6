"""Which standbys are made, and which are ended."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import ray
from ray.exceptions import RayError

from actors.names import standby_name, standby_place, standbys_among
from actors.standby_actor import StandbyStatus
from cluster import standbys
from cluster.standbys import Plan, dismiss, end_spare, plan
from persistence.migrate import Cluster, PlacedShard
from portfolio.ids import ShardId

ONE, TWO = "1" * 56, "2" * 56
FIRST, SECOND, OTHER = f"standby-{'1' * 12}.1", f"standby-{'1' * 12}.2", f"standby-{'2' * 12}.1"


def test_every_node_wants_one() -> None:
    assert plan([ONE, TWO], {"shard-0"}, {"shard-0"}) == Plan({ONE: FIRST, TWO: OTHER}, ())
    assert plan([ONE, TWO], {FIRST, OTHER}, ()) == Plan({}, ())


def test_one_that_has_become_a_shard_is_spare_no_more_and_its_name_is_not_given_again() -> None:
    assert plan([ONE], {FIRST, "shard-1"}, {FIRST, "shard-1"}) == Plan({ONE: SECOND}, ())
    # Nor while its actor is gone, and about to be made anew under that name.
    assert plan([ONE], (), {FIRST}) == Plan({ONE: SECOND}, ())


def test_of_two_that_are_spare_the_later_one_is_ended() -> None:
    tenth = standby_name("1" * 12, 10)
    assert plan([ONE], {SECOND, tenth}, ()) == Plan({}, (tenth,))


def test_one_that_has_handed_its_shard_over_is_leaving_and_no_reason_to_end_another() -> None:
    assert plan([ONE], {FIRST, SECOND}, {"shard-0.1"}, former={FIRST}) == Plan({}, (FIRST,))
    assert plan([ONE], {"shard-0.1"}, {"shard-0.1"}, former={FIRST}) == Plan({ONE: SECOND}, ())
    assert plan([ONE], {FIRST}, {FIRST}, former={FIRST}) == Plan({ONE: SECOND}, ())


def test_those_of_nodes_that_are_gone_or_want_none_are_ended() -> None:
    assert plan([ONE], {FIRST, OTHER}, ()) == Plan({}, (OTHER,))
    assert plan([], {FIRST, OTHER}, {OTHER}) == Plan({}, (FIRST,))


def test_names_of_shards_are_no_standbys() -> None:
    assert standbys_among(["shard-0", "shard-0.1", FIRST, "standby-", "rival-P-1"]) == [FIRST]
    assert standby_place(SECOND) == ("1" * 12, 2)
    with pytest.raises(ValueError, match="is not the name of a standby"):
        standby_place("shard-0")


def test_a_shard_that_bears_a_standbys_name_is_not_dismissed_and_the_others_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dismissed: list[str] = []
    standby = SimpleNamespace(dismiss=SimpleNamespace(remote=lambda: dismissed.append(SECOND)))
    handles = {FIRST: SimpleNamespace(), SECOND: standby}
    monkeypatch.setattr(ray, "get_actor", lambda name, namespace: handles[name])
    dismiss([FIRST, SECOND])
    assert dismissed == [SECOND]


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The actors that are ended for good, in order."""
    found: list[str] = []
    monkeypatch.setattr(ray, "get_actor", lambda name, namespace: name)
    monkeypatch.setattr(ray, "kill", lambda name, no_restart: found.append(name))
    return found


def test_at_the_end_of_a_service_those_that_no_shard_is_meant_for_are_ended(
    monkeypatch: pytest.MonkeyPatch, ended: list[str]
) -> None:
    monkeypatch.setattr(standbys, "actor_names", lambda: {FIRST, SECOND, "shard-0"})
    end_spare(Cluster(1, b"", None, (PlacedShard(ShardId(0), 1, FIRST),)))
    assert ended == [SECOND]


def test_while_postgres_is_away_they_are_asked_which_of_them_is_a_shard(
    monkeypatch: pytest.MonkeyPatch, ended: list[str]
) -> None:
    shards = {FIRST: ShardId(0), SECOND: None}

    async def status(name: str) -> StandbyStatus:
        return StandbyStatus(name, "1" * 12, shards[name], ())

    monkeypatch.setattr(standbys, "actor_names", lambda: shards)
    monkeypatch.setattr(standbys, "_status", status)
    end_spare(None)
    assert ended == [SECOND]


@pytest.mark.parametrize("cluster", [None, Cluster(1, b"", None, ())])
def test_a_ray_that_is_gone_keeps_nobody_from_stopping_the_shards(
    monkeypatch: pytest.MonkeyPatch, cluster: Cluster | None
) -> None:
    def fail() -> None:
        raise RayError

    monkeypatch.setattr(standbys, "actor_names", fail)
    end_spare(cluster)
