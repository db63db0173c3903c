"""Facsimile coding, as black and white TIFF files use it: runs of white and black, from left to right.

Read here since the usual decoder goes on past damaged lines and past a missing end, and says nothing of either.

Reference:
    ITU-T T.4 (Group 3: tables 2 and 3, one- and two-dimensional), ITU-T T.6 (Group 4); TIFF, Revision 6.0, section 10
    (rows of their own, without line ends).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from restorekit.io.faults import Refusal

__all__ = ["decode_fax"]

# one word a code: of the runs 0 to 63, then of 64, 128, ... 1728
_WHITE = """
00110101 000111 0111 1000 1011 1100 1110 1111 10011 10100 00111 01000 001000 000011 110100 110101 101010 101011
0100111 0001100 0001000 0010111 0000011 0000100 0101000 0101011 0010011 0100100 0011000 00000010 00000011
00011010 00011011 00010010 00010011 00010100 00010101 00010110 00010111 00101000 00101001 00101010 00101011
00101100 00101101 00000100 00000101 00001010 00001011 01010010 01010011 01010100 01010101 00100100 00100101
01011000 01011001 01011010 01011011 01001010 01001011 00110010 00110011 00110100
11011 10010 010111 0110111 00110110 00110111 01100100 01100101 01101000 01100111 011001100 011001101 011010010
011010011 011010100 011010101 011010110 011010111 011011000 011011001 011011010 011011011 010011000 010011001
010011010 011000 010011011
"""
_BLACK = """
0000110111 010 11 10 011 0011 0010 00011 000101 000100 0000100 0000101 0000111 00000100 00000111 000011000
0000010111 0000011000 0000001000 00001100111 00001101000 00001101100 00000110111 00000101000 00000010111
00000011000 000011001010 000011001011 000011001100 000011001101 000001101000 000001101001 000001101010
000001101011 000011010010 000011010011 000011010100 000011010101 000011010110 000011010111 000001101100
000001101101 000011011010 000011011011 000001010100 000001010101 000001010110 000001010111 000001100100
000001100101 000001010010 000001010011 000000100100 000000110111 000000111000 000000100111 000000101000
000001011000 000001011001 000000101011 000000101100 000001011010 000001100110 000001100111
0000001111 000011001000 000011001001 000001011011 000000110011 000000110100 000000110101 0000001101100
0000001101101 0000001001010 0000001001011 0000001001100 0000001001101 0000001110010 0000001110011 0000001110100
0000001110101 0000001110110 0000001110111 0000001010010 0000001010011 0000001010100 0000001010101 0000001011010
0000001011011 0000001100100 0000001100101
"""
# of both colours: 1792, 1856, ... 2560
_LONG = """
00000001000 00000001100 00000001101 000000010010 000000010011 000000010100 000000010101 000000010110
000000010111 000000011100 000000011101 000000011110 000000011111
"""
_PASS, _ACROSS = 100, 101
_MODES = {
    **{"0001": _PASS, "001": _ACROSS, "1": 0, "011": 1, "000011": 2, "0000011": 3},
    **{"010": -1, "000010": -2, "0000010": -3},
}
_BITS, _ALL = 13, 0x1FFF  # the longest code has 13
_DAMAGED = "the fax data of the TIFF are damaged or cut off; get the file again"


def _table(codes: dict[str, int]) -> list[tuple[int, int]]:
    """Return, for every 13 bits that may come, what they begin with and how many of them it takes (0: nothing)."""
    table = [(0, 0)] * 2**_BITS
    for code, value in codes.items():
        rest = _BITS - len(code)
        first = int(code, 2) << rest
        table[first : first + 2**rest] = [(value, len(code))] * 2**rest
    return table


def _runs(codes: str) -> list[tuple[int, int]]:
    lengths = [*range(64), *range(64, 1729, 64)]
    return _table(dict(zip((*codes.split(), *_LONG.split()), (*lengths, *range(1792, 2561, 64)), strict=True)))


_COLOURS = (_runs(_WHITE), _runs(_BLACK))
_WAYS = _table(_MODES)


class _Bits:
    """The bits of a strip, read code by code."""

    def __init__(self, packed: bytes) -> None:
        self._packed = packed + bytes(4)
        self._end = 8 * len(packed)
        self.at = 0

    def peek(self) -> int:
        """Return the next 13 bits; zeros behind the end."""
        start = self.at >> 3
        window: int = int.from_bytes(self._packed[start : start + 3], "big")
        return (window >> (24 - _BITS - (self.at & 7))) & _ALL

    def code(self, table: list[tuple[int, int]]) -> int:
        """Return what the next code of a table stands for."""
        value, length = table[self.peek()]
        self.at += length
        if not length or self.at > self._end:
            raise Refusal(_DAMAGED)
        return value

    def run(self, colour: int) -> int:
        """Return the length of a run: any number of codes of 64 and more, and one below."""
        total = part = self.code(_COLOURS[colour])
        while part >= 64:
            part = self.code(_COLOURS[colour])
            total += part
        return total

    def line_end(self) -> bool:
        """Pass over a line end (at least eleven zeros and a one), and return whether there was one."""
        if self.peek() >> 2:
            return False
        while self.at < self._end and not self.peek():
            self.at += _BITS
        self.at += _BITS - self.peek().bit_length() + 1
        if self.at > self._end:
            raise Refusal(_DAMAGED)
        return True

    def flag(self) -> bool:
        """Return the next bit."""
        self.at += 1
        return bool(self._packed[(self.at - 1) >> 3] >> (7 - (self.at - 1 & 7)) & 1)


def decode_fax(packed: bytes, *, width: int, rows: int, compression: int, options: int) -> NDArray[np.uint8]:
    """Return the pixels of a strip or tile.

    Args:
        packed: Its bytes, highest bit first.
        width: Pixels of a row.
        rows: How many rows there are.
        compression: TIFF's number: 2 (rows of their own), 3 (Group 3) or 4 (Group 4).
        options: TIFF's T4Options or T6Options.

    Returns:
        ``(rows, width)``, 0 for white and 1 for black.

    Raises:
        Refusal: The bytes are damaged, end too early, or use the mode without compression.
    """
    if options & 2:
        raise Refusal("the fax data of the TIFF use their uncompressed mode, which is not supported; convert it first")
    bits = _Bits(packed)
    out = np.zeros((rows, width), np.uint8)
    above: list[int] = []
    for row in out:
        if compression == 3:
            straight = not bits.line_end() or not options & 1 or bits.flag()
        else:
            straight = compression == 2
            bits.at += -bits.at % 8 if straight else 0
        above = _straight(bits, width) if straight else _against(bits, width, above)
        for start, end in zip(above[::2], [*above[1::2], width], strict=False):
            row[start:end] = 1
    return out


def _straight(bits: _Bits, width: int) -> list[int]:
    """Return where the colour changes in a row that is coded by its runs alone, white first."""
    changes: list[int] = []
    at = colour = 0
    while at < width:
        at += bits.run(colour)
        changes.append(at)
        colour ^= 1
    if at > width:
        raise Refusal(_DAMAGED)
    return changes


def _against(bits: _Bits, width: int, above: list[int]) -> list[int]:
    """Return where the colour changes in a row that is coded by its difference from the one above."""
    changes: list[int] = []
    reference = [*above, width, width, width]
    at, colour, index = -1, 0, 0
    while at < width:
        # the next change above that lies to the right and is to the other colour
        index = max(0, index - 2) | 1 if colour else max(0, index - 2) & ~1
        while reference[index] <= at and reference[index] < width:
            index += 2
        way = bits.code(_WAYS)
        if way == _PASS:
            at = reference[index + 1]
            continue
        start = max(at, 0)
        if way == _ACROSS:
            middle = start + bits.run(colour)
            at = middle + bits.run(colour ^ 1)
            changes += (middle, at)
        else:
            at = reference[index] + way
            changes.append(at)
            colour ^= 1
        if not start <= at <= width:
            raise Refusal(_DAMAGED)
    return changes
