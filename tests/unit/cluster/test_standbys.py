"""Which standbys are made, and which are ended."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import ray

from actors.names import standby_name, standby_place, standbys_among
from cluster.standbys import Plan, dismiss, plan

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
