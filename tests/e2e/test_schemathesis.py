"""Requests made from the OpenAPI document, right and wrong ones: every answer is one that the document knows.

`make soak` tries each operation with a thousand requests, `make test` with some.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.e2e.rest import Rest, new_instrument, trade
from tests.e2e.service_process import RunningService

FEW: Final = 100
FEW_QUERIES: Final = 30
"""A query has a process of its own, and takes as long as dozens of other requests."""
MANY: Final = 1_000
QUERY: Final = ("POST", "/api/v1/analytics/query")
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


OPERATIONS = [
    ("POST", "/api/v1/portfolios"),
    ("GET", "/api/v1/portfolios"),
    ("GET", "/api/v1/portfolio/{id}/state"),
    ("POST", "/api/v1/portfolio/{id}/update"),
    ("GET", "/api/v1/portfolio/{id}/positions"),
    ("GET", "/api/v1/portfolio/{id}/transactions"),
    ("POST", "/api/v1/portfolio/{id}/status"),
    ("GET", "/api/v1/portfolio/{id}/analytics"),
    ("POST", "/api/v1/portfolio/{id}/optimize"),
    QUERY,
    ("POST", "/api/v1/updates"),
    ("POST", "/api/v1/marks"),
    ("GET", "/healthz"),
    ("GET", "/readyz"),
    ("GET", "/metrics"),
    ("GET", "/version"),
]


@pytest.fixture(scope="session")
def document(service: RunningService) -> Any:
    """The document of the running service."""
    return schemathesis.openapi.from_url(f"{service.base_url}/openapi.json")


@pytest.fixture(scope="session")
def portfolio_id(service: RunningService) -> str:
    """A portfolio that is there: made-up ids would hardly ever be."""
    with Rest(service.base_url) as rest:
        portfolio_id = rest.opened(cash_balance="1000000.00")
        rest.update(portfolio_id, trade("BUY", new_instrument(), 10, 10), trade("SHORT", new_instrument(), -5, 20))
    return portfolio_id


def cases(operation: Any, portfolio_id: str) -> st.SearchStrategy[Any]:
    """Right requests and wrong ones; where a portfolio is named, half of them for one that is there."""
    strategies = [operation.as_strategy()]
    if "{id}" in operation.path:
        strategies.append(operation.as_strategy(path_parameters={"id": portfolio_id}))
    if operation.body or any(operation.iter_parameters()):
        strategies.append(operation.as_strategy(GenerationMode.NEGATIVE))
    return st.one_of(strategies).filter(fits_a_head)


def fits_a_head(case: Any) -> bool:
    """Whether path, query and headers surely fit what HTTP servers read of a request's head: 16 KiB, here 10.

    What does not is answered by whichever server comes first, never by the application.
    """
    parts = [case.path_parameters, case.query, case.headers]
    return len(quote(json.dumps([dict(part) for part in parts if isinstance(part, Mapping)], default=str))) < 10_000


@pytest.mark.timeout(900)
@pytest.mark.parametrize("many", [False, pytest.param(True, marks=pytest.mark.soak)])
@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_every_answer_is_documented(document: Any, portfolio_id: str, method: str, path: str, many: bool) -> None:
    few = FEW_QUERIES if (method, path) == QUERY else FEW

    @settings(
        max_examples=MANY if many else few,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=cases(document[path][method], portfolio_id))
    def answered_as_documented(case: Any) -> None:
        case.call_and_validate(checks=CHECKS, timeout=60)

    answered_as_documented()


def test_every_operation_is_tried(document: Any) -> None:
    found = {(operation.ok().method.upper(), operation.ok().path) for operation in document.get_all_operations()}
    assert set(OPERATIONS) == found
