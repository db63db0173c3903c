"""Writing PNG files of any depth, rows at a time, with all that belongs to them.

Reference:
    Portable Network Graphics (PNG) Specification (Third Edition), W3C, sections 9 (filters) and 11 (chunks).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from restorekit.io import iptc
from restorekit.io.icc import profile_name
from restorekit.io.picture import ImageData
from restorekit.io.png import PROFILE_KEYS, SIGNATURE, XMP_KEY, chunk
from restorekit.io.png_color import COLOR_CHUNKS

__all__ = ["write_png"]

_LEVEL = 6
_FINEST = 0.0254 * 2**31  # pixels per inch that a chunk can state
_BLOCK = 2**21  # bytes of rows that are filtered at a time


def write_png(image: ImageData, out: BinaryIO) -> None:
    """Write a picture of 8 or 16 bits.

    Args:
        image: uint8 or uint16; grey or RGB, with or without alpha.
        out: Where to.
    """
    kind = (0 if image.grey else 2) + (0 if image.alpha is None else 4)
    out.write(SIGNATURE)
    out.write(chunk(b"IHDR", struct.pack(">IIBBBBB", image.width, image.height, image.bits, kind, 0, 0, 0)))
    for name, content in _ancillary(image):
        out.write(chunk(name, content))
    deflate = zlib.compressobj(_LEVEL, zlib.DEFLATED, 15, 9, zlib.Z_FILTERED)
    for rows in _filtered(image):
        if part := deflate.compress(rows):
            out.write(chunk(b"IDAT", part))
    out.write(chunk(b"IDAT", deflate.flush()))
    out.write(chunk(b"IEND", b""))


def _ancillary(image: ImageData) -> Iterator[tuple[bytes, bytes]]:
    """Yield the chunks that stand before the pixels."""
    metadata = image.metadata
    yield from (pair for pair in metadata.png_chunks if pair[0] in COLOR_CHUNKS)
    if metadata.icc is not None:
        yield b"iCCP", _key(profile_name(metadata.icc)) + b"\x00\x00" + zlib.compress(metadata.icc)
    if metadata.dpi is not None and max(metadata.dpi) < _FINEST:
        yield b"pHYs", struct.pack(">IIB", *(round(side / 0.0254) for side in metadata.dpi), 1)
    if metadata.exif is not None:
        yield b"eXIf", metadata.exif
    if metadata.xmp is not None:
        yield b"iTXt", XMP_KEY + b"\x00\x00\x00\x00\x00" + metadata.xmp
    if metadata.photoshop is not None:
        yield b"zTXt", PROFILE_KEYS[0] + b"\x00\x00" + zlib.compress(iptc.to_raw_profile(metadata.photoshop))
    if metadata.comment is not None:
        text = metadata.comment.decode("utf-8", "replace").replace("\x00", "")
        yield b"iTXt", b"Comment\x00\x00\x00\x00\x00" + text.encode("utf-8")
    for name, content in metadata.png_chunks:
        if name not in COLOR_CHUNKS and not (name == b"pHYs" and metadata.dpi is not None):
            yield name, content


def _key(name: str) -> bytes:
    """Return a name as a keyword: 1 to 79 Latin-1 characters that can be printed, no more than one space at a time."""
    printable = "".join(letter if letter.isprintable() and ord(letter) < 256 else " " for letter in name)
    return " ".join(printable.split())[:79].strip().encode("latin-1") or b"ICC profile"


def _filtered(image: ImageData) -> Iterator[bytes]:
    """Yield the rows, some at a time, each with the filter that leaves the smallest differences before it."""
    channels = (1 if image.grey else 3) + (0 if image.alpha is None else 1)
    step = channels * image.bits // 8
    above = np.zeros(image.width * step, np.uint8)
    count = max(1, _BLOCK // above.size)
    for top in range(0, image.height, count):
        rows = _bytes(image, slice(top, top + count))
        yield _filter(rows, above, step).tobytes()
        above = rows[-1]


def _bytes(image: ImageData, rows: slice) -> NDArray[np.uint8]:
    """Return rows as bytes, highest first, ``(rows, bytes)``."""
    values = image.pixels[rows]
    if image.alpha is not None:
        values = np.dstack([values, image.alpha[rows]])
    if image.bits == 16:
        values = values.astype(">u2")
    return np.ascontiguousarray(values).view(np.uint8).reshape(values.shape[0], -1)


def _filter(rows: NDArray[np.uint8], above: NDArray[np.uint8], step: int) -> NDArray[np.uint8]:
    """Return ``(rows, 1 + bytes)``: for each row, whichever of the filters Sub, Up and Paeth suits it best."""
    up = np.vstack([above[None], rows[:-1]])
    left, corner = np.zeros_like(rows), np.zeros_like(rows)
    left[:, step:], corner[:, step:] = rows[:, :-step], up[:, :-step]
    candidates = [(1, rows - left), (2, rows - up), (4, rows - _paeth(left, up, corner))]
    costs = [np.abs(values.view(np.int8).astype(np.int16)).sum(1) for _, values in candidates]
    best = np.argmin(costs, 0)
    result = np.empty((rows.shape[0], rows.shape[1] + 1), np.uint8)
    for index, (number, values) in enumerate(candidates):
        chosen = best == index
        result[chosen, 0] = number
        result[chosen, 1:] = values[chosen]
    return result


def _paeth(left: NDArray[Any], up: NDArray[Any], corner: NDArray[Any]) -> NDArray[np.uint8]:
    """Return whichever neighbour is nearest to left + up - corner; ties go to the left, then up."""
    a, b, c = (values.astype(np.int16) for values in (left, up, corner))
    from_left, from_up = np.abs(b - c), np.abs(a - c)
    from_corner = np.abs(a + b - 2 * c)
    is_left = (from_left <= from_up) & (from_left <= from_corner)
    return np.where(is_left, left, np.where(from_up <= from_corner, up, corner)).astype(np.uint8)
