"""The OpenAPI document is whole, and what it shows can be sent and comes back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import jsonschema_rs
import pytest

from tests.e2e.rest import API, PROBLEM_JSON, Rest, new_id

ROUTES = {
    ("post", "/api/v1/portfolios"): {201, 409, 413, 422, 429, 503},
    ("get", "/api/v1/portfolios"): {200, 422, 429, 503},
    ("get", "/api/v1/portfolio/{id}/state"): {200, 304, 404, 422, 429, 503},
    ("post", "/api/v1/portfolio/{id}/update"): {200, 404, 409, 412, 413, 422, 429, 503},
    ("get", "/api/v1/portfolio/{id}/positions"): {200, 304, 404, 422, 429, 503},
    ("get", "/api/v1/portfolio/{id}/transactions"): {200, 404, 422, 429, 503},
    ("post", "/api/v1/portfolio/{id}/status"): {200, 404, 409, 412, 413, 422, 429, 503},
    ("get", "/api/v1/portfolio/{id}/analytics"): {200, 304, 404, 422, 429, 503},
    ("post", "/api/v1/portfolio/{id}/optimize"): {200, 404, 409, 413, 422, 429, 503},
    ("post", "/api/v1/updates"): {200, 413, 422, 429, 503},
    ("post", "/api/v1/marks"): {200, 413, 422, 429, 503},
    ("post", "/api/v1/analytics/query"): {200, 413, 422, 429, 503},
    ("get", "/healthz"): {200},
    ("get", "/readyz"): {200, 429, 503},
    ("get", "/version"): {200, 429},
    ("get", "/metrics"): {200, 429},
}
"""At least these answers are documented for each route; what else there is has to hold the same rules."""


@pytest.fixture
def document(rest: Rest) -> dict[str, Any]:
    answer = rest.http.get("/openapi.json")
    assert answer.status_code == 200
    document: dict[str, Any] = answer.json()
    return document


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method, path, operation


def validate(document: dict[str, Any], schema: dict[str, Any], instance: object) -> None:
    """Raises jsonschema_rs.ValidationError if the instance does not fit the schema of this document."""
    whole = {**schema, "components": document["components"]}
    jsonschema_rs.Draft202012Validator(whole, validate_formats=True).validate(instance)


def test_every_route_documents_its_answers(document: dict[str, Any]) -> None:
    found = {
        (method, path): {int(status) for status in operation["responses"]}
        for method, path, operation in operations(document)
    }
    assert ROUTES.keys() <= found.keys()
    assert {route: expected - found[route] for route, expected in ROUTES.items()} == {route: set() for route in ROUTES}


def test_every_error_is_a_problem_with_an_example_for_each_code(document: dict[str, Any]) -> None:
    for method, path, operation in operations(document):
        for status, answer in operation["responses"].items():
            if int(status) < 400 or (path, status) == ("/readyz", "503"):
                continue
            assert list(answer["content"]) == [PROBLEM_JSON], (method, path, status)
            examples = answer["content"][PROBLEM_JSON]["examples"]
            assert ", ".join(examples) == answer["description"]
            for code, example in examples.items():
                validate(document, answer["content"][PROBLEM_JSON]["schema"], example["value"])
                assert (example["value"]["code"], example["value"]["status"]) == (code, int(status))
            assert ("Retry-After" in answer.get("headers", {})) is (status in {"429", "503"})


def test_every_route_says_what_it_does(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1")
    for _, _, operation in operations(document):
        assert operation["summary"]
        assert operation["description"]
    identifiers = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(set(identifiers)) == len(identifiers)


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    def references(part: object) -> Iterator[str]:
        if isinstance(part, dict):
            if isinstance(part.get("$ref"), str):
                yield part["$ref"]
            for inner in part.values():
                yield from references(inner)
        elif isinstance(part, list):
            for inner in part:
                yield from references(inner)

    known = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    assert set(references(document)) <= known
    for schema in document["components"]["schemas"].values():
        jsonschema_rs.meta.validate(schema)


def test_every_example_fits_its_schema(document: dict[str, Any]) -> None:
    count = 0
    for _, _, operation in operations(document):
        contents = [answer.get("content", {}) for answer in operation["responses"].values()]
        contents.append(operation.get("requestBody", {}).get("content", {}))
        for content in contents:
            media = content.get("application/json", {})
            if "example" in media:
                validate(document, media["schema"], media["example"])
                count += 1
    assert count >= 13


def test_every_default_fits_its_schema(document: dict[str, Any]) -> None:
    count = 0
    for schema in document["components"]["schemas"].values():
        for field in schema.get("properties", {}).values():
            if "default" in field:
                validate(document, field, field["default"])
                count += 1
    assert count >= 10


def example(document: dict[str, Any], method: str, path: str) -> Any:
    return document["paths"][path][method]["requestBody"]["content"]["application/json"]["example"]


def answered_as_documented(document: dict[str, Any], path: str, method: str, answer: httpx.Response) -> None:
    schema = document["paths"][path][method]["responses"][str(answer.status_code)]["content"]["application/json"]
    validate(document, schema["schema"], answer.json())


def test_the_examples_work_as_they_stand(rest: Rest, document: dict[str, Any]) -> None:
    """Opening, updating, marking and so on, in the order of a first visit; nothing of the examples is changed."""
    portfolio_id = example(document, "post", "/api/v1/portfolios")["portfolio_id"]
    for path in ("/portfolios", "/portfolio/{id}/update", "/updates", "/marks", "/portfolio/{id}/status"):
        answer = rest.post(path.format(id=portfolio_id), example(document, "post", API + path))
        assert answer.status_code in {200, 201}, answer.text
        answered_as_documented(document, API + path, "post", answer)
        if path == "/updates":
            assert [one["status"] for one in answer.json()["results"]] == [200]
    for path in ("/portfolio/{id}/state", "/portfolio/{id}/positions", "/portfolio/{id}/transactions", "/portfolios"):
        answer = rest.get(path.format(id=portfolio_id))
        assert answer.status_code == 200
        answered_as_documented(document, API + path, "get", answer)


def test_the_example_of_a_state_is_what_the_example_requests_lead_to(rest: Rest, document: dict[str, Any]) -> None:
    """The same two requests on a portfolio of another name give the state that is shown, but for names and times."""
    opening = {**example(document, "post", "/api/v1/portfolios"), "portfolio_id": new_id()}
    rest.post("/portfolios", opening)
    update = example(document, "post", "/api/v1/portfolio/{id}/update")
    name = new_id("X")[-20:]
    update = {**update, "updates": [{**update["updates"][0], "instrument_id": name}]}
    state = rest.post(f"/portfolio/{opening['portfolio_id']}/update", update).json()
    shown = document["paths"]["/api/v1/portfolio/{id}/state"]["get"]["responses"]["200"]["content"]["application/json"]
    names = {"portfolio_id", "positions", "weights", "last_updated"}
    expected = {member: figure for member, figure in shown["example"].items() if member not in names}
    assert {member: state[member] for member in expected} == expected
    for position, pictured in zip(state["positions"], shown["example"]["positions"], strict=True):
        varying = {"instrument_id", "mark_time", "last_updated"}
        figures = {member: figure for member, figure in pictured.items() if member not in varying}
        assert {member: position[member] for member in figures} == figures
    assert list(state["weights"].values()) == list(shown["example"]["weights"].values())
