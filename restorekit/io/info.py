"""The size of a picture from a few bytes of its file, to plan and to show progress."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import BinaryIO

from restorekit.io.faults import Refusal, about
from restorekit.io.formats import sniff
from restorekit.io.heif import largest_size
from restorekit.io.ifd import TaggedFile
from restorekit.io.jpeg import scan

__all__ = ["read_size"]

_HEAD = 2**16
_JPEG_HEAD = 2**23  # profiles, EXIF and XMP stand before the size
_DIRECTORY = 8 + 20 * 256


def read_size(path: Path | str) -> tuple[int, int]:
    """Return width and height of a picture file, as stored, without reading its pixels.

    Args:
        path: The file.

    Raises:
        PictureError: The file cannot be read or its header is none of a known picture.
    """
    with about(str(path), "reading its header", hint="the file is damaged"), Path(path).open("rb") as file:
        head = file.read(_HEAD)
        kind = sniff(head)
        if kind == "jpeg":
            found = scan(memoryview(head + file.read(_JPEG_HEAD)), head_only=True)
            width, height = found.width, found.height
        elif kind == "tiff":
            width, height = _tiff(file, head)
        else:
            width, height = _fixed(kind, head)
        if width < 1 or height < 1:
            raise Refusal("the header states no size; the file is damaged or no picture")
        return width, height


def _fixed(kind: str | None, head: bytes) -> tuple[int, int]:
    """Return the size that stands at a fixed place of the head, or zeros."""
    width, height = 0, 0
    if kind == "png" and len(head) >= 24:
        width, height = struct.unpack_from(">II", head, 16)
    elif kind == "bmp" and len(head) >= 26:
        code = "<HH" if head[14] == 12 else "<ii"
        width, height = struct.unpack_from(code, head, 18)
    elif kind == "gif" and len(head) >= 10:
        width, height = struct.unpack_from("<HH", head, 6)
    elif kind == "webp" and len(head) >= 30:
        width, height = _webp(head)
    elif kind in ("avif", "heic"):
        width, height = largest_size(head)
    return width, abs(height)


def _webp(head: bytes) -> tuple[int, int]:
    if head[12:16] == b"VP8X":
        return int.from_bytes(head[24:27], "little") + 1, int.from_bytes(head[27:30], "little") + 1
    if head[12:16] == b"VP8L":
        (packed,) = struct.unpack_from("<I", head, 21)
        return (packed & 0x3FFF) + 1, (packed >> 14 & 0x3FFF) + 1
    width, height = struct.unpack_from("<HH", head, 26)
    return width & 0x3FFF, height & 0x3FFF


def _tiff(file: BinaryIO, head: bytes) -> tuple[int, int]:
    """Read the first directory, wherever in the file it lies."""
    first = TaggedFile(head).first
    if first >= file.seek(0, os.SEEK_END):
        raise Refusal("the directory of the TIFF lies past its end; the file is cut off or damaged")
    file.seek(first)
    body = file.read(_DIRECTORY)
    # the directory on its own, behind a header that points at it: sides are short enough to stand in it
    order, big = (">" if head[:2] == b"MM" else "<"), head[2:4] in (b"+\x00", b"\x00+")
    start = head[:8] + struct.pack(f"{order}Q", 16) if big else head[:4] + struct.pack(f"{order}I", 8)
    directory = TaggedFile(start + body)
    entries = directory.entries(directory.first)
    sides = [next(iter(directory.value(entries[tag]).integers()), 0) if tag in entries else 0 for tag in (256, 257)]
    return sides[0], sides[1]
