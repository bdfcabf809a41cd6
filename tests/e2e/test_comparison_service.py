"""The service that benchmarks compare ours with gives the same documents, so that figures of both mean the same."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from redis import Redis

from benchmarks.peers.process import running_peer
from persistence.embedded.postgres import EmbeddedPostgres
from persistence.embedded.valkey import EmbeddedValkey
from tests.e2e.rest import Rest, assert_problem, buy, exact, new_id, new_instrument, trade

TIMES = {"last_updated", "mark_time"}


@pytest.fixture(scope="module")
def peer(postgres_server: EmbeddedPostgres, valkey_server: EmbeddedValkey) -> Iterator[Rest]:
    """A REST client of a comparison service of this module's own."""
    with running_peer(postgres_server.dsn, valkey_server.url) as url, Rest(url) as client:
        yield client


def test_openings_updates_and_reads_give_the_documents_that_ours_give(peer: Rest, rest: Rest) -> None:
    name, first, second = new_id("PEER"), new_instrument(), new_instrument()
    trades = (
        buy(first, "100", "10.50", fee="1.00"),
        buy(second, "40.5", "20"),
        trade("SELL", first, "-60", "12.25", fee="0.35"),
        trade("SELL", second, "-40.5", "19.99"),
        trade("SELL", first, "-100", "12.30"),
    )
    documents = []
    for service in (peer, rest):
        answers = [service.open(name, cash_balance="5000")]
        answers += [service.update(name, one) for one in trades]
        answers += [service.update(name, *trades), service.state(name)]
        documents.append([_timeless(exact(answer)) for answer in answers])
    theirs, ours = documents
    assert theirs == ours


def test_a_state_that_the_cache_has_lost_is_read_from_the_tables(peer: Rest, valkey_server: EmbeddedValkey) -> None:
    name = peer.opened(cash_balance="5000")
    written = peer.update(name, buy(new_instrument()))
    with Redis.from_url(valkey_server.url) as client:
        client.flushall()
    assert peer.state(name).content == written.content


def test_what_the_comparison_service_refuses_changes_nothing(peer: Rest) -> None:
    name = peer.opened(cash_balance="5000")
    before = peer.state(name).content
    assert_problem(peer.update(name, buy(new_instrument(), quantity=-1)), 422, "invalid-request")
    assert_problem(peer.state("NOBODY"), 404, "portfolio-not-found")
    assert peer.state(name).content == before


def _timeless(document: Any) -> Any:
    """A document without its times."""
    match document:
        case dict():
            return {key: _timeless(value) for key, value in document.items() if key not in TIMES}
        case list():
            return [_timeless(value) for value in document]
        case _:
            return document
