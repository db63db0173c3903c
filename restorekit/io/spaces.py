"""The way between the colours of a file and the sRGB that networks know: fast, per pixel, in little memory."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

from restorekit.io.icc import SRGB_CURVE, SRGB_TO_XYZ, MatrixProfile

__all__ = ["MatrixSpace", "TableSpace", "WorkingSpace"]

_STEPS = 4096  # of a curve that is interpolated; the error stays below 3e-7, a fiftieth of a step of 16 bits
_BLOCK = 2**14  # pixels that are converted at a time: what is made of them on the way stays in the processor's cache
_ROUNDING = np.float32(2**-20)  # linear light beyond [0, 1] by less is not beyond sRGB
_NO_CHANGE = np.float32(2**-20)  # sRGB that differs by less is the same: blended tiles differ in their last bits

Floats = NDArray[np.float32]


class WorkingSpace(ABC):
    """The way between the colours of a file and sRGB.

    Both directions are pure functions of single pixels: a large picture is converted tile by tile, and it does not
    matter how it was cut. A restoration that changes nothing gives back the very same values.
    """

    @abstractmethod
    def to_srgb(self, pixels: NDArray[Any]) -> Floats:
        """Return sRGB of the file's colours.

        Args:
            pixels: ``(..., 3)``, or ``(...)`` grey, as coded in the file: uint8, uint16, or floating point, nominally
                in [0, 1].

        Returns:
            The same shape, in [0, 1]; colours that sRGB does not have are clipped.
        """

    @abstractmethod
    def carry_back(self, restored: NDArray[Any], *, before: NDArray[Any]) -> Floats:
        """Return what a restoration in sRGB makes of the file's colours.

        Colours that sRGB does not have were clipped for the network. What the network changed is applied to them as
        they were, so that they are not lost; all others become just what the network says.

        Args:
            restored: ``(..., 3)`` or ``(...)`` floating-point sRGB in [0, 1], what the network made of
                ``to_srgb(before)``.
            before: The same shape, the file's colours.

        Returns:
            The same shape, as coded in the file, in [0, 1].
        """


class MatrixSpace(WorkingSpace):
    """The way of a profile of curves and a matrix, or of a single curve for grey.

    Args:
        profile: Curves and matrix of the file.
    """

    def __init__(self, profile: MatrixProfile) -> None:
        self._curves = profile.curves
        self._tables: dict[np.dtype[Any], tuple[Floats, ...]] = {}
        self._into_file = tuple(_Interpolated(curve.encode, roots=2) for curve in profile.curves)
        self._there = self._back = np.eye(len(profile.curves), dtype=np.float32)
        if profile.matrix is not None:
            there = np.linalg.solve(SRGB_TO_XYZ, profile.matrix)
            self._there, self._back = there.astype(np.float32), np.linalg.inv(there).astype(np.float32)

    def to_srgb(self, pixels: NDArray[Any]) -> Floats:
        """Return sRGB of the file's colours; see ``WorkingSpace.to_srgb``."""
        result = self._empty(pixels)
        for block in _blocks(pixels):
            for plane, light in zip(result, self._light(self._split(pixels[block])), strict=True):
                plane[block] = _SRGB_ENCODE(light)
        return self._join(result)

    def carry_back(self, restored: NDArray[Any], *, before: NDArray[Any]) -> Floats:
        """Return what a restoration makes of the file's colours; see ``WorkingSpace.carry_back``."""
        result = self._empty(before)
        for block in _blocks(before):
            given, codes = self._split(restored[block]), self._split(before[block])
            light = self._light(codes)
            seen = [_SRGB_ENCODE(plane) for plane in light]
            coded, starts = self._coded(given), [unit(plane) for plane in codes]
            lacking = _beyond(light)
            if lacking.any():  # what clipping took from the network is added to what it says
                clipped = self._coded([plane[lacking] for plane in seen])
                for new, start, lack in zip(coded, starts, clipped, strict=True):
                    new[lacking] += start[lacking] - lack
            same = _no_change(given, seen)
            for plane, new, start in zip(result, coded, starts, strict=True):
                np.copyto(new, start, where=same)
                np.clip(new, 0, 1, out=plane[block])
        return self._join(result)

    def _empty(self, pixels: NDArray[Any]) -> Floats:
        """Return an array for the planes of a result."""
        return np.empty((1, *pixels.shape) if len(self._curves) == 1 else (3, *pixels.shape[:-1]), np.float32)

    def _split(self, pixels: NDArray[Any]) -> list[NDArray[Any]]:
        return [pixels] if len(self._curves) == 1 else [pixels[..., index] for index in range(3)]

    def _join(self, planes: Floats) -> Floats:
        return planes[0] if len(self._curves) == 1 else np.moveaxis(planes, 0, -1)

    def _light(self, codes: list[NDArray[Any]]) -> list[Floats]:
        """Return linear light of sRGB, not clipped, of the planes of a block."""
        return _mix(self._there, [self._decode(index, plane) for index, plane in enumerate(codes)])

    def _coded(self, srgb: list[NDArray[Any]]) -> list[Floats]:
        """Return the file's colours of the planes of a block of sRGB."""
        linear = [_SRGB_DECODE(plane) for plane in srgb]
        return [encode(plane) for encode, plane in zip(self._into_file, _mix(self._back, linear), strict=True)]

    def _decode(self, channel: int, codes: NDArray[Any]) -> Floats:
        """Return linear light of the codes of a channel: from a table of all codes, where they are whole numbers."""
        if codes.dtype.kind == "f":
            light: Floats = self._curves[channel].decode(np.nan_to_num(codes.astype(np.float64))).astype(np.float32)
            return light
        if codes.dtype not in self._tables:
            steps = np.linspace(0, 1, np.iinfo(codes.dtype).max + 1)
            self._tables[codes.dtype] = tuple(curve.decode(steps).astype(np.float32) for curve in self._curves)
        looked_up: Floats = np.take(self._tables[codes.dtype][channel], codes)
        return looked_up


class TableSpace(WorkingSpace):
    """The way of a profile that works by tables, through littleCMS, which knows 8 bits only.

    Args:
        icc: A profile of RGB with tables for both directions.

    Raises:
        ValueError: The profile is damaged, or lacks one direction.
    """

    def __init__(self, icc: bytes) -> None:
        from PIL import ImageCms

        intent = ImageCms.Intent.RELATIVE_COLORIMETRIC
        flags = ImageCms.Flags.BLACKPOINTCOMPENSATION | ImageCms.Flags.HIGHRESPRECALC
        try:
            profile, srgb = ImageCms.ImageCmsProfile(BytesIO(icc)), ImageCms.createProfile("sRGB")
            self._there = ImageCms.buildTransform(profile, srgb, "RGB", "RGB", intent, flags)
            self._back = ImageCms.buildTransform(srgb, profile, "RGB", "RGB", intent, flags)
        except (ImageCms.PyCMSError, OSError) as error:
            raise ValueError(str(error)) from error

    def to_srgb(self, pixels: NDArray[Any]) -> Floats:
        """Return sRGB of the file's colours, ``(h, w, 3)`` uint8; see ``WorkingSpace.to_srgb``."""
        return unit(self._apply(self._there, pixels))

    def carry_back(self, restored: NDArray[Any], *, before: NDArray[Any]) -> Floats:
        """Return what a restoration makes of the file's colours, ``(h, w, 3)``; see ``WorkingSpace.carry_back``.

        The change is the difference of two conversions of 8 bits; what is lost by rounding for them, less than half
        a step, is added as it is.
        """
        result = np.empty(before.shape, np.float32)
        for block in _blocks(before):
            seen = self._apply(self._there, before[block])
            scaled = restored[block] * np.float32(255)
            rounded = np.rint(scaled)
            change = scaled - rounded
            change += self._apply(self._back, rounded.astype(np.uint8))
            change -= self._apply(self._back, seen)
            change += before[block]
            np.clip(change / np.float32(255), 0, 1, out=result[block])
        return result

    def _apply(self, transform: Any, pixels: NDArray[Any]) -> NDArray[np.uint8]:
        from PIL import Image

        converted = transform.apply(Image.fromarray(np.ascontiguousarray(pixels)))
        return np.asarray(converted)


class _Interpolated:
    """A curve over [0, 1], between equal steps of its argument or of a root of it.

    Args:
        curve: The curve.
        roots: How many square roots are taken of the argument first: curves that are steep near zero become smooth.
    """

    def __init__(self, curve: Callable[[NDArray[Any]], NDArray[Any]], *, roots: int) -> None:
        values = curve(np.linspace(0, 1, _STEPS + 1) ** 2**roots)
        self._values = values.astype(np.float32)
        self._rises = np.diff(values, append=values[-1]).astype(np.float32)
        self._roots = roots

    def __call__(self, argument: NDArray[Any]) -> Floats:
        place = argument.clip(0, 1)
        for _ in range(self._roots):
            np.sqrt(place, out=place)
        place *= np.float32(_STEPS)
        whole = np.floor(place)
        place -= whole
        index = whole.astype(np.intp)
        place *= np.take(self._rises, index, out=whole, mode="clip")
        place += np.take(self._values, index, out=whole, mode="clip")
        return place


_SRGB_ENCODE = _Interpolated(SRGB_CURVE.encode, roots=1)
_SRGB_DECODE = _Interpolated(SRGB_CURVE.decode, roots=0)


def unit(codes: NDArray[Any]) -> Floats:
    """Return codes as float32 in [0, 1]."""
    values: Floats = codes.astype(np.float32)
    if codes.dtype.kind != "f":
        values /= np.float32(np.iinfo(codes.dtype).max)
    return values


def _blocks(pixels: NDArray[Any]) -> Iterator[slice]:
    """Yield slices of rows, each of about ``_BLOCK`` pixels."""
    values = _BLOCK * (3 if pixels.shape[-1] == 3 else 1)
    rows = max(1, values * len(pixels) // pixels.size)
    for top in range(0, len(pixels), rows):
        yield slice(top, top + rows)


def _mix(matrix: Floats, planes: list[Floats]) -> list[Floats]:
    """Return the planes times a matrix; whole steps one after the other, so that no pixel depends on its place."""
    if len(planes) == 1:
        return planes
    mixed = []
    for row in matrix:
        plane = planes[0] * row[0]
        plane += planes[1] * row[1]
        plane += planes[2] * row[2]
        mixed.append(plane)
    return mixed


def _no_change(first: list[NDArray[Any]], second: list[Floats]) -> NDArray[np.bool_]:
    """Return where no plane differs by what could be seen in 16 bits."""
    same = np.abs(first[0] - second[0]) <= _NO_CHANGE
    for a, b in zip(first[1:], second[1:], strict=True):
        same &= np.abs(a - b) <= _NO_CHANGE
    return same


def _beyond(light: list[Floats]) -> NDArray[np.bool_]:
    """Return where linear light lies outside of what sRGB has, by more than the rounding of float32."""
    beyond = np.zeros(light[0].shape, np.bool_)
    for plane in light:
        beyond |= (plane < -_ROUNDING) | (plane > 1 + _ROUNDING)
    return beyond
