"""One running service for every test of this folder."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.rest import Rest
from tests.e2e.service_process import RunningService, running_service

_HERE = Path(__file__).parent
# The first test waits for the service to start, the last for it to stop.
_TIMEOUT_S = 600
_FILES_MAX = 65_536


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(_HERE) and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(_TIMEOUT_S))


@pytest.fixture(scope="session")
def service() -> Iterator[RunningService]:
    """The service as a user starts it, on its own directories and ports."""
    # Thousands of connections need as many files, here and in the processes that inherit the limit.
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, _FILES_MAX) if hard > 0 else _FILES_MAX, hard))
    with running_service() as running:
        yield running


@pytest.fixture
def rest(service: RunningService) -> Iterator[Rest]:
    """A REST client of the running service."""
    with Rest(service.base_url) as client:
        yield client
