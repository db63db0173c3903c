"""What lies under full transparency, so that it does not bleed into what is seen."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Underpaint", "fill_transparent"]

_LEVELS = 4
_SQUARE = 2**_LEVELS  # side, in pixels, of the squares whose colours are kept of the whole picture
_STRIP = 2**18  # pixels that are looked at at a time for them
_LEAST = 1 / 255  # weight of a pixel that can hardly be seen

Pixels = NDArray[Any]


class Underpaint:
    """The colours of a picture, with something better where nothing of them is seen, made part by part.

    Editors leave black or white under full transparency. A network, whose every output pixel looks at many input
    pixels, would draw that into the edges of what is seen: dark or light fringes. So a fully transparent pixel gets
    the mean of the smallest square around it that holds anything seen, of the squares of 2, 4, 8, ... pixels that
    the picture is cut into. What is hardly seen counts little: its colours are often as arbitrary.

    Only the means of squares of 16 pixels are kept, and only where a part asks for them: a picture of 100 megapixels
    takes 6 MB.

    Args:
        height: Rows of the picture.
        width: Columns of the picture.
        take: Return colours ``(h, w, C)`` and alpha ``(h, w)`` of the given rows and columns, of any one dtype; alpha
            is nominally in [0, 1] where it is floating point, and what is not above 0 is fully transparent.
    """

    def __init__(self, height: int, width: int, take: Callable[[slice, slice], tuple[Pixels, Pixels]]) -> None:
        self._height, self._width, self._take = height, width, take

    def part(self, rows: slice, columns: slice) -> Pixels:
        """Return the colours of a part, ``(h, w, C)``, in the picture's dtype; those that are seen are the same.

        Args:
            rows: From ``start`` to ``stop``.
            columns: From ``start`` to ``stop``.
        """
        colours, alpha = self._take(rows, columns)
        seen: NDArray[np.bool_] = np.all(alpha > 0, axis=1)
        if seen.all():
            return colours
        result = colours.copy()
        step = _rows_of_a_strip(columns.stop - columns.start)
        for top in range(rows.start // _SQUARE * _SQUARE, rows.stop, step):
            strip = slice(max(top, rows.start), min(top + step, rows.stop))
            here = slice(strip.start - rows.start, strip.stop - rows.start)
            if not seen[here].all():
                result[here] = self._filled(strip, columns)
        return result

    def _filled(self, rows: slice, columns: slice) -> Pixels:
        """Return the colours of a part, made of the whole squares that it lies in."""
        top, left = rows.start // _SQUARE, columns.start // _SQUARE
        bottom, right = -(-rows.stop // _SQUARE), -(-columns.stop // _SQUARE)
        colours, alpha = self._take(
            slice(top * _SQUARE, min(bottom * _SQUARE, self._height)),
            slice(left * _SQUARE, min(right * _SQUARE, self._width)),
        )
        mean = _fill(*_weighted(colours, alpha), levels=_LEVELS, beyond=lambda: self._squares[top:bottom, left:right])
        if colours.dtype.kind != "f":
            mean = np.rint(mean)
        filled = np.where((alpha > 0)[:, :, None], colours, mean.astype(colours.dtype))
        first, before = rows.start - top * _SQUARE, columns.start - left * _SQUARE
        return filled[first : first + rows.stop - rows.start, before : before + columns.stop - columns.start]

    @cached_property
    def _squares(self) -> Pixels:
        """The mean colours of all squares, ``(rows, columns, C)``."""
        step = _rows_of_a_strip(self._width)
        sums, weights = [], []
        for top in range(0, self._height, step):
            given = self._take(slice(top, min(top + step, self._height)), slice(0, self._width))
            both = _weighted(*given)
            for _ in range(_LEVELS):
                both = _halve(both[0]), _halve(both[1])
            sums.append(both[0])
            weights.append(both[1])
        return _fill(np.concatenate(sums), np.concatenate(weights))


def fill_transparent(pixels: Pixels, alpha: Pixels) -> Pixels:
    """Return pixels whose fully transparent ones got the colours of those around them; see ``Underpaint``.

    Args:
        pixels: ``(H, W)`` or ``(H, W, 3)``, any dtype.
        alpha: ``(H, W)``, 0 = fully transparent.

    Returns:
        The same shape and dtype; where alpha is not 0, the same values.
    """
    layers = pixels if pixels.ndim == 3 else pixels[:, :, None]
    height, width = alpha.shape
    under = Underpaint(height, width, lambda rows, columns: (layers[rows, columns], alpha[rows, columns]))
    return under.part(slice(0, height), slice(0, width)).reshape(pixels.shape)


def _rows_of_a_strip(width: int) -> int:
    rows: int = max(1, _STRIP // (_SQUARE * width)) * _SQUARE
    return rows


def _weighted(colours: Pixels, alpha: Pixels) -> tuple[Pixels, Pixels]:
    """Return the colours times their weights, and the weights ``(h, w, 1)``: 0 where nothing is seen."""
    full = np.float32(1 if alpha.dtype.kind == "f" else np.iinfo(alpha.dtype).max)
    weight = np.where(alpha > 0, np.clip(alpha.astype(np.float32) / full, _LEAST, 1), np.float32(0))[:, :, None]
    shown = np.where(weight > 0, colours, 0).astype(np.float32)  # what is hidden may be no number at all
    return shown * weight, weight


def _fill(
    sums: Pixels, weight: Pixels, *, levels: int | None = None, beyond: Callable[[], Pixels] | None = None
) -> Pixels:
    """Return sums / weight; where the weight is 0, that of the square of twice the side which it lies in.

    Args:
        sums: ``(h, w, C)``.
        weight: ``(h, w, 1)``.
        levels: How often the side may be doubled here.
        beyond: Return the means of the squares above these levels.
    """
    mean: Pixels = sums / np.where(weight > 0, weight, 1)
    if (weight > 0).all():
        return mean
    height, width = weight.shape[:2]
    if levels == 0 and beyond is not None:
        return np.where(weight > 0, mean, beyond())
    if beyond is None and max(height, width) == 1:
        return mean  # nothing is seen anywhere
    coarse = _fill(_halve(sums), _halve(weight), levels=None if levels is None else levels - 1, beyond=beyond)
    spread = coarse.repeat(2, 0)[:height].repeat(2, 1)[:, :width]
    return np.where(weight > 0, mean, spread)


def _halve(values: Pixels) -> Pixels:
    """Return the sums over squares of 2 x 2 pixels."""
    height, width = values.shape[:2]
    if height % 2 or width % 2:
        values = np.pad(values, ((0, height % 2), (0, width % 2), (0, 0)))
    # always in the same order, so that a part and the whole agree to the last bit
    summed: Pixels = values[::2, ::2] + values[1::2, ::2]
    summed += values[::2, 1::2]
    summed += values[1::2, 1::2]
    return summed
