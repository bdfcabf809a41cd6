"""Routes for those who watch the service, and the configuration that it is deployed with."""

from __future__ import annotations

import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import ray
import yaml
from ray import serve
from ray._common.utils import import_attr
from ray.serve.schema import ServeDeploySchema

from serve_app.admission import REQUESTS_MAX
from serve_app.app import Arguments
from tests.e2e.rest import Rest

CONFIG = Path(__file__).parents[2] / "ray_config.yaml"


def test_the_process_is_alive(rest: Rest) -> None:
    answer = rest.http.get("/healthz")
    assert (answer.status_code, answer.json()) == (200, {"status": "alive"})


def test_the_service_is_ready(rest: Rest) -> None:
    answer = rest.readiness()
    assert (answer.status_code, answer.json()) == (200, {"status": "ready", "failing": {}, "quarantined": {}})


def test_the_service_tells_its_versions(rest: Rest) -> None:
    assert rest.http.get("/version").json() == {
        "service": version("portfolio-state"),
        "contract": "1",
        "ray": ray.__version__,
        "python": platform.python_version(),
    }


def test_the_documentation_page_is_there(rest: Rest) -> None:
    assert "text/html" in rest.http.get("/docs").headers["content-type"]


def test_the_serve_configuration_names_an_application_that_builds(monkeypatch: pytest.MonkeyPatch) -> None:
    config = ServeDeploySchema.model_validate(yaml.safe_load(CONFIG.read_text()))
    (application,) = config.applications
    (deployment,) = application.deployments
    # Serve lets requests wait; the application refuses them.
    assert deployment.max_ongoing_requests > REQUESTS_MAX
    assert application.import_path == "serve_app.app:build"
    builder: Any = import_attr(application.import_path)
    monkeypatch.setenv("PORTFOLIO_POSTGRES_DSN", "postgresql://nobody@127.0.0.1:1/nothing")
    assert isinstance(builder(Arguments.model_validate(application.args)), serve.Application)
