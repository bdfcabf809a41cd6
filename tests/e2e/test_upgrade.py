"""`portfolio-state upgrade` while clients write: whatever they are told, they may try again, and everything is booked once."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final
from uuid import uuid4

import httpx
import pytest

from tests.e2e.service_process import RunningService, named

pytestmark = pytest.mark.timeout(600)

CLIENTS: Final = 8
RETRYABLE: Final = {429, 503}
PURCHASE: Final = {"instrument_id": "X", "quantity_change": 1, "price": 10, "transaction_type": "BUY"}


def replicas(service: RunningService) -> set[int]:
    """The processes of the API."""
    return set(named(service, "ray::ServeReplica:portfolio:api"))


def keys(number: int, stopping: threading.Event) -> Iterator[str]:
    """A new key for each update, until it is time to stop."""
    count = 0
    while not stopping.is_set():
        count += 1
        yield f"{number}-{count}"


def write(base_url: str, portfolio_id: str, number: int, stopping: threading.Event) -> list[str]:
    """Update after update, each until it is acknowledged. Gives the keys; fails on an answer that is neither."""
    acknowledged: list[str] = []
    with httpx.Client(base_url=f"{base_url}/api/v1", timeout=30) as http:
        for key in keys(number, stopping):
            while not is_acknowledged(http, portfolio_id, key):
                time.sleep(0.05)
            acknowledged.append(key)
    return acknowledged


def is_acknowledged(http: httpx.Client, portfolio_id: str, key: str) -> bool:
    """Whether an update was; if not, it may be repeated with the same key."""
    try:
        answer = http.post(
            f"/portfolio/{portfolio_id}/update", json={"updates": [PURCHASE]}, headers={"Idempotency-Key": key}
        )
    except httpx.TransportError:
        return False
    if answer.status_code == 200:
        return True
    assert answer.status_code in RETRYABLE, answer.text
    assert answer.headers["Retry-After"].isdigit()
    return False


def test_clients_write_through_an_upgrade(service: RunningService) -> None:
    portfolio_id = f"UPGRADE-{uuid4().hex[:8]}"
    stopping = threading.Event()
    with httpx.Client(base_url=f"{service.base_url}/api/v1", timeout=30) as http:
        http.post("/portfolios", json={"portfolio_id": portfolio_id, "cash_balance": 0}).raise_for_status()
    before = replicas(service)
    assert before
    with ThreadPoolExecutor(CLIENTS) as pool:
        writers = [pool.submit(write, service.base_url, portfolio_id, number, stopping) for number in range(CLIENTS)]
        try:
            upgrade(service)
        finally:
            stopping.set()
        acknowledged = [key for writer in writers for key in writer.result()]
    assert len(acknowledged) > 100
    assert sorted(acknowledged) == sorted(journalled(service, portfolio_id))
    wait_until_gone(service, before)


def upgrade(service: RunningService) -> None:
    """As an operator does it."""
    own = {"PORTFOLIO_DATA_DIR": str(service.data_dir), "PORTFOLIO_HTTP_PORT": service.base_url.rpartition(":")[2]}
    command: list[str | Path] = [Path(sys.executable).with_name("portfolio-state"), "upgrade"]
    done = subprocess.run(command, check=False, env=os.environ | own, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def journalled(service: RunningService, portfolio_id: str) -> list[str]:
    """The key of every update in a portfolio's journal, newest first."""
    found: list[str] = []
    cursor: str | None = None
    with httpx.Client(base_url=f"{service.base_url}/api/v1", timeout=30) as http:
        while True:
            parameters = {"limit": "1000"} | ({"cursor": cursor} if cursor else {})
            page = http.get(f"/portfolio/{portfolio_id}/transactions", params=parameters).raise_for_status().json()
            found += [row["idempotency_key"] for row in page["items"] if row["transaction_type"] == "BUY"]
            cursor = page["next_cursor"]
            if cursor is None:
                return found


def wait_until_gone(service: RunningService, before: set[int]) -> None:
    """Return once the old replicas have finished what they had begun."""
    deadline = time.monotonic() + 45
    while replicas(service) & before:
        assert time.monotonic() < deadline, "the old replica is still there"
        time.sleep(0.1)
    assert replicas(service)
