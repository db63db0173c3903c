"""BMP files: pixels decoded by Pillow; written here, with profile and alpha where the input had them.

Reference:
    Microsoft, "BITMAPV5HEADER structure (wingdi.h)".
"""

from __future__ import annotations

import struct
from typing import BinaryIO

import numpy as np

from restorekit.io.faults import Refusal
from restorekit.io.limits import Limits, check_size
from restorekit.io.picture import Encoding, ImageData, Metadata
from restorekit.io.pil_bridge import decode, planes

__all__ = ["read_bmp", "write_bmp"]

_FILE_HEAD = 14
_V5 = 124
_INCH = 0.0254
_EMBEDDED = b"DEBM"  # "MBED", lowest byte first
_SRGB = b"BGRs"  # "sRGB", lowest byte first


def read_bmp(data: memoryview, limits: Limits) -> ImageData:
    """Read a BMP.

    Args:
        data: The file.
        limits: What is refused.

    Returns:
        uint8, grey or RGB, with alpha where the header states a mask for it.

    Raises:
        Refusal: The file is damaged, cut off, or too large.
    """
    if len(data) < 26:
        raise Refusal("the BMP ends in its header; the file is cut off, get it again")
    (head,) = struct.unpack_from("<I", data, _FILE_HEAD)
    if head == 12:
        width, height = struct.unpack_from("<HH", data, 18)
        depth, dpi = struct.unpack_from("<H", data, 24)[0], None
    else:
        if head < 40 or _FILE_HEAD + head > len(data):
            raise Refusal("the BMP header is damaged")
        width, height = struct.unpack_from("<ii", data, 18)
        (depth,) = struct.unpack_from("<H", data, 28)
        across, down = struct.unpack_from("<ii", data, 38)
        dpi = (across * _INCH, down * _INCH) if across > 0 and down > 0 else None
    check_size(width, abs(height), limits)
    from PIL.BmpImagePlugin import BmpImageFile

    pixels, alpha = planes(decode(BmpImageFile, bytes(data)))
    metadata = Metadata(dpi=dpi, icc=_profile(data, head))
    return ImageData(pixels=pixels, alpha=alpha, format="bmp", metadata=metadata, encoding=Encoding(bits=min(depth, 8)))


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
