"""`portfolio-state verify` beside a running service, as an operator or a nightly job calls it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest

from cluster.client import Client
from portfolio.ids import PortfolioId
from tests.cluster.service_process import ServiceProcess

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]
COMMAND = Path(sys.executable).with_name("portfolio-state")


def _verify(service: ServiceProcess, *options: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = service.environment() | variables
    return subprocess.run(
        [COMMAND, "verify", *options], env=environment, capture_output=True, text=True, timeout=120, check=False
    )


def test_a_running_service_is_consistent_with_itself(
    service: ServiceProcess, client: Client, portfolio_id: PortfolioId
) -> None:
    client.create(portfolio_id, cash_balance="1000")
    client.update(
        portfolio_id,
        [{"instrument_id": "X", "quantity_change": 3, "price": "7.25", "transaction_type": "BUY"}],
    )
    done = _verify(service, "--deep", "--json")
    found: dict[str, Any] = json.loads(done.stdout)
    assert (done.returncode, found["differences"], found["failed"], found["not_compared"]) == (0, [], {}, {})
    assert found["counts"]["memory"] == found["counts"]["portfolios"] >= 1
    assert found["consistency_percent"] == "100.0000"
    shown = _verify(service)
    assert shown.returncode == 0
    assert "100.0000 % of" in shown.stdout


def test_a_corruption_is_named_and_the_exit_status_says_so(
    service: ServiceProcess, client: Client, portfolio_id: PortfolioId
) -> None:
    client.create(portfolio_id, cash_balance="1000")
    with psycopg.connect(service.postgres_dsn, autocommit=True) as connection:

        def change(amount: int) -> None:
            connection.execute(
                "update journal set value = value + %s where portfolio_id = %s and version = 2", (amount, portfolio_id)
            )

        change(1)
        try:
            done = _verify(service)
        finally:
            change(-1)
    assert done.returncode == 1
    assert f"{portfolio_id}: content and hash do not match" in done.stdout
    assert f"{portfolio_id}: cash is 1000.00, expected 1001.00" in done.stdout


def test_a_database_is_verified_without_its_service(service: ServiceProcess, tmp_path: Path) -> None:
    elsewhere = {"PORTFOLIO_DATA_DIR": str(tmp_path), "PORTFOLIO_POSTGRES_DSN": service.postgres_dsn}
    done = _verify(service, "--json", **elsewhere)
    assert done.returncode == 0
    assert list(json.loads(done.stdout)["not_compared"]) == ["memory", "mirror"]


def test_what_cannot_be_verified_is_no_success_and_no_difference(service: ServiceProcess, tmp_path: Path) -> None:
    nothing = _verify(service, PORTFOLIO_DATA_DIR=str(tmp_path))
    assert (nothing.returncode, nothing.stdout[:14]) == (2, "not verified: ")
    nobody = _verify(service, "--json", PORTFOLIO_DATA_DIR=str(tmp_path), PORTFOLIO_POSTGRES_DSN="host=/nowhere")
    assert (nobody.returncode, json.loads(nobody.stdout)["exit_status"]) == (2, 2)
