"""Pillow's decoders, called one by one: no guessing of formats, no global limit, pixels as arrays."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from restorekit.io.faults import Refusal

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFile import ImageFile

__all__ = ["decode", "planes", "same_pixels"]

_DAMAGED = "the picture data are damaged; get the file again"
_BAND = 2**20  # pixels that are copied at a time: in one go Pillow takes three times their bytes


def decode(plugin: type[ImageFile], data: bytes) -> Image:
    """Return a fully decoded picture.

    The plugin is called directly: ``Image.open`` would try every format, and would hold the picture to a limit of
    Pillow's own that is global; ours was checked before.

    Args:
        plugin: The class of the format.
        data: The file, rid of all that is not needed for the pixels.

    Raises:
        Refusal: The pixels are damaged or incomplete.
    """
    try:
        image = plugin(BytesIO(data))
        image.load()
    except OSError as error:
        if error.errno is not None:
            raise
        if "truncated" in str(error):
            raise Refusal("the picture data end too early; the file is cut off, get it again") from error
        raise Refusal(_DAMAGED) from error
    except SyntaxError as error:  # Pillow's word for a structure that it does not understand
        raise Refusal(_DAMAGED) from error
    return image


def planes(image: Image) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Return the pixels of a decoded picture, ``(H, W)`` or ``(H, W, 3)``, and its alpha or None.

    Args:
        image: Mode 1, L, LA, P (with or without transparency), PA, RGB, RGBA, RGBX, or a 16-bit grey one.

    Raises:
        Refusal: The mode is none of these.
    """
    if image.mode == "1":
        image = image.convert("L")
    elif image.mode in ("P", "PA"):
        transparent = image.mode == "PA" or "transparency" in image.info
        image = image.convert("RGBA" if transparent else "RGB")
    elif image.mode == "RGBX":
        image = image.convert("RGB")
    if image.mode in ("L", "RGB", "LA", "RGBA"):
        return _split(image)
    if image.mode.startswith("I;16"):
        return np.asarray(image).astype(np.uint16), None
    raise Refusal(f"pixels of the kind {image.mode} are not supported; convert the file to grey or RGB first")


def _split(image: Image) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
    """Return colours and alpha of a picture of 8 bits."""
    size = (image.height, image.width)
    pixels = np.empty(size if image.mode.startswith("L") else (*size, 3), np.uint8)
    alpha = np.empty(size, np.uint8) if image.mode.endswith("A") else None
    for rows, band in _bands(image):
        if alpha is None:
            pixels[rows] = band
        else:
            pixels[rows] = band[:, :, 0] if pixels.ndim == 2 else band[:, :, :3]
            alpha[rows] = band[:, :, -1]
    return pixels, alpha


def _bands(image: Image) -> Iterator[tuple[slice, NDArray[np.uint8]]]:
    step = max(1, _BAND // image.width)
    for top in range(0, image.height, step):
        bottom = min(top + step, image.height)
        yield slice(top, bottom), np.asarray(image.crop((0, top, image.width, bottom)))


def same_pixels(image: Image, pixels: NDArray[np.uint8]) -> bool:
    """Return whether a decoded picture of 8 bits holds just these pixels, without a copy of it."""
    return all(np.array_equal(band, pixels[rows]) for rows, band in _bands(image))
