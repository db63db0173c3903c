"""Small copies of pictures, and how alike they are: to tell which way is up, and one picture from another."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from restorekit.io.depth import values_to_depth
from restorekit.io.orientation import turn
from restorekit.io.picture import ImageData

__all__ = ["fit_of_turns", "has_contrast", "small_copy"]

_SIDE = 32
_GROUND = 0.5  # what is transparent is laid on grey
_FLAT = 0.02  # standard deviation, of [0, 1], below which a picture shows too little to be told from another


def small_copy(image: ImageData) -> NDArray[np.float64]:
    """Return a picture reduced to at most 32 x 32 pixels.

    Args:
        image: Any picture.

    Returns:
        ``(h, w, 3)`` in [0, 1], grey with three equal channels; every pixel is the mean of a rectangle.
    """
    rows, columns = _edges(image.height), _edges(image.width)
    # a band at a time, so that no copy of a large picture is made
    bands = [_reduced(_unit(image, slice(top, low)).mean(0), columns) for top, low in pairwise(rows)]
    return np.stack(bands)


def _edges(length: int) -> NDArray[np.int64]:
    return np.rint(np.linspace(0, length, min(length, _SIDE) + 1)).astype(np.int64)


def _unit(image: ImageData, rows: slice) -> NDArray[np.float64]:
    """Return rows of a picture as ``(h, W, 3)`` in [0, 1], laid on grey."""
    colours = _clipped(image.pixels[rows])
    colours = np.repeat(colours[:, :, None], 3, 2) if image.grey else colours
    if image.alpha is not None:
        share = _clipped(image.alpha[rows])[:, :, None]
        colours = colours * share + _GROUND * (1 - share)
    return colours


def _clipped(values: NDArray[Any]) -> NDArray[np.float64]:
    unit: NDArray[np.float64] = np.nan_to_num(values_to_depth(values, 32)).clip(0, 1).astype(np.float64)
    return unit


def _reduced(row: NDArray[np.float64], columns: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the means of ``(W, 3)`` between columns."""
    sums = np.vstack([np.zeros((1, 3)), row.cumsum(0)])
    means: NDArray[np.float64] = np.diff(sums[columns], axis=0) / np.diff(columns)[:, None]
    return means


def has_contrast(copy: NDArray[np.float64]) -> bool:
    """Return whether a small copy shows enough to be told from another one."""
    return float(copy.std((0, 1)).max()) > _FLAT


def fit_of_turns(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how well a small copy fits another one under each of the eight orientations.

    Args:
        first: A small copy.
        second: The one that is turned.

    Returns:
        Eight correlations, -1 to 1: of the second as it is, then turned as the orientations 2 to 8 say. Brightness and
        tint do not count. -1 where the shapes differ; 1 where neither shows anything.
    """
    return np.array([_correlation(first, turn(second, way)) for way in range(1, 9)])


def _correlation(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    if first.shape != second.shape:
        return -1.0
    a, b = (values - values.mean((0, 1)) for values in (first, second))
    scale = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / scale if scale > 1e-9 else 1.0
