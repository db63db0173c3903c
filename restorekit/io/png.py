"""PNG files: chunks checked and sorted here, pixels decoded by Pillow (up to 8 bits) or OpenCV (16 bits).

Only the chunks that make the pixels are handed to a decoder, so that no damaged profile, endless text or animation
reaches it. 16-bit colour goes through OpenCV since Pillow cuts it to 8 bits without a word.

Reference:
    Portable Network Graphics (PNG) Specification (Third Edition), W3C.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from restorekit.io import exif, iptc
from restorekit.io.faults import Refusal
from restorekit.io.limits import Limits, check_size
from restorekit.io.picture import Encoding, ImageData, Metadata
from restorekit.io.pil_bridge import decode, planes

__all__ = ["SIGNATURE", "chunk", "read_png"]

SIGNATURE = b"\x89PNG\r\n\x1a\n"
XMP_KEY = b"XML:com.adobe.xmp"
PROFILE_KEYS = (b"Raw profile type iptc", b"Raw profile type 8bim")

_STEP = 2**20  # bytes that are inflated at a time
_TEXT = 2**20  # bytes that a text may inflate to; other programs refuse a file that holds more
_KEPT = (b"gAMA", b"cHRM", b"sRGB", b"cICP", b"mDCV", b"cLLI", b"pHYs", b"tEXt", b"zTXt", b"iTXt", b"tIME")
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


@dataclass
class _Chunks:
    """The chunks of a file, sorted by what they are for."""

    header: bytes = b""
    palette: bytes | None = None
    transparency: bytes | None = None
    pixels: list[memoryview] = field(default_factory=list)
    others: list[tuple[bytes, bytes]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    frames: int = 1


def chunk(kind: bytes, content: bytes | memoryview) -> bytes:
    """Return a chunk as it stands in a file."""
    check = zlib.crc32(content, zlib.crc32(kind))
    return b"".join((struct.pack(">I", len(content)), kind, content, struct.pack(">I", check)))


def read_png(data: memoryview, limits: Limits) -> ImageData:
    """Read a PNG, as stored (the caller applies the orientation).

    Args:
        data: The file.
        limits: What is refused.

    Returns:
        uint8 for 1 to 8 bits (scaled to 0 to 255), uint16 for 16; a palette becomes RGB, transparency alpha.

    Raises:
        Refusal: The file is damaged, cut off, animated, or too large.
    """
    chunks = _sort(data)
    width, height, bits, kind, packing, filtering, interlaced = struct.unpack(">IIBBBBB", chunks.header)
    if bits not in _DEPTHS.get(kind, ()) or packing or filtering or interlaced > 1:
        raise Refusal("the PNG header is damaged")
    check_size(width, height, limits)
    if chunks.frames > 1:
        raise Refusal(
            f"this is an animation of {chunks.frames} frames, of which no single one is the picture; "
            "save its frames as files of their own first"
        )
    if kind == 3 and chunks.palette is None:
        raise Refusal("the PNG has no palette, which its pixels point into; the file is damaged")
    _check_stream(chunks.pixels, _expected(width, height, bits * _CHANNELS[kind], bool(interlaced)))
    pixels, alpha = _decode16(chunks, kind) if bits == 16 else _decode8(chunks, kind)
    if kind in (0, 2) and chunks.transparency is not None:
        alpha = _key_alpha(pixels, chunks.transparency, bits)
    metadata, notes = _metadata(chunks, limits)
    return ImageData(
        pixels=pixels, alpha=alpha, format="png", metadata=metadata, encoding=Encoding(bits=bits), notes=notes
    )


def _walk(data: memoryview) -> Iterator[tuple[bytes, memoryview, bool]]:
    """Yield type, content and rightness of the checksum of every chunk up to IEND."""
    at = len(SIGNATURE)
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        kind = bytes(data[at + 4 : at + 8])
        end = at + 8 + length
        if end + 4 > len(data):
            break
        content = data[at + 8 : end]
        yield kind, content, zlib.crc32(data[at + 4 : end]) == struct.unpack_from(">I", data, end)[0]
        if kind == b"IEND":
            return
        at = end + 4
    raise Refusal("the PNG ends in the middle of a chunk; the file is cut off, get it again")


def _sort(data: memoryview) -> _Chunks:
    chunks = _Chunks()
    for kind, content, right in _walk(data):
        needed = not kind[0] & 32
        if not right and needed:
            raise Refusal(f"the checksum of the {_name(kind)} chunk is wrong; the PNG is damaged, get it again")
        if not right:
            chunks.notes.append(f"the {_name(kind)} chunk is damaged (wrong checksum) and was left out")
        elif needed:
            _take_needed(chunks, kind, content)
        elif kind == b"tRNS":
            chunks.transparency = bytes(content)
        elif kind == b"acTL" and len(content) >= 4:
            (chunks.frames,) = struct.unpack_from(">I", content)
        else:
            chunks.others.append((kind, bytes(content)))
    if len(chunks.header) != 13 or not chunks.pixels:
        raise Refusal("the PNG has no header or no picture data; the file is damaged")
    return chunks


def _take_needed(chunks: _Chunks, kind: bytes, content: memoryview) -> None:
    if kind == b"IHDR":
        chunks.header = bytes(content)
    elif kind == b"PLTE":
        chunks.palette = bytes(content)
    elif kind == b"IDAT":
        chunks.pixels.append(content)
    elif kind != b"IEND":
        raise Refusal(f"the PNG needs a chunk that is not known ({_name(kind)}); the file is damaged")


def _name(kind: bytes) -> str:
    return kind.decode("latin-1") if kind.isalpha() else repr(kind)


def _expected(width: int, height: int, pixel_bits: int, interlaced: bool) -> int:
    """Return how many bytes the inflated rows of a picture have, filter bytes included."""

    def area(w: int, h: int) -> int:
        return h * (1 + (w * pixel_bits + 7) // 8) if w > 0 and h > 0 else 0

    if not interlaced:
        return area(width, height)
    return sum(area(-((x - width) // dx), -((y - height) // dy)) for x, y, dx, dy in _PASSES)


def _check_stream(parts: list[memoryview], expected: int) -> None:
    """Inflate the pixel data once, in pieces, to know that they are whole: decoders fill what is missing in silence."""
    inflater = zlib.decompressobj()
    total = 0
    try:
        for part in parts:
            rest: bytes | memoryview = part
            while total <= expected:
                count = len(inflater.decompress(rest, _STEP))
                total += count
                rest = inflater.unconsumed_tail
                if not rest and count < _STEP:
                    break
    except zlib.error as error:
        raise Refusal("the compressed picture data of the PNG are damaged; get the file again") from error
    if total < expected or not (inflater.eof or total > expected):
        raise Refusal(
            f"the picture data of the PNG end after {100 * min(total, expected) // expected} %; "
            "the file is cut off, get it again"
        )


def _stream(chunks: _Chunks, *, transparency: bool) -> bytes:
    parts = [SIGNATURE, chunk(b"IHDR", chunks.header)]
    if chunks.palette is not None:
        parts.append(chunk(b"PLTE", chunks.palette))
    if transparency and chunks.transparency is not None:
        parts.append(chunk(b"tRNS", chunks.transparency))
    parts.extend(chunk(b"IDAT", part) for part in chunks.pixels)
    return b"".join([*parts, chunk(b"IEND", b"")])


def _decode8(chunks: _Chunks, kind: int) -> tuple[NDArray[Any], NDArray[Any] | None]:
    from PIL.PngImagePlugin import PngImageFile

    return planes(decode(PngImageFile, _stream(chunks, transparency=kind == 3)))


def _decode16(chunks: _Chunks, kind: int) -> tuple[NDArray[Any], NDArray[Any] | None]:
    import cv2

    stream = np.frombuffer(_stream(chunks, transparency=False), np.uint8)
    decoded = cv2.imdecode(stream, cv2.IMREAD_UNCHANGED)
    if decoded is None or decoded.dtype != np.uint16:
        raise Refusal("the picture data of the PNG are damaged; get the file again")
    if kind == 0:
        return decoded, None
    if kind == 4:
        return np.ascontiguousarray(decoded[:, :, 0]), np.ascontiguousarray(decoded[:, :, -1])
    colours = np.ascontiguousarray(decoded[:, :, 2::-1])
    return colours, np.ascontiguousarray(decoded[:, :, 3]) if kind == 6 else None


def _key_alpha(pixels: NDArray[Any], transparency: bytes, bits: int) -> NDArray[Any] | None:
    """Return the alpha of a picture of which one grey or one colour is transparent."""
    channels = 1 if pixels.ndim == 2 else 3
    if len(transparency) < 2 * channels:
        return None
    key = np.array(struct.unpack_from(f">{channels}H", transparency)) & (2**bits - 1)
    if bits < 8:
        key = key * 255 // (2**bits - 1)
    same = pixels == key[0] if channels == 1 else (pixels == key).all(-1)
    top = np.iinfo(pixels.dtype).max
    return np.where(same, 0, top).astype(pixels.dtype)


def _inflate(data: bytes, most: int) -> bytes | None:
    """Return inflated metadata, or None where they are damaged or inflate to more bytes than that."""
    inflater = zlib.decompressobj()
    try:
        result = inflater.decompress(data, most)
    except zlib.error:
        return None
    return result if inflater.eof else None


def _metadata(chunks: _Chunks, limits: Limits) -> tuple[Metadata, tuple[str, ...]]:
    facts: dict[str, bytes] = {}
    dpi: tuple[float, float] | None = None
    kept: list[tuple[bytes, bytes]] = []
    notes = list(chunks.notes)
    left = limits.metadata_bytes
    for kind, content in chunks.others:
        if kind == b"pHYs" and len(content) == 9 and content[8] == 1:
            dpi = _density(content)
        elif kind == b"eXIf":
            facts["exif"] = content.removeprefix(b"Exif\x00\x00")
        elif kind in (b"iCCP", b"zTXt", b"iTXt"):
            name, value = _named(kind, content, left)
            left = max(1, left // 2 if value is None else left - len(value))
            if value is None or (name != XMP_KEY and kind != b"iCCP" and len(value) > max(_TEXT, len(content))):
                notes.append(f"the {_name(kind)} chunk is damaged or too large and was left out")
            elif kind == b"iCCP":
                facts.setdefault("icc", value)
            elif name == XMP_KEY:
                facts["xmp"] = value
            elif name in PROFILE_KEYS and (resources := iptc.from_raw_profile(value)) is not None:
                facts["photoshop"] = resources
            else:
                kept.append((kind, content))
        elif kind in _KEPT:
            kept.append((kind, content))
    metadata = Metadata(
        icc=facts.get("icc"),
        exif=facts.get("exif"),
        xmp=facts.get("xmp"),
        photoshop=facts.get("photoshop"),
        dpi=dpi or exif.dpi(facts.get("exif")),
        png_chunks=tuple(kept),
    )
    return metadata, tuple(notes)


def _density(content: bytes) -> tuple[float, float] | None:
    x, y = struct.unpack_from(">II", content)
    return (_per_inch(x), _per_inch(y)) if x and y else None


def _per_inch(per_metre: int) -> float:
    """Return pixels per inch: a whole number where the file's unit cannot tell it from one."""
    value = per_metre * 0.0254
    return float(round(value)) if abs(value - round(value)) < 0.0127 else value


def _named(kind: bytes, content: bytes, most: int) -> tuple[bytes, bytes | None]:
    """Return the keyword and the inflated value of an iCCP, zTXt or iTXt chunk, or None for one that is too much."""
    name, _, rest = content.partition(b"\x00")
    if kind != b"iTXt":
        return name, _inflate(rest[1:], most)
    if len(rest) < 2:
        return name, None
    _, _, text = rest[2:].partition(b"\x00")
    _, _, text = text.partition(b"\x00")
    return name, _inflate(text, most) if rest[0] else text
