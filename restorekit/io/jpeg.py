"""JPEG files: segments sorted here, pixels decoded by Pillow.

Reference:
    ITU-T T.81 (markers, annex B); JFIF 1.02; Adobe XMP Specification, part 3 (packets in JPEG).
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from restorekit.io import exif, iptc
from restorekit.io.faults import Refusal
from restorekit.io.limits import Limits, check_size
from restorekit.io.picture import Encoding, ImageData, Metadata
from restorekit.io.pil_bridge import decode, planes, same_pixels

__all__ = [
    "EXIF_HEAD",
    "EXTENDED_XMP_HEAD",
    "ICC_HEAD",
    "PHOTOSHOP_HEAD",
    "XMP_HEAD",
    "Segments",
    "read_bare_jpeg",
    "read_jpeg",
    "scan",
]

EXIF_HEAD = b"Exif\x00\x00"
XMP_HEAD = b"http://ns.adobe.com/xap/1.0/\x00"
EXTENDED_XMP_HEAD = b"http://ns.adobe.com/xmp/extension/\x00"
ICC_HEAD = b"ICC_PROFILE\x00"
PHOTOSHOP_HEAD = b"Photoshop 3.0\x00"

_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_KINDS = {0xC3: "lossless", 0xC5: "hierarchical", 0xC6: "hierarchical", 0xC7: "hierarchical", 0xCB: "lossless"}
_AFTER_SCAN = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")  # stuffed zeros and restart markers belong to the scan
_RESTART = re.compile(rb"\xff[\xd0-\xd7]")
_ADOBE = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00"  # but for its last byte: whether colours are YCbCr
_FILLER = bytes((37 * n * n + 11 * n + 91) % 251 for n in range(64))
_ARITHMETIC = frozenset({0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF})
_ONE_PASS = frozenset({0xC0, 0xC1})  # each part of the picture is coded once: what is there can be told to be all
_MAX_SCANS = 100
_MAX_WORK = 20_000_000_000  # scans times pixels; a progressive picture of a camera has some ten scans
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
    if not found.sampling or not all(1 <= factor <= 4 for factors in found.sampling for factor in factors):
        raise Refusal("the JPEG's frame header is damaged")


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

    metadata, notes = _metadata(found, limits)
    encoding = Encoding(
        quality=_quality(found.tables),
        subsampling=found.subsampling,
        progressive=found.frame in (0xC2, 0xCA),
        bits=8,
    )
    image = decode(JpegImageFile, b"".join(found.bare))
    if image.mode == "CMYK":
        from restorekit.io.color_profile import cmyk_to_srgb

        _check_whole(np.asarray(image), found)
        blank = ImageData(pixels=_BLANK, format="jpeg", metadata=metadata, encoding=encoding, notes=notes)
        return cmyk_to_srgb(image, blank)
    pixels, _ = planes(image)
    del image  # of each pixel it holds four bytes, as the one below does
    _check_whole(pixels, found)
    return ImageData(pixels=pixels, format="jpeg", metadata=metadata, encoding=encoding, notes=notes)


_BLANK = np.zeros((1, 1), np.uint8)


def _check_whole(pixels: NDArray[np.uint8], found: Segments) -> None:
    """Refuse a picture of which a part is missing although its end marker is there.

    The decoder fills what is missing without a word. So the picture is decoded once more with bytes of no meaning put
    in at the end of every stretch of coded data: where a stretch is complete they are passed over, and where it is
    not they show.

    Args:
        pixels: The decoded picture.
        found: Its segments.
    """
    if found.frame in _ARITHMETIC:
        return  # such data may end early by rule: zeros are understood
    from PIL.JpegImagePlugin import JpegImageFile

    stuffed = list(found.bare)
    for index in found.scans:
        coded = bytes(stuffed[index]).rstrip(b"\xff")
        stuffed[index] = _RESTART.sub(lambda marker: _FILLER + marker.group(), coded) + _FILLER
    if not same_pixels(decode(JpegImageFile, b"".join(stuffed)), pixels):
        raise Refusal("a part of the JPEG's picture data is missing; the file is damaged, get it again")


def read_bare_jpeg(stream: memoryview, tables: bytes, limits: Limits, *, coded_colour: bool) -> NDArray[np.uint8]:
    """Read a JPEG stream as TIFF files hold them, whose tables may stand elsewhere and whose colours are known.

    Args:
        stream: From its start marker to its end marker.
        tables: A stream of nothing but tables, or nothing.
        limits: What is refused.
        coded_colour: Whether three channels are YCbCr, which become RGB; else channels are taken as they are.

    Returns:
        ``(H, W, channels)``.

    Raises:
        Refusal: The stream is damaged, cut off, or of a kind that is not supported.
    """
    between = tables[2:].removesuffix(b"\xff\xd9") if tables.startswith(b"\xff\xd8") else b""
    found = scan(memoryview(b"".join((b"\xff\xd8", between, stream[2:]))))
    _check(found, limits)
    # how to take the colours is not to be guessed: a marker says it, and those that the stream has say nothing here
    kept = [part for part in found.bare[1:] if bytes(part[:2]) != b"\xff\xee"]
    found.bare = [found.bare[0], _ADOBE + bytes([coded_colour]), *kept]
    found.scans = [index + 1 for index, part in enumerate(found.bare) if bytes(part[:2]) == b"\xff\xda"]
    from PIL.JpegImagePlugin import JpegImageFile

    image = decode(JpegImageFile, b"".join(found.bare))
    values = np.asarray(image)
    _check_whole(values, found)
    # four channels are handed out turned round, as Adobe's programs write them in files of their own
    return ~values if image.mode == "CMYK" else values.reshape(image.height, image.width, -1)


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
    if len(found.scans) * found.width * found.height > _MAX_WORK:
        raise Refusal(f"the JPEG has {len(found.scans)} scans of a large picture; it was made to take long")
    coded = sum(len(found.bare[index]) for index in found.scans)
    if 8 * coded < _least_bits(found):
        raise Refusal("the picture data of the JPEG are too short for its size; the file is damaged or cut off")
    filled = bytes(found.bare[found.scans[-1]][-_FILLED:]) == bytes(_FILLED)
    if not found.complete and (found.frame not in _ONE_PASS or filled):
        raise Refusal("the JPEG has no end marker; the file is cut off, get it again")


def _least_bits(found: Segments) -> int:
    """Return the bits that the picture has at least: each block of 8 x 8 values takes one code, or two in one pass.

    A decoder takes memory for the size that the header states, so a lie is better found before.
    """
    if found.frame in _ARITHMETIC:
        return 0
    widest, tallest = (max(factors) for factors in zip(*found.sampling, strict=True))
    blocks: int = sum(
        -(-found.width * h // (8 * widest)) * -(-found.height * v // (8 * tallest)) for h, v in found.sampling
    )
    return blocks * (2 if found.frame in _ONE_PASS else 1)


def _metadata(found: Segments, limits: Limits) -> tuple[Metadata, tuple[str, ...]]:
    facts: dict[str, Any] = {}
    profile: dict[int, bytes] = {}
    extended: list[bytes] = []
    resources: list[bytes] = []
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
            resources.append(content[len(PHOTOSHOP_HEAD) :])
        elif marker == 0xFE:
            facts.setdefault("comment", content)
    metadata = Metadata(
        icc=b"".join(profile[key] for key in sorted(profile)) or None,
        exif=facts.get("exif"),
        xmp=facts.get("xmp"),
        photoshop=iptc.without_thumbnail(b"".join(resources)),
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
