"""Joining the Ray of a service, as every program does that reaches its actors by handles."""

from __future__ import annotations

import logging
import socket
from typing import Final

import msgspec
import ray
from ray._private.authentication.authentication_token_setup import maybe_enable_token_auth_if_token_available

from actors.gateway import Gateway
from actors.names import NAMESPACE
from actors.protocol import Method, pack
from cluster.handles import HandleCaller
from cluster.settings import Settings
from portfolio.ids import ShardId
from portfolio.sharding import ShardMap

_LISTENING_S: Final = 3.0
_MODULI: Final = msgspec.msgpack.Decoder(dict[ShardId, int])


def attach(settings: Settings | None = None) -> None:
    """Join the Ray cluster of the service as a driver, unless this process is part of it already.

    The address is PORTFOLIO_RAY_ADDRESS, or that of the service which runs on this machine's data directory.
    Raises ConnectionError.
    """
    if ray.is_initialized():
        return
    wanted = settings or Settings()
    logging.getLogger("ray").setLevel(logging.ERROR)
    address = wanted.ray_address
    if address is None and wanted.ray_address_file.exists():
        address = wanted.ray_address_file.read_text(encoding="ascii").strip()
        # The service's Ray asks for the user's token. Ray sends it by itself only to a cluster that it finds by itself,
        # which on a machine with several services may be the wrong one.
        # RAY_AUTH_MODE set here would come too late: Ray's core read its settings when it was imported.
        maybe_enable_token_auth_if_token_available(warn_if_disabled=False)
    if address is None:
        raise ConnectionError(f"no service runs on {wanted.data_dir}: start one, or set PORTFOLIO_RAY_ADDRESS")
    check_listening(address)
    ray.init(address=address, namespace=NAMESPACE, log_to_driver=False, configure_logging=False)


def check_listening(address: str) -> None:
    """Ray itself would try an address where nobody listens for minutes. Raises ConnectionError."""
    host, _, port = address.rpartition(":")
    if not port.isdigit():
        return
    try:
        socket.create_connection((host, int(port)), timeout=_LISTENING_S).close()
    except OSError as error:
        raise ConnectionError(f"no Ray answers at {address}: {error}") from error


async def gateway_by_handles() -> Gateway:
    """The gateway of the Ray cluster that this process has joined. Raises ShardUnavailable."""
    caller = HandleCaller()
    # Every shard knows all of them, and shard 0 is always there.
    answer = await caller.call(ShardId(0), Method.SHARD_MAP, pack(None))
    return Gateway(caller, ShardMap(_MODULI.decode(answer.body or b"")))
