"""A REST client that reads numbers exactly and knows the contract's paths."""

from __future__ import annotations

import itertools
import json
import os
import time
from collections.abc import Mapping, Sequence
from decimal import Decimal
from types import TracebackType
from typing import Any, Final, Self

import httpx

API: Final = "/api/v1"
PROBLEM_JSON: Final = "application/problem+json"
_READY_WITHIN_S: Final = 30.0
Json = Any

_numbers = itertools.count(1)


def new_id(prefix: str = "P") -> str:
    """An id that no other test uses."""
    return f"{prefix}-{os.getpid()}-{next(_numbers)}"


def new_instrument() -> str:
    """An instrument that no other test marks: marks are shared by all portfolios."""
    return f"I{os.getpid() % 100_000}.{next(_numbers)}"


def exact(answer: httpx.Response) -> Json:
    """The answer's JSON with every number that has a point as a Decimal of the digits that were written."""
    return json.loads(answer.content, parse_float=Decimal)


def buy(instrument_id: str, quantity: object = 10, price: object = "100", **more: object) -> dict[str, object]:
    """One BUY as a caller writes it."""
    return trade("BUY", instrument_id, quantity, price, **more)


def trade(kind: str, instrument_id: str, quantity: object, price: object, **more: object) -> dict[str, object]:
    """One transaction as a caller writes it."""
    return {
        "transaction_type": kind,
        "instrument_id": instrument_id,
        "quantity_change": quantity,
        "price": price,
        **more,
    }


class Rest:
    """The service over HTTP, on connections that are kept."""

    def __init__(self, base_url: str) -> None:
        self.http = httpx.Client(base_url=base_url, timeout=30)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.http.close()

    def open(self, portfolio_id: str | None = None, *, key: str | None = None, **opening: object) -> httpx.Response:
        """POST /portfolios."""
        body = {"portfolio_id": portfolio_id if portfolio_id is not None else new_id(), **opening}
        return self.post("/portfolios", body, key=key)

    def opened(self, **opening: object) -> str:
        """The id of a new portfolio."""
        answer = self.open(**opening)  # type: ignore[arg-type]  # what opens a portfolio is the contract's to say
        assert answer.status_code == 201, answer.text
        return str(answer.json()["portfolio_id"])

    def update(
        self,
        portfolio_id: str,
        *updates: Mapping[str, object],
        key: str | None = None,
        if_match: str | None = None,
        **more: object,
    ) -> httpx.Response:
        """POST /portfolio/{id}/update."""
        body = {"updates": list(updates), **more}
        return self.post(f"/portfolio/{portfolio_id}/update", body, key=key, if_match=if_match)

    def change_status(
        self, portfolio_id: str, status: object, *, key: str | None = None, if_match: str | None = None
    ) -> httpx.Response:
        """POST /portfolio/{id}/status."""
        return self.post(f"/portfolio/{portfolio_id}/status", {"status": status}, key=key, if_match=if_match)

    def state(self, portfolio_id: str, *, if_none_match: str | None = None, **query: str) -> httpx.Response:
        """GET /portfolio/{id}/state."""
        headers = {} if if_none_match is None else {"If-None-Match": if_none_match}
        return self.http.get(f"{API}/portfolio/{portfolio_id}/state", headers=headers, params=query)

    def mark(self, marks: Mapping[str, object], as_of: str | None = None) -> httpx.Response:
        """POST /marks, all of one time."""
        timed = {} if as_of is None else {"as_of": as_of}
        return self.post(
            "/marks",
            {"marks": [{"instrument_id": name, "price": price, **timed} for name, price in marks.items()]},
        )

    def update_many(self, updates: Sequence[Mapping[str, object]]) -> httpx.Response:
        """POST /updates."""
        return self.post("/updates", {"updates": list(updates)})

    def post(self, path: str, body: object, *, key: str | None = None, if_match: str | None = None) -> httpx.Response:
        """POST a JSON body under the base path."""
        headers = {
            name: value for name, value in (("Idempotency-Key", key), ("If-Match", if_match)) if value is not None
        }
        return self.http.post(f"{API}{path}", json=body, headers=headers)

    def post_raw(self, path: str, body: bytes, content_type: str | None = "application/json") -> httpx.Response:
        """POST bytes as they are under the base path."""
        headers = {} if content_type is None else {"Content-Type": content_type}
        return self.http.post(f"{API}{path}", content=body, headers=headers)

    def readiness(self) -> httpx.Response:
        """GET /readyz, once it is: a shard that a busy machine has not let answer within two seconds is failing."""
        deadline = time.monotonic() + _READY_WITHIN_S
        while (answer := self.http.get("/readyz")).status_code != 200 and time.monotonic() < deadline:
            time.sleep(0.1)
        return answer

    def get(self, path: str, **query: str | int) -> httpx.Response:
        """GET under the base path."""
        return self.http.get(f"{API}{path}", params=query)


def assert_problem(answer: httpx.Response, status: int, code: str, **members: object) -> dict[str, Any]:
    """The answer is the problem `code`, whole and with these members; gives all of them."""
    assert answer.status_code == status, f"{answer.status_code} {answer.text[:500]}"
    assert answer.headers["content-type"] == PROBLEM_JSON
    problem: dict[str, Any] = exact(answer)
    assert problem["type"] == f"/problems/{code}"
    assert problem["status"] == status
    assert problem["code"] == code
    assert problem["title"]
    assert problem["detail"]
    assert {name: problem.get(name) for name in members} == members
    assert ("retry-after" in answer.headers) is (status in {429, 503})
    return problem
