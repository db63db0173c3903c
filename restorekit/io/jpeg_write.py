"""Writing JPEG files: pixels by OpenCV, the segments around them by us.

Reference:
    JFIF 1.02 (1.01 is what is written); Adobe XMP Specification, part 3; ICC.1:2022, annex B.4 (profiles in JPEG).
"""

from __future__ import annotations

import logging
import struct
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

from restorekit.io.faults import Refusal
from restorekit.io.jpeg import EXIF_HEAD, ICC_HEAD, PHOTOSHOP_HEAD, XMP_HEAD
from restorekit.io.picture import ImageData, Metadata

__all__ = ["DEFAULT_QUALITY", "write_jpeg"]

DEFAULT_QUALITY = 95
"""Quality of a JPEG if none is asked for and the input was none of a higher one."""

_FULL_COLOUR = 90  # from this quality on, colour is not subsampled
_LONGEST_SIDE = 65500
_MOST = 65533  # bytes that fit into a segment
_SAMPLINGS = {"4:4:4": 0x111111, "4:2:2": 0x211111, "4:2:0": 0x221111, "4:4:0": 0x121111, "4:1:1": 0x411111}

logger = logging.getLogger(__name__)


def write_jpeg(image: ImageData, out: BinaryIO, *, quality: int | None) -> None:
    """Write a picture of 8 bits without alpha.

    Args:
        image: uint8, grey or RGB.
        out: Where to.
        quality: 1 to 100; if None, 95 or the input's own where that is higher. From 90 on colour has full
            resolution; below that, the resolution of the JPEG it came from, or else half (4:2:0).

    Raises:
        Refusal: The picture is larger than a JPEG can be.
    """
    import cv2

    if max(image.height, image.width) > _LONGEST_SIDE:
        raise Refusal(
            f"a JPEG has at most {_LONGEST_SIDE} pixels a side, and the picture has {image.width} x {image.height}; "
            "choose another format with --format"
        )
    chosen = quality or max(DEFAULT_QUALITY, image.encoding.quality or 0)
    kept = image.encoding.subsampling if image.format == "jpeg" else None
    sampling = "4:4:4" if chosen >= _FULL_COLOUR else kept if kept in _SAMPLINGS else "4:2:0"
    progressive = image.format == "jpeg" and image.encoding.progressive
    options = {
        cv2.IMWRITE_JPEG_QUALITY: chosen,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR: _SAMPLINGS[sampling],
        cv2.IMWRITE_JPEG_OPTIMIZE: 1,
        cv2.IMWRITE_JPEG_PROGRESSIVE: int(progressive),
    }
    # not by Pillow: its buffer for optimised files is too small for noise
    pixels = image.pixels if image.grey else image.pixels[:, :, ::-1]
    done, coded = cv2.imencode(".jpg", np.ascontiguousarray(pixels), [n for pair in options.items() for n in pair])
    if not done:
        raise Refusal("the picture could not be coded as a JPEG; choose another format with --format")
    body = memoryview(coded.tobytes())
    (length,) = struct.unpack_from(">H", body, 4)
    out.write(b"\xff\xd8")
    for segment in _segments(image.metadata):
        out.write(segment)
    out.write(body[4 + length :])


def _segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def _segments(metadata: Metadata) -> Iterator[bytes]:
    """Yield the segments that stand before the tables; the first one, JFIF, replaces that of the encoder."""
    unit, x, y = 0, 1, 1
    if metadata.dpi is not None and max(metadata.dpi) < 65535.5:
        unit, x, y = 1, max(1, round(metadata.dpi[0])), max(1, round(metadata.dpi[1]))
    yield _segment(0xE0, b"JFIF\x00" + struct.pack(">BBBHHBB", 1, 1, unit, x, y, 0, 0))
    blocks = [("EXIF", 0xE1, EXIF_HEAD, metadata.exif), ("XMP", 0xE1, XMP_HEAD, metadata.xmp)]
    for name, marker, head, content in blocks:
        if content is not None and len(head) + len(content) <= _MOST:
            yield _segment(marker, head + content)
        elif content is not None:
            logger.warning("the %s block (%d bytes) is too long for a JPEG and was left out", name, len(content))
    yield from metadata.jpeg_segments
    if metadata.icc is not None:
        yield from _pieces(ICC_HEAD, metadata.icc)
    if metadata.photoshop is not None:
        for at in range(0, len(metadata.photoshop), _MOST - len(PHOTOSHOP_HEAD)):
            part = metadata.photoshop[at : at + _MOST - len(PHOTOSHOP_HEAD)]
            yield _segment(0xED, PHOTOSHOP_HEAD + part)
    if metadata.comment is not None:
        yield _segment(0xFE, metadata.comment[:_MOST])


def _pieces(head: bytes, profile: bytes) -> Iterator[bytes]:
    """Yield a profile in numbered segments; one that needs more than 255 is left out."""
    step = _MOST - len(head) - 2
    count = -(-len(profile) // step)
    if count > 255:
        logger.warning("the ICC profile (%d bytes) is too long for a JPEG and was left out", len(profile))
        return
    for index in range(count):
        yield _segment(0xE2, head + bytes([index + 1, count]) + profile[index * step : (index + 1) * step])
