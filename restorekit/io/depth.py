"""Changing the bit depth, and laying a transparent picture on a ground."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from restorekit.io.picture import ImageData

__all__ = ["flatten", "to_depth", "values_to_depth"]

_ROWS = 256  # rows that are converted at a time, so that no whole copy in floating point is made


def values_to_depth(values: NDArray[Any], bits: int) -> NDArray[Any]:
    """Return values scaled to another depth.

    Args:
        values: uint8, uint16, or float32 in [0, 1] (what lies outside is clipped).
        bits: 8, 16 or 32 (float32).
    """
    wanted = np.dtype({8: "uint8", 16: "uint16", 32: "float32"}[bits])
    if values.dtype == wanted:
        return values
    result = np.empty(values.shape, wanted)
    for top in range(0, values.shape[0], _ROWS):
        rows = slice(top, top + _ROWS)
        result[rows] = _convert(values[rows], wanted)
    return result


def _convert(values: NDArray[Any], wanted: np.dtype[Any]) -> NDArray[Any]:
    if values.dtype == np.uint8 and wanted == np.uint16:
        return values.astype(np.uint16) * np.uint16(257)
    if values.dtype == np.uint16 and wanted == np.uint8:
        return (values.astype(np.uint32) + 128) // 257
    if wanted == np.float32:
        return values.astype(np.float32) / np.float32(np.iinfo(values.dtype).max)
    scaled = np.nan_to_num(values, nan=0.0, posinf=1.0, neginf=0.0).clip(0, 1) * np.iinfo(wanted).max
    rounded: NDArray[Any] = np.rint(scaled)
    return rounded


def to_depth(image: ImageData, bits: int) -> ImageData:
    """Return the picture with 8 or 16 bits per value, or with 32 (floating point in [0, 1]).

    Args:
        image: Any picture.
        bits: 8, 16 or 32.
    """
    if image.bits == bits:
        return image
    alpha = None if image.alpha is None else values_to_depth(image.alpha, bits)
    return replace(image, pixels=values_to_depth(image.pixels, bits), alpha=alpha)


def flatten(image: ImageData, background: tuple[int, int, int]) -> ImageData:
    """Return the picture laid on a ground of one colour, without alpha.

    A grey picture stays grey on a grey ground and becomes RGB on any other.

    Args:
        image: Any picture.
        background: Red, green and blue of the ground, 0 to 255.
    """
    if image.alpha is None:
        return image
    grey = image.grey and len(set(background)) == 1
    top = 1.0 if image.bits == 32 else float(2**image.bits - 1)
    ground = np.array(background[0] if grey else background, np.float32) / 255
    colours = image.pixels if grey or not image.grey else np.repeat(image.pixels[:, :, None], 3, 2)
    result = np.empty_like(colours)
    for first in range(0, image.height, _ROWS):
        rows = slice(first, first + _ROWS)
        with np.errstate(over="ignore", invalid="ignore"):  # floating-point files may hold anything
            share = image.alpha[rows].astype(np.float64) / top
            share = share if grey else share[:, :, None]
            mixed = colours[rows] * share + ground * top * (1 - share)
            result[rows] = mixed if image.bits == 32 else np.rint(mixed)
    return replace(image, pixels=result, alpha=None)
