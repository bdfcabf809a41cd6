"""Array sizes from a short list, so that a kernel is compiled for a few shapes and not for every portfolio count.

What is added is masked: zero weights, absent days. No figure depends on it.
"""

from __future__ import annotations

from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

Element = TypeVar("Element", bound=np.generic)

SMALLEST: Final = 8
_STEPS_PER_OCTAVE: Final = 4


def bucket(count: int) -> int:
    """The size that stands for `count`: four between a power of two and the next, so at most a quarter is padding.

    1 and 8 give 8, 20 gives 20, 252 gives 256, 504 gives 512, 1,257 gives 1,280.
    """
    if count <= SMALLEST:
        return SMALLEST
    step = max(1, 2 ** (count - 1).bit_length() // 2 // _STEPS_PER_OCTAVE)
    return -(-count // step) * step


def padded(array: NDArray[Element], shape: tuple[int, ...], fill: Any = 0) -> NDArray[Element]:
    """`array` at the low end of every axis of a new one of `shape`, the rest filled; itself if it has that shape."""
    if array.shape == shape:
        return array
    larger = np.full(shape, fill, dtype=array.dtype)
    larger[tuple(slice(size) for size in array.shape)] = array
    return larger
