"""A picture that shows another one before and after."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from restorekit.errors import UsageError
from restorekit.io import ImageData, Metadata

__all__ = ["compare"]

_LINE = 2  # pixels of white between the two
_NARROWEST = 96  # columns of a picture from which on its label is readable
_BAR, _INK = 48, 235  # grey of the bar and of its letters, of 255


def compare(before: ImageData, after: ImageData) -> ImageData:
    """Put two pictures side by side, with a thin line between them and labels above.

    Args:
        before: The picture as it was.
        after: The picture as it is; same size and depth.

    Returns:
        A picture of the depth of both: alpha and colour profile stay, other metadata does not. Pictures that are too
        narrow for letters have no labels.

    Raises:
        UsageError: The pictures differ in size, depth or colours.
    """
    if before.pixels.shape != after.pixels.shape or before.pixels.dtype != after.pixels.dtype:
        raise UsageError(
            f"only pictures of one size and depth can be shown side by side: before is {before.pixels.shape} "
            f"{before.pixels.dtype}, after {after.pixels.shape} {after.pixels.dtype}"
        )
    bar = _bar(before.width)
    most = _most(before.pixels.dtype)
    pixels = _join(before.pixels, after.pixels, bar, most)
    alpha = None
    if before.alpha is not None and after.alpha is not None:
        alpha = _join(before.alpha, after.alpha, np.full_like(bar, 255), most)
    return ImageData(pixels=pixels, alpha=alpha, format=after.format, metadata=Metadata(icc=after.metadata.icc))


def _join(left: NDArray[Any], right: NDArray[Any], bar: NDArray[np.uint8], most: float) -> NDArray[Any]:
    """Return two pictures ``(H, W)`` or ``(H, W, 3)`` below a bar ``(h, 2 W + line)`` of 8-bit grey."""
    line = np.full((left.shape[0], _LINE, *left.shape[2:]), most, left.dtype)
    head = (bar.astype(np.float64) / 255 * most).astype(left.dtype)
    head = np.broadcast_to(head.reshape(*head.shape, *[1] * (left.ndim - 2)), (*head.shape, *left.shape[2:]))
    return np.concatenate([head, np.concatenate([left, line, right], axis=1)])


def _bar(width: int) -> NDArray[np.uint8]:
    """Return a labelled bar for two pictures of some width; it has no rows where they are too narrow for letters."""
    if width < _NARROWEST:
        return np.zeros((0, 2 * width + _LINE), np.uint8)
    height = int(np.clip(width // 24, 20, 96))
    bar = np.full((height, 2 * width + _LINE), _BAR, np.uint8)
    scale, weight = height / 32, max(1, height // 20)
    for left, word in ((0, "before"), (width + _LINE, "after")):
        (across, up), _ = cv2.getTextSize(word, cv2.FONT_HERSHEY_SIMPLEX, scale, weight)
        place = (left + (width - across) // 2, (height + up) // 2)
        cv2.putText(bar, word, place, cv2.FONT_HERSHEY_SIMPLEX, scale, _INK, weight, cv2.LINE_AA)
    return bar


def _most(dtype: np.dtype[Any]) -> float:
    """Return what white is."""
    return 1.0 if dtype.kind == "f" else float(np.iinfo(dtype).max)
