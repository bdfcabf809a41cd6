"""Which folder of compiled code a worker takes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from analytics.worker_environment import COMPILED_VARIABLE, RESOURCE, name_compiled_folder, variables


def test_who_submits_does_not_say_where_compiled_code_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(COMPILED_VARIABLE, "/of/another/machine")
    assert COMPILED_VARIABLE not in variables(RESOURCE)


def test_a_worker_keeps_the_folder_of_its_node_or_else_takes_its_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(COMPILED_VARIABLE, "/of/the/service")
    name_compiled_folder()
    assert os.environ[COMPILED_VARIABLE] == "/of/the/service"
    monkeypatch.delenv(COMPILED_VARIABLE)
    name_compiled_folder()
    assert os.environ[COMPILED_VARIABLE] == str(Path.home() / ".cache/portfolio-state/compiled")
