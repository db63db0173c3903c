"""From a file's colours to the sRGB that networks were trained on, and back.

Reference:
    IEC 61966-2-1 (sRGB); ICC.1:2022, annex F; ITU-T H.273, tables 2 and 3 (code points of cICP).
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from restorekit.io.icc import Curve, MatrixProfile, color_model, matrix_profile, profile_name
from restorekit.io.picture import ImageData

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["WorkingSpace", "cmyk_to_srgb", "from_working", "to_working", "working_space"]

_SRGB_CURVE = Curve((2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045, 0.0, 0.0))
_CICP_CURVES = {
    1: Curve((1 / 0.45, 1 / 1.099, 0.099 / 1.099, 1 / 4.5, 0.081, 0.0, 0.0)),
    4: Curve((2.2, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0)),
    8: Curve(),
    13: _SRGB_CURVE,
}
_CICP_CURVES |= dict.fromkeys((6, 14, 15), _CICP_CURVES[1])
_D50 = np.array([0.9642, 1.0, 0.8249])
_D65 = (0.3127, 0.3290)
_PRIMARIES = {
    1: ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060)),
    9: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),
    12: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
}
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
_SAME = 0.6 / 255  # spaces that differ by less are one: there are many slightly different profiles of sRGB

logger = logging.getLogger(__name__)


def _to_xyz(primaries: tuple[tuple[float, float], ...]) -> NDArray[np.float64]:
    """Return the matrix from linear RGB with a white of D65 to XYZ under D50."""

    def lift(x: float, y: float) -> NDArray[np.float64]:
        return np.array([x / y, 1.0, (1 - x - y) / y])

    columns = np.stack([lift(*point) for point in primaries], 1)
    white = lift(*_D65)
    cone = np.diag((_BRADFORD @ _D50) / (_BRADFORD @ white))
    adapted: NDArray[np.float64] = np.linalg.inv(_BRADFORD) @ cone @ _BRADFORD
    return adapted @ (columns * np.linalg.solve(columns, white))


_SRGB_TO_XYZ = _to_xyz(_PRIMARIES[1])


@dataclass(frozen=True)
class WorkingSpace:
    """The way between the colours of a file and sRGB.

    Pure functions of single pixels: a large picture may be converted tile by tile.

    Attributes:
        profile: Curves and matrix of the file.
    """

    profile: MatrixProfile

    def to_srgb(self, pixels: NDArray[Any]) -> NDArray[np.float32]:
        """Return sRGB of the file's colours.

        Args:
            pixels: ``(..., 3)``, or ``(...)`` grey, floating point, nominally in [0, 1].

        Returns:
            The same shape, float32; colours that sRGB does not have lie outside [0, 1].
        """
        return _convert(pixels, self.profile, _SRGB)

    def from_srgb(self, pixels: NDArray[Any]) -> NDArray[np.float32]:
        """Return the file's colours of sRGB, the inverse of ``to_srgb``."""
        return _convert(pixels, _SRGB if self.profile.matrix is not None else _SRGB_GREY, self.profile)

    def carry_back(self, restored: NDArray[Any], *, before: NDArray[Any]) -> NDArray[np.float32]:
        """Return what a restoration in sRGB makes of the file's colours.

        Colours that sRGB does not have were clipped for the network. What the network changed is applied to them as
        they were, so that they are not lost; all others become just what the network says.

        Args:
            restored: ``(..., 3)`` or ``(...)`` sRGB in [0, 1], what the network made of ``to_srgb(before)`` clipped.
            before: The same shape, the file's colours.
        """
        clipped = self.from_srgb(self.to_srgb(before).clip(0, 1))
        result: NDArray[np.float32] = (before + (self.from_srgb(restored) - clipped)).clip(0, 1).astype(np.float32)
        return result


_SRGB = MatrixProfile((_SRGB_CURVE,) * 3, _SRGB_TO_XYZ)
_SRGB_GREY = MatrixProfile((_SRGB_CURVE,), None)


def _convert(pixels: NDArray[Any], source: MatrixProfile, target: MatrixProfile) -> NDArray[np.float32]:
    values = np.asarray(pixels, np.float64)
    if source.matrix is None or target.matrix is None:
        return target.curves[0].encode(source.curves[0].decode(values)).astype(np.float32)
    linear = np.stack([curve.decode(values[..., index]) for index, curve in enumerate(source.curves)], -1)
    linear = linear @ (np.linalg.inv(target.matrix) @ source.matrix).T
    coded = [curve.encode(linear[..., index]) for index, curve in enumerate(target.curves)]
    return np.stack(coded, -1).astype(np.float32)


def working_space(image: ImageData) -> WorkingSpace | None:
    """Return the way between a picture's colours and sRGB, or None where there is none to go.

    That is so if the file states no space, if its space is sRGB, and if its profile works by tables, belongs to
    another colour model, or is damaged; the log tells of the last three.

    Args:
        image: Any picture.
    """
    profile = _stated(image)
    if profile is None:
        return None
    space = WorkingSpace(profile)
    steps = np.linspace(0, 1, 6)
    probe = steps if image.grey else np.stack(np.meshgrid(steps, steps, steps), -1)
    return None if np.abs(space.to_srgb(probe) - probe).max() < _SAME else space


def _stated(image: ImageData) -> MatrixProfile | None:
    """Return the space that the file states: by cICP, which goes first in a PNG, or by its profile."""
    coded = dict(image.metadata.png_chunks).get(b"cICP") if image.format == "png" else None
    if coded is not None and len(coded) == 4 and not image.grey:
        primaries, curve = _PRIMARIES.get(coded[0]), _CICP_CURVES.get(coded[1])
        if primaries is not None and curve is not None:
            return MatrixProfile((curve,) * 3, _to_xyz(primaries))
        logger.warning("the colour space of the file (cICP %s) is not known; it was taken for sRGB", list(coded[:2]))
    icc = image.metadata.icc
    if icc is None:
        return None
    model = color_model(icc)
    if model != ("GRAY" if image.grey else "RGB"):
        kind = f"one of {model}" if model else "damaged"
        logger.warning("the profile of the file is %s and was not applied; it was kept as it is", kind)
        return None
    profile = matrix_profile(icc)
    if profile is None:
        logger.warning("the profile %r works by tables; the colours were taken for sRGB", profile_name(icc))
    return profile


def to_working(image: ImageData) -> NDArray[np.float32]:
    """Return the picture's colours as float32 sRGB in [0, 1], as networks want them.

    Args:
        image: Any picture.

    Returns:
        ``(H, W)`` or ``(H, W, 3)``; what sRGB does not have is clipped.
    """
    coded = _unit(image)
    space = working_space(image)
    if space is not None:
        coded = space.to_srgb(coded)
    return coded.clip(0, 1)


def from_working(image: ImageData, restored: NDArray[Any]) -> ImageData:
    """Return the picture with restored colours, in its own space and dtype.

    Args:
        image: The picture before.
        restored: Of the shape of its pixels, sRGB in [0, 1], made from ``to_working(image)``.
    """
    from restorekit.io.depth import values_to_depth

    space = working_space(image)
    values = np.asarray(restored, np.float32)
    if space is not None:
        values = space.carry_back(values, before=_unit(image))
    return replace(image, pixels=values_to_depth(values.clip(0, 1), image.bits))


def _unit(image: ImageData) -> NDArray[np.float32]:
    from restorekit.io.depth import values_to_depth

    return values_to_depth(image.pixels, 32)


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
