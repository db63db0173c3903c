"""JPEG files: segments sorted here, pixels decoded by Pillow.

Reference:
    ITU-T T.81 (markers, annex B); JFIF 1.02; Adobe XMP Specification, part 3 (packets in JPEG).
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from restorekit.io import exif, iptc
from restorekit.io.faults import Refusal
from restorekit.io.limits import Limits, check_size
from restorekit.io.picture import Encoding, ImageData, Metadata
from restorekit.io.pil_bridge import decode, planes

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["EXIF_HEAD", "EXTENDED_XMP_HEAD", "ICC_HEAD", "PHOTOSHOP_HEAD", "XMP_HEAD", "Segments", "read_jpeg", "scan"]

EXIF_HEAD = b"Exif\x00\x00"
XMP_HEAD = b"http://ns.adobe.com/xap/1.0/\x00"
EXTENDED_XMP_HEAD = b"http://ns.adobe.com/xmp/extension/\x00"
ICC_HEAD = b"ICC_PROFILE\x00"
PHOTOSHOP_HEAD = b"Photoshop 3.0\x00"

_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_KINDS = {0xC3: "lossless", 0xC5: "hierarchical", 0xC6: "hierarchical", 0xC7: "hierarchical", 0xCB: "lossless"}
_AFTER_SCAN = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")  # stuffed zeros and restart markers belong to the scan
_RESTART = re.compile(rb"\xff[\xd0-\xd7]")
_FILLER = bytes((37 * n * n + 11 * n + 91) % 251 for n in range(64))
_ARITHMETIC = frozenset({0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF})
_ONE_PASS = frozenset({0xC0, 0xC1})  # each part of the picture is coded once: what is there can be told to be all
_BAND = 256  # rows that are compared at a time, to spare memory
_MAX_SCANS = 100
_FILLED = 8  # zeros at the end of a file without end marker: room that was made for it and never filled
_MUCH = 1024  # bytes after the end; fewer are filling
_ALONE = frozenset([0x01, *range(0xD0, 0xD9)])
_LUMA = (16, 11, 10, 16, 24, 40, 51, 61)  # first row of the standard's example table, from which quality is estimated


@dataclass
class Segments:
    """What the segments of a file say.

    ``bare`` are the parts that make the pixels, for a decoder; ``scans`` says which of them are coded data.
    """

    width: int = 0
    height: int = 0
    bits: int = 8
    frame: int = 0
    sampling: list[tuple[int, int]] = field(default_factory=list)
    tables: dict[int, list[int]] = field(default_factory=dict)
    restart: int = 0
    metadata: list[tuple[int, bytes]] = field(default_factory=list)
    bare: list[bytes | memoryview] = field(default_factory=list)
    scans: list[int] = field(default_factory=list)
    complete: bool = False
    after_end: int = 0

    @property
    def subsampling(self) -> str | None:
        """How colour is sampled, or None for grey."""
        if len(self.sampling) < 3:
            return None
        (h, v), (ch, cv) = self.sampling[0], self.sampling[1]
        names = {(1, 1): "4:4:4", (2, 1): "4:2:2", (2, 2): "4:2:0", (4, 1): "4:1:1", (1, 2): "4:4:0"}
        return names.get((h // max(ch, 1), v // max(cv, 1)), f"{h}x{v}")


def scan(data: memoryview, *, head_only: bool = False) -> Segments:
    """Sort the segments of a JPEG, up to the end of its first picture.

    Args:
        data: The file.
        head_only: Whether to stop where the picture data begin.

    Raises:
        Refusal: A segment of the head is damaged or cut off.
    """
    found = Segments(bare=[b"\xff\xd8"])
    at = 2
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            raise Refusal("the JPEG holds stray bytes between its segments; the file is damaged")
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        if marker in _ALONE:
            at += 2
            continue
        if marker == 0xD9:
            break
        (length,) = struct.unpack_from(">H", data, at + 2)
        end = at + 2 + length
        if length < 2 or end > len(data):
            raise Refusal("the JPEG ends in the middle of a segment of its head; the file is cut off, get it again")
        if marker == 0xDA and head_only:
            break
        _take(found, marker, data[at:end])
        at = end
        if marker == 0xDA:
            marker_after = _AFTER_SCAN.search(data, end)
            at = marker_after.start() if marker_after else len(data)
            found.scans.append(len(found.bare))
            found.bare.append(data[end:at])
    found.complete = bytes(data[at : at + 2]) == b"\xff\xd9"
    found.after_end = max(0, len(data) - at - 2)
    found.bare.append(b"\xff\xd9")
    return found


def _take(found: Segments, marker: int, segment: memoryview) -> None:
    content = segment[4:]
    if marker in _FRAMES:
        _frame(found, marker, content)
    elif marker == 0xDB:
        _tables(found, bytes(content))
    elif marker == 0xDD and len(content) >= 2:
        (found.restart,) = struct.unpack_from(">H", content)
    application = 0xE0 <= marker <= 0xEF or marker == 0xFE
    if application:
        found.metadata.append((marker, bytes(content)))
    if not application or marker == 0xEE:
        found.bare.append(segment)


def _frame(found: Segments, marker: int, content: memoryview) -> None:
    if len(content) < 6 or len(content) < 6 + 3 * content[5]:
        raise Refusal("the JPEG's frame header is damaged")
    found.frame = marker
    found.bits, found.height, found.width, count = struct.unpack_from(">BHHB", content)
    found.sampling = [(content[7 + 3 * i] >> 4, content[7 + 3 * i] & 15) for i in range(count)]


def _tables(found: Segments, content: bytes) -> None:
    while content:
        wide, number = content[0] >> 4, content[0] & 15
        length = 1 + 64 * (2 if wide else 1)
        if len(content) < length:
            return
        found.tables[number] = list(struct.unpack(f">64{'H' if wide else 'B'}", content[1:length]))
        content = content[length:]


def _quality(tables: dict[int, list[int]]) -> int | None:
    """Estimate the quality, 1 to 100, that a table was scaled by from the standard's example (zigzag order)."""
    table = tables.get(0)
    if table is None:
        return None
    if set(table) == {1}:
        return 100
    scale = 100 * sum(table[i] for i in (0, 1, 5, 6, 14, 15, 27, 28)) / sum(_LUMA)
    quality = (200 - scale) / 2 if scale <= 100 else 5000 / scale
    return round(min(max(quality, 1), 100))


def read_jpeg(data: memoryview, limits: Limits) -> ImageData:
    """Read a JPEG, as stored (the caller applies the orientation).

    Args:
        data: The file.
        limits: What is refused.

    Returns:
        uint8, grey or RGB; CMYK is converted and a note says so.

    Raises:
        Refusal: The file is damaged, cut off, too large, or of a kind that is not supported.
    """
    found = scan(data)
    _check(found, limits)
    from PIL.JpegImagePlugin import JpegImageFile

    image = decode(JpegImageFile, b"".join(found.bare))
    _check_whole(image, found)
    metadata, notes = _metadata(found, limits)
    encoding = Encoding(
        quality=_quality(found.tables),
        subsampling=found.subsampling,
        progressive=found.frame in (0xC2, 0xCA),
        bits=8,
    )
    if image.mode == "CMYK":
        from restorekit.io.color_profile import cmyk_to_srgb

        return cmyk_to_srgb(image, ImageData(pixels=_BLANK, format="jpeg", metadata=metadata, encoding=encoding))
    pixels, _ = planes(image)
    return ImageData(pixels=pixels, format="jpeg", metadata=metadata, encoding=encoding, notes=notes)


_BLANK = np.zeros((1, 1), np.uint8)


def _check_whole(image: Image, found: Segments) -> None:
    """Refuse a picture of which a part is missing although its end marker is there.

    The decoder fills what is missing without a word. So the picture is decoded once more with bytes of no meaning put
    in at the end of every stretch of coded data: where a stretch is complete they are passed over, and where it is
    not they show.

    Args:
        image: The decoded picture.
        found: Its segments.
    """
    if found.frame in _ARITHMETIC:
        return  # such data may end early by rule: zeros are understood
    from PIL.JpegImagePlugin import JpegImageFile

    stuffed = list(found.bare)
    for index in found.scans:
        coded = bytes(stuffed[index]).rstrip(b"\xff")
        stuffed[index] = _RESTART.sub(lambda marker: _FILLER + marker.group(), coded) + _FILLER
    again = decode(JpegImageFile, b"".join(stuffed))
    bands = [(0, top, image.width, min(top + _BAND, image.height)) for top in range(0, image.height, _BAND)]
    if not all(np.array_equal(np.asarray(image.crop(band)), np.asarray(again.crop(band))) for band in bands):
        raise Refusal("a part of the JPEG's picture data is missing; the file is damaged, get it again")


def _check(found: Segments, limits: Limits) -> None:
    if not found.frame or not found.scans:
        raise Refusal("the JPEG ends before its picture data; the file is cut off, get it again")
    if found.frame in _KINDS:
        raise Refusal(f"this is a {_KINDS[found.frame]} JPEG, which is not supported; convert it first")
    if found.bits != 8:
        raise Refusal(f"this is a {found.bits}-bit JPEG, which is not supported; convert it to a 16-bit PNG or TIFF")
    if len(found.scans) > _MAX_SCANS:
        raise Refusal(f"the JPEG has {len(found.scans)} scans, which no camera writes; it was made to take long")
    check_size(found.width, found.height, limits)
    filled = bytes(found.bare[found.scans[-1]][-_FILLED:]) == bytes(_FILLED)
    if not found.complete and (found.frame not in _ONE_PASS or filled):
        raise Refusal("the JPEG has no end marker; the file is cut off, get it again")


def _metadata(found: Segments, limits: Limits) -> tuple[Metadata, tuple[str, ...]]:
    facts: dict[str, Any] = {}
    profile: dict[int, bytes] = {}
    extended: list[bytes] = []
    resources = b""
    several = False
    for marker, content in found.metadata:
        if marker == 0xE0 and content.startswith(b"JFIF\x00") and len(content) >= 12:
            facts.setdefault("dpi", _density(content))
        elif marker == 0xE1 and content.startswith(EXIF_HEAD):
            facts.setdefault("exif", content[len(EXIF_HEAD) :])
        elif marker == 0xE1 and content.startswith(XMP_HEAD):
            facts.setdefault("xmp", content[len(XMP_HEAD) :])
        elif marker == 0xE1 and content.startswith(EXTENDED_XMP_HEAD):
            extended.append(b"\xff\xe1" + struct.pack(">H", len(content) + 2) + content)
        elif marker == 0xE2 and content.startswith(ICC_HEAD) and len(content) > 14:
            profile.setdefault(content[12], content[14:])
        elif marker == 0xE2 and content.startswith(b"MPF\x00"):
            several = True
        elif marker == 0xED and content.startswith(PHOTOSHOP_HEAD):
            resources += content[len(PHOTOSHOP_HEAD) :]
        elif marker == 0xFE:
            facts.setdefault("comment", content)
    metadata = Metadata(
        icc=b"".join(profile[key] for key in sorted(profile)) or None,
        exif=facts.get("exif"),
        xmp=facts.get("xmp"),
        photoshop=iptc.without_thumbnail(resources),
        dpi=facts.get("dpi") or exif.dpi(facts.get("exif")),
        comment=facts.get("comment"),
        jpeg_segments=tuple(extended),
    )
    return metadata, _notes(found, several=several)


def _notes(found: Segments, *, several: bool) -> tuple[str, ...]:
    notes: list[str] = []
    if several:
        notes.append("the file holds more pictures after the first one (MPO), which were left out")
    elif found.after_end >= _MUCH:
        notes.append(f"{found.after_end} bytes after the end of the picture (a video or another picture) were left out")
    if not found.complete:
        notes.append("the end marker of the JPEG is missing; the picture is whole")
    return tuple(notes)


def _density(content: bytes) -> tuple[float, float] | None:
    unit, x, y = struct.unpack_from(">BHH", content, 7)
    scale = {1: 1.0, 2: 2.54}.get(unit)
    return (x * scale, y * scale) if scale and x and y else None
