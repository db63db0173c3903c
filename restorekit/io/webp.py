"""WebP files: the container read and written here, pixels coded by Pillow.

Reference:
    RFC 9649, WebP Image Format.
"""

from __future__ import annotations

import struct
from io import BytesIO
from typing import BinaryIO

import numpy as np

from restorekit.io import exif
from restorekit.io.faults import Refusal
from restorekit.io.limits import Limits, check_size
from restorekit.io.picture import Encoding, ImageData, Metadata
from restorekit.io.pil_bridge import decode, planes

__all__ = ["DEFAULT_QUALITY", "LONGEST_SIDE", "read_webp", "write_webp"]

DEFAULT_QUALITY = 95
LONGEST_SIDE = 16383
_MOST = 178_000_000  # pixels that Pillow decodes
_FILLED = 64  # zeros at the end of coded pixels, and one more for each 1024 pixels: even flat pictures end in fewer


def read_webp(data: memoryview, limits: Limits) -> ImageData:
    """Read a WebP, as stored (the caller applies the orientation).

    Args:
        data: The file.
        limits: What is refused.

    Returns:
        uint8 RGB, with alpha where the file has some.

    Raises:
        Refusal: The file is damaged, cut off, animated, or too large.
    """
    chunks = _chunks(data)
    if b"ANIM" in chunks or b"ANMF" in chunks:
        raise Refusal(
            "this is an animation, of which no single frame is the picture; save its frames as files of their own first"
        )
    pixels_chunk = next((name for name in (b"VP8 ", b"VP8L") if name in chunks), None)
    if pixels_chunk is None:
        raise Refusal("the WebP holds no picture data; the file is damaged")
    size = _size(pixels_chunk, chunks[pixels_chunk])
    check_size(*size, limits)
    if size[0] * size[1] > _MOST:
        raise Refusal(f"a WebP of {size[0]} x {size[1]} pixels is more than its decoder takes; convert it to PNG")
    _check_extent(chunks, size, chunks[pixels_chunk])
    from PIL.WebPImagePlugin import WebPImageFile

    bare: list[tuple[bytes, memoryview]] = [
        (name, chunks[name]) for name in (b"VP8X", b"ALPH", pixels_chunk) if name in chunks
    ]
    if bare[0][0] == b"VP8X":
        # only the flag for alpha stays: the decoder gets no metadata
        flags = bytes([chunks[b"VP8X"][0] & 0x10]) + bytes(chunks[b"VP8X"][1:])
        bare[0] = (b"VP8X", memoryview(flags))
    pixels, alpha = planes(decode(WebPImageFile, _container(bare)))
    kept = {name: bytes(chunks[key]) for name, key in _METADATA.items() if key in chunks and len(chunks[key])}
    block = kept["exif"].removeprefix(b"Exif\x00\x00") if "exif" in kept else None
    metadata = Metadata(icc=kept.get("icc"), exif=block, xmp=kept.get("xmp"), dpi=exif.dpi(block))
    encoding = Encoding(lossless=pixels_chunk == b"VP8L", bits=8)
    return ImageData(pixels=pixels, alpha=alpha, format="webp", metadata=metadata, encoding=encoding)


_METADATA = {"icc": b"ICCP", "exif": b"EXIF", "xmp": b"XMP "}


def _chunks(data: memoryview) -> dict[bytes, memoryview]:
    """Return the first chunk of each name."""
    if len(data) < 20 or struct.unpack_from("<I", data, 4)[0] + 8 > len(data) + 1:
        raise Refusal("the WebP is shorter than its header says; the file is cut off or damaged, get it again")
    found: dict[bytes, memoryview] = {}
    at = 12
    while at + 8 <= len(data):
        name, length = bytes(data[at : at + 4]), struct.unpack_from("<I", data, at + 4)[0]
        if at + 8 + length > len(data):
            raise Refusal("the WebP ends in the middle of a chunk; the file is cut off or damaged, get it again")
        found.setdefault(name, data[at + 8 : at + 8 + length])
        at += 8 + length + length % 2
    return found


def _check_extent(chunks: dict[bytes, memoryview], size: tuple[int, int], coded: memoryview) -> None:
    """Refuse a canvas of another size than its only picture, and a picture whose end was never filled in."""
    canvas = chunks.get(b"VP8X")
    if canvas is not None:
        sides = bytes(canvas[4:10])
        stated = int.from_bytes(sides[:3], "little") + 1, int.from_bytes(sides[3:], "little") + 1
        if len(sides) < 6 or stated != size:
            raise Refusal("the WebP states two different sizes; the file is damaged")
    zeros = _FILLED + size[0] * size[1] // 1024
    if len(coded) >= zeros and not any(coded[-zeros:]):
        raise Refusal("the picture data of the WebP end in nothing but zeros; the file is incomplete, get it again")


def _size(name: bytes, content: memoryview) -> tuple[int, int]:
    """Return width and height from the head of the coded pixels."""
    if name == b"VP8L" and len(content) >= 5 and content[0] == 0x2F:
        (packed,) = struct.unpack_from("<I", content, 1)
        return (packed & 0x3FFF) + 1, (packed >> 14 & 0x3FFF) + 1
    if name == b"VP8 " and len(content) >= 10 and bytes(content[3:6]) == b"\x9d\x01\x2a":
        width, height = struct.unpack_from("<HH", content, 6)
        return width & 0x3FFF, height & 0x3FFF
    raise Refusal("the picture data of the WebP are damaged; get the file again")


def _container(chunks: list[tuple[bytes, memoryview]]) -> bytes:
    body = b"WEBP"
    for name, content in chunks:
        body += name + struct.pack("<I", len(content)) + bytes(content) + b"\0" * (len(content) % 2)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def write_webp(image: ImageData, out: BinaryIO, *, quality: int | None) -> None:
    """Write a picture of 8 bits.

    Args:
        image: uint8; grey is written as RGB, since WebP has no grey.
        out: Where to.
        quality: 1 to 100 for a lossy file. If None: lossless, unless the picture came from a lossy JPEG or WebP,
            which is written with quality 95.

    Raises:
        Refusal: The picture is larger than a WebP can be.
    """
    from PIL import Image

    if max(image.height, image.width) > LONGEST_SIDE:
        raise Refusal(
            f"a WebP has at most {LONGEST_SIDE} pixels a side, and the picture has {image.width} x {image.height}; "
            "choose another format with --format"
        )
    lossy = quality is not None or image.format == "jpeg" or image.encoding.lossless is False
    colours = np.repeat(image.pixels[:, :, None], 3, 2) if image.grey else image.pixels
    planes_ = colours if image.alpha is None else np.dstack([colours, image.alpha])
    coded = BytesIO()
    metadata = image.metadata
    block = metadata.exif if metadata.dpi is None else exif.with_dpi(metadata.exif, metadata.dpi)
    Image.fromarray(np.ascontiguousarray(planes_)).save(
        coded,
        "WEBP",
        quality=quality or DEFAULT_QUALITY,
        lossless=not lossy,
        exact=True,  # colours under full transparency are kept: they are part of the picture
        method=4,
        icc_profile=metadata.icc or b"",
        exif=block or b"",
        xmp=metadata.xmp or b"",
    )
    out.write(coded.getbuffer())
