"""What every mirror promises the publisher, and its readers."""

from __future__ import annotations

import pytest

from portfolio.ids import PortfolioId, ShardId
from portfolio.ports import Fence, MirrorUnavailable, Picture
from tests.contract.conftest import SeenMirror, Shown

P = PortfolioId("P-1")
FENCE = Fence(ShardId(0), 1)


def _picture(version: int, revaluation: int = 0, portfolio_id: PortfolioId = P) -> Picture:
    name = f"{version}.{revaluation}"
    return Picture(portfolio_id, version, revaluation, *(f"{part} {name}".encode() for part in ("s", "p", "w")))


def _shown(version: int, revaluation: int = 0) -> Shown:
    name = f"{version}.{revaluation}"
    return Shown(*(f"{part} {name}".encode() for part in ("s", "p", "w")))


async def test_a_picture_is_shown(seen: SeenMirror) -> None:
    assert seen.shown(P) is None
    await seen.mirror.show([_picture(1), _picture(3, portfolio_id=PortfolioId("P-2"))])
    assert seen.shown(P) == _shown(1)
    assert seen.shown(PortfolioId("P-2")) == _shown(3)


async def test_an_older_version_never_replaces_a_newer_one(seen: SeenMirror) -> None:
    await seen.mirror.show([_picture(10)])
    await seen.mirror.show([_picture(9)])
    assert seen.shown(P) == _shown(10)
    await seen.mirror.show([_picture(11)])
    assert seen.shown(P) == _shown(11)


async def test_an_older_valuation_never_replaces_a_newer_one(seen: SeenMirror) -> None:
    late = 1_750_000_000_000_000 * 5_000
    await seen.mirror.show([_picture(2, late)])
    await seen.mirror.show([_picture(2, late - 1)])
    assert seen.shown(P) == _shown(2, late)
    await seen.mirror.show([_picture(2, late * 10)])
    assert seen.shown(P) == _shown(2, late * 10)


async def test_a_new_version_replaces_any_valuation_of_the_one_before(seen: SeenMirror) -> None:
    await seen.mirror.show([_picture(2, 10**20)])
    await seen.mirror.show([_picture(3, 0)])
    assert seen.shown(P) == _shown(3)


async def test_versions_of_one_call_are_taken_in_any_order(seen: SeenMirror) -> None:
    await seen.mirror.show([_picture(5), _picture(7), _picture(6)])
    assert seen.shown(P) == _shown(7)


async def test_events_come_in_the_order_announced(seen: SeenMirror) -> None:
    await seen.mirror.announce([b"1", b"2"], FENCE)
    await seen.mirror.announce([b"3"], FENCE)
    assert seen.events() == [b"1", b"2", b"3"]


async def test_events_of_an_owner_are_refused_once_a_later_one_has_announced(seen: SeenMirror) -> None:
    await seen.mirror.announce([b"1"], FENCE)
    await seen.mirror.announce([b"2"], Fence(ShardId(0), 12))
    with pytest.raises(MirrorUnavailable):
        await seen.mirror.announce([b"3"], Fence(ShardId(0), 9))
    await seen.mirror.announce([b"4"], Fence(ShardId(1), 1))
    await seen.mirror.announce([b"5"], Fence(ShardId(0), 12))
    assert seen.events() == [b"1", b"2", b"4", b"5"]


async def test_nothing_to_show_or_announce_is_no_error(seen: SeenMirror) -> None:
    await seen.mirror.show([])
    await seen.mirror.announce([], FENCE)
    assert seen.events() == []
