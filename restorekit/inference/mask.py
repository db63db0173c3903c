"""Masks: restore here, leave there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from restorekit.errors import UsageError
from restorekit.io import read_image
from restorekit.ops.tiles import Box

__all__ = ["Mask", "open_mask"]

_SCALES = {"bool": 1, "uint8": 255, "uint16": 65535, "float16": 1, "float32": 1, "float64": 1}


class Mask:
    """How much of the restored picture is taken, pixel by pixel.

    Args:
        values: ``(H, W)``, or ``(H, W, C)`` whose channels are averaged; full scale means "restored", 0 "as it was".
    """

    def __init__(self, values: NDArray[Any]) -> None:
        self._values = values
        self._scale = _SCALES[values.dtype.name]

    def share(self, box: Box, *, scale: int = 1) -> Tensor:
        """Return a box of the mask as ``(scale h, scale w)`` float32 in [0, 1], each of its pixels a square of them."""
        part = self._cut(box).astype(np.float32) / self._scale
        share = torch.from_numpy(part if part.ndim == 2 else part.mean(2))
        return share if scale == 1 else share.repeat_interleave(scale, 0).repeat_interleave(scale, 1)

    def any(self, box: Box) -> bool:
        """Tell whether anything of a box is restored."""
        return bool(self._cut(box).any())

    def _cut(self, box: Box) -> NDArray[Any]:
        return self._values[box.top : box.bottom, box.left : box.right]


def open_mask(mask: object, height: int, width: int) -> Mask:
    """Open a mask.

    Args:
        mask: ``(H, W)`` array or tensor: bool, uint8 (0 to 255), uint16 (0 to 65535) or float (0 to 1); a PIL image;
            or the path of a picture file, whose colours are averaged.
        height: Rows of the picture that it belongs to.
        width: Columns of that picture.

    Returns:
        The mask.

    Raises:
        UsageError: It has another size, another dtype, or values outside its range.
        PictureError: A file cannot be read.
    """
    values = _values(mask)
    if values.shape[:2] != (height, width) or values.ndim > (3 if isinstance(mask, str | Path | Image.Image) else 2):
        raise UsageError(
            f"the mask is {values.shape}, the picture {height} rows by {width} columns; give a mask (H, W) of that size"
        )
    if values.dtype.name not in _SCALES:
        raise UsageError(f"a mask is bool, uint8, uint16, or float in [0, 1], not {values.dtype}")
    if values.dtype.kind == "f" and not (values.min() >= 0 and values.max() <= 1):
        raise UsageError(
            f"a floating-point mask is in [0, 1], this one reaches from {values.min():g} to {values.max():g}"
        )
    return Mask(values)


def _values(mask: object) -> NDArray[Any]:
    if isinstance(mask, str | Path):
        return read_image(mask).pixels
    if isinstance(mask, Image.Image):
        return np.asarray(mask if mask.mode in ("1", "L", "I;16", "F") else mask.convert("RGB"))
    if isinstance(mask, Tensor):
        return mask.detach().cpu().numpy()
    if isinstance(mask, np.ndarray):
        return mask
    raise UsageError(f"a mask is an array, a tensor, a PIL image or a path, not a {type(mask).__name__}")
