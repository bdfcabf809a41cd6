"""As much of Postgres' protocol as it takes to see, in what a client sends, that it appends to the journal."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

APPEND: Final = b"insert into journal"
_HEAD_BYTES: Final = 4_096
"""What tells a message's purpose is in its beginning; the rows of an append, which follow, may be megabytes."""
_PROTOCOL_3: Final = 3
_HEADER: Final = struct.Struct("!cI")
_NUMBERS: Final = struct.Struct("!II")


class AppendSpotter:
    """Reads one connection's bytes as they come, cut anywhere; `feed` says whether an append was seen in them.

    The driver sends a statement's text once, under a name, and binds by that name from then on.
    """

    def __init__(self) -> None:
        self._rest = b""
        self._skip = 0
        self._is_started = False
        self._appends: set[bytes] = set()

    def feed(self, data: bytes) -> bool:
        """Whether `data` brings an append that was not seen before."""
        # To the last message: a statement that is named after an append must be known too.
        appends = [self._is_append(kind, body) for kind, body in self._messages(data)]
        return any(appends)

    def _messages(self, data: bytes) -> Iterator[tuple[bytes, bytes]]:
        """The kind of each message and the beginning of its body; the rest of a long one is skipped."""
        skipped = min(self._skip, len(data))
        self._skip -= skipped
        self._rest += data[skipped:]
        while not self._is_started and len(self._rest) >= _NUMBERS.size:
            length, code = _NUMBERS.unpack_from(self._rest)
            if len(self._rest) < length:
                return
            self._rest = self._rest[length:]
            # What comes before asks for encryption, which the server declines.
            self._is_started = code >> 16 == _PROTOCOL_3
        while self._is_started and len(self._rest) >= _HEADER.size:
            kind, length = _HEADER.unpack_from(self._rest)
            if len(self._rest) < min(length + 1, _HEAD_BYTES):
                return
            message, self._rest = self._rest[: length + 1], self._rest[length + 1 :]
            self._skip = length + 1 - len(message)
            yield kind, message[_HEADER.size :]

    def _is_append(self, kind: bytes, body: bytes) -> bool:
        if kind == b"P":
            name, _, text = body.partition(b"\0")
            if APPEND in text.partition(b"\0")[0]:
                self._appends.add(name)
            else:
                self._appends.discard(name)
        if kind == b"B":
            _, _, rest = body.partition(b"\0")
            return rest.partition(b"\0")[0] in self._appends
        return False
