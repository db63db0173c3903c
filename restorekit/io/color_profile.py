"""From a file's colours to the sRGB that networks were trained on, and back.

Reference:
    IEC 61966-2-1 (sRGB); ICC.1:2022, annex F; ITU-T H.273, tables 2 and 3 (code points of cICP).
"""

from __future__ import annotations

import logging
import struct
from dataclasses import replace
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from restorekit.io.depth import values_to_depth
from restorekit.io.icc import (
    SRGB_CURVE,
    SRGB_TO_XYZ,
    Curve,
    MatrixProfile,
    build_profile,
    color_model,
    invertible,
    matrix_profile,
    primaries_to_xyz,
    profile_name,
)
from restorekit.io.picture import ImageData
from restorekit.io.spaces import MatrixSpace, TableSpace, WorkingSpace

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = [
    "WorkingSpace",
    "cmyk_to_srgb",
    "coded_profile",
    "from_working",
    "profile_space",
    "to_working",
    "working_space",
]

_CICP_CURVES = {
    1: Curve((1 / 0.45, 1 / 1.099, 0.099 / 1.099, 1 / 4.5, 0.081, 0.0, 0.0)),
    4: Curve((2.2, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0)),
    8: Curve(),
    13: SRGB_CURVE,
}
_CICP_CURVES |= dict.fromkeys((6, 14, 15), _CICP_CURVES[1])
_PRIMARIES = {
    1: ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060)),
    9: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),
    12: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
}
_NAMES = {1: "BT.709", 9: "BT.2020", 12: "Display P3"}
_LIKE_SRGB = (1, 6, 13, 14, 15)
_SRGB_GAMMA = 0.45455  # what a PNG of sRGB states for programs that know no more; others that are close mean sRGB, too
_SAME = 0.6 / 255  # spaces that differ by less are one: there are many slightly different profiles of sRGB

logger = logging.getLogger(__name__)


def working_space(image: ImageData) -> WorkingSpace | None:
    """Return the way between a picture's colours and sRGB, or None where there is none to go.

    That is so if the file states no space, if its space is sRGB, and if its profile cannot be applied: the log tells
    of the last.

    Args:
        image: Any picture.
    """
    stated = _png_space(image) if image.format == "png" else None
    if stated is not None:
        return _unless_srgb(MatrixSpace(stated), grey=image.grey)
    icc = image.metadata.icc
    return None if icc is None else profile_space(icc, grey=image.grey, bits=image.bits)


def profile_space(icc: bytes, *, grey: bool, bits: int) -> WorkingSpace | None:
    """Return the way between the colours that an ICC profile describes and sRGB, or None where there is none to go.

    Args:
        icc: The profile.
        grey: Whether the pixels have one colour channel.
        bits: 8, 16 or 32 (floating point) of a value.
    """
    model = color_model(icc)
    if model != ("GRAY" if grey else "RGB"):
        kind = f"one of {model}" if model else "damaged"
        logger.warning("the profile of the file is %s and was not applied; it was kept as it is", kind)
        return None
    profile = matrix_profile(icc)
    if profile is not None:
        return _unless_srgb(MatrixSpace(profile), grey=grey)
    if not grey and bits == 8:
        try:
            return _unless_srgb(TableSpace(icc), grey=False)
        except ValueError:
            why = "that cannot be used both ways"
    else:
        why = "and is applied to 8-bit RGB only"
    logger.warning("the profile %r works by tables %s; the colours were taken for sRGB", profile_name(icc), why)
    return None


def _unless_srgb(space: WorkingSpace, *, grey: bool) -> WorkingSpace | None:
    steps = np.linspace(0, 255, 6).astype(np.uint8)
    probe = steps if grey else np.stack(np.meshgrid(steps, steps, steps), -1).reshape(-1, 1, 3)
    return None if np.abs(space.to_srgb(probe) - probe / 255).max() < _SAME else space


def _png_space(image: ImageData) -> MatrixProfile | None:
    """Return the space that the chunks of a PNG state; cICP goes before a profile, gAMA and cHRM come after it."""
    chunks = dict(image.metadata.png_chunks)
    coded = chunks.get(b"cICP", b"")
    if len(coded) == 4 and not image.grey:
        space = _coded_space(coded[0], coded[1])
        if space is not None:
            return space
        logger.warning("the colour space of the file (cICP %s) is not known; it was taken for sRGB", list(coded[:2]))
    if image.metadata.icc is not None or b"sRGB" in chunks or len(chunks.get(b"gAMA", b"")) != 4:
        return None
    return _calibrated(chunks[b"gAMA"], chunks.get(b"cHRM", b""), grey=image.grey)


def _coded_space(primaries: int, curve: int) -> MatrixProfile | None:
    """Return the space that two code points stand for, or None where it is none of curves and a matrix."""
    points, tone = _PRIMARIES.get(primaries), _CICP_CURVES.get(curve)
    return None if points is None or tone is None else MatrixProfile((tone,) * 3, primaries_to_xyz(points))


def coded_profile(primaries: int, curve: int) -> bytes | None:
    """Return an ICC profile of the space that two code points stand for, or None where there is none to be told.

    That is so for sRGB, for what programs show as if it were sRGB, and for curves of high dynamic range.

    Args:
        primaries: ColourPrimaries of ITU-T H.273.
        curve: TransferCharacteristics of ITU-T H.273.
    """
    space = None if primaries == 1 and curve in _LIKE_SRGB else _coded_space(primaries, curve)
    return None if space is None else build_profile(space, f"{_NAMES[primaries]}, curve {curve} (H.273)")


def _calibrated(gamma: bytes, points: bytes, *, grey: bool) -> MatrixProfile | None:
    """Return the space that gAMA and cHRM of a PNG describe; None where they are damaged."""
    exponent = int.from_bytes(gamma, "big") / 100_000
    if not 0.1 <= exponent <= 10:
        return None
    close = abs(exponent - _SRGB_GAMMA) < 0.05 * _SRGB_GAMMA
    curve = SRGB_CURVE if close else Curve((1 / exponent, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0))
    if grey:
        return MatrixProfile((curve,), None)
    if len(points) != 32:
        return MatrixProfile((curve,) * 3, SRGB_TO_XYZ)
    sides = [number / 100_000 for number in struct.unpack(">8I", points)]
    white, *primaries = zip(sides[::2], sides[1::2], strict=True)
    if min(sides[1::2]) <= 0:
        return None
    matrix = primaries_to_xyz(tuple(primaries), white=white)
    return MatrixProfile((curve,) * 3, matrix) if invertible(matrix) else None


def to_working(image: ImageData) -> NDArray[np.float32]:
    """Return the picture's colours as float32 sRGB in [0, 1], as networks want them.

    Args:
        image: Any picture.

    Returns:
        ``(H, W)`` or ``(H, W, 3)``; what sRGB does not have is clipped.
    """
    space = working_space(image)
    return values_to_depth(image.pixels, 32).clip(0, 1) if space is None else space.to_srgb(image.pixels)


def from_working(image: ImageData, restored: NDArray[Any]) -> ImageData:
    """Return the picture with restored colours, in its own space and dtype.

    Args:
        image: The picture before.
        restored: Of the shape of its pixels, sRGB in [0, 1], made from ``to_working(image)``.
    """
    space = working_space(image)
    values = np.asarray(restored, np.float32)
    if space is not None:
        values = space.carry_back(values, before=image.pixels)
    return replace(image, pixels=values_to_depth(values.clip(0, 1), image.bits))


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
            how = f"with its profile {profile_name(blank.metadata.icc)!r}"
        except (ImageCms.PyCMSError, OSError, ValueError):
            how = "by the plain formula, since its profile is damaged or none of CMYK"
    pixels = np.asarray(converted if converted is not None else image.convert("RGB"))
    note = f"CMYK was converted to sRGB {how}"
    metadata = replace(blank.metadata, icc=None)
    return replace(blank, pixels=pixels, metadata=metadata, notes=(*blank.notes, note))
