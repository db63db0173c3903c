"""Pillow's decoders, called one by one: no guessing of formats, no global limit, pixels as arrays."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from restorekit.io.faults import Refusal

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFile import ImageFile

__all__ = ["decode", "planes"]


def decode(plugin: type[ImageFile], data: bytes) -> Image:
    """Return a fully decoded picture.

    The plugin is called directly: ``Image.open`` would try every format, and would hold the picture to a limit of
    Pillow's own that is global; ours was checked before.

    Args:
        plugin: The class of the format.
        data: The file, rid of all that is not needed for the pixels.

    Raises:
        Refusal: The pixels are incomplete.
    """
    image = plugin(BytesIO(data))
    try:
        image.load()
    except OSError as error:
        if "truncated" in str(error):
            raise Refusal("the picture data end too early; the file is cut off, get it again") from error
        raise
    return image


def planes(image: Image) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Return the pixels of a decoded picture, ``(H, W)`` or ``(H, W, 3)``, and its alpha or None.

    Args:
        image: Mode 1, L, LA, P (with or without transparency), PA, RGB, RGBA, RGBX, or a 16-bit grey one.

    Raises:
        Refusal: The mode is none of these.
    """
    if image.mode == "1":
        return np.asarray(image.convert("L")), None
    if image.mode in ("P", "PA"):
        transparent = image.mode == "PA" or "transparency" in image.info
        image = image.convert("RGBA" if transparent else "RGB")
    elif image.mode == "RGBX":
        image = image.convert("RGB")
    if image.mode in ("L", "RGB"):
        return np.asarray(image), None
    if image.mode in ("LA", "RGBA"):
        array = np.asarray(image)
        colours = array[:, :, 0] if image.mode == "LA" else array[:, :, :3]
        return np.ascontiguousarray(colours), np.ascontiguousarray(array[:, :, -1])
    if image.mode.startswith("I;16"):
        return np.asarray(image).astype(np.uint16), None
    raise Refusal(f"pixels of the kind {image.mode} are not supported; convert the file to grey or RGB first")
