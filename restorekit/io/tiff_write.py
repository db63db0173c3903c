"""Writing TIFF files: deflate with a predictor, in strips, with all that belongs to the picture.

Reference:
    TIFF, Revision 6.0, Adobe 1992, sections 8 (baseline tags) and 14 (predictor).
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from restorekit.io import exif, iptc
from restorekit.io.ifd import Ifd, Layout, Value, lay_out, long_value, rational_value, short_value
from restorekit.io.picture import ImageData

__all__ = ["write_tiff"]

_STRIP = 2**18  # bytes of a strip before it is compressed
_CLASSIC = 2**32 - 2**24  # bytes up to which a classic TIFF is safe
_LEVEL = 6


def write_tiff(images: Sequence[ImageData], out: BinaryIO) -> None:
    """Write one picture, or several as pages.

    Args:
        images: uint8, uint16 or float32; grey or RGB, with or without alpha (stored unassociated).
        out: Where to; must be able to seek.
    """
    size = sum(image.pixels.nbytes + (0 if image.alpha is None else image.alpha.nbytes) for image in images)
    layout = Layout(big=size > _CLASSIC)
    out.write(layout.header(0))
    link = layout.word  # where the offset of the next directory has to go
    for image in images:
        directory = _directory(image, layout, *_write_strips(image, out))
        at = out.tell()
        if at % 2:
            at += out.write(b"\x00")
        out.write(lay_out(directory, at, layout=layout))
        end = out.seek(0, 2)
        out.seek(link)
        out.write(layout.pack(at))
        out.seek(end)
        link = at + layout.size(directory) - layout.word


def _write_strips(image: ImageData, out: BinaryIO) -> tuple[list[int], list[int], int]:
    """Write the pixels; return where the strips lie, how long they are, and the rows of each."""
    channels = (1 if image.grey else 3) + (0 if image.alpha is None else 1)
    rows = max(1, _STRIP // (image.width * channels * image.bits // 8))
    places: list[int] = []
    lengths: list[int] = []
    for top in range(0, image.height, rows):
        part = slice(top, top + rows)
        values = image.pixels[part]
        if image.alpha is not None:
            values = np.dstack([values, image.alpha[part]])
        values = values.reshape(values.shape[0], image.width, channels)
        places.append(out.tell())
        lengths.append(out.write(zlib.compress(_predicted(values), _LEVEL)))
    return places, lengths, min(rows, image.height)


def _predicted(values: NDArray[Any]) -> bytes:
    """Return ``(rows, W, C)`` as bytes, lowest first; of whole numbers each less the one on its left."""
    if values.dtype.kind == "u":
        differences = values.copy()
        differences[:, 1:] -= values[:, :-1]
        values = differences
    return values.astype(values.dtype.newbyteorder("<")).tobytes()


def _directory(image: ImageData, layout: Layout, places: list[int], lengths: list[int], rows: int) -> Ifd:
    metadata = image.metadata
    described = exif.directory(metadata.exif) if metadata.exif is not None else Ifd()
    tags = {tag: value for tag, value in described.tags.items() if tag not in exif.STRUCTURE}
    channels = (1 if image.grey else 3) + (0 if image.alpha is None else 1)
    floating = image.bits == 32
    tags |= {
        256: long_value(image.width),
        257: long_value(image.height),
        258: short_value(*[image.bits] * channels),
        259: short_value(8),
        262: short_value(1 if image.grey else 2),
        273: long_value(*places, big=layout.big),
        277: short_value(channels),
        278: long_value(rows),
        279: long_value(*lengths, big=layout.big),
        284: short_value(1),
        317: short_value(1 if floating else 2),  # common readers know no predictor for floating point
        339: short_value(*[3 if floating else 1] * channels),
    }
    if image.alpha is not None:
        tags[338] = short_value(2)
    if metadata.dpi is not None:
        tags |= {282: rational_value(metadata.dpi[0]), 283: rational_value(metadata.dpi[1]), 296: short_value(2)}
    blocks = {34675: metadata.icc, 700: metadata.xmp, 34377: metadata.photoshop, 33723: iptc.iim(metadata.photoshop)}
    for tag, content in blocks.items():
        if content is not None:
            tags[tag] = Value(1 if tag in (700, 34377) else 7, len(content), content)
    return Ifd(tags, described.children)
