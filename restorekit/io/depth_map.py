"""Depth maps in files: 16-bit PNG, TIFF of whole or floating-point numbers, NPY; with what a step of them measures.

Everywhere zero, what is negative and what is no finite number mean the same: nothing was measured there, a hole.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from restorekit.errors import UnknownNameError, UsageError
from restorekit.io.atomic import atomic_file
from restorekit.io.faults import Refusal, about
from restorekit.io.limits import DEFAULT_LIMITS, Limits, check_size
from restorekit.io.picture import ImageData
from restorekit.io.pil_bridge import decode
from restorekit.io.read import read_image
from restorekit.io.write import write_image

__all__ = ["DEPTH_SUFFIXES", "DepthMap", "DepthUnit", "parse_unit", "read_depth", "write_depth"]

DEPTH_SUFFIXES = {".png": "png", ".tif": "tiff", ".tiff": "tiff", ".npy": "npy"}
"""Suffix, in lower case, of files that hold depth maps -> format."""

_UNITS = {"mm": 0.001, "cm": 0.01, "m": 1.0, "raw": None}
_SIGNED_TIFF = ("I", "I;16S", "I;32S", "I;32N")  # kinds of Pillow's that a picture is not read as
_COLOURS = "this is a colour picture, not a depth map; give the depth map as input and the picture with --guide"


@dataclass(frozen=True, kw_only=True)
class DepthUnit:
    """What a step of a depth map measures.

    Attributes:
        name: As people say it.
        metres: Length of a step; ``None`` for numbers that are no lengths, such as grey levels.
    """

    name: str
    metres: float | None


def parse_unit(text: str) -> DepthUnit:
    """Return a unit: ``mm``, ``cm``, ``m``, ``raw`` (no length), or the metres of a step such as ``0.0002``.

    Raises:
        UsageError: It is none of these.
    """
    if text in _UNITS:
        return DepthUnit(name=text, metres=_UNITS[text])
    try:
        metres = float(text)
    except ValueError:
        raise UnknownNameError("unit of depth", text, [*_UNITS, "the metres of a step, such as 0.0002"]) from None
    if not 0 < metres < math.inf:
        raise UsageError(f"a step of a depth map measures more than 0 m, not {text}")
    return DepthUnit(name=f"{metres:g} m", metres=metres)


@dataclass(frozen=True, kw_only=True)
class DepthMap:
    """A depth map as it stands in a file.

    Attributes:
        values: ``(H, W)`` float32 in steps of ``unit``, not a number in holes.
        unit: What a step measures.
        dtype: Type of the numbers in the file.
        format: ``png``, ``tiff`` or ``npy``.
        hole: What stands in a hole in the file, where that can be chosen: 0 or not a number.
    """

    values: NDArray[np.float32]
    unit: DepthUnit
    dtype: np.dtype[Any]
    format: str
    hole: float = 0.0

    @property
    def whole(self) -> bool:
        """Whether the file holds whole numbers."""
        return self.dtype.kind in "iu"

    @property
    def metres(self) -> NDArray[np.float32]:
        """The depth in metres (in steps, where a step is no length), not a number in holes."""
        factor = self.unit.metres
        if factor is None:
            return self.values
        steps = round(1 / factor)  # dividing by 1000 is nearer to the truth than multiplying by 0.001
        exact = steps > 1 and math.isclose(steps * factor, 1)
        return self.values / np.float32(steps) if exact else self.values * np.float32(factor)

    def with_metres(self, metres: NDArray[np.float32]) -> DepthMap:
        """Return a map of the same kind with other depths, ``(H, W)`` in metres (see ``metres``)."""
        factor = self.unit.metres
        return replace(self, values=(metres / (1 if factor is None else factor)).astype(np.float32))


def read_depth(path: Path | str, *, unit: DepthUnit | None = None, limits: Limits = DEFAULT_LIMITS) -> DepthMap:
    """Read a depth map.

    Args:
        path: A PNG, TIFF or NPY file.
        unit: What a step measures; if ``None``, a millimetre for whole numbers and a metre for floating-point ones.
        limits: What is too large to be read.

    Raises:
        PictureError: The file cannot be read, is a colour picture or no single map, or has only holes.
        UsageError: It has 8 bits, of which nobody knows what they measure, and no unit was given.
    """
    path = Path(path)
    kind = DEPTH_SUFFIXES.get(path.suffix.lower())
    with about(str(path), "reading it"):
        stored, kind = (_read_npy(path, limits), "npy") if kind == "npy" else _read_picture(path, limits)
        if unit is None and stored.dtype.itemsize == 1:
            raise UsageError(
                f"{path} has 8 bits, and what a step of them measures is not known; say it with --unit: mm, cm, m, the "
                "metres of a step, or raw"
            )
        with np.errstate(over="ignore", invalid="ignore"):
            values = stored.astype(np.float32)
            holes = ~(np.isfinite(values) & (values > 0))
        if holes.all():
            raise Refusal("nothing was measured anywhere in this depth map (all pixels are 0 or no number)")
    hole = math.nan if stored.dtype.kind == "f" and bool(np.isnan(values).any()) else 0.0
    values[holes] = np.nan
    if unit is None:
        unit = parse_unit("mm" if stored.dtype.kind in "iu" else "m")
    return DepthMap(values=values, unit=unit, dtype=stored.dtype, format=kind, hole=hole)


def _read_npy(path: Path, limits: Limits) -> NDArray[Any]:
    with path.open("rb") as file:
        version = np.lib.format.read_magic(file)
        header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = header(file)
        sides = [side for side in shape if side != 1] if len(shape) > 2 else list(shape)
        if dtype.kind not in "iuf" or len(shape) < 2 or len(sides) > 2:
            raise Refusal(
                f"this array is {' x '.join(map(str, shape))} {dtype}, and a depth map is height x width numbers"
            )
        if len(sides) < 2:  # one row, one column, or one pixel
            sides = list(shape[-2:])
        check_size(sides[1], sides[0], limits)
        if os.fstat(file.fileno()).st_size > limits.file_bytes:
            raise Refusal(f"the file is larger than the limit of {limits.file_bytes / 2**20:.0f} MiB")
        file.seek(0)
        stored: NDArray[Any] = np.load(file, allow_pickle=False)
        return stored.reshape(sides)


def _read_picture(path: Path, limits: Limits) -> tuple[NDArray[Any], str]:
    signed = _read_signed(path, limits)
    if signed is not None:
        return signed, "tiff"
    image = read_image(path, limits=limits)
    if not image.grey:
        raise Refusal(_COLOURS)
    if image.format not in ("png", "tiff"):
        raise Refusal(f"{str(image.format).upper()} files hold no depth; give a 16-bit PNG, a TIFF or an NPY file")
    pixels = image.pixels
    if image.alpha is not None:
        pixels = np.where(image.alpha > 0, pixels, np.zeros((), pixels.dtype))
    if pixels.dtype.kind == "f" and image.encoding is not None and image.encoding.bits == 64:
        pixels = pixels.astype(np.float64)
    return pixels, image.format


def _read_signed(path: Path, limits: Limits) -> NDArray[Any] | None:
    """Return the values of a TIFF of signed or of 32-bit whole numbers, which no picture has; else ``None``."""
    with path.open("rb") as file:
        if file.read(4) not in (b"II*\x00", b"MM\x00*"):
            return None
        if os.fstat(file.fileno()).st_size > limits.file_bytes:
            return None  # the reader of pictures says so
        file.seek(0)
        data = file.read()
    from PIL.TiffImagePlugin import TiffImageFile

    try:
        opened = TiffImageFile(BytesIO(data))
    except Exception:  # whatever is wrong with it, the reader of pictures says it better
        return None
    if opened.mode not in _SIGNED_TIFF:
        return None
    check_size(opened.width, opened.height, limits)
    return np.asarray(decode(TiffImageFile, data)).astype(np.int32)


def write_depth(
    depth: DepthMap,
    target: Path | str,
    *,
    format: str | None = None,
    overwrite: bool = True,
) -> DepthMap:
    """Write a depth map, whole or not at all.

    Whole numbers stay whole; a measured pixel never becomes a hole, a hole stays one. A PNG of floating-point metres
    gets millimetres.

    Args:
        depth: The map.
        target: A path.
        format: ``png``, ``tiff`` or ``npy``; if ``None``, what the suffix says, else that of the map.
        overwrite: Whether a file of that name may be replaced.

    Returns:
        The map as it was written, in its own unit.

    Raises:
        UsageError: A depth map cannot be written in that format.
        PictureError: The file cannot be written, or a PNG cannot hold the depths.
    """
    path = Path(target)
    chosen = format or DEPTH_SUFFIXES.get(path.suffix.lower(), depth.format)
    if chosen not in DEPTH_SUFFIXES.values():
        raise UnknownNameError("format of depth maps", chosen, sorted(set(DEPTH_SUFFIXES.values())))
    written = replace(depth, format=chosen)
    if chosen == "png" and not depth.whole:
        written = _in_millimetres(written)
    if written.whole:
        stored = _to_whole(written, str(path), deep=chosen == "npy")
    else:
        stored = np.where(np.isnan(written.values), np.float32(written.hole), written.values)
        stored = stored.astype(written.dtype if chosen == "npy" else np.float32)
    if chosen == "npy":
        with about(str(path), "writing it"), atomic_file(path, overwrite=overwrite) as file:
            _save(file, stored)
    else:
        write_image(ImageData(pixels=stored, format=chosen), path, format=chosen, overwrite=overwrite)
    return written


def _save(file: BinaryIO, stored: NDArray[Any]) -> None:
    np.lib.format.write_array(file, np.ascontiguousarray(stored), allow_pickle=False)


def _in_millimetres(depth: DepthMap) -> DepthMap:
    if depth.unit.metres is None:
        return replace(depth, dtype=np.dtype(np.uint16))
    return replace(depth, values=(depth.metres * np.float32(1000)), unit=parse_unit("mm"), dtype=np.dtype(np.uint16))


def _to_whole(depth: DepthMap, name: str, *, deep: bool) -> NDArray[Any]:
    """Return whole numbers, 0 in holes: of the type of the file, in a picture 16 bits at most."""
    dtype = depth.dtype if deep or depth.dtype.itemsize == 1 else np.dtype(np.uint16)
    most = np.iinfo(dtype).max
    rounded = np.rint(depth.values.astype(np.float64))
    if bool((rounded > most).any()) and not deep:
        with about(name, "writing it"):
            raise Refusal(
                f"depths up to {np.nanmax(rounded):.0f} {depth.unit.name} do not fit into {8 * dtype.itemsize} bits; "
                "write a floating-point TIFF or an NPY file"
            )
    return np.where(np.isnan(rounded), 0, rounded.clip(1, most)).astype(dtype)
