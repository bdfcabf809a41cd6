"""Which ends of a serving process are followed by another one, and which end the service."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import pytest
import ray
from ray._private import node

from cluster import ray_start, supervisor
from cluster.child import Ended, ExitCode
from cluster.hosting import Hosted
from cluster.ray_start import RayTooLate, start_ray
from cluster.runtime_dir import RuntimeDir
from cluster.settings import Settings
from cluster.supervisor import NeverServed, Supervisor
from persistence.embedded.errors import DataDirGone
from persistence.kept_directory import KeptDirectory


def ended(code: int, *, has_served: bool = False) -> Ended:
    return Ended(code=code, has_served=has_served, lived_s=60.0)


LATE = ended(ExitCode.RAY_LATE)
FAILED = ended(ExitCode.FAILED)


class Children:
    """In the place of cluster.child.Child: one after the other ends as told; the next one is interrupted."""

    def __init__(self, ends: Iterable[Ended | None]) -> None:
        self._ends = iter(ends)
        self.started: list[list[str]] = []
        self.stopped = 0

    def __call__(self, arguments: list[str], _: object) -> Self:
        self.started.append(arguments)
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def wait(self, _: float) -> Ended | None:
        try:
            return next(self._ends)
        except StopIteration:
            raise KeyboardInterrupt from None

    def stop(self, _: float) -> None:
        self.stopped += 1


@pytest.fixture
def told() -> list[str]:
    """What the operator was told."""
    return []


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: list[str]) -> Iterator[Supervisor]:
    """A supervisor without servers."""
    settings = Settings(data_dir=tmp_path)
    with KeptDirectory(tmp_path) as data_dir:

        @contextmanager
        def hosting(*_: object) -> Iterator[Hosted]:
            yield Hosted(settings=settings, data_dir=data_dir)

        monkeypatch.setattr(supervisor, "hosting", hosting)
        monkeypatch.setattr(supervisor, "renew_runtime_dir", lambda _: None)
        monkeypatch.setattr("cluster.supervisor.time.sleep", lambda _: None)
        yield Supervisor(settings, told.append, sample=True)


def supervised(service: Supervisor, monkeypatch: pytest.MonkeyPatch, *ends: Ended | None) -> Children:
    children = Children(ends)
    monkeypatch.setattr(supervisor, "Child", children)
    with pytest.raises(KeyboardInterrupt):
        service.run()
    assert children.stopped == 1
    return children


def test_a_first_start_that_the_machine_was_too_slow_for_is_tried_again(
    service: Supervisor, monkeypatch: pytest.MonkeyPatch, told: list[str]
) -> None:
    children = supervised(service, monkeypatch, ended(-9), LATE, ended(-9), LATE)
    assert children.started == [["--first", "--sample"]] * 5
    assert told[1] == "the serving process waited for its Ray in vain; another is started"


@pytest.mark.parametrize("ends", [[LATE] * 3, [FAILED], [LATE, FAILED]])
def test_what_cannot_start_is_given_up(service: Supervisor, monkeypatch: pytest.MonkeyPatch, ends: list[Ended]) -> None:
    children = Children([*ends, ended(0)])
    monkeypatch.setattr(supervisor, "Child", children)
    with pytest.raises(NeverServed):
        service.run()
    assert len(children.started) == len(ends)


def test_what_has_served_is_started_again_whatever_ends_it(
    service: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = ended(ExitCode.RAY_LOST, has_served=True)
    children = supervised(service, monkeypatch, served, *[LATE] * 9, *[FAILED] * 9, ended(-9))
    assert children.started == [["--first", "--sample"], *[[]] * 20]


def test_it_ends_once_the_data_directory_is_gone(
    service: Supervisor, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    children = Children([None, None, None])
    monkeypatch.setattr(supervisor, "Child", children)
    tmp_path.rename(tmp_path.with_name("elsewhere"))
    with pytest.raises(DataDirGone):
        service.run()
    assert (len(children.started), children.stopped) == (1, 1)


def test_rays_own_timeout_is_told_from_its_other_failures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ray_start._TOO_LATE in inspect.getsource(node)
    late = Exception(f"The current node {ray_start._TOO_LATE}. This could happen because some of the raylet failed")
    for error, expected in ((late, RayTooLate), (ValueError("no such address"), ValueError)):

        def init(error: Exception = error, **_: object) -> None:
            raise error

        monkeypatch.setattr(ray, "init", init)
        monkeypatch.setattr("cluster.ray_profile.environment", lambda *_: {})
        with pytest.raises(expected):
            start_ray(RuntimeDir(tmp_path), tmp_path / "compiled", lambda _: None)
