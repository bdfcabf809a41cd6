"""What identifiers may look like, and those that are derived."""

from collections.abc import Callable
from uuid import UUID, uuid5

import pytest

from portfolio import ids
from portfolio.entries import derived_id
from portfolio.errors import InvalidRequest
from portfolio.ids import PortfolioId
from portfolio.sharding import shard_of

Read = Callable[[str], object]


@pytest.mark.parametrize(
    ("read", "text"),
    [
        (ids.portfolio_id, "a"),
        (ids.portfolio_id, "Zz09._:-"),
        (ids.portfolio_id, "p" * 100),
        (ids.instrument_id, "BRK.B"),
        (ids.instrument_id, "A:b/^=-_9"),
        (ids.instrument_id, "i" * 20),
        (ids.currency, "USD"),
        (ids.portfolio_name, "Größe & Co. 日本"),
        (ids.portfolio_name, "n" * 200),
        (ids.idempotency_key, "a key"),
        (ids.idempotency_key, "k" * 255),
    ],
)
def test_a_well_formed_id_is_taken_as_it_is(read: Read, text: str) -> None:
    assert read(text) == text


@pytest.mark.parametrize(
    ("read", "field", "texts"),
    [
        (ids.portfolio_id, "portfolio_id", ["", "p" * 101, "a b", "a/b", "a\n", "é", "٣", "a\x00"]),
        (ids.instrument_id, "instrument_id", ["", "i" * 21, "a b", "a+b", "A\n", "Ａ", "X\x00"]),
        (ids.currency, "base_currency", ["", "US", "USDT", "usd", "US1", "USD\n", "ÄÖÜ"]),
        (ids.portfolio_name, "portfolio_name", ["", "n" * 201, "a\nb", "a\x00", "\ud800", "\u202e"]),
        (ids.idempotency_key, "idempotency_key", ["", "k" * 256, "a\tb", "\x7f", "\udfff"]),
        (
            ids.transaction_id,
            "transaction_id",
            ["", "1", "g" * 32, "6f1f9a0e-0c53-5b0e-9a8b-5a1c0d3c7a1", "6f1f9a0e" * 5],
        ),
    ],
)
def test_a_malformed_id_is_refused_by_the_name_of_its_field(read: Read, field: str, texts: list[str]) -> None:
    for text in texts:
        with pytest.raises(InvalidRequest, match=f"^{field} is ") as caught:
            read(text)
        assert caught.value.cause == {"field": field}


def test_a_long_malformed_id_is_not_repeated_whole() -> None:
    with pytest.raises(InvalidRequest) as caught:
        ids.portfolio_id("é" * 1_000_000)
    assert len(caught.value.detail) < 300


def test_a_transaction_id_is_read_as_a_uuid() -> None:
    text = "6f1f9a0e-0c53-5b0e-9a8b-5a1c0d3c7a10"
    assert ids.transaction_id(text.upper()) == UUID(text)


def test_a_derived_id_is_the_uuid_of_the_portfolio_and_version() -> None:
    namespace = UUID("6f1f9a0e-0c53-5b0e-9a8b-5a1c0d3c7a10")
    assert derived_id(PortfolioId("P-1"), 7) == uuid5(namespace, "P-1:7")
    assert derived_id(PortfolioId("P-1"), 7) != derived_id(PortfolioId("P-1"), 8)


@pytest.mark.parametrize(
    ("portfolio", "count", "shard"), [("PORTFOLIO-1", 2, 0), ("123456789", 1 << 32, 0xCBF43926), ("a", 1, 0)]
)
def test_a_portfolio_belongs_to_the_shard_of_its_crc32(portfolio: str, count: int, shard: int) -> None:
    assert shard_of(PortfolioId(portfolio), count) == shard
