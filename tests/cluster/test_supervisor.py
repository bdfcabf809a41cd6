"""The processes of `up`: whichever dies, the service is back by itself, and an orderly end leaves nothing."""

from __future__ import annotations

import shutil
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from uuid import uuid4

import httpx
import psutil
import pytest

from tests.cluster.service_process import ServiceProcess, service_process, wait_until
from tests.cluster.traces import Traces

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

BACK_S: Final = 120.0
STALL_S: Final = 6.0
ORDERLY_S: Final = 100.0
SUPERVISED: Final = "serve-child"
PORTFOLIO: Final = "SUPERVISED"
PYTHON: Final = Path(sys.executable)


@pytest.fixture(scope="module")
def service() -> Iterator[ServiceProcess]:
    """A service of two shards of this module's own; tests leave it serving."""
    with service_process() as service:
        service.start()
        answer = httpx.post(f"{service.base_url}/api/v1/portfolios", json={"portfolio_id": PORTFOLIO}, timeout=10)
        assert answer.status_code == 201
        yield service


def write(service: ServiceProcess, key: str) -> int | None:
    """The version after an update that was acknowledged, None if it was refused in a way that asks to try again."""
    purchase = {"instrument_id": "X", "quantity_change": 1, "price": 10, "transaction_type": "BUY"}
    try:
        answer = httpx.post(
            f"{service.base_url}/api/v1/portfolio/{PORTFOLIO}/update",
            json={"updates": [purchase]},
            headers={"Idempotency-Key": key},
            timeout=30,
        )
    except httpx.TransportError:
        return None
    if answer.status_code == 200:
        return int(answer.json()["version"])
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1"), answer.text
    assert answer.json()["status"] == 503
    return None


def written(service: ServiceProcess) -> int:
    """The version after an update that is repeated until it is acknowledged."""
    key, deadline = uuid4().hex, time.monotonic() + BACK_S
    while (version := write(service, key)) is None:
        assert time.monotonic() < deadline, service.logs()
        time.sleep(0.05)
    return version


def is_ready(service: ServiceProcess) -> bool:
    """Whether it says so, and in time."""
    try:
        return httpx.get(f"{service.base_url}/readyz", timeout=10).status_code == 200
    except httpx.TransportError:
        return False


@pytest.mark.parametrize(
    "victim",
    [
        # The schedule of faults kills the others too.
        "ray::ServeReplica",
        *(
            pytest.param(name, marks=pytest.mark.soak)
            for name in ("gcs/gcs_server", "raylet/raylet", SUPERVISED, "bin/haproxy", "ray::HAProxyManager")
        ),
    ],
)
def test_the_service_is_back_by_itself_after_kill_9_of(
    victim: str, service: ServiceProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    version = written(service)
    [killed] = service.named(victim)
    killed.kill()
    killed_at = time.monotonic()
    # What answers still may be what was not killed; the successor has to be there too.
    assert wait_until(lambda: any(found != killed for found in service.named(victim)), BACK_S), service.logs()
    assert written(service) == version + 1
    with capsys.disabled():
        print(f"\n  kill -9 of {victim} to the next write: {time.monotonic() - killed_at:.1f} s")  # noqa: T201
    assert wait_until(lambda: is_ready(service), BACK_S)


@pytest.mark.soak
def test_a_raylet_and_a_gcs_that_stall_for_seconds_cost_no_process(service: ServiceProcess) -> None:
    version = written(service)
    before = {process.pid for process in service.named("ray::Serve") + service.named(SUPERVISED) + service.shards()}
    for name in ("raylet/raylet", "gcs/gcs_server"):
        [stalled] = service.named(name)
        stalled.suspend()
        time.sleep(STALL_S)
        stalled.resume()
    time.sleep(STALL_S)
    assert {
        process.pid for process in service.named("ray::Serve") + service.named(SUPERVISED) + service.shards()
    } == before
    assert written(service) == version + 1


def test_a_shard_that_was_ended_for_good_is_placed_anew(service: ServiceProcess) -> None:
    version = written(service)
    before = {process.pid for process in service.shards()}
    script = (
        "import ray; from cluster.attaching import attach; attach(); "
        "[ray.kill(ray.get_actor(f'shard-{k}', 'portfolio'), no_restart=True) for k in (0, 1)]"
    )
    killed = psutil.Popen([str(PYTHON), "-c", script], env=service.environment())
    assert killed.wait(60) == 0
    assert written(service) == version + 1
    assert not before & {process.pid for process in service.shards()}


@pytest.mark.soak
def test_a_killed_supervisor_takes_its_ray_along_and_the_next_one_serves(service: ServiceProcess) -> None:
    version = written(service)
    postmaster = service.postmaster()
    rays = [*service.named("ray"), *service.named(SUPERVISED), *service.named("bin/haproxy")]
    assert len(rays) > 8
    service.send(signal.SIGKILL)
    service.wait()
    # Ray's agents look for their raylet now and then; on a busy machine that has taken longer than 20 s.
    assert wait_until(lambda: not any(process.is_running() for process in rays), 60), [
        process for process in rays if process.is_running()
    ]
    service.start()
    # Postgres outlived it, and was adopted.
    assert service.postmaster() == postmaster
    assert written(service) == version + 1


def test_ctrl_c_twice_in_a_terminal_is_one_orderly_end(service: ServiceProcess) -> None:
    written(service)
    traces = Traces(service)
    began = time.monotonic()
    service.press_ctrl_c()
    time.sleep(0.5)
    service.press_ctrl_c()
    assert service.wait() == 0
    assert time.monotonic() - began < ORDERLY_S
    assert traces.left() == []
    said = service.log.read_text()
    assert said.count("stopping") == 1
    assert said.endswith("stopped\n")


@pytest.mark.soak
def test_a_service_whose_data_are_removed_ends_and_makes_no_new_ones() -> None:
    with service_process() as service:
        service.start()
        traces = Traces(service)
        shutil.rmtree(service.settings.data_dir)
        assert service.wait() == 1
        assert "removed or replaced under a running service" in service.log.read_text()
        assert traces.left() == []
        assert not service.settings.data_dir.exists()


def test_what_cannot_start_at_all_is_not_tried_again() -> None:
    with service_process() as service:
        service.launch(["env", "PORTFOLIO_RAY_ADDRESS=127.0.0.1:1", PYTHON.with_name("portfolio-state"), "up"])
        assert service.wait() == 1
        said = service.log.read_text()
    assert "Error: no Ray answers at 127.0.0.1:1" in said
    assert "another is started" not in said


def test_the_supervisor_imports_no_ray() -> None:
    script = "import sys, cluster.cli; sys.exit('ray' in sys.modules)"
    assert psutil.Popen([str(PYTHON), "-c", script]).wait(60) == 0
