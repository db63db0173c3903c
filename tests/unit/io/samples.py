"""Pictures and files for the tests beside this file, made by other libraries than the ones under test use."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from restorekit.io import ImageData, Metadata

TOPS = {"uint8": 255, "uint16": 65535, "float32": 1.0}

XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description xmlns:dc="http://purl.org/dc/elements/1.1/" dc:format="image/x"/></rdf:RDF></x:xmpmeta>'
)
IPTC = b"\x1c\x02\x5a\x00\x04Bonn\x1c\x02\x50\x00\x03Ann"


def values(shape: tuple[int, ...], dtype: str, *, seed: int = 0, low: float = 0.0, high: float = 1.0) -> NDArray[Any]:
    """Return noise of a dtype between two parts of its range."""
    noise = np.random.default_rng(seed).uniform(low, high, shape)
    return (noise * TOPS[dtype]).astype(dtype)


def picture(
    *, height: int = 13, width: int = 11, channels: int = 3, dtype: str = "uint8", alpha: bool = False, seed: int = 0
) -> ImageData:
    """Return a picture of noise."""
    shape = (height, width) if channels == 1 else (height, width, 3)
    layer = values((height, width), dtype, seed=seed + 1) if alpha else None
    return ImageData(pixels=values(shape, dtype, seed=seed), alpha=layer)


def smooth(height: int = 48, width: int = 64) -> NDArray[np.uint8]:
    """Return a picture of soft colours, ``(H, W, 3)``, which lossy formats keep well."""
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    return np.rint(np.stack([80 + 150 * x, 60 + 160 * y, 120 + 60 * x * y], -1)).astype(np.uint8)


def srgb_profile() -> bytes:
    """Return an sRGB profile."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def exif_block(orientation: int | None = None, *, thumbnail: bytes | None = None) -> bytes:
    """Return an EXIF block that Pillow made: text, numbers, a date, a place, a maker note."""
    exif = Image.Exif()
    exif[271] = "Maker"
    exif[272] = "Model X"
    exif[33432] = "(c) somebody"
    if orientation is not None:
        exif[274] = orientation
    below = exif.get_ifd(34665)
    below.update(
        {36867: "2024:05:06 07:08:09", 33434: (1, 250), 34855: 400, 37500: b"maker's own bytes", 40962: 9, 40963: 7}
    )
    exif.get_ifd(34853).update({1: "N", 2: (50.0, 44.0, 2.5), 3: "E", 4: (7.0, 5.0, 59.0)})
    block = exif.tobytes().removeprefix(b"Exif\x00\x00")
    return block if thumbnail is None else _with_thumbnail(block, thumbnail)


def _with_thumbnail(block: bytes, thumbnail: bytes) -> bytes:
    order = "<" if block[:2] == b"II" else ">"
    (first,) = struct.unpack_from(f"{order}I", block, 4)
    (count,) = struct.unpack_from(f"{order}H", block, first)
    link = first + 2 + 12 * count
    second = len(block) + len(block) % 2
    entries = [(259, 3, 1, 6), (513, 4, 1, second + 2 + 36 + 4), (514, 4, 1, len(thumbnail))]
    body = struct.pack(f"{order}H", 3)
    for tag, kind, number, value in entries:
        field = struct.pack(f"{order}H2x", value) if kind == 3 else struct.pack(f"{order}I", value)
        body += struct.pack(f"{order}HHI", tag, kind, number) + field
    block = block.ljust(second, b"\x00") + body + bytes(4) + thumbnail
    return block[:link] + struct.pack(f"{order}I", second) + block[link + 4 :]


def full_metadata() -> Metadata:
    """Return everything that every format but BMP can hold (WebP: but IPTC)."""
    resources = b"8BIM\x04\x04\x00\x00" + struct.pack(">I", len(IPTC)) + IPTC + b"\x00" * (len(IPTC) % 2)
    return Metadata(icc=srgb_profile(), exif=exif_block(1), xmp=XMP, photoshop=resources, dpi=(300.0, 200.0))


def jpeg(pixels: NDArray[Any], **options: Any) -> bytes:
    """Return a JPEG by Pillow."""
    out = BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", **{"quality": 95, **options})
    return out.getvalue()


def png(*chunks: tuple[bytes, bytes]) -> bytes:
    """Return a PNG of any chunks, with right checksums."""
    out = b"\x89PNG\r\n\x1a\n"
    for kind, content in chunks:
        out += struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
    return out


def grey_png(*extra: tuple[bytes, bytes], size: int = 2, bits: int = 8) -> bytes:
    """Return a PNG of zeros, with further chunks before its pixels."""
    header = struct.pack(">IIBBBBB", size, size, bits, 0, 0, 0, 0)
    rows = zlib.compress(bytes(size * (1 + (size * bits + 7) // 8)))
    return png((b"IHDR", header), *extra, (b"IDAT", rows), (b"IEND", b""))
