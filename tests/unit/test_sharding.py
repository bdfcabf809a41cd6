"""Every portfolio has one shard, whichever shards have split."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from portfolio.ids import PortfolioId, ShardId
from portfolio.sharding import ShardMap, shard_of, sibling_of


def test_a_known_portfolio_has_the_shard_it_always_had() -> None:
    assert shard_of(PortfolioId("PORTFOLIO-1"), 2) == 0


@given(
    portfolio_id=st.from_regex(r"[A-Za-z0-9._:-]{1,20}", fullmatch=True).map(PortfolioId),
    count=st.integers(1, 16),
    splits=st.lists(st.integers(0, 10**6), max_size=20),
)
def test_a_split_moves_a_portfolio_to_the_sibling_or_not_at_all(
    portfolio_id: PortfolioId, count: int, splits: list[int]
) -> None:
    shards = ShardMap.even(count)
    for chosen in splits:
        shard_id = shards.shard_ids[chosen % len(shards)]
        before, modulus = shards.shard_of(portfolio_id), shards.moduli[shard_id]
        shards = shards.split(shard_id)
        after = shards.shard_of(portfolio_id)
        assert after == before or (before, after) == (shard_id, sibling_of(shard_id, modulus))
        assert [found for found, its in shards.moduli.items() if shard_of(portfolio_id, its) == found] == [after]


def test_splitting_every_shard_doubles_their_number() -> None:
    shards = ShardMap.even(3)
    for shard_id in shards.shard_ids:
        shards = shards.split(shard_id)
    assert shards.moduli == ShardMap.even(6).moduli
    assert shards.shard_ids == [ShardId(number) for number in range(6)]
