"""Array sizes from a short list, so that a kernel is compiled for a few shapes and not for every portfolio count.

What is added is masked: zero weights, absent days. No figure depends on it.
"""

from __future__ import annotations

from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

Element = TypeVar("Element", bound=np.generic)

SMALLEST: Final = 16
_STEPS_PER_OCTAVE: Final = 4
_FINE_FROM: Final = 64
"""Below, padding costs less than compiling for one more size."""


def bucket(count: int) -> int:
    """The size that stands for `count`: a power of two up to 64, and four to an octave from there, at most a quarter more.

    1 and 16 give 16, 20 gives 32, 252 gives 256, 504 gives 512, 1,257 gives 1,280.
    """
    power = max(SMALLEST, 1 << (count - 1).bit_length()) if count > 0 else SMALLEST
    if power <= _FINE_FROM:
        return power
    step = power // 2 // _STEPS_PER_OCTAVE
    return -(-count // step) * step


def padded(array: NDArray[Element], shape: tuple[int, ...], fill: Any = 0) -> NDArray[Element]:
    """`array` at the low end of every axis of a new one of `shape`, the rest filled; itself if it has that shape."""
    if array.shape == shape:
        return array
    larger = np.full(shape, fill, dtype=array.dtype)
    larger[tuple(slice(size) for size in array.shape)] = array
    return larger
