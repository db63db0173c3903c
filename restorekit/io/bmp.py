"""BMP files, read and written here: profile and alpha where the file has them.

Reference:
    Microsoft, "BITMAPV5HEADER structure (wingdi.h)", "Bitmap Compression"; IBM, OS/2 2.0 Presentation Manager
    Programming Reference, volume III (headers of 12 and of 16 to 64 bytes).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from restorekit.io.faults import Refusal
from restorekit.io.limits import Limits, check_size
from restorekit.io.picture import Encoding, ImageData, Metadata

__all__ = ["read_bmp", "write_bmp"]

_FILE_HEAD = 14
_CORE, _INFO, _V5 = 12, 40, 124
_HEADS = frozenset({_CORE, *range(16, 65), 108, _V5})
_INCH = 0.0254
_EMBEDDED = b"DEBM"  # "MBED", lowest byte first
_SRGB = b"BGRs"  # "sRGB", lowest byte first
_PLAIN, _RLE8, _RLE4, _MASKS, _MASKS_ALPHA = 0, 1, 2, 3, 6
_OTHERS = {4: "a JPEG", 5: "a PNG"}
_DEPTHS = {_PLAIN: (1, 2, 4, 8, 16, 24, 32), _RLE8: (8,), _RLE4: (4,), _MASKS: (16, 32), _MASKS_ALPHA: (16, 32)}
_USUAL = {16: (0x7C00, 0x3E0, 0x1F, 0), 32: (0xFF0000, 0xFF00, 0xFF, 0)}
_BAND = 2**22  # pixels that are unpacked at a time
_DAMAGED = "the BMP header is damaged"
_CUT = "the picture data of the BMP end too early; the file is cut off, get it again"

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class _Head:
    """What the header says."""

    size: int
    width: int
    height: int
    top_down: bool
    bits: int
    compression: int
    colours: int
    dpi: tuple[float, float] | None
    start: int

    @property
    def row(self) -> int:
        """Bytes of a stored row, filled up to four."""
        return (self.width * self.bits + 31) // 32 * 4

    @property
    def palette(self) -> tuple[int, int]:
        """Where the palette begins, and the bytes of an entry."""
        behind = {_MASKS: 12, _MASKS_ALPHA: 16}.get(self.compression, 0) if self.size == _INFO else 0
        return _FILE_HEAD + self.size + behind, 3 if self.size == _CORE else 4


def read_bmp(data: memoryview, limits: Limits) -> ImageData:
    """Read a BMP.

    Args:
        data: The file.
        limits: What is refused.

    Returns:
        uint8, grey or RGB, with alpha where the header states a mask for it.

    Raises:
        Refusal: The file is damaged, cut off, too large, or of a kind that is not supported.
    """
    head = _parse(data)
    check_size(head.width, head.height, limits)
    _check_kind(head)
    alpha: Pixels | None = None
    if head.bits <= 8:
        pixels = _through_palette(data, head)
    elif head.bits == 24:
        pixels = np.ascontiguousarray(_rows(data, head)[:, : 3 * head.width].reshape(head.height, -1, 3)[:, :, ::-1])
    else:
        pixels, alpha = _through_masks(data, head)
    metadata = Metadata(dpi=head.dpi, icc=_profile(data, head.size))
    encoding = Encoding(bits=min(head.bits, 8))
    return ImageData(pixels=pixels, alpha=alpha, format="bmp", metadata=metadata, encoding=encoding)


def _parse(data: memoryview) -> _Head:
    if len(data) < _FILE_HEAD + _CORE:
        raise Refusal("the BMP ends in its header; the file is cut off, get it again")
    start, size = struct.unpack_from("<II", data, 10)
    if size not in _HEADS or _FILE_HEAD + size > len(data):
        raise Refusal(_DAMAGED)
    if size == _CORE:
        width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
        return _Head(size, width, height, False, bits, _PLAIN, 0, None, start)
    # the oldest headers of this family may end early: what is missing is zero
    words = bytes(data[18 : _FILE_HEAD + min(size, _INFO)]).ljust(_INFO - 4, b"\x00")
    width, height, _, bits, compression, _, across, down, colours, _ = struct.unpack("<iiHHIIiiII", words)
    dpi = (across * _INCH, down * _INCH) if across > 0 and down > 0 else None
    if compression > _RLE4 and (size < _INFO or size == 64):
        raise Refusal("the BMP is compressed by a method of OS/2, which is not supported; convert it to PNG")
    return _Head(size, width, abs(height), height < 0, bits, compression, colours, dpi, start)


def _check_kind(head: _Head) -> None:
    if head.compression in _OTHERS:
        raise Refusal(f"the BMP holds {_OTHERS[head.compression]}, which is not supported; convert it to PNG")
    if head.compression not in _DEPTHS or head.bits not in _DEPTHS[head.compression]:
        raise Refusal(
            f"a BMP of {head.bits} bits a pixel, compression {head.compression}, is not supported; "
            "it is damaged, or of an odd kind: convert it to PNG"
        )
    if head.top_down and head.compression in (_RLE8, _RLE4):
        raise Refusal(_DAMAGED)


def _rows(data: memoryview, head: _Head) -> Pixels:
    """Return the stored rows, ``(H, bytes of a row)``, from top to bottom."""
    first, each = head.palette
    start = head.start or first + each * (min(head.colours or 2**head.bits, 256) if head.bits <= 8 else 0)
    if start < first:
        raise Refusal(_DAMAGED)
    size = head.row * head.height
    # the filling of the last row may be missing
    if start + size - head.row + (head.width * head.bits + 7) // 8 > len(data):
        raise Refusal(_CUT)
    if start + size > len(data):
        data = memoryview(bytes(data).ljust(start + size, b"\x00"))
    rows = np.frombuffer(data, np.uint8, size, start).reshape(head.height, head.row)
    return rows if head.top_down else rows[::-1]


def _through_palette(data: memoryview, head: _Head) -> Pixels:
    """Return grey or RGB of a picture of up to 8 bits."""
    first, each = head.palette
    room = ((head.start or len(data)) - first) // each
    count = max(0, min(head.colours or 2**head.bits, 2**head.bits, room, (len(data) - first) // each))
    palette = np.frombuffer(data, np.uint8, count * each, first).reshape(count, each)[:, 2::-1]
    if head.compression in (_RLE8, _RLE4):
        indices = _run_lengths(data[head.start :], head)
    else:
        indices = _unpack(_rows(data, head), head.bits)[:, : head.width]
    if indices.max() >= count:
        raise Refusal("pixels of the BMP point outside its palette; the file is damaged")
    grey = bool((palette == palette[:, :1]).all())
    return np.ascontiguousarray((palette[:, 0] if grey else palette)[indices])


def _unpack(rows: Pixels, bits: int) -> Pixels:
    """Return the values of 1, 2, 4 or 8 bits that are packed into bytes, highest first."""
    if bits == 8:
        return rows
    shifts = np.arange(8 - bits, -1, -bits, dtype=np.uint8)
    return (rows[:, :, None] >> shifts & np.uint8(2**bits - 1)).reshape(rows.shape[0], -1)


def _run_lengths(packed: memoryview, head: _Head) -> Pixels:
    """Return the values that pairs of a count and a value stand for, ``(H, W)``, from top to bottom.

    Raises:
        Refusal: They end too early, or leave pixels open.
    """
    width, height = head.width, head.height
    if 255 * (len(packed) // 2) < width * height:
        raise Refusal(_CUT)
    out = bytearray(width * height)
    x = y = there = 0
    for run, right, up in _steps(packed, four=head.compression == _RLE4):
        x, y = (0 if right < 0 else min(x + right, width)), y + up
        if y >= height:
            break
        part = run[: width - x]  # some writers fill a row up
        out[y * width + x : y * width + x + len(part)] = part
        x, there = x + len(part), there + len(part)
        if there == width * height:
            break
    if there < width * height:
        raise Refusal(f"the BMP says nothing about {width * height - there} of its pixels; convert it to PNG")
    return np.frombuffer(out, np.uint8).reshape(height, width)[::-1]


def _steps(packed: memoryview, *, four: bool) -> Iterator[tuple[bytes, int, int]]:
    """Yield values with how far right (-1: back to the left edge) and up to go before they are put down.

    Raises:
        Refusal: There is no end mark.
    """
    at = 0
    while at + 2 <= len(packed):
        count, value = packed[at], packed[at + 1]
        at += 2
        if count:
            yield ((_halves(bytes([value])) if four else bytes([value])) * count)[:count], 0, 0
        elif value > 2:
            size = (value + 1) // 2 if four else value
            run = bytes(packed[at : at + size])
            yield (_halves(run) if four else run)[:value], 0, 0
            at += size + size % 2
        elif value == 2 and at + 2 <= len(packed):
            yield b"", packed[at], packed[at + 1]
            at += 2
        elif value == 0:
            yield b"", -1, 1
        else:
            return
    raise Refusal(_CUT)


def _halves(packed: bytes) -> bytes:
    return bytes(half for byte in packed for half in (byte >> 4, byte & 15))


def _through_masks(data: memoryview, head: _Head) -> tuple[Pixels, Pixels | None]:
    """Return RGB, and alpha where there is a mask for it, of a picture of 16 or 32 bits."""
    masks = _masks(data, head)
    values = _rows(data, head).view(f"<u{head.bits // 8}")[:, : head.width]
    pixels = np.empty((head.height, head.width, 3), np.uint8)
    alpha = np.empty((head.height, head.width), np.uint8) if masks[3] else None
    step = max(1, _BAND // head.width)
    for top in range(0, head.height, step):
        rows = slice(top, top + step)
        for channel in range(3):
            pixels[rows, :, channel] = _channel(values[rows], masks[channel])
        if alpha is not None:
            alpha[rows] = _channel(values[rows], masks[3])
    return pixels, alpha


def _masks(data: memoryview, head: _Head) -> tuple[int, int, int, int]:
    """Return which bits of a pixel are red, green, blue and alpha."""
    if head.compression == _PLAIN:
        return _USUAL[head.bits]
    stated = 4 if head.compression == _MASKS_ALPHA or head.size >= 56 else 3
    place = _FILE_HEAD + _INFO
    if place + 4 * stated > len(data):
        raise Refusal("the BMP ends in its header; the file is cut off, get it again")
    red, green, blue, alpha = (*struct.unpack_from(f"<{stated}I", data, place), 0)[:4]
    if not red | green | blue | alpha and head.bits == 32:
        return (*_USUAL[32][:3], 0xFF000000)  # some programs leave them out, and mean this
    apart = red & green | green & blue | blue & red | (red | green | blue) & alpha
    whole = all(_is_run(mask) and mask < 2**head.bits for mask in (red, green, blue, alpha or 1))
    if apart or not whole:
        raise Refusal("the colour masks of the BMP are damaged")
    return red, green, blue, alpha


def _is_run(mask: int) -> bool:
    """Return whether the bits of a mask are set, and stand side by side."""
    return mask > 0 and (mask + (mask & -mask)) & mask == 0


def _channel(values: NDArray[Any], mask: int) -> Pixels:
    """Return the part of pixels that a mask selects, spread over 0 to 255."""
    low = mask & -mask
    top = mask // low
    part = (values & values.dtype.type(mask)) // values.dtype.type(low)
    if top != 255:
        part = (part.astype(np.uint64) * 255 + top // 2) // top
    spread: Pixels = part.astype(np.uint8)
    return spread


def _profile(data: memoryview, head: int) -> bytes | None:
    if head < _V5 or bytes(data[_FILE_HEAD + 56 : _FILE_HEAD + 60]) != _EMBEDDED:
        return None
    start, length = struct.unpack_from("<II", data, _FILE_HEAD + 112)
    start += _FILE_HEAD
    return bytes(data[start : start + length]) if length > 0 and start + length <= len(data) else None


def write_bmp(image: ImageData, out: BinaryIO) -> None:
    """Write a picture of 8 bits.

    Grey without a profile gets the classic header with a grey palette, anything else the fifth version of it.

    Args:
        image: uint8, grey or RGB, with or without alpha.
        out: Where to.

    Raises:
        Refusal: The picture has more bytes than a BMP can hold.
    """
    plain = image.grey and image.alpha is None
    channels = 1 if plain else 3 if image.alpha is None else 4
    row = -(-image.width * channels // 4) * 4
    icc = image.metadata.icc or b""
    head = 40 if plain and not icc else _V5
    start = _FILE_HEAD + head + (1024 if plain else 0)
    total = start + row * image.height + len(icc)
    if total >= 2**32:
        raise Refusal("the picture is too large for a BMP; choose another format with --format")
    dpi = image.metadata.dpi or (0.0, 0.0)
    across, down = (min(round(side / _INCH), 2**31 - 1) for side in dpi)
    size = row * image.height
    masks = image.alpha is not None
    coding, levels = (3 if masks else 0), (256 if plain else 0)
    out.write(struct.pack("<2sIHHI", b"BM", total, 0, 0, start))
    out.write(struct.pack("<IiiHHII", head, image.width, image.height, 1, 8 * channels, coding, size))
    out.write(struct.pack("<iiII", across, down, levels, 0))
    if head == _V5:
        colours = (0xFF0000, 0xFF00, 0xFF, 0xFF000000) if masks else (0, 0, 0, 0)
        place = (start + size - _FILE_HEAD, len(icc)) if icc else (0, 0)
        out.write(struct.pack("<4I4s48xIIII", *colours, _EMBEDDED if icc else _SRGB, 4, *place, 0))
    if plain:
        out.write(bytes(value for level in range(256) for value in (level, level, level, 0)))
    _write_rows(image, out, channels, row)
    out.write(icc)


def _write_rows(image: ImageData, out: BinaryIO, channels: int, row: int) -> None:
    """Write the rows, lowest first, blue before red, each filled up to four bytes."""
    for bottom in range(image.height, 0, -256):
        rows = slice(max(0, bottom - 256), bottom)
        values = image.pixels[rows][::-1]
        if channels > 1:
            values = np.repeat(values[:, :, None], 3, 2) if image.grey else values[:, :, ::-1]
        if image.alpha is not None:
            values = np.dstack([values, image.alpha[rows][::-1]])
        padded = np.zeros((values.shape[0], row), np.uint8)
        padded[:, : image.width * channels] = values.reshape(values.shape[0], -1)
        out.write(padded.tobytes())
