"""What a service tells the processes that it starts, and when it stops making more."""

from __future__ import annotations

from pathlib import Path

import pytest
from ray import serve

from actors.names import actor_name, standby_name
from cluster import front
from cluster.serving import Serving
from cluster.settings import Settings
from persistence.migrate import Cluster
from portfolio.ids import ShardId

CLUSTER = Cluster(1, b"secret", None, ())


@pytest.fixture
def service(tmp_path: Path) -> Serving:
    settings = Settings(data_dir=tmp_path, postgres_dsn="host=somewhere", redis_url="redis://somewhere")
    return Serving(settings, lambda _: None)


def test_a_standby_that_becomes_a_shard_goes_by_what_any_shard_is_told(service: Serving) -> None:
    name = standby_name("node", 1)
    assert service.shard_config(ShardId(0), actor_name(ShardId(0)), CLUSTER).link_secret == b"secret"
    standby = service.standby_config(name, "node", CLUSTER)
    assert standby.of_shard(ShardId(0)) == service.shard_config(ShardId(0), name, CLUSTER)


def test_standbys_are_made_while_the_front_is_there_and_no_longer(
    service: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bool] = []

    def look(*_: object, **__: object) -> None:
        seen.append(service._has_front)

    monkeypatch.setattr(serve, "start", look)
    monkeypatch.setattr(front, "deploy", look)
    monkeypatch.setattr(serve, "shutdown", look)
    with service.front():
        look()
    assert seen == [False, False, True, False]
