"""Serve's HAProxy configuration as we put it right."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ray.serve._private.haproxy_templates import HAPROXY_CONFIG_TEMPLATE

from cluster import haproxy
from cluster.haproxy_launch import ERROR_FILES, put_right

SERVES = r"""
    errorfile 502 /run/500.http
    errorfile 503 /run/500.http
    errorfile 504 /run/500.http
frontend prometheus
    bind :9101
frontend http_frontend
    bind 0.0.0.0:8000
backend default_backend
    http-request return status 404 content-type text/plain lf-string "Path \'%[path]\' not found."
listen stats
  bind *:8404
"""
OURS = """
    errorfile 502 /ours/502.http
    errorfile 503 /ours/503.http
    errorfile 504 /ours/504.http
frontend prometheus
    bind 127.0.0.1:9101
frontend http_frontend
    bind 0.0.0.0:8000
backend default_backend
    http-request return status 503 default-errorfiles
listen stats
  bind 127.0.0.1:8404
"""


def test_ports_for_this_machine_are_closed_to_others_and_answers_say_when_to_try_again() -> None:
    assert put_right(SERVES, "/ours") == OURS
    assert put_right(OURS, "/ours") == OURS


def test_every_line_that_is_put_right_is_in_the_template_of_this_version_of_serve() -> None:
    lines = {line.strip() for line in HAPROXY_CONFIG_TEMPLATE.splitlines()}
    assert {"bind :{{ config.metrics_port }}", "bind *:{{ config.stats_port }}"} <= lines
    assert {f"errorfile {status} {{{{ config.error_file_path }}}}" for status in ERROR_FILES} <= lines
    assert (
        sum(line.startswith("http-request return status 404 content-type text/plain lf-string") for line in lines) == 1
    )


@pytest.mark.skipif(not haproxy.is_installed(), reason="HAProxy is not installed")
def test_the_launcher_has_answers_that_are_whole_problems(tmp_path: Path) -> None:
    assert haproxy.make_launcher(tmp_path).stat().st_mode & 0o777 == 0o700
    for name in ERROR_FILES.values():
        head, _, body = (tmp_path / name).read_bytes().partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
        assert f"Content-Length: {len(body)}".encode() in head.splitlines()
        assert b"Retry-After: 1" in head.splitlines()
        assert json.loads(body)["status"] == 503
