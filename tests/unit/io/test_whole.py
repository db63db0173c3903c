"""A picture of which a part is missing is never read as if it were whole, whatever the container says."""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import cache
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image, features

from restorekit.errors import PictureError
from restorekit.io import read_image
from tests.unit.io.samples import smooth

FAX = ("group3", "group4", "tiff_ccitt")
TIFFS = ("jpeg", "tiff_adobe_deflate", "tiff_lzw", "packbits", "lzma", *FAX)


@cache
def photo() -> Image.Image:
    noise = np.random.default_rng(0).integers(0, 20, (96, 120, 3))
    return Image.fromarray((smooth(96, 120) + noise).astype(np.uint8))


def saved(format: str, *, mode: str = "RGB", **options: Any) -> bytes:
    out = BytesIO()
    photo().convert(mode).save(out, format, **options)
    return out.getvalue()


def tiff(compression: str) -> bytes:
    return saved("TIFF", mode="1" if compression in FAX else "RGB", compression=compression)


def last_strip(file: bytes) -> tuple[int, int, int]:
    """Return where the last strip begins, its bytes, and where the number of these stands (as 16 or 32 bits)."""
    (first,) = struct.unpack_from("<I", file, 4)
    found: dict[int, tuple[int, int]] = {}
    for entry in range(first + 2, first + 2 + 12 * struct.unpack_from("<H", file, first)[0], 12):
        tag, kind, count = struct.unpack_from("<HHI", file, entry)
        size = {3: 2, 4: 4}.get(kind, 4)
        place = entry + 8 if size * count <= 4 else struct.unpack_from("<I", file, entry + 8)[0]
        last = place + size * (count - 1)
        if tag in (273, 279):
            found[tag] = struct.unpack_from("<H" if size == 2 else "<I", file, last)[0], last
    return found[273][0], found[279][0], found[279][1]


@pytest.mark.parametrize("share", [0.5, 0.9])
@pytest.mark.parametrize("compression", TIFFS)
def test_a_strip_that_ends_too_early(compression: str, share: float) -> None:
    file = bytearray(tiff(compression))
    read_image(bytes(file))
    start, length, place = last_strip(bytes(file))
    kept = int(share * length)
    short = file.copy()
    struct.pack_into("<H", short, place, kept)
    with pytest.raises(PictureError, match=r"damaged|cut off|end too early|missing|too short"):
        read_image(bytes(short))
    file[start + kept : start + length] = bytes(length - kept)
    with pytest.raises(PictureError, match=r"damaged|cut off|end too early|missing|too short"):
        read_image(bytes(file))


def _webp_chunks(file: bytes, share: float) -> bytes:
    """Shorten the coded pixels, and set the lengths to that."""
    out, at = file[:12], 12
    while at < len(file):
        name, length = file[at : at + 4], struct.unpack_from("<I", file, at + 4)[0]
        content = file[at + 8 : at + 8 + length]
        content = content[: int(share * length)] if name.startswith(b"VP8") and name != b"VP8X" else content
        out += name + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)
        at += 8 + length + length % 2
    return out[:4] + struct.pack("<I", len(out) - 8) + out[8:]


def _cut(file: bytes, share: float) -> bytes:
    return file[: int(share * len(file))]


def _never_filled(file: bytes, share: float) -> bytes:
    return _cut(file, share).ljust(len(file), b"\x00")


def _end_mark(file: bytes, share: float) -> bytes:
    return _cut(file, share) + b"\xff\xd9"


def _gap(file: bytes, share: float) -> bytes:
    at = int(share * len(file))
    return file[:at] + file[at + 50 :]


FORMATS: dict[str, tuple[dict[str, Any], tuple[Callable[[bytes, float], bytes], ...]]] = {
    "png": ({"format": "PNG"}, (_cut, _never_filled, _gap)),
    "jpeg": ({"format": "JPEG"}, (_cut, _never_filled, _end_mark, _gap)),
    "progressive jpeg": ({"format": "JPEG", "progressive": True}, (_cut, _never_filled, _end_mark, _gap)),
    "grey jpeg": ({"format": "JPEG", "mode": "L"}, (_cut, _never_filled, _end_mark, _gap)),
    "cmyk jpeg": ({"format": "JPEG", "mode": "CMYK"}, (_cut, _never_filled, _end_mark, _gap)),
    "webp": ({"format": "WEBP"}, (_cut, _never_filled, _webp_chunks)),
    "lossless webp": ({"format": "WEBP", "lossless": True}, (_cut, _never_filled, _webp_chunks)),
    "bmp": ({"format": "BMP"}, (_cut,)),
    "avif": ({"format": "AVIF"}, (_cut,)),
}


@pytest.mark.parametrize("share", [0.5, 0.85])
@pytest.mark.parametrize(("name", "how"), [(name, how) for name, (_, ways) in FORMATS.items() for how in ways])
def test_a_file_that_lacks_a_part(name: str, how: Callable[[bytes, float], bytes], share: float) -> None:
    if name == "avif" and not features.check("avif"):
        pytest.skip("this Pillow was built without the AVIF codec")
    file = saved(**FORMATS[name][0])
    read_image(file)
    with pytest.raises(PictureError, match=r"^the picture: [^\n]{20,200}$"):
        read_image(how(file, share))


def test_deflated_strips_without_their_checksum_are_whole() -> None:
    """Some writers leave it out; a wrong one is another matter."""
    file = bytearray(tiff("tiff_adobe_deflate"))
    start, length, place = last_strip(bytes(file))
    short = file.copy()
    struct.pack_into("<H", short, place, length - 4)
    np.testing.assert_array_equal(read_image(bytes(short)).pixels, np.asarray(photo()))
    file[start + length - 1] ^= 1
    with pytest.raises(PictureError, match="compressed picture data of the TIFF are damaged"):
        read_image(bytes(file))
