"""The strips and tiles of a TIFF file, unpacked in bands: into bytes, or, where the codec makes pixels, into these.

Uncompressed and deflated segments, fax and JPEG are unpacked here. For the other codecs Pillow's libtiff gets little
TIFF files: of segments that it is told are 8-bit grey, so that it gives their bytes and no more, or of segments with
the directory entries that its codec needs and no others. Bands bound the memory, and keep such a file below the size
that Pillow takes for an attack.

Reference:
    TIFF, Revision 6.0, Adobe 1992, sections 3 (strips), 15 (tiles), 9, 13, 14, 22 (compression); TIFF Technical Note 2
    (JPEG), Adobe 1995; RFC 1950 (zlib).
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from restorekit.io.faults import Refusal
from restorekit.io.fax import decode_fax
from restorekit.io.ifd import Ifd, Layout, TaggedFile, Value, lay_out, long_value, short_value
from restorekit.io.jpeg import read_bare_jpeg
from restorekit.io.limits import Limits
from restorekit.io.pil_bridge import decode

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["Grid", "segments", "unpack", "unpack_fax", "unpack_jpeg", "unpack_pictures"]

_BAND = 2**25  # bytes, or pixels, that are unpacked at a time
_BAD_DEFLATE = "the compressed picture data of the TIFF are damaged or cut off; get the file again"
_STEP = 2**20  # bytes that are inflated at a time where they are not needed
_MOST = 80_000_000  # bytes, or pixels, of one segment that Pillow unpacks without a warning
_PLAIN, _DEFLATE = (1,), (8, 32946)
# most bytes that a packed byte stands for; the other codecs know no bound
_RATIOS = {1: 1, 5: 4096, 8: 1100, 32946: 1100, 32773: 64}
_JPEG_RATIO = 512  # pixels; a block of 8 x 8 takes a bit
_EARLY = "the picture data of the TIFF end too early; the file is cut off, get it again"
_REVERSED = bytes(int(f"{value:08b}"[::-1], 2) for value in range(256))


@dataclass(frozen=True)
class Grid:
    """How a plane is cut into segments.

    Attributes:
        rows: Stored rows; with tiles, a multiple of theirs.
        width: Bytes (or pixels) of a stored row; with tiles, a multiple of theirs.
        segment_rows: Rows of a segment (the last strip may have fewer).
        segment_width: Bytes (or pixels) of a segment's row.
        tiled: Whether the segments are tiles.
    """

    rows: int
    width: int
    segment_rows: int
    segment_width: int
    tiled: bool

    @property
    def across(self) -> int:
        """Segments beside each other."""
        return self.width // self.segment_width

    @property
    def count(self) -> int:
        """Segments in all."""
        return self.across * -(-self.rows // self.segment_rows)

    def places(self, plane: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
        """Yield the part of each segment, in order, of a plane or of some of its bands from their first row on."""
        for top in range(0, plane.shape[0], self.segment_rows):
            for left in range(0, self.width, self.segment_width):
                yield plane[top : top + self.segment_rows, left : left + self.segment_width]

    def bands(self) -> Iterator[tuple[slice, int, int]]:
        """Yield the segments, the first row, and the number of rows of each band."""
        step = max(1, _BAND // (self.width * self.segment_rows))
        for first in range(0, -(-self.rows // self.segment_rows), step):
            top = first * self.segment_rows
            rows = min(step * self.segment_rows, self.rows - top)
            yield slice(first * self.across, (first + step) * self.across), top, rows


def segments(file: TaggedFile, directory: Ifd, grid: Grid, *, plane: int, planes: int) -> list[memoryview]:
    """Return the packed segments of a plane, in order.

    Args:
        file: The open file.
        directory: The directory of the page.
        grid: How the plane is cut.
        plane: Which plane.
        planes: How many there are.

    Raises:
        Refusal: Segments are missing, or lie outside the file.
    """
    needed = grid.count * planes
    places = directory.integers(324 if grid.tiled else 273, most=needed)
    lengths = directory.integers(325 if grid.tiled else 279, most=needed)
    if not lengths and len(places) == 1:
        lengths = (len(file.data) - places[0],)
    if len(places) < needed or len(lengths) < needed:
        raise Refusal("the TIFF does not say where all of its pixels lie; the file is damaged")
    part = slice(plane * grid.count, (plane + 1) * grid.count)
    found: list[memoryview] = []
    for place, length in zip(places[part], lengths[part], strict=True):
        if place + length > len(file.data):
            raise Refusal("the TIFF ends before its pixels do; the file is cut off, get it again")
        found.append(file.data[place : place + length])
    return found


def _check_weight(parts: Sequence[memoryview], grid: Grid, ratio: int | None) -> None:
    """Refuse a plane that so few bytes cannot stand for, before memory is taken for it."""
    if ratio is not None and grid.rows * grid.width > ratio * sum(len(part) for part in parts):
        raise Refusal(_EARLY)


def unpack(parts: Sequence[memoryview], grid: Grid, *, compression: int, fill_order: int) -> NDArray[np.uint8]:
    """Return the bytes of a plane, ``(rows, width)``.

    Args:
        parts: Its packed segments.
        grid: How it is cut, in bytes.
        compression: TIFF's number of the codec.
        fill_order: 1, or 2 if the lowest bit comes first.

    Raises:
        Refusal: The packed bytes are damaged or incomplete.
    """
    _check_weight(parts, grid, _RATIOS.get(compression))
    result = np.empty((grid.rows, grid.width), np.uint8)
    for which, top, rows in grid.bands():
        band = result[top : top + rows]
        if compression in (*_PLAIN, *_DEFLATE):
            _unpack_here(parts[which], grid, band, deflated=compression in _DEFLATE, reverse=fill_order == 2)
        else:
            tags = {258: short_value(8), 259: short_value(compression), 262: short_value(1), 277: short_value(1)}
            tags[266] = short_value(fill_order)
            band[:] = np.asarray(_picture(parts[which], grid, rows, tags))
    return result


def _unpack_here(
    parts: Sequence[memoryview], grid: Grid, band: NDArray[np.uint8], *, deflated: bool, reverse: bool
) -> None:
    for part, place in zip(parts, grid.places(band), strict=True):
        packed = _turned(part) if reverse else part
        plain = _inflate(packed, place.size) if deflated else packed
        if len(plain) < place.size:
            raise Refusal(_EARLY)
        place[:] = np.frombuffer(plain, np.uint8, place.size).reshape(place.shape)


def _turned(part: memoryview) -> bytes:
    """Return bytes whose lowest bit came first as all others are."""
    return bytes(part).translate(_REVERSED)


def _inflate(packed: memoryview | bytes, size: int) -> bytes:
    """Return the first bytes that come out, once all that comes was found to be what went in."""
    head = int.from_bytes(packed[:2], "big")
    if head % 31 or head >> 8 & 15 != 8:
        raise Refusal(_BAD_DEFLATE)
    inflater = zlib.decompressobj(-15)
    try:
        plain = part = inflater.decompress(packed[2:], size)
        check = zlib.adler32(plain)
        while part and not inflater.eof:  # the last strip may be as long as the others
            part = inflater.decompress(inflater.unconsumed_tail, _STEP)
            check = zlib.adler32(part, check)
    except zlib.error as error:
        raise Refusal(_BAD_DEFLATE) from error
    stated = inflater.unused_data[:4]
    if not inflater.eof or (len(stated) == 4 and check != int.from_bytes(stated, "big")):
        raise Refusal(_BAD_DEFLATE)
    return plain


def unpack_fax(
    parts: Sequence[memoryview], grid: Grid, *, compression: int, fill_order: int, options: int
) -> NDArray[np.uint8]:
    """Return the pixels of a plane of fax strips or tiles, ``(rows, width)``, 0 for white and 1 for black.

    Args:
        parts: Its packed segments.
        grid: How it is cut, in pixels.
        compression: TIFF's number of the codec.
        fill_order: 1, or 2 if the lowest bit comes first.
        options: TIFF's T4Options or T6Options.

    Raises:
        Refusal: The packed bytes are damaged or incomplete.
    """
    result = np.empty((grid.rows, grid.width), np.uint8)
    for part, place in zip(parts, grid.places(result), strict=True):
        packed = _turned(part) if fill_order == 2 else bytes(part)
        rows, width = place.shape
        place[:] = decode_fax(packed, width=width, rows=rows, compression=compression, options=options)
    return result


def unpack_jpeg(
    parts: Sequence[memoryview], grid: Grid, limits: Limits, *, samples: int, tables: bytes, coded_colour: bool
) -> NDArray[np.uint8]:
    """Return the pixels of a plane of JPEG strips or tiles, ``(rows, width, samples)``.

    Args:
        parts: Its packed segments.
        grid: How it is cut, in pixels.
        limits: What is refused.
        samples: Channels of the plane.
        tables: A JPEG stream of the tables that the segments share, or nothing.
        coded_colour: Whether three channels are YCbCr, which become RGB.

    Raises:
        Refusal: The packed bytes are damaged or incomplete, or of another size.
    """
    _check_weight(parts, grid, _JPEG_RATIO)
    result = np.empty((grid.rows, grid.width, samples), np.uint8)
    for part, place in zip(parts, grid.places(result), strict=True):
        values = read_bare_jpeg(part, tables, limits, coded_colour=coded_colour)
        if values.shape[2] != samples or values.shape[0] < place.shape[0] or values.shape[1] < place.shape[1]:
            raise Refusal("the JPEG data of the TIFF are of another size than it says; the file is damaged")
        place[:] = values[: place.shape[0], : place.shape[1]]
    return result


def unpack_pictures(parts: Sequence[memoryview], grid: Grid, directory: Ifd, tags: Sequence[int]) -> list[Image]:
    """Return the pictures, from top to bottom, that a codec makes of the segments.

    Args:
        parts: The packed segments.
        grid: How the page is cut, in pixels.
        directory: The directory of the page.
        tags: The entries of it that the codec needs.

    Raises:
        Refusal: The packed bytes are damaged.
    """
    needed = {tag: directory.tags[tag] for tag in tags if tag in directory.tags}
    return [_picture(parts[which], grid, rows, needed) for which, _, rows in grid.bands()]


def _picture(parts: Sequence[memoryview], grid: Grid, rows: int, tags: dict[int, Value]) -> Image:
    """Return what libtiff makes of the segments of a band."""
    from PIL.TiffImagePlugin import TiffImageFile

    if grid.segment_rows * grid.segment_width > _MOST:
        raise Refusal("the TIFF is packed in one piece, which is too large to unpack; save it with strips or tiles")
    tags = tags | {256: long_value(grid.width), 257: long_value(rows)}
    if grid.tiled:
        tags |= {322: long_value(grid.segment_width), 323: long_value(grid.segment_rows)}
    else:
        tags |= {278: long_value(grid.segment_rows)}
    starts = [8]
    for part in parts:
        starts.append(starts[-1] + len(part))
    tags[324 if grid.tiled else 273] = long_value(*starts[:-1])
    tags[325 if grid.tiled else 279] = long_value(*map(len, parts))
    layout = Layout()
    at = starts[-1] + starts[-1] % 2
    body = b"".join(parts).ljust(at - 8, b"\x00")
    return decode(TiffImageFile, layout.header(at) + body + lay_out(Ifd(tags), at, layout=layout))
