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
        # Nearly always whole frames come at once; they are cut from what has come, and copied only once.
        source: bytes | bytearray = data
        if self._buffer:
            self._buffer += data
            source = self._buffer
        start = 0
        try:
            while (end := self._end_of_frame(source, start)) is not None:
                yield bytes(source[start + _PREFIX_BYTES : end])
                start = end
        finally:
            self._keep(source, start)

    def _keep(self, source: bytes | bytearray, start: int) -> None:
        """Keep what follows `start`, for the next time."""
        if source is self._buffer:
            del self._buffer[:start]
        else:
            self._buffer += source[start:]

    def _end_of_frame(self, source: bytes | bytearray, start: int) -> int | None:
        content = start + _PREFIX_BYTES
        if len(source) < content:
            return None
        size = int.from_bytes(source[start:content], "big")
        if size > self._size_max:
            raise FrameTooLargeError(f"a frame of {size:,} bytes, expected at most {self._size_max:,}")
        end = content + size
        return end if len(source) >= end else None
