"""What is done for a request about one portfolio once its parameters have been read, and how the answer is put.

Both ways to a route end here: the framework's, in `portfolios`, and the short one, in `hot_routes`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from fastapi import Request, Response

from actors.gateway import Gateway
from actors.protocol import Answer
from portfolio.ids import PortfolioId
from serve_app.bodies import read
from serve_app.headers import expected_version, key_of, known_tags
from serve_app.schemas import PortfolioUpdate

Asked = Callable[[PortfolioId, str | None], Awaitable[Answer]]


async def read_now(asked: Asked, portfolio_id: PortfolioId, if_none_match: str | None) -> Response:
    """A portfolio's document as its owner has it now, passed on unread."""
    tags = known_tags(if_none_match)
    # The shard need not send what the caller has: with one tag, which is the rule, it compares it itself.
    answer = await asked(portfolio_id, tags[0] if len(tags) == 1 else None)
    return unless_known(answer, tags)


async def update(
    gateway: Gateway, request: Request, portfolio_id: PortfolioId, idempotency_key: str | None, if_match: str | None
) -> Response:
    """Book the update in the body of `request`. Raises InvalidRequest, or whatever the shard answers."""
    asked = await read(request, PortfolioUpdate)
    command = asked.command(portfolio_id, key_of(idempotency_key), expected_version(if_match))
    return answered(await gateway.write(command), 200)


def answered(answer: Answer, status: int, headers: dict[str, str] | None = None) -> Response:
    """The answer with a document, and what identifies it."""
    sent = {**(headers or {}), **_signed(answer)}
    if answer.replayed:
        sent["Idempotent-Replayed"] = "true"
    return Response(answer.body, status, sent, "application/json")


def unless_known(answer: Answer, tags: tuple[str, ...]) -> Response:
    """The answer with a document, or without it for a caller who has it."""
    if answer.body is None or answer.etag in tags or tags == ("*",):
        return Response(status_code=304, headers=_signed(answer))
    return answered(answer, 200)


def _signed(answer: Answer) -> dict[str, str]:
    """The headers that tell which version this is, and, of the present, which owner says so."""
    tag = {"ETag": answer.etag or ""}
    return tag if answer.owner is None else {**tag, "Shard-Epoch": answer.owner}
