"""Ways in which a picture file gets broken, by accident or by malice; driven by a random generator, so they replay.

Half of them know the format: they find the fields that state lengths and sizes, and the chunks that could change
places. A PNG is given right checksums again half of the time, since nothing else would get past them.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from random import Random

__all__ = ["KINDS", "Anatomy", "dissect", "mutate"]

_LARGE = (0, 1, 255, 4096, 20_000, 65_500, 2**16 - 1, 2**20, 2**24, 2**28, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1)
_ORDERS = {1: "B", 2: "H", 4: "I", 8: "Q"}
_BOXES = re.compile(rb"ftyp|meta|hdlr|pitm|iloc|iinf|infe|iprp|ipco|ipma|ispe|pixi|av1C|hvcC|colr|irot|imir|mdat|iref")
_HEAD = 600  # bytes in which most of what a file states stands


@dataclass
class Anatomy:
    """Where things lie in a file.

    Attributes:
        fields: Start, bytes (1, 2, 4 or 8) and byte order of numbers that state lengths, sizes, counts, places.
        chunks: Start and end of parts that could change places.
    """

    fields: list[tuple[int, int, str]] = field(default_factory=list)
    chunks: list[tuple[int, int]] = field(default_factory=list)


def dissect(data: bytes) -> Anatomy:
    """Return where the numbers and chunks of a file lie; empty for an unknown format."""
    found = Anatomy()
    if data.startswith(b"\x89PNG"):
        _png(data, found)
    elif data.startswith(b"\xff\xd8"):
        _jpeg(data, found)
    elif data[:4] == b"RIFF":
        _riff(data, found)
    elif data[:4] in (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+"):
        _tiff(data, found)
    elif data.startswith(b"BM"):
        found.fields += [(at, 4, "<") for at in (2, 10, 14, 18, 22, 30, 34, 38, 42, 46)]
        found.fields += [(at, 2, "<") for at in (26, 28)]
    elif data[4:8] == b"ftyp":
        _boxes(data, found)
    found.fields = [one for one in found.fields if one[0] + one[1] <= len(data)]
    return found


def _png(data: bytes, found: Anatomy) -> None:
    found.fields += [(16, 4, ">"), (20, 4, ">"), *((at, 1, ">") for at in range(24, 29))]
    for start, end in _png_chunks(data):
        found.fields.append((start, 4, ">"))
        found.chunks.append((start, end))


def _png_chunks(data: bytes) -> Iterator[tuple[int, int]]:
    at = 8
    while at + 12 <= len(data):
        end = at + 12 + struct.unpack_from(">I", data, at)[0]
        if end > len(data):
            return
        yield at, end
        at = end


def _jpeg(data: bytes, found: Anatomy) -> None:
    at = 2
    while at + 10 <= len(data) and data[at] == 0xFF:
        marker, length = data[at + 1], struct.unpack_from(">H", data, at + 2)[0]
        found.fields.append((at + 2, 2, ">"))
        found.chunks.append((at, at + 2 + length))
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            found.fields += [(at + 4, 1, ">"), (at + 5, 2, ">"), (at + 7, 2, ">"), (at + 9, 1, ">"), (at + 11, 1, ">")]
        if marker in (0xDA, 0xDD):
            found.fields.append((at + 4, 1, ">"))
        at += 2 + length
        if marker == 0xDA:
            following = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]").search(data, at)
            at = following.start() if following else len(data)


def _riff(data: bytes, found: Anatomy) -> None:
    found.fields.append((4, 4, "<"))
    at = 12
    while at + 8 <= len(data):
        name, length = data[at : at + 4], struct.unpack_from("<I", data, at + 4)[0]
        found.fields.append((at + 4, 4, "<"))
        found.fields += {
            b"VP8X": [(at + 8, 1, "<"), (at + 12, 2, "<"), (at + 15, 2, "<")],
            b"VP8 ": [(at + 8, 2, "<"), (at + 14, 2, "<"), (at + 16, 2, "<")],
            b"VP8L": [(at + 9, 4, "<")],
        }.get(name, [])
        end = at + 8 + length + length % 2
        if end > len(data):
            return
        found.chunks.append((at, end))
        at = end


def _tiff(data: bytes, found: Anatomy) -> None:
    if len(data) < 16:
        return
    order, big = ("<" if data[:2] == b"II" else ">"), b"+" in data[:4]
    word, size, head = (8, 20, 8) if big else (4, 12, 2)
    at = struct.unpack_from(f"{order}{_ORDERS[word]}", data, 8 if big else 4)[0]
    found.fields.append((8 if big else 4, word, order))
    for _ in range(3):  # directories
        if at + head > len(data):
            return
        found.fields.append((at, head, order))
        count = min(struct.unpack_from(f"{order}{_ORDERS[head]}", data, at)[0], 60)
        for entry in range(at + head, at + head + count * size, size):
            found.fields += [(entry + 2, 2, order), (entry + 4, word, order), (entry + 4 + word, word, order)]
            found.fields.append((entry + 4 + word, 2, order))
            found.chunks.append((entry, entry + size))
        link = at + head + count * size
        if link + word > len(data):
            return
        found.fields.append((link, word, order))
        at = struct.unpack_from(f"{order}{_ORDERS[word]}", data, link)[0] or len(data)


def _boxes(data: bytes, found: Anatomy) -> None:
    for match in _BOXES.finditer(data[:4096]):
        start = match.start() - 4
        found.fields.append((start, 4, ">"))
        if match.group() == b"ispe":
            found.fields += [(start + 12, 4, ">"), (start + 16, 4, ">")]
        if match.group() in (b"iloc", b"iinf", b"ipma"):
            found.fields += [(start + at, 2, ">") for at in range(12, 40, 2)]
        (length,) = struct.unpack_from(">I", data, start)
        if 8 <= length <= len(data) - start:
            found.chunks.append((start, start + length))


# --- the mutations ----------------------------------------------------------------------------------------------------


def _place(data: bytes, random: Random) -> int:
    reach = min(len(data), _HEAD) if random.random() < 0.5 else len(data)
    return random.randrange(max(1, reach))


def _stretch(data: bytes, random: Random) -> tuple[int, int]:
    start = _place(data, random)
    return start, min(len(data), start + random.choice((1, 2, 4, 16, 64, 256, 1024, len(data) // 4 + 1)))


def _flip(data: bytes, random: Random) -> bytes:
    """Flip one to eight bits."""
    out = bytearray(data)
    for _ in range(random.randint(1, 8)):
        out[_place(data, random)] ^= 1 << random.randrange(8)
    return bytes(out)


def _cut(data: bytes, random: Random) -> bytes:
    """Cut the file off."""
    return data[: _place(data, random)]


def _drop(data: bytes, random: Random) -> bytes:
    """Leave a stretch out."""
    start, end = _stretch(data, random)
    return data[:start] + data[end:]


def _double(data: bytes, random: Random) -> bytes:
    """Put a stretch in a second time, there or elsewhere."""
    start, end = _stretch(data, random)
    at = end if random.random() < 0.5 else _place(data, random)
    return data[:at] + data[start:end] + data[at:]


def _blank(data: bytes, random: Random) -> bytes:
    """Fill a stretch with zeros, or with ones."""
    start, end = _stretch(data, random)
    return data[:start] + random.choice((b"\x00", b"\xff")) * (end - start) + data[end:]


def _noise(data: bytes, random: Random) -> bytes:
    """Fill a stretch with anything."""
    start, end = _stretch(data, random)
    return data[:start] + random.randbytes(end - start) + data[end:]


def _field(data: bytes, random: Random) -> bytes:
    """Set a number that states a length, a size or a place to another one, mostly a huge one."""
    fields = dissect(data).fields or [(_place(data, random), random.choice((1, 2, 4)), random.choice("<>"))]
    at, size, order = random.choice(fields)
    if at + size > len(data):
        return data
    code = f"{order}{_ORDERS[size]}"
    (there,) = struct.unpack_from(code, data, at)
    number = random.choice((*_LARGE, there + 1, there - 1, there * 2, there // 2, random.getrandbits(8 * size)))
    return data[:at] + struct.pack(code, number % 2 ** (8 * size)) + data[at + size :]


def _swap(data: bytes, random: Random) -> bytes:
    """Let two chunks change places."""
    chunks = dissect(data).chunks
    if len(chunks) < 2:
        chunks = [_stretch(data, random), _stretch(data, random)]
    (a, b), (c, d) = sorted(random.sample(chunks, 2))
    if b > c:
        return data
    return data[:a] + data[c:d] + data[b:c] + data[a:b] + data[d:]


KINDS: dict[str, Callable[[bytes, Random], bytes]] = {
    "bits flipped": _flip,
    "cut off": _cut,
    "stretch left out": _drop,
    "stretch doubled": _double,
    "stretch blanked": _blank,
    "stretch of noise": _noise,
    "number changed": _field,
    "chunks swapped": _swap,
}
_OFTEN = ("number changed", "number changed", "number changed")


def _mended(data: bytes) -> bytes:
    """Return a PNG with right checksums."""
    out = bytearray(data)
    for start, end in _png_chunks(data):
        out[end - 4 : end] = struct.pack(">I", zlib.crc32(data[start + 4 : end - 4]))
    return bytes(out)


def mutate(data: bytes, random: Random) -> tuple[bytes, list[str]]:
    """Break a file in one to three ways.

    Args:
        data: The file, at least one byte.
        random: Decides.

    Returns:
        The broken file, and what was done to it.
    """
    done: list[str] = []
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        kind = random.choice((*KINDS, *_OFTEN))
        data = KINDS[kind](data, random) or data[:1]
        done.append(kind)
    if data.startswith(b"\x89PNG") and random.random() < 0.5:
        data = _mended(data)
        done.append("checksums mended")
    return data, done
