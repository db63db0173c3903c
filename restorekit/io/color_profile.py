"""Colour profiles: CMYK to sRGB."""

from __future__ import annotations

import logging
from dataclasses import replace
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np

from restorekit.io.picture import ImageData

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["cmyk_to_srgb"]

logger = logging.getLogger(__name__)


def cmyk_to_srgb(image: Image, blank: ImageData) -> ImageData:
    """Return a CMYK picture as sRGB.

    Args:
        image: Mode CMYK.
        blank: What the file holds besides; its profile is used and then dropped, since it is none of RGB.

    Returns:
        uint8 RGB with a note on how it was converted.
    """
    from PIL import ImageCms

    how = "without a profile, by the plain formula"
    converted = None
    if blank.metadata.icc is not None:
        try:
            profile = ImageCms.ImageCmsProfile(BytesIO(blank.metadata.icc))
            target = ImageCms.createProfile("sRGB")
            converted = ImageCms.profileToProfile(image, profile, target, outputMode="RGB")
            how = "with its profile"
        except (ImageCms.PyCMSError, OSError, ValueError):
            how = "by the plain formula, since its profile is damaged or none of CMYK"
    pixels = np.asarray(converted if converted is not None else image.convert("RGB"))
    note = f"CMYK was converted to sRGB {how}"
    metadata = replace(blank.metadata, icc=None)
    return replace(blank, pixels=pixels, metadata=metadata, notes=(*blank.notes, note))
