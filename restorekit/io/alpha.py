"""What lies under full transparency, so that it does not bleed into what is seen."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["fill_transparent"]


def fill_transparent(pixels: NDArray[Any], alpha: NDArray[Any]) -> NDArray[Any]:
    """Return pixels whose fully transparent ones got the colours of those around them.

    Editors leave black or white under full transparency. A network, whose every output pixel looks at many input
    pixels, would draw that into the edges of what is seen: dark or light fringes. Colours are averaged over ever
    larger squares until each square holds some that are seen.

    Args:
        pixels: ``(H, W)`` or ``(H, W, 3)``, any dtype.
        alpha: ``(H, W)``, 0 = fully transparent.

    Returns:
        The same shape and dtype; where alpha is not 0, the same values.
    """
    seen = alpha > 0
    if seen.all() or not seen.any():
        return pixels
    planes = pixels if pixels.ndim == 3 else pixels[:, :, None]
    weight = seen.astype(np.float32)[:, :, None]
    filled = _fill(planes.astype(np.float32) * weight, weight)
    if pixels.dtype.kind == "u":
        filled = np.rint(filled)
    result = np.where(seen[:, :, None], planes, filled.astype(pixels.dtype))
    return result.reshape(pixels.shape)


def _fill(sums: NDArray[Any], weight: NDArray[Any]) -> NDArray[Any]:
    """Return sums / weight; where the weight is 0, that of the square of twice the side which it lies in."""
    mean: NDArray[Any] = sums / np.maximum(weight, 1e-12)
    if (weight > 0).all():
        return mean
    height, width = weight.shape[:2]
    coarse = _fill(_halve(sums), _halve(weight))
    spread = coarse.repeat(2, 0)[:height].repeat(2, 1)[:, :width]
    return np.where(weight > 0, mean, spread)


def _halve(values: NDArray[Any]) -> NDArray[Any]:
    """Return the sums over squares of 2 x 2 pixels."""
    height, width = values.shape[:2]
    padded = np.pad(values, ((0, height % 2), (0, width % 2), (0, 0)))
    summed: NDArray[Any] = padded.reshape(padded.shape[0] // 2, 2, padded.shape[1] // 2, 2, -1).sum((1, 3))
    return summed
