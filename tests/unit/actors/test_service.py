"""What a shard answers to anything that can be sent to it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.protocol import Answer, Fault, Method, PortfolioQuestion, UpdateOutcome, pack, unpack_answer
from actors.service import Service
from actors.shard_status import ShardStatus
from actors.stalls import Stalls
from portfolio.errors import BY_CODE, InsufficientPosition, InvalidRequest, ShardUnavailable
from portfolio.ids import IdempotencyKey
from tests.oracles.builders import buy, deposit, transaction
from tests.oracles.memory_store import MemoryDatabase, MemoryJournal
from tests.oracles.rows import opened, portfolio, updated
from tests.support.shards import RunningShard, memory_shard

MESSAGES: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.text(max_size=8)
    | st.binary(max_size=8)
    | st.floats(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=8), inner, max_size=5),
    max_leaves=10,
)
FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "portfolio_id": st.sampled_from(("P-1", "P-2", "", "x" * 300, "\x00", "é")),
        "portfolio_name": st.text(max_size=4),
        "cash_balance": st.sampled_from(("1", "-1", "NaN", "sNaN", "Infinity", "1e999999999", "1e-9", "", "0x1")),
        "min_cash": st.sampled_from((None, "0", "NaN", "1e30")),
        "base_currency": st.sampled_from(("USD", "usd", "US", "")),
        "allow_short": st.booleans(),
        "status": st.sampled_from(("ACTIVE", "CLOSED", "active", "")),
        "effective_at": st.sampled_from(
            (
                "2025-01-01T00:00:00",
                "2025-01-01T00:00:00Z",
                "9999-12-31T23:59:59-01:00",
                "0001-01-01T00:00:00+01:00",
                "x",
            )
        ),
        "idempotency_key": st.sampled_from((None, "k", "", "\x00", "x" * 256)),
        "expected_version": st.sampled_from((None, 1, -1, 2**63)),
        "transactions": st.lists(
            st.fixed_dictionaries(
                {
                    "transaction_type": st.sampled_from(("BUY", "DEPOSIT", "SPLIT", "GIFT")),
                    "instrument_id": st.sampled_from(("X", "USD", "", "x" * 30)),
                    "quantity": st.sampled_from(("1", "0", "NaN", "1e12", "1e400", "1e-9")),
                    "price": st.sampled_from(("1", "0", "-1", "NaN")),
                },
                optional={
                    "fee": st.sampled_from(("0", "NaN", "-1", "1e400")),
                    "ratio": st.sampled_from(
                        (None, {"new": 2, "old": 1}, {"new": 0, "old": 1}, {"new": 2**62, "old": -1}, "2:1")
                    ),
                    "transaction_id": st.sampled_from((None, "x", "6f1f9a0e-0c53-5b0e-9a8b-5a1c0d3c7a10")),
                },
            ),
            max_size=3,
        ),
    },
)


async def _answers(questions: list[tuple[str, bytes]]) -> None:
    async with memory_shard(MemoryDatabase()) as running:
        service = Service(running.shard)
        await service.answer(Method.OPEN, pack(opened(1)))
        for method, payload in questions:
            answer = await asyncio.wait_for(service.answer(method, payload), 5)
            assert unpack_answer(pack(answer)) == answer
            if answer.fault is not None:
                assert answer.fault.code in BY_CODE
                # Nothing that can be sent is a fault of ours.
                assert answer.fault.code != "corrupt", answer.fault.detail
        assert not running.life.done()
        state = await service.answer(Method.STATE, pack(PortfolioQuestion(portfolio(1))))
        assert state.fault is None


@given(st.lists(st.tuples(st.sampled_from((*Method, "no such method", "")), st.binary(max_size=30)), max_size=6))
def test_any_bytes_are_answered(questions: list[tuple[str, bytes]]) -> None:
    asyncio.run(_answers(questions))


@given(st.lists(st.tuples(st.sampled_from(Method), MESSAGES), max_size=6))
def test_any_message_is_answered(questions: list[tuple[Method, Any]]) -> None:
    asyncio.run(_answers([(method, msgspec.msgpack.encode(message)) for method, message in questions]))


async def test_a_status_tells_what_held_the_loop_up(running: RunningShard) -> None:
    service = Service(running.shard, Stalls(count=7, own=2, longest_s=0.5))
    answer = (await service.answer(Method.SHARD_STATUS, pack(None))).raised()
    status = msgspec.msgpack.decode(answer.body or b"", type=ShardStatus)
    assert (status.stalls, status.stalls_own, status.stall_longest_s) == (7, 2, 0.5)


@given(st.lists(st.tuples(st.sampled_from((Method.OPEN, Method.UPDATE, Method.STATUS)), FIELDS), max_size=5))
def test_any_command_is_answered_and_none_stops_the_shard(questions: list[tuple[Method, Any]]) -> None:
    asyncio.run(_answers([(method, msgspec.msgpack.encode(message)) for method, message in questions]))


async def test_errors_travel_whole() -> None:
    error = InsufficientPosition("9 of 10 held", instrument_id="X", held="9").at(3)
    exact = BY_CODE["insufficient-position"]("held", held=buy("9.00000001", "1").quantity, field=None, limit=3)
    for sent in (error, exact):
        arrived = unpack_answer(pack(Answer(fault=Fault.of(sent)))).fault
        assert arrived is not None
        assert type(arrived.error()) is type(sent)
        assert (arrived.error().detail, arrived.error().cause) == (sent.detail, sent.cause)


async def test_a_recovering_and_a_stopped_shard_answer_that_they_are_not_there(running: RunningShard) -> None:
    service = Service(running.shard)
    await running.stop()
    for method, payload in (
        (Method.STATE, pack(PortfolioQuestion(portfolio(1)))),
        (Method.OPEN, pack(opened(1))),
        (Method.RECORD_MARKS, pack({})),
    ):
        answer = await service.answer(method, payload)
        with pytest.raises(ShardUnavailable):
            answer.raised()


async def test_a_shard_that_stops_right_after_a_commit_does_not_deny_it(running: RunningShard) -> None:
    service = Service(running.shard)
    assert isinstance(running.journal, MemoryJournal)
    running.journal.gate.clear()
    answer = asyncio.ensure_future(service.answer(Method.OPEN, pack(opened(1))))
    await asyncio.sleep(0.01)
    running.journal.gate.set()
    while not running.shard.books.find(portfolio(1)):
        await asyncio.sleep(0)
    running.shard._reason = ShardUnavailable("it stopped at that moment")
    assert b'"P-1"' in ((await answer).raised().body or b"")


async def test_a_known_state_is_not_sent_again(service: Service) -> None:
    booked = (await service.answer(Method.OPEN, pack(opened(1)))).raised()
    for method in (Method.STATE, Method.POSITIONS):
        known = await service.answer(method, pack(PortfolioQuestion(portfolio(1), booked.etag)))
        assert (known.body, known.etag) == (None, booked.etag)
        stale = await service.answer(method, pack(PortfolioQuestion(portfolio(1), '"0.0"')))
        assert stale.body


async def test_an_update_among_many_that_fails_says_which_transaction(service: Service) -> None:
    await service.answer(Method.OPEN, pack(opened(1)))
    commands = [updated(1), updated(1, deposit("1"), transaction("COVER", "X", "1", "1")), updated(1)]
    answer = (await service.answer(Method.UPDATE_MANY, pack(commands))).raised()
    outcomes = msgspec.msgpack.decode(answer.body or b"", type=list[UpdateOutcome])
    assert [outcome.version for outcome in outcomes] == [2, None, 3]
    assert outcomes[1].fault is not None
    assert outcomes[1].fault.cause["index"] == 1


@pytest.mark.parametrize(
    "effective_at",
    [
        datetime(2025, 1, 1),  # noqa: DTZ001 - no zone is the point.
        datetime.max.replace(tzinfo=UTC),
    ],
)
async def test_times_that_cannot_be_booked_are_refused(service: Service, effective_at: datetime) -> None:
    await service.answer(Method.OPEN, pack(opened(1)))
    for key in (None, IdempotencyKey("k")):
        command = replace(updated(1), effective_at=effective_at, idempotency_key=key)
        with pytest.raises(InvalidRequest):
            (await service.answer(Method.UPDATE, pack(command))).raised()


async def test_a_time_of_another_zone_is_the_same_moment(service: Service, running: RunningShard) -> None:
    await service.answer(Method.OPEN, pack(opened(1)))
    here = datetime(2025, 1, 1, 12, tzinfo=timezone(timedelta(hours=2)))
    command = replace(updated(1, buy("1", "2")), effective_at=here, idempotency_key=IdempotencyKey("k"))
    await service.answer(Method.UPDATE, pack(command))
    again = await service.answer(Method.UPDATE, pack(replace(command, effective_at=here.astimezone(UTC))))
    assert again.raised().replayed
    assert b'"mark_time":"2025-01-01T10:00:00.000000Z"' in running.shard.books.documents(portfolio(1)).state


def test_every_error_has_a_code_of_its_own() -> None:
    assert all(kind.code == code for code, kind in BY_CODE.items())
