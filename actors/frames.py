"""Length-prefixed frames on a byte stream: four bytes of length, most significant first, then the content."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

FRAME_BYTES_MAX: Final = 32 * 1024 * 1024
_PREFIX_BYTES: Final = 4


class FrameTooLargeError(ValueError):
    """The other side announces a frame beyond the bound: it is not one of ours, or it is broken."""


def framed(content: bytes) -> bytes:
    """`content` as one frame."""
    return len(content).to_bytes(_PREFIX_BYTES, "big") + content


class FrameReader:
    """Cuts a stream of bytes into frames."""

    def __init__(self, size_max: int = FRAME_BYTES_MAX) -> None:
        self._buffer = bytearray()
        self._size_max = size_max

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The frames that are complete now that `data` has come. Raises FrameTooLargeError."""
        self._buffer += data
        start = 0
        try:
            while (end := self._end_of_frame(start)) is not None:
                yield bytes(self._buffer[start + _PREFIX_BYTES : end])
                start = end
        finally:
            del self._buffer[:start]

    def _end_of_frame(self, start: int) -> int | None:
        content = start + _PREFIX_BYTES
        if len(self._buffer) < content:
            return None
        size = int.from_bytes(self._buffer[start:content], "big")
        if size > self._size_max:
            raise FrameTooLargeError(f"a frame of {size:,} bytes, expected at most {self._size_max:,}")
        end = content + size
        return end if len(self._buffer) >= end else None
