"""The mutual challenge on TCP links: each side shows that it has the cluster's secret, and never sends it."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import Final

NONCE_BYTES: Final = 32


def nonce() -> bytes:
    """A fresh challenge."""
    return secrets.token_bytes(NONCE_BYTES)


def client_proof(secret: bytes, server_nonce: bytes, client_nonce: bytes) -> bytes:
    """What a client answers to a server's challenge."""
    return _proof(secret, b"client", server_nonce, client_nonce)


def server_proof(secret: bytes, server_nonce: bytes, client_nonce: bytes) -> bytes:
    """What a server answers to a client's challenge."""
    return _proof(secret, b"server", server_nonce, client_nonce)


def matches(proof: bytes, expected: bytes) -> bool:
    """Whether a proof is right, in time that tells nothing."""
    return hmac.compare_digest(proof, expected)


def _proof(secret: bytes, side: bytes, server_nonce: bytes, client_nonce: bytes) -> bytes:
    return hmac.digest(secret, side + server_nonce + client_nonce, hashlib.sha256)
