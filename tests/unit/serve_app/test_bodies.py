"""Bodies are bounded, and read as JSON with every number exact."""

from collections.abc import AsyncIterator, Sequence
from decimal import Decimal
from typing import Any

import pytest
from fastapi import Request
from hypothesis import given
from hypothesis import strategies as st

from portfolio.errors import BodyTooLarge, InvalidRequest
from serve_app.bodies import BODY_BYTES_MAX, read
from serve_app.schemas import PortfolioOpening, PortfolioUpdate


def request(*chunks: bytes, headers: Sequence[tuple[bytes, bytes]] = ()) -> Request:
    """A request whose body comes in these chunks."""
    messages = [
        {"type": "http.request", "body": chunk, "more_body": index < len(chunks) - 1}
        for index, chunk in enumerate(chunks)
    ]
    coming: AsyncIterator[dict[str, Any]]

    async def stream() -> AsyncIterator[dict[str, Any]]:
        for message in messages:
            yield message

    coming = stream()

    async def receive() -> dict[str, Any]:
        return await anext(coming)

    return Request({"type": "http", "method": "POST", "headers": list(headers)}, receive)


def update(quantity: bytes) -> bytes:
    return (
        b'{"updates":[{"transaction_type":"BUY","instrument_id":"A","quantity_change":' + quantity + b',"price":"1"}]}'
    )


@pytest.mark.parametrize("written", ["999999999999.99999999", "0.00000001", "1e-8", "1E+11", "-0.5", "12", "-0"])
@pytest.mark.parametrize("quotes", ["", '"'])
async def test_a_number_is_read_exactly(written: str, quotes: str) -> None:
    found = await read(request(update(f"{quotes}{written}{quotes}".encode())), PortfolioUpdate)
    assert found.updates[0].quantity_change == Decimal(written)


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**12), max_value=10**12, places=8))
async def test_any_number_within_the_limits_is_read_exactly(number: Decimal) -> None:
    for written in (f"{number:f}", f'"{number:f}"', f"{number:e}"):
        found = await read(request(update(written.encode())), PortfolioUpdate)
        assert found.updates[0].quantity_change == number


@pytest.mark.parametrize(
    "written",
    [
        *("NaN", "Infinity", "-Infinity", "nan", "+1", "01", "1.", ".5", "0x10", "1_000", "true", "null", "[]", "{}"),
        *('"NaN"', '"Infinity"', '"sNaN"', '"1_000"', '" 1"', '"1 "', '""', '"0x10"', '"1e"', '"１２"', '"٣"', '"1,5"'),
        *("9" * 5_000, "1e99999999999999999999", f'"{"9" * 41}"', '"1e99999"'),
    ],
)
async def test_what_is_no_number_is_refused(written: str) -> None:
    with pytest.raises(InvalidRequest):
        await read(request(update(written.encode())), PortfolioUpdate)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"{",
        b"null",
        b"[]",
        b'"text"',
        b"\xff",
        b'{"portfolio_id":"\xff"}',
        b'{"portfolio_id":"\\ud800"}',
        b'{"\\ud800":1}',
        b'\xef\xbb\xbf{"portfolio_id":"P"}',
        '{"portfolio_id":"P"}'.encode("utf-16"),
        b'{"portfolio_id":"P"} {}',
        b'{"portfolio_id":"P",}',
        b'{"portfolio_id":"P\x00"}',
        b'{"portfolio_id":"P\\u0000"}',
        b'{"portfolio_id":"P\\n"}',
        b'{"portfolio_id":"P","allow_short":"yes"}',
        b'{"portfolio_id":"P","allow_short":1}',
        b'{"portfolio_id":"P","currency":"USD"}',
        b"[" * 100_000 + b"]" * 100_000,
        b'{"a":' * 100_000,
    ],
)
async def test_a_body_that_does_not_fit_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        await read(request(body), PortfolioOpening)


async def test_a_body_is_read_up_to_its_bound() -> None:
    opening = b'{"portfolio_id":"P"}'
    largest = opening + b" " * (BODY_BYTES_MAX - len(opening))
    assert (await read(request(largest), PortfolioOpening)).portfolio_id == "P"
    with pytest.raises(BodyTooLarge):
        await read(request(largest + b" "), PortfolioOpening)


async def test_a_body_in_chunks_is_bounded_before_it_is_all_there() -> None:
    endless = [b" " * 65_536] * 1_000
    with pytest.raises(BodyTooLarge) as refused:
        await read(request(*endless), PortfolioOpening)
    assert refused.value.cause["limit"] == BODY_BYTES_MAX


@pytest.mark.parametrize("declared", [b"1048577", b"99999999999999999999"])
async def test_a_body_that_says_it_is_too_large_is_not_read(declared: bytes) -> None:
    with pytest.raises(BodyTooLarge):
        await read(request(headers=[(b"content-length", declared)]), PortfolioOpening)


@pytest.mark.parametrize("declared", [b"", b"-1", b"x", b"\xb2", b"1e9"])
async def test_a_length_that_is_no_number_does_not_matter(declared: bytes) -> None:
    found = await read(request(b'{"portfolio_id":"P"}', headers=[(b"content-length", declared)]), PortfolioOpening)
    assert found.portfolio_id == "P"
