"""Directories of tagged values, as TIFF files and EXIF blocks hold them: parsed with care, and laid out anew.

Reference:
    TIFF, Revision 6.0, Adobe 1992, section 2; BigTIFF as proposed by Aware Systems; EXIF 2.32, CIPA DC-008.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from restorekit.io.faults import Refusal

__all__ = ["Ifd", "Layout", "TaggedFile", "Value", "lay_out", "long_value", "rational_value", "short_value"]

_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_UNITS = {5: 4, 10: 4}  # a rational is two words, each of which is turned on its own
_CODES = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 11: "f", 12: "d", 13: "I", 16: "Q", 17: "q", 18: "Q"}
_MAX_ENTRIES = 4096
_MAX_NUMBERS = 2**20  # that are looked at unless more are asked for
_SHARED = 2**16  # bytes that values may share


@dataclass(frozen=True)
class Value:
    """The value of a tag.

    Attributes:
        type: TIFF's number of the type (2 text, 3 short, 4 long, 5 rational, 7 bytes, ...).
        count: How many there are.
        data: Their bytes, lowest first.
    """

    type: int
    count: int
    data: bytes

    def numbers(self) -> tuple[float, ...]:
        """Return the values as numbers; what is none (a rational without denominator, NaN) is 0, text has none."""
        if self.type in _UNITS:
            pairs = struct.unpack(f"<{2 * self.count}{'I' if self.type == 5 else 'i'}", self.data)
            return tuple(top / low if low else 0.0 for top, low in zip(pairs[::2], pairs[1::2], strict=True))
        code = _CODES.get(self.type)
        values: tuple[float, ...] = struct.unpack(f"<{self.count}{code}", self.data) if code else ()
        return tuple(value if math.isfinite(value) else 0.0 for value in values) if code in ("f", "d") else values

    def integers(self, most: int = _MAX_NUMBERS) -> tuple[int, ...]:
        """Return the values, no more of them than ``most``, as whole numbers."""
        count = min(self.count, most)
        part = self if count == self.count else Value(self.type, count, self.data[: count * _SIZES[self.type]])
        return tuple(int(number) for number in part.numbers())


def short_value(*numbers: int) -> Value:
    """Return 16-bit numbers as a value."""
    return Value(3, len(numbers), struct.pack(f"<{len(numbers)}H", *numbers))


def long_value(*numbers: int, big: bool = False) -> Value:
    """Return 32-bit numbers (64-bit ones if ``big``) as a value."""
    return Value(16 if big else 4, len(numbers), struct.pack(f"<{len(numbers)}{'Q' if big else 'I'}", *numbers))


def _fraction(number: float) -> tuple[int, int]:
    low = 1 if number.is_integer() or number > 2**18 else 10000
    return round(number * low), low


def rational_value(*numbers: float) -> Value:
    """Return fractions as a value, as exact as two words of 32 bits hold them (at most the largest word)."""
    pairs = [_fraction(float(min(max(number, 0.0), 2.0**32 - 1))) for number in numbers]
    return Value(5, len(numbers), b"".join(struct.pack("<II", *pair) for pair in pairs))


@dataclass
class Ifd:
    """One directory: tag -> value, and tag -> directory for the tags that point at one."""

    tags: dict[int, Value] = field(default_factory=dict)
    children: dict[int, Ifd] = field(default_factory=dict)

    def integers(self, tag: int, default: tuple[int, ...] = (), *, most: int = _MAX_NUMBERS) -> tuple[int, ...]:
        """Return the whole numbers of a tag, no more of them than ``most``, or the default where it is absent."""
        return self.tags[tag].integers(most) if tag in self.tags else default

    def integer(self, tag: int, default: int) -> int:
        """Return the first whole number of a tag, or the default where there is none."""
        return next(iter(self.integers(tag, most=1)), default)


class TaggedFile:
    """The bytes of a TIFF file (classic or Big) or of an EXIF block.

    Args:
        data: All bytes, from the byte-order mark on.

    Raises:
        Refusal: The header is none of the four known ones.
    """

    def __init__(self, data: bytes | memoryview) -> None:
        self.data = memoryview(data)
        mark = bytes(self.data[:4])
        orders: dict[bytes, tuple[Literal["<", ">"], bool]] = {
            b"II*\x00": ("<", False),
            b"MM\x00*": (">", False),
            b"II+\x00": ("<", True),
            b"MM\x00+": (">", True),
        }
        if mark not in orders or len(self.data) < (16 if orders[mark][1] else 8):
            raise Refusal("the TIFF header is damaged")
        self.order, self.big = orders[mark]
        self.first = self._number("Q" if self.big else "I", 8 if self.big else 4)

    def _number(self, code: str, at: int) -> int:
        number: int = struct.unpack_from(f"{self.order}{code}", self.data, at)[0]
        return number

    def offsets(self, limit: int) -> list[int]:
        """Return where the chained directories lie; a chain that leads back to itself ends there.

        Raises:
            Refusal: There are more than the limit, or a directory lies outside the file.
        """
        found: list[int] = []
        offset = self.first
        while offset and offset not in found:
            if len(found) >= limit:
                raise Refusal(f"the file holds more than {limit} pages, which is the limit")
            found.append(offset)
            offset = self._next(offset)
        return found

    def _next(self, offset: int) -> int:
        count, start, size = self.head(offset)
        end = start + count * size
        if end + (8 if self.big else 4) > len(self.data):
            return 0
        return self._number("Q" if self.big else "I", end)

    def head(self, offset: int) -> tuple[int, int, int]:
        """Return the number of entries of a directory, where the first lies, and the bytes of each.

        Raises:
            Refusal: The directory lies outside the file, or is damaged.
        """
        width, size = (8, 20) if self.big else (2, 12)
        if offset + width > len(self.data):
            raise Refusal("a directory of the file lies past its end; the file is cut off or damaged")
        count = self._number("Q" if self.big else "H", offset)
        if count > _MAX_ENTRIES:
            raise Refusal("a directory of the file is damaged")
        return count, offset + width, size

    def entries(self, offset: int) -> dict[int, tuple[int, int, int]]:
        """Return tag -> (type, count, where the value lies) of the directory at an offset.

        Entries of an unknown type, and those whose value lies outside the file, are left out.
        """
        count, start, size = self.head(offset)
        found: dict[int, tuple[int, int, int]] = {}
        for at in range(start, min(start + count * size, len(self.data) - size + 1), size):
            tag, kind = self._number("H", at), self._number("H", at + 2)
            number = self._number("Q" if self.big else "I", at + 4)
            place = at + (12 if self.big else 8)
            length = _SIZES.get(kind, 0) * number
            if length > (8 if self.big else 4):
                place = self._number("Q" if self.big else "I", place)
            if length and place + length <= len(self.data) and tag not in found:
                found[tag] = (kind, number, place)
        return found

    def find(self, offset: int, tag: int) -> Value | None:
        """Return the value of one tag of the directory at an offset, or None; quicker than all entries."""
        count, start, size = self.head(offset)
        for at in range(start, min(start + count * size, len(self.data) - size + 1), size):
            if self._number("H", at) == tag:
                entry = self.entries(offset).get(tag)
                return None if entry is None else self.value(entry)
        return None

    def value(self, entry: tuple[int, int, int]) -> Value:
        """Return the value of an entry, its bytes in order, lowest first."""
        kind, count, place = entry
        data = bytes(self.data[place : place + _SIZES[kind] * count])
        unit = _UNITS.get(kind, _SIZES[kind])
        if self.order == ">" and unit > 1:
            data = np.frombuffer(data, f"u{unit}").byteswap().tobytes()
        return Value(kind, count, data)

    def read(self, offset: int, children: dict[int, frozenset[int]]) -> Ifd:
        """Return the directory at an offset.

        Args:
            offset: Where it lies.
            children: Tags that point at a directory, each with those of its own tags that again point at one.

        Raises:
            Refusal: The directory lies outside the file, or its values overlap.
        """
        entries = self.entries(offset)
        if sum(_SIZES[kind] * count for kind, count, _ in entries.values()) > len(self.data) + _SHARED:
            raise Refusal("the values of a directory of the file overlap; the file is damaged")
        found = Ifd({tag: self.value(entry) for tag, entry in entries.items() if tag not in children})
        for tag, below in children.items():
            if tag in entries:
                place = next(iter(self.value(entries[tag]).integers()), 0)
                if 0 < place < len(self.data) - 2 and place != offset:
                    found.children[tag] = self.read(place, dict.fromkeys(below, frozenset()))
        return found


@dataclass(frozen=True)
class Layout:
    """How directories are written: classic TIFF, or BigTIFF for files above 4 GB."""

    big: bool = False

    @property
    def word(self) -> int:
        """Bytes of an offset."""
        return 8 if self.big else 4

    def pack(self, number: int) -> bytes:
        """Return an offset or a count."""
        return struct.pack("<Q" if self.big else "<I", number)

    def header(self, first: int) -> bytes:
        """Return the head of a file whose first directory lies at an offset."""
        mark = struct.pack("<2sHHH", b"II", 43, 8, 0) if self.big else struct.pack("<2sH", b"II", 42)
        return mark + self.pack(first)

    def size(self, ifd: Ifd) -> int:
        """Return the bytes of a directory without its values."""
        entries = len(ifd.tags) + len(ifd.children)
        return (8 + 20 * entries if self.big else 2 + 12 * entries) + self.word


def lay_out(ifd: Ifd, at: int, *, layout: Layout, following: int = 0) -> bytes:
    """Return a directory with its values and its children, ready to be put at an (even) offset of a file.

    Args:
        ifd: The directory.
        at: Where it will lie.
        layout: Classic or Big.
        following: Where the next directory of the chain lies; 0 if there is none.
    """
    place = at + layout.size(ifd)
    place += place % 2
    tail: list[bytes] = [b"\x00"] if (at + layout.size(ifd)) % 2 else []
    rows: list[bytes] = []
    for tag in sorted({*ifd.tags, *ifd.children}):
        if tag in ifd.children:
            data = lay_out(ifd.children[tag], place, layout=layout)
            kind, count, inline = (16 if layout.big else 4), 1, layout.pack(place)
        else:
            value = ifd.tags[tag]
            kind, count, data = value.type, value.count, value.data
            inline = data.ljust(layout.word, b"\x00") if len(data) <= layout.word else layout.pack(place)
            data = b"" if len(data) <= layout.word else data
        data += b"\x00" * (len(data) % 2)
        tail.append(data)
        place += len(data)
        rows.append(struct.pack("<HH", tag, kind) + layout.pack(count) + inline)
    head = struct.pack("<Q" if layout.big else "<H", len(rows))
    return b"".join([head, *rows, layout.pack(following), *tail])
