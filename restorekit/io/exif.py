"""EXIF blocks: what is asked of them, and what has to change in them when the pixels change.

A block is edited in place wherever that is possible: moving its values would break the maker notes, whose offsets
count from the start of the block.

Reference:
    EXIF 2.32, CIPA DC-008-2019.
"""

from __future__ import annotations

import re
import struct

from restorekit.io.faults import Refusal
from restorekit.io.ifd import Ifd, Layout, TaggedFile, lay_out, rational_value, short_value

__all__ = ["POINTERS", "STRUCTURE", "build", "directory", "dpi", "orientation", "settle", "upright_xmp", "with_dpi"]

ORIENTATION = 274
EXIF_IFD = 34665
GPS_IFD = 34853
POINTERS: dict[int, frozenset[int]] = {EXIF_IFD: frozenset({40965}), GPS_IFD: frozenset()}
"""Tags of a main directory that point at another one, with those of that one's tags that do."""

STRUCTURE = frozenset(
    number
    for part in (
        (*range(254, 267), 273, *range(277, 285), *range(288, 294), 296, 301, 317, *range(320, 350), *range(512, 533)),
        # those with a place of their own, and other programs' records on the stored pixels
        (559, 700, 32997, 32998, 33723, 34377, 34675, 37724, 50838, 50839),
    )
    for number in part
)
"""Tags of a TIFF directory that describe how its pixels are stored, or that have a place of their own in Metadata.

The orientation is none of them: as in an EXIF block it stays with the description, and is applied from there.
"""

_THUMBNAIL = (513, 514)
_PIXEL_SIDES = (40962, 40963)
_XMP_TURN = re.compile(rb"(tiff:Orientation\s*(?:=\s*[\"']|>)\s*)[1-8]")


def _open(block: bytes) -> TaggedFile | None:
    try:
        return TaggedFile(block)
    except Refusal:
        return None


def directory(block: bytes) -> Ifd:
    """Return the main directory of a block with its children; an empty one where the block is damaged."""
    file = _open(block)
    if file is None:
        return Ifd()
    try:
        return file.read(file.first, POINTERS)
    except Refusal:
        return Ifd()


def orientation(block: bytes | None) -> int:
    """Return the EXIF orientation, 1 to 8; 1 where there is none or where it is none of these."""
    value = directory(block).integer(ORIENTATION, 1) if block else 1
    return value if 1 <= value <= 8 else 1


def dpi(block: bytes | None) -> tuple[float, float] | None:
    """Return the pixels per inch that a block states, or None."""
    return resolution(directory(block)) if block else None


def resolution(main: Ifd) -> tuple[float, float] | None:
    """Return the pixels per inch that a main directory states, or None."""
    unit = {2: 1.0, 3: 2.54}.get(main.integer(296, 2))
    sides = [next(iter(main.tags[tag].numbers()), 0.0) if tag in main.tags else 0.0 for tag in (282, 283)]
    if unit is None or min(sides) <= 0:
        return None
    return sides[0] * unit, sides[1] * unit


def settle(block: bytes, *, width: int, height: int) -> bytes:
    """Return a block that is true of upright pixels of a size: orientation 1, the sides, no thumbnail.

    Args:
        block: The block as it was in the file.
        width: Columns of the upright picture.
        height: Its rows.
    """
    file = _open(block)
    if file is None:
        return block
    out = bytearray(block)
    try:
        main = file.entries(file.first)
        below = file.entries(file.value(main[EXIF_IFD]).integers()[0]) if EXIF_IFD in main else {}
        _put(out, file, main.get(ORIENTATION), 1)
        for tag, side in zip(_PIXEL_SIDES, (width, height), strict=True):
            _put(out, file, below.get(tag), side)
        return bytes(_without_thumbnail(out, file))
    except (Refusal, IndexError):
        return block


def _put(out: bytearray, file: TaggedFile, entry: tuple[int, int, int] | None, number: int) -> None:
    code = {3: "H", 4: "I"}.get(entry[0]) if entry else None
    if entry and code and number < 2 ** (16 if code == "H" else 32):
        struct.pack_into(f"{file.order}{code}", out, entry[2], number)


def _without_thumbnail(out: bytearray, file: TaggedFile) -> bytearray:
    """Unlink the second directory and blank the picture that it holds, or cut it off at the end of the block."""
    chain = file.offsets(8)
    if len(chain) < 2:
        return out
    entries = file.entries(chain[1])
    count, start, size = file.head(chain[0])
    struct.pack_into(f"{file.order}I", out, start + count * size, 0)
    if not all(tag in entries for tag in _THUMBNAIL):
        return out
    first, length = (file.value(entries[tag]).integers()[0] for tag in _THUMBNAIL)
    if not 0 < first <= first + length <= len(out):
        return out
    if first + length >= len(out) - 3:
        return out[:first]
    out[first : first + length] = bytes(length)
    return out


def build(main: Ifd) -> bytes | None:
    """Return a block that holds a directory and its children, or None where it is empty."""
    if not main.tags and not main.children:
        return None
    layout = Layout()
    return layout.header(8) + lay_out(main, 8, layout=layout)


def with_dpi(block: bytes | None, sides: tuple[float, float]) -> bytes:
    """Return a block that states the pixels per inch.

    Args:
        block: A block to start from, or None.
        sides: Pixels per inch, horizontally and vertically.

    Returns:
        The same block if it states them already or is damaged; else one whose main directory was laid anew behind
        everything else, which stays where it is.
    """
    stated = {282: rational_value(sides[0]), 283: rational_value(sides[1]), 296: short_value(2)}
    if block is None:
        return build(Ifd(stated)) or b""
    there, file = dpi(block), _open(block)
    same = there is not None and max(abs(a - b) for a, b in zip(there, sides, strict=True)) < 0.01
    if same or file is None or file.big:
        return block
    count, start, size = file.head(file.first)
    rows = [block[at : at + size] for at in range(start, start + count * size, size)]
    kept = [row for row in rows if struct.unpack_from(f"{file.order}H", row)[0] not in stated]
    first = len(block) + len(block) % 2
    place = first + 2 + size * (len(kept) + 3) + 4
    for tag, kind, field in ((282, 5, place), (283, 5, place + 8)):
        kept.append(struct.pack(f"{file.order}HHII", tag, kind, 1, field))
    kept.append(struct.pack(f"{file.order}HHIHH", 296, 3, 1, 2, 0))
    kept.sort(key=lambda row: struct.unpack_from(f"{file.order}H", row))
    words = struct.unpack("<4I", stated[282].data + stated[283].data)
    return b"".join(
        [
            block[:4] + struct.pack(f"{file.order}I", first) + block[8:].ljust(first - 8, b"\x00"),
            struct.pack(f"{file.order}H", len(kept)) + b"".join(kept),
            block[start + count * size : start + count * size + 4].ljust(4, b"\x00"),
            struct.pack(f"{file.order}4I", *words),
        ]
    )


def upright_xmp(packet: bytes) -> bytes:
    """Return an XMP packet whose ``tiff:Orientation``, if it has one, is 1; its length does not change."""
    return _XMP_TURN.sub(rb"\g<1>1", packet)
