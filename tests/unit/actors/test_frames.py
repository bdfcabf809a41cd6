"""Frames on a stream of bytes, however the stream is cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.frames import FrameReader, FrameTooLargeError, framed

CONTENTS = st.lists(st.binary(max_size=40), max_size=8)


@given(CONTENTS, st.lists(st.integers(1, 30), min_size=1, max_size=40))
def test_frames_come_out_as_they_went_in_however_they_are_cut(contents: list[bytes], sizes: list[int]) -> None:
    stream = b"".join(map(framed, contents))
    reader, found, start, turn = FrameReader(), list[bytes](), 0, 0
    while start < len(stream):
        size = sizes[turn % len(sizes)]
        found += reader.feed(stream[start : start + size])
        start, turn = start + size, turn + 1
    assert found == contents


@given(CONTENTS, st.binary(max_size=3))
def test_an_unfinished_frame_waits_for_its_rest(contents: list[bytes], last: bytes) -> None:
    reader = FrameReader()
    unfinished = framed(last + b"!")[:-1]
    assert list(reader.feed(b"".join(map(framed, contents)) + unfinished)) == contents
    assert list(reader.feed(b"!")) == [last + b"!"]


def test_a_frame_beyond_the_bound_is_refused_before_it_is_there() -> None:
    reader = FrameReader(10)
    assert list(reader.feed(framed(b"0123456789"))) == [b"0123456789"]
    with pytest.raises(FrameTooLargeError):
        list(reader.feed((11).to_bytes(4, "big")))


def test_frames_before_a_broken_one_are_given_first() -> None:
    reader, found = FrameReader(10), list[bytes]()
    frames = reader.feed(framed(b"good") + b"\xff" * 8)
    with pytest.raises(FrameTooLargeError):
        found.extend(frames)
    assert found == [b"good"]


def test_a_reader_that_is_left_in_the_middle_gives_the_rest_later() -> None:
    reader = FrameReader()
    frames = reader.feed(framed(b"1") + framed(b"2"))
    assert next(frames) == b"1"
    assert list(frames) == [b"2"]
    assert list(reader.feed(framed(b"3"))) == [b"3"]
