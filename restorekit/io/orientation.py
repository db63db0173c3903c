"""Turning and mirroring pixels as an EXIF orientation says."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["turn"]


def turn(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Return stored pixels as a viewer shows them.

    Args:
        pixels: ``(H, W)`` or ``(H, W, C)``, as stored.
        orientation: 1 to 8: 2 to 4 mirror or turn by 180 degrees, 5 to 8 also swap the sides.

    Returns:
        A contiguous array.

    Reference:
        EXIF 2.32, tag 274.
    """
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)
