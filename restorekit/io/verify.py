"""What of a picture file was kept in another: the contract of this package, as a check that anyone can run.

Only what matters to the owner of a collection counts as a loss. Another format, or more bits than before, is none; what
another format cannot hold is one. Values of pixels may differ, since a restoration changes them; that depth, grey,
transparency and the way up are still in them is looked at.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from restorekit.io.depth import values_to_depth
from restorekit.io.finding import Finding, lacking
from restorekit.io.likeness import fit_of_turns, has_contrast, small_copy
from restorekit.io.limits import DEFAULT_LIMITS, Limits
from restorekit.io.picture import ImageData
from restorekit.io.read import Source, read_pages
from restorekit.io.verify_metadata import METADATA_CHECKS

__all__ = ["Finding", "compare", "verify"]

Check = Callable[[ImageData, ImageData], Iterator[Finding]]

_ROWS = 256  # rows that are looked at at a time, to spare memory
_SURE = 0.5  # correlation from which on a turned copy is taken for the same picture
_OTHER = 0.3  # correlation below which it is another picture, whichever way it is turned
_LOSSY_ALPHA = (2 / 255, 32 / 255)  # mean and largest difference that a lossy codec may make
_LOSSY_TINT = 8 / 255  # difference of red, green and blue that a lossy codec makes of grey
_LOSSY = ("jpeg", "heic")  # formats whose readers tell how colour is sampled
_SAMPLING = {"4:4:4": (1, 1), "4:2:2": (2, 1), "4:4:0": (1, 2), "4:2:0": (2, 2), "4:1:1": (4, 1)}
_SPREAD = {"uint8": ((17, 4),), "uint16": ((4369, 4), (257, 8), (256, 8))}
"""Of a dtype: the steps between values that came from fewer bits, and how many these are."""

_FEW, _MANY = 4, 32  # levels: a picture of many does not become one of so few by being restored

_CONTENTS = re.compile("more pictures|further pictures|after the end|further channels|layers")
_CMYK = re.compile("^CMYK was converted")
_MORE_BITS = re.compile("^the ([0-9]+) bits of the AVIF were reduced")
"""What readers note that belongs to the picture (unlike thumbnails, and what was damaged anyway)."""


def verify(before: Source, after: Source, *, limits: Limits = DEFAULT_LIMITS) -> list[Finding]:
    """Say what of one picture file was kept in another, on all of its pages.

    Args:
        before: The file as it was.
        after: What was made of it.
        limits: What is too large to be read.

    Returns:
        A finding for everything that the first file has. Where it has several pages, the aspects name the page.

    Raises:
        PictureError: One of the files cannot be read.
    """
    return _compare_pages(read_pages(before, limits=limits), read_pages(after, limits=limits))


def _compare_pages(before: Sequence[ImageData], after: Sequence[ImageData]) -> list[Finding]:
    if len(before) == len(after) == 1:
        return compare(before[0], after[0])
    counts = [f"{len(pages)} page{'s' if len(pages) > 1 else ''}" for pages in (before, after)]
    counts[1] += lacking("pages", after[0].format) if len(after) < len(before) else ""
    findings = [Finding("pages", len(after) >= len(before), counts[0], counts[1])]
    for number, pair in enumerate(zip(before, after, strict=False), 1):
        place = f"page {number}: " if len(before) > 1 else ""
        findings += [replace(finding, aspect=f"{place}{finding.aspect}") for finding in compare(*pair)]
    return findings


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


def _content(before: ImageData, after: ImageData) -> Iterator[Finding]:
    """Compare small copies, both as a viewer shows them, under all eight turns: none may fit better than no turn."""
    sides, others = (before.height, before.width), (after.height, after.width)
    if others not in (sides, sides[::-1]):
        return  # a part of the picture, or another scale: there is nothing to lay on top of each other
    first, second = small_copy(before), small_copy(after)
    fits = fit_of_turns(first, second)
    best = int(np.argmax(fits))
    if has_contrast(first) and has_contrast(second) and fits[best] < _OTHER:
        yield Finding("picture", False, "this one", "another one")
        return
    # noise that was taken away may fit any way; a real turn fits much better than none
    turned = best > 0 and fits[best] >= max(_SURE, fits[0] + 0.02) and 1 - fits[0] > 2 * (1 - fits[best])
    yield Finding("orientation", not turned, "upright", f"turned (as orientation {best + 1})" if turned else "upright")


def _depth(before: ImageData, after: ImageData) -> Iterator[Finding]:
    bits = [_bits_of_file(image) for image in (before, after)]
    names = [f"{count} bit{_kind(image)}" for count, image in zip(bits, (before, after), strict=True)]
    kept = bits[1] >= bits[0]
    if not kept:
        names[1] += lacking(f"{bits[0]} bit", after.format)
    elif _bits_in_use(after) < _bits_in_use(before):
        kept, names[1] = False, f"{names[1]} with the values of {_bits_in_use(after)} bit"
    elif _is_posterised(before, after):
        kept, names[1] = False, f"{names[1]} with no more than {_FEW} levels"
    yield Finding("bit depth", kept, names[0], names[1])


def _bits_of_file(image: ImageData) -> int:
    """Return the bits of a value in the file, which may be more than those that could be read."""
    noted = [int(found.group(1)) for note in image.notes if (found := _MORE_BITS.search(note))]
    return max([image.bits, *noted, (image.encoding.bits or 0) if image.bits == 32 else 0])


def _kind(image: ImageData) -> str:
    return " floating point" if image.bits == 32 else ""


def _bits_in_use(image: ImageData) -> int:
    """Return how many bits the values need: fewer than there are, if they were spread from fewer."""
    if image.bits == 32:
        spread = [bits for bits in (8, 16) if _all(image.pixels, partial(_whole, 2**bits - 1))]
    else:
        steps = _SPREAD[str(image.pixels.dtype)]
        spread = [bits for step, bits in steps if _all(image.pixels, partial(_multiple, step))]
    # few levels, such as those of a drawing, may be multiples by chance; black and white always are
    return min(spread) if spread and _levels(image.pixels, _FEW) > _FEW else image.bits


def _multiple(step: int, part: NDArray[Any]) -> NDArray[np.bool_]:
    """Return where values are multiples of a step."""
    multiple: NDArray[np.bool_] = part % step == 0
    return multiple


def _whole(steps: int, part: NDArray[Any]) -> NDArray[np.bool_]:
    """Return where values in [0, 1] are whole numbers of steps, as far as float32 can tell."""
    scaled = np.nan_to_num(part.astype(np.float64)) * steps
    whole: NDArray[np.bool_] = np.abs(scaled - np.rint(scaled)) <= steps * 2.0**-23
    return whole


def _is_posterised(before: ImageData, after: ImageData) -> bool:
    """Return whether many levels became few though both show something (a flat wall may lose its noise)."""
    return (
        _levels(after.pixels, _FEW) <= _FEW
        and _levels(before.pixels, _MANY) >= _MANY
        and has_contrast(small_copy(before))
        and has_contrast(small_copy(after))
    )


def _levels(values: NDArray[Any], limit: int) -> int:
    """Return how many different values there are; counting ends soon after the limit."""
    found: NDArray[Any] = np.unique(values[:1])
    for top in range(1, values.shape[0], _ROWS):
        if found.size > limit:
            break
        found = np.union1d(found, values[top : top + _ROWS])
    return int(found.size)


def _all(values: NDArray[Any], test: Callable[[NDArray[Any]], NDArray[np.bool_]]) -> bool:
    """Return whether a test holds for all values; it ends with the first rows for which it does not."""
    return all(bool(test(values[top : top + _ROWS]).all()) for top in range(0, values.shape[0], _ROWS))


def _colours(before: ImageData, after: ImageData) -> Iterator[Finding]:
    names = ["grey" if image.grey else "RGB" for image in (before, after)]
    kept = before.grey == after.grey
    if before.grey and not after.grey:
        tinted = _is_tinted(after)
        unable = lacking("grey", "webp" if after.format == "bmp" and after.alpha is not None else after.format)
        kept = bool(unable) and not tinted
        names[1] = f"RGB{', tinted' if tinted else ' of equal channels'}"
    elif after.grey and not before.grey and not _is_tinted(before):
        kept, names[0] = True, "RGB of equal channels"
    yield Finding("colour", kept, names[0], names[1])


def _is_tinted(image: ImageData) -> bool:
    """Return whether red, green and blue differ anywhere, by more than a lossy codec makes them."""
    lossy = image.format == "jpeg" or image.encoding.lossless is False
    most = _LOSSY_TINT * (2**image.bits - 1) if lossy else 0
    return not _all(image.pixels, lambda part: part.max(2).astype(np.float64) - part.min(2) <= most)


def _alpha(before: ImageData, after: ImageData) -> Iterator[Finding]:
    first, second = _transparency(before), _transparency(after)
    if before.alpha is None and second != "transparent":
        return
    # an alpha channel that is opaque everywhere may be left out or added: nobody sees that
    kept = (first == "transparent") == (second == "transparent")
    if kept and before.alpha is not None and after.alpha is not None and before.alpha.shape == after.alpha.shape:
        mean, most = _difference(before.alpha, after.alpha)
        limits = (
            _LOSSY_ALPHA
            if after.encoding.lossless is False
            else (1.0, 1.01 / (2 ** min(before.bits, after.bits, 16) - 1))
        )
        kept = mean <= limits[0] and most <= limits[1]
        second += "" if kept else f", changed by up to {most * 255:.0f} of 255"
    elif first == "transparent" and after.alpha is None:
        second += lacking("alpha", after.format)
    yield Finding("alpha", kept, first, second)


def _transparency(image: ImageData) -> str:
    if image.alpha is None:
        return "none"
    top = 1 if image.bits == 32 else 2**image.bits - 1
    return "opaque" if _all(image.alpha, lambda part: part >= top) else "transparent"


def _difference(first: NDArray[Any], second: NDArray[Any]) -> tuple[float, float]:
    """Return the mean and the largest difference of two alpha channels, of [0, 1]."""
    total, most = 0.0, 0.0
    for top in range(0, first.shape[0], _ROWS):
        a, b = (np.nan_to_num(values_to_depth(values[top : top + _ROWS], 32)).clip(0, 1) for values in (first, second))
        difference = np.abs(a - b)
        total, most = total + float(difference.sum()), max(most, float(difference.max()))
    return total / first.size, most


def _sampling(before: ImageData, after: ImageData) -> Iterator[Finding]:
    first, second = _sampled(before), _sampled(after)
    lossy = any(image.format in _LOSSY or image.encoding.lossless is False for image in (before, after))
    if before.grey or after.grey or first is None or second is None or not lossy:
        return
    steps = [_steps(name) for name in (first, second)]
    kept = steps[1][0] <= steps[0][0] and steps[1][1] <= steps[0][1]
    yield Finding("chroma sampling", kept, first, second)


def _sampled(image: ImageData) -> str | None:
    """Return how colour is sampled, or None where the reader does not tell."""
    if image.format in _LOSSY:
        return image.encoding.subsampling
    if image.format == "webp" and image.encoding.lossless is False:
        return "4:2:0"
    return "4:4:4" if image.format in ("png", "webp", "tiff", "bmp") else None


def _steps(name: str) -> tuple[int, int]:
    """Return how many pixels share one colour, across and down."""
    across, _, down = name.partition("x")
    return _SAMPLING[name] if name in _SAMPLING else (int(across), int(down))


def _contents(before: ImageData, after: ImageData) -> Iterator[Finding]:
    """Compare what the readers had to leave out or convert: it is in the first file, and in the other one or not."""
    models = ["CMYK" if any(map(_CMYK.search, image.notes)) else "RGB" for image in (before, after)]
    if models[0] == "CMYK":
        yield Finding("colour model", models[1] == "CMYK", *models)
    for note in filter(_CONTENTS.search, before.notes):
        yield Finding("contents", note in after.notes, note, "the same" if note in after.notes else "without that")


_CHECKS: tuple[Check, ...] = (*(_size, _content, _depth, _colours, _alpha, _sampling, *METADATA_CHECKS, _contents),)
