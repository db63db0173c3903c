"""Pictures whose restored copy is larger than they are: read as they are, written at the size of the network's answer.

The copy begins as the picture itself, enlarged plainly (bicubic). What the network does not replace (alpha, what a mask
spares, the share that a strength below 1 leaves) is that.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from restorekit.inference.pictures import Canvas, Opened, open_picture
from restorekit.io import ImageData
from restorekit.ops.tiles import Box

__all__ = ["enlarge", "open_enlarged"]


def open_enlarged(image: object, *, crop: tuple[int, int, int, int] | None, scale: int) -> Opened:
    """Open a picture whose copy is larger; for the rest see ``open_picture``.

    Args:
        image: Any kind of picture that the Restorer takes.
        crop: x, y, width and height of the part to return, in pixels of the picture; all of it if ``None``.
        scale: How many times larger the copy is; 1 opens the picture as ``open_picture`` does.

    Returns:
        The open picture. What is written to its canvases counts in pixels of the enlarged picture.
    """
    opened = open_picture(image, crop=crop)
    if scale == 1:
        return opened
    larger = open_picture(enlarge(opened.close(), scale))
    canvases: list[Canvas] = [
        _EnlargedCanvas(source, target, scale) for source, target in zip(opened.canvases, larger.canvases, strict=True)
    ]
    return Opened(canvases, larger.close, opened.check)


class _EnlargedCanvas(Canvas):
    """Reads from one picture and writes to another, enlarged one.

    Args:
        source: The picture.
        target: Its part, enlarged.
        scale: How many times.
    """

    def __init__(self, source: Canvas, target: Canvas, scale: int) -> None:
        super().__init__((source.height, source.width), source.part, source._space)
        self._source, self._target, self._scale = source, target, scale

    @property
    def store(self) -> torch.device:
        return self._source.store

    @property
    def pixel_bytes(self) -> int:
        return self._source.pixel_bytes

    def _take(self, box: Box) -> Tensor:
        return self._source._take(box)

    def _take_alpha(self, box: Box) -> Tensor | None:
        return self._source._take_alpha(box)

    def _put(self, box: Box, colours: Tensor) -> None:
        self._target._put(box, colours)

    def write(self, box: Box, restored: Tensor, share: Tensor | float) -> None:
        top, left = box.top - self._scale * self.part.top, box.left - self._scale * self.part.left
        self._target.write(Box(top, left, box.height, box.width), restored, share)


def enlarge(image: Any, scale: int) -> Any:
    """Enlarge a picture plainly, by bicubic interpolation within the range of its values.

    Args:
        image: Tensor ``(C, H, W)`` or ``(B, C, H, W)``, array ``(H, W)`` or ``(H, W, C)``, PIL image of a mode that
            an array stands for, or ``ImageData``.
        scale: How many times; a whole number.

    Returns:
        A picture of the same type and dtype, ``scale`` times as high and wide.
    """
    if isinstance(image, ImageData):
        alpha = None if image.alpha is None else _array(image.alpha, scale)
        return image.replace(pixels=_array(image.pixels, scale), alpha=alpha)
    if isinstance(image, Image.Image):
        picture = Image.fromarray(_array(np.asarray(image), scale))
        picture.info = dict(image.info)
        return picture
    if isinstance(image, Tensor):
        planes = image.flatten(0, -3).cpu()
        larger = torch.stack([_plane(plane, scale) for plane in planes])
        return larger.view(*image.shape[:-2], *larger.shape[-2:]).to(image.device)
    return _array(image, scale)


def _plane(plane: Tensor, scale: int) -> Tensor:
    exact = plane.float() if plane.dtype == torch.bfloat16 else plane  # numpy has no bfloat16
    return torch.from_numpy(_array(exact.numpy(), scale)).to(plane.dtype)


def _array(pixels: NDArray[Any], scale: int) -> NDArray[Any]:
    """Enlarge ``(H, W)`` or ``(H, W, C)``."""
    resize = _resizer(pixels.dtype)
    size = (scale * pixels.shape[1], scale * pixels.shape[0])
    larger = resize(np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("=")), size)
    return larger.reshape(*size[::-1], *pixels.shape[2:])


def _resizer(dtype: np.dtype[Any]) -> Callable[[NDArray[Any], tuple[int, int]], NDArray[Any]]:
    """Return a function that resizes; OpenCV rounds and saturates whole numbers and knows no other than these types."""

    def whole(pixels: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
        return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_CUBIC))

    def real(pixels: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
        exact = pixels.astype(np.float64 if dtype.itemsize == 8 else np.float32, copy=False)
        return whole(exact, size).clip(exact.min(), exact.max()).astype(dtype.newbyteorder("="), copy=False)

    def wide(pixels: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:  # mode I of PIL: 16 bits in 32
        return whole(pixels.astype(np.uint16), size).astype(pixels.dtype)

    return real if dtype.kind == "f" else wide if dtype.itemsize == 4 else whole
