"""The portfolios that are measured, and requests about them; alike for the service and for what it is compared with."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import msgspec

from benchmarks.http_connection import get, post
from benchmarks.load import OpenLoad, Shot
from benchmarks.load_process import applied
from portfolio.ids import InstrumentId, PortfolioId

PORTFOLIOS: Final = 1_000
POSITIONS: Final = 20
_FILLERS: Final = 8


def portfolio(number: int) -> PortfolioId:
    """The id of a portfolio; numbers beyond the last begin again."""
    return PortfolioId(f"BENCH-{number % PORTFOLIOS:04d}")


def instrument(number: int) -> InstrumentId:
    """The id of an instrument that every portfolio holds."""
    return InstrumentId(f"INSTRUMENT-{number % POSITIONS:02d}")


def address(url: str) -> tuple[str, int]:
    """Host and port of `url`."""
    parts = urlsplit(url)
    assert parts.hostname
    assert parts.port
    return parts.hostname, parts.port


def state_url(base_url: str, number: int) -> str:
    """Where the state of a portfolio is."""
    return f"{base_url}/api/v1/portfolio/{portfolio(number)}/state"


def bought(number: int) -> dict[str, str]:
    """The transaction that buys 1.5 units of an instrument."""
    return {
        "instrument_id": instrument(number),
        "quantity_change": "1.5",
        "price": "101.25",
        "transaction_type": "BUY",
    }


def update(base_url: str, number: int, instruments: Sequence[int]) -> bytes:
    """The request that buys 1.5 units of each of these instruments for a portfolio, in one update."""
    updates = [bought(one) for one in instruments]
    return post(f"{base_url}/api/v1/portfolio/{portfolio(number)}/update", msgspec.json.encode({"updates": updates}))


def updates(base_url: str, count: int, chance: random.Random) -> list[bytes]:
    """Requests of one transaction each, of portfolios and instruments that chance picks."""
    return [update(base_url, chance.randrange(PORTFOLIOS), [chance.randrange(POSITIONS)]) for _ in range(count)]


def state_reads(base_url: str, count: int, chance: random.Random) -> list[bytes]:
    """Requests for the state of portfolios that chance picks."""
    return [get(state_url(base_url, chance.randrange(PORTFOLIOS))) for _ in range(count)]


def fill(base_url: str) -> int:
    """Open every portfolio, buy every position; gives the size of a state then, in bytes."""
    openings = [
        post(
            f"{base_url}/api/v1/portfolios",
            msgspec.json.encode({"portfolio_id": portfolio(number), "cash_balance": "1000000.00"}),
        )
        for number in range(PORTFOLIOS)
    ]
    for requests in (openings, [update(base_url, number, range(POSITIONS)) for number in range(PORTFOLIOS)]):
        applied(OpenLoad(*address(base_url), _FILLERS, [Shot(0.0, "", request) for request in requests]))
    return len(state(base_url, 0)[0])


def state(base_url: str, number: int) -> tuple[bytes, str]:
    """The state of a portfolio and its entity tag."""
    with urlopen(Request(state_url(base_url, number)), timeout=30) as answer:  # noqa: S310 - our own address
        return answer.read(), answer.headers.get("ETag", "")
