"""What of a picture file was kept in another: the contract of this package, as a check that anyone can run.

Only what matters to the owner of a collection counts as a loss. Another format, or more bits than before, is none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from restorekit.io import exif, iptc
from restorekit.io.depth import flatten, values_to_depth
from restorekit.io.icc import color_model, profile_name
from restorekit.io.ifd import Ifd, Value
from restorekit.io.limits import DEFAULT_LIMITS, Limits
from restorekit.io.orientation import turn
from restorekit.io.picture import ImageData
from restorekit.io.read import Source, read_image

__all__ = ["Finding", "compare", "verify"]

_THUMBNAIL = 32
_EXPECTED_TO_CHANGE = frozenset({*exif.STRUCTURE, 274, 305, 306, 531, 40962, 40963, 40965, 37500, 59932})
"""Tags that follow from the pixels or from where a block lies (sides, orientation, maker notes' padding, software)."""

_SAMPLING = {"4:4:4": 3, "4:2:2": 2, "4:4:0": 2, "4:2:0": 1, "4:1:1": 1}


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        aspect: What: ``"size"``, ``"bit depth"``, ``"alpha"``, ``"profile"``, ``"orientation"``, ...
        kept: Whether it was kept.
        before: What it was.
        after: What it is.
    """

    aspect: str
    kept: bool
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.aspect} {'kept' if self.kept else 'LOST'}: {self.before} -> {self.after}"


def verify(before: Source, after: Source, *, limits: Limits = DEFAULT_LIMITS) -> list[Finding]:
    """Say what of one picture file was kept in another.

    Args:
        before: The file as it was.
        after: What was made of it.
        limits: What is too large to be read.

    Returns:
        A finding for everything that the first file has; the pixels are only compared for which way is up.

    Raises:
        PictureError: One of the files cannot be read.
    """
    return compare(read_image(before, limits=limits), read_image(after, limits=limits))


def compare(before: ImageData, after: ImageData) -> list[Finding]:
    """Say what of one picture was kept in another; see ``verify``.

    Args:
        before: The picture as it was read.
        after: The other one.
    """
    return [finding for check in _CHECKS for finding in check(before, after)]


def _size(before: ImageData, after: ImageData) -> Iterator[Finding]:
    sizes = [f"{image.width} x {image.height}" for image in (before, after)]
    yield Finding("size", sizes[0] == sizes[1], sizes[0], sizes[1])


def _orientation(before: ImageData, after: ImageData) -> Iterator[Finding]:
    """Compare small copies, both as a viewer shows them, under all eight turns: none may fit better than no turn."""
    first = _thumbnail(before)
    fits = [_likeness(first, _thumbnail(after, way)) for way in range(1, 9)]
    best = int(np.argmax(fits))
    kept = best == 0 or fits[best] - fits[0] < 0.02
    yield Finding("orientation", kept, "upright", "upright" if kept else f"turned (fits as orientation {best + 1})")


def _thumbnail(image: ImageData, way: int = 1) -> NDArray[np.float64]:
    image = flatten(image, (128, 128, 128))
    pixels = turn(image.pixels, way)
    rows = np.linspace(0, pixels.shape[0], _THUMBNAIL + 1).astype(int)
    columns = np.linspace(0, pixels.shape[1], _THUMBNAIL + 1).astype(int)
    grey = values_to_depth(pixels, 32) if pixels.ndim == 2 else values_to_depth(pixels, 32).mean(2)
    means = [
        [grey[top : max(low, top + 1), left : max(right, left + 1)].mean() for left, right in _pairs(columns)]
        for top, low in _pairs(rows)
    ]
    return np.array(means, np.float64)


def _pairs(edges: NDArray[Any]) -> list[tuple[int, int]]:
    last = int(edges[-1]) - 1
    return [(min(int(a), last), int(b)) for a, b in pairwise(edges)]


def _likeness(first: NDArray[Any], second: NDArray[Any]) -> float:
    a, b = first - first.mean(), second - second.mean()
    scale = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / scale if scale > 1e-9 else 1.0


def _depth(before: ImageData, after: ImageData) -> Iterator[Finding]:
    names = [f"{image.bits} bit" + (" floating point" if image.bits == 32 else "") for image in (before, after)]
    yield Finding("bit depth", after.bits >= before.bits, names[0], names[1])


def _colours(before: ImageData, after: ImageData) -> Iterator[Finding]:
    names = ["grey" if image.grey else "RGB" for image in (before, after)]
    coloured = before.grey and not after.grey and np.ptp(after.pixels, axis=2).max() > 0
    lost = not before.grey and after.grey
    yield Finding("colour", not (lost or coloured), names[0], f"{names[1]}, tinted" if coloured else names[1])


def _alpha(before: ImageData, after: ImageData) -> Iterator[Finding]:
    if before.alpha is None:
        return
    # some writers leave out an alpha channel that is opaque everywhere: nobody can see that
    opaque = bool((before.alpha == values_to_depth(np.ones((1, 1), np.float32), before.bits)).all())
    kept = after.alpha is not None or opaque
    yield Finding("alpha", kept, "opaque" if opaque else "there", "there" if after.alpha is not None else "none")


def _sampling(before: ImageData, after: ImageData) -> Iterator[Finding]:
    first, second = before.encoding.subsampling, after.encoding.subsampling
    if before.format == after.format == "jpeg" and first is not None and second is not None:
        yield Finding("chroma sampling", _SAMPLING.get(second, 0) >= _SAMPLING.get(first, 0), first, second)


def _profile(before: ImageData, after: ImageData) -> Iterator[Finding]:
    first, second = before.metadata.icc, after.metadata.icc
    if first is None:
        return
    name = "none" if second is None else f"{profile_name(second)} [{color_model(second)}]"
    yield Finding("profile", first == second, f"{profile_name(first)} [{color_model(first)}]", name)


def _exif(before: ImageData, after: ImageData) -> Iterator[Finding]:
    first, second = _flat(before.metadata.exif), _flat(after.metadata.exif)
    if not first:
        return
    lost = [key for key, value in first.items() if not _same(value, second.get(key))]
    names = ", ".join(_tag_name(*key) for key in lost)
    yield Finding(
        "EXIF", not lost, f"{len(first)} tags", f"{len(lost)} lost or changed: {names}" if lost else "the same"
    )


def _flat(block: bytes | None) -> dict[tuple[int, int], Value]:
    """Return (directory, tag) -> value of all that should survive; the main directory has the number 0."""
    if block is None:
        return {}
    main = exif.directory(block)
    places: list[tuple[int, Ifd]] = [(0, main), *main.children.items()]
    return {
        (place, tag): value
        for place, directory in places
        for tag, value in directory.tags.items()
        if tag not in _EXPECTED_TO_CHANGE
    }


def _same(first: Value, second: Value | None) -> bool:
    """Return whether two values say the same: bytes, or numbers of another width, or text padded otherwise."""
    if second is None:
        return False
    return (
        first.data == second.data
        or (first.numbers() != () and first.numbers() == second.numbers())
        or (first.type == 2 and first.data.rstrip(b"\x00 ") == second.data.rstrip(b"\x00 "))
    )


def _tag_name(place: int, tag: int) -> str:
    from PIL.ExifTags import GPSTAGS, TAGS

    return str((GPSTAGS if place == exif.GPS_IFD else TAGS).get(tag, tag))


def _blocks(before: ImageData, after: ImageData) -> Iterator[Finding]:
    first, second = before.metadata, after.metadata
    if first.xmp is not None:
        same = second.xmp is not None and exif.upright_xmp(first.xmp) == exif.upright_xmp(second.xmp)
        there = "none" if second.xmp is None else "the same" if same else "another one"
        yield Finding("XMP", same, f"{len(first.xmp)} bytes", there)
    record, other = iptc.iim(first.photoshop), iptc.iim(second.photoshop)
    if record is not None:
        yield Finding(
            "IPTC", record == other, f"{len(record)} bytes", "none" if other is None else f"{len(other)} bytes"
        )


def _resolution(before: ImageData, after: ImageData) -> Iterator[Finding]:
    first, second = before.metadata.dpi, after.metadata.dpi
    if first is None:
        return
    close = second is not None and all(abs(a - b) <= 0.5 + 0.005 * a for a, b in zip(first, second, strict=True))
    names = ["none" if dpi is None else f"{dpi[0]:g} x {dpi[1]:g} dpi" for dpi in (first, second)]
    yield Finding("resolution", close, names[0], names[1])


_CHECKS: tuple[Callable[[ImageData, ImageData], Iterator[Finding]], ...] = (
    *(_size, _orientation, _depth, _colours, _alpha, _sampling, _profile, _exif, _blocks, _resolution),
)
