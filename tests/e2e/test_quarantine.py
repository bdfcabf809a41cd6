"""A portfolio whose rows were damaged, from the damage to its return, as callers and the operator see it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from persistence.embedded.postgres import running_address
from portfolio.ids import PortfolioId
from portfolio.sharding import shard_of
from tests.e2e.rest import Rest, assert_problem, exact, new_id, trade
from tests.e2e.service_process import RunningService
from tests.e2e.test_unavailable import SHARD_COUNT, shard_process

WITHIN_S = 60
# A standby that read the rows before they were damaged takes over without reading them again; the one after it has not.
KILLS_MAX = 3
DEPOSIT = trade("DEPOSIT", "USD", 1, 1)


@pytest.fixture
def dsn(service: RunningService) -> str:
    return running_address(service.data_dir)


@pytest.fixture
def damaged(service: RunningService, rest: Rest, dsn: str) -> str:
    """A portfolio that was set apart when its shard recovered, because row and checkpoint were changed by hand."""
    portfolio_id = rest.opened(cash_balance="1000.00")
    assert rest.update(portfolio_id, DEPOSIT).status_code == 200
    # The checkpoint must have the book before it is damaged, or it would be saved over the damage.
    find = "select version from portfolios where portfolio_id = %s"
    wait_until(lambda: query(dsn, find, portfolio_id) == [(3,)])
    query(
        dsn, "update journal set value = value + 1 where portfolio_id = %s and version = 2 returning seq", portfolio_id
    )
    query(dsn, "update portfolios set cash = cash + 1 where portfolio_id = %s returning id", portfolio_id)
    for _ in range(KILLS_MAX):
        os.kill(shard_process(service, portfolio_id), signal.SIGKILL)
        wait_until(lambda: "shard-unavailable" not in rest.state(portfolio_id).text)
        if portfolio_id in rest.readiness().json().get("quarantined", {}):
            return portfolio_id
    raise AssertionError(f"{portfolio_id} is not in quarantine after {KILLS_MAX} kills of its shard")


def query(dsn: str, statement: str, *parameters: object) -> list[tuple[object, ...]]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        return connection.execute(statement.encode(), parameters).fetchall()


def wait_until(is_so: Callable[[], bool]) -> None:
    assert is_soon(is_so, WITHIN_S)


def is_soon(is_so: Callable[[], bool], within_s: float) -> bool:
    deadline = time.monotonic() + within_s
    while not is_so():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def command(service: RunningService, *arguments: str) -> tuple[int, str]:
    """The exit status and the output of a `portfolio-state` command beside the running service."""
    done = subprocess.run(
        [Path(sys.executable).with_name("portfolio-state"), *arguments],
        env={**os.environ, "PORTFOLIO_DATA_DIR": str(service.data_dir), "COLUMNS": "250"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def neighbour(rest: Rest, portfolio_id: str) -> str:
    """Another portfolio of the same shard."""
    while True:
        other = new_id("N")
        if shard_of(PortfolioId(other), SHARD_COUNT) == shard_of(PortfolioId(portfolio_id), SHARD_COUNT):
            assert rest.open(other).status_code == 201
            return other


def test_a_damaged_portfolio_is_set_apart_told_of_and_put_back(
    service: RunningService, rest: Rest, dsn: str, damaged: str
) -> None:
    ready = rest.readiness()
    assert (ready.status_code, ready.json()["status"]) == (200, "ready")
    assert "does not match its hash" in ready.json()["quarantined"][damaged]

    for answer in (
        rest.state(damaged),
        rest.state(damaged, as_of_version="3"),
        rest.get(f"/portfolio/{damaged}/positions"),
        rest.get(f"/portfolio/{damaged}/transactions"),
        rest.update(damaged, DEPOSIT, key="k"),
        rest.change_status(damaged, "SUSPENDED"),
        rest.open(damaged),
    ):
        assert_problem(answer, 503, "portfolio-quarantined", portfolio_id=damaged)
        assert answer.headers["retry-after"] == "60"
    other = neighbour(rest, damaged)
    batch = rest.update_many([{"portfolio_id": name, "updates": [DEPOSIT]} for name in (damaged, other)])
    outcomes = [(one["status"], one.get("problem", {}).get("code")) for one in batch.json()["results"]]
    assert outcomes == [(503, "portfolio-quarantined"), (200, None)]
    listed = rest.get("/portfolios", limit=1_000).json()["items"]
    assert {damaged, other} & {item["portfolio_id"] for item in listed} == {other}

    metrics = rest.http.get("/metrics")
    shard_id = shard_of(PortfolioId(damaged), SHARD_COUNT)
    assert f'portfolio_quarantined{{portfolio_id="{damaged}",shard="{shard_id}"}} 1.0' in metrics.text
    assert f'portfolio_shard_quarantined{{shard="{shard_id}"}} 1.0' in metrics.text
    code, text = command(service, "status")
    assert code == 0
    assert f"in quarantine: {damaged}: journal row" in text

    code, text = command(service, "repair", damaged)
    assert code == 1
    for told in (f"{damaged} is in quarantine since", "does not match its hash", "DEPOSIT", "1001.00"):
        assert told in text
    assert command(service, "repair", damaged, "--retry")[0] == 1
    assert_problem(rest.state(damaged), 503, "portfolio-quarantined")

    query(dsn, "update journal set value = value - 1 where portfolio_id = %s and version = 2 returning seq", damaged)
    code, text = command(service, "repair", damaged, "--retry")
    assert (code, "journal rows are sound" in text) == (0, True)
    assert exact(rest.update(damaged, DEPOSIT, key="k"))["version"] == 4
    assert exact(rest.state(damaged))["cash_balance"] == 1002
    assert rest.readiness().json()["quarantined"] == {}
    wait_until(lambda: query(dsn, "select portfolio_id from quarantine") == [])
    assert rest.get(f"/portfolio/{damaged}/transactions").status_code == 200


def test_a_sound_portfolio_is_said_to_be_sound_and_an_unknown_one_to_be_unknown(
    service: RunningService, rest: Rest
) -> None:
    portfolio_id = rest.opened(cash_balance="1.00")
    assert command(service, "repair", portfolio_id) == (
        0,
        f"{portfolio_id}: its 2 journal rows are sound, up to version 2\n",
    )
    code, text = command(service, "repair", new_id("NOBODY"))
    assert (code, "the journal has no portfolio" in text) == (1, True)
