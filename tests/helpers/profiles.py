"""ICC profiles, put together byte by byte from published primaries and curves."""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray

__all__ = ["D50", "GAMMA", "LINEAR", "PARAMETRIC", "SPACES", "TABLE", "dot_gain", "profile", "table_profile"]

D50 = {
    "sRGB": ((0.4360747, 0.2225045, 0.0139322), (0.3850649, 0.7168786, 0.0971045), (0.1430804, 0.0606169, 0.7141733)),
    "P3": ((0.5151187, 0.2411926, -0.0010505), (0.2919778, 0.6922441, 0.0418791), (0.1571035, 0.0665741, 0.7840713)),
    "Adobe": ((0.6097559, 0.3111242, 0.0194811), (0.2052401, 0.6256560, 0.0608902), (0.1492240, 0.0632197, 0.7448387)),
    "ProPhoto": ((0.7976749, 0.2880402, 0.0), (0.1351917, 0.7118741, 0.0), (0.0313534, 0.0000857, 0.82521)),
    # smaller than sRGB
    "Apple": ((0.4755678, 0.2551812, 0.0184697), (0.3396722, 0.6725992, 0.1133771), (0.14898, 0.0722196, 0.6933632)),
}
"""Columns of the matrix from linear RGB to XYZ under D50 (Lindbloom's tables)."""

SPACES = tuple(D50)

LINEAR = b"curv" + bytes(8)
GAMMA = b"curv" + struct.pack(">III", 0, 1, 0)[:8] + struct.pack(">H", round(2.2 * 256))
PARAMETRIC = (
    b"para"
    + bytes(4)
    + struct.pack(">HH", 3, 0)
    + struct.pack(">5i", *(round(n * 65536) for n in (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)))
)


def _curve(values: NDArray[np.float64]) -> bytes:
    codes = np.rint(65535 * values).astype(">u2")
    return b"curv" + bytes(4) + struct.pack(">I", len(codes)) + codes.tobytes()


TABLE = _curve(np.linspace(0, 1, 1024) ** 1.8)


def dot_gain(percent: int = 20) -> bytes:
    """Return the curve of ink that spreads: light by the share of paper that is left, 256 steps."""
    ink = 1 - np.linspace(0, 1, 256)
    spread = ink + 4 * percent / 100 * ink * (1 - ink)
    return _curve(1 - np.minimum(spread, 1))


def profile(space: str, curve: bytes, *, model: bytes = b"RGB ") -> bytes:
    """Return a profile of three curves and a matrix, or of one curve for grey."""
    tags = {}
    if model == b"RGB ":
        for name, column in zip(b"rgb", D50[space], strict=True):
            tags[bytes([name]) + b"XYZ"] = _xyz(column)
            tags[bytes([name]) + b"TRC"] = curve
    else:
        tags[b"kTRC"] = curve
    return _assemble(tags, model)


def table_profile(space: str, *, gamma: float = 2.2, both_ways: bool = True) -> bytes:
    """Return a profile of the same colours that works by tables (lut16) alone, as those of scanners and printers do."""
    matrix = np.array(D50[space]).T  # linear RGB to XYZ
    steps = np.linspace(0, 1, 4096)
    corners = np.array([[r, g, b] for r in (0, 1) for g in (0, 1) for b in (0, 1)], float)
    full = 1 + 32767 / 32768  # what the largest code of XYZ stands for
    into = _lut16(np.eye(3), steps**gamma, np.clip(corners @ matrix.T / full, 0, 1), np.linspace(0, 1, 2))
    out_of = _lut16(np.linalg.inv(matrix) * full, np.linspace(0, 1, 2), corners, steps ** (1 / gamma))
    return _assemble({b"A2B0": into} | ({b"B2A0": out_of} if both_ways else {}), b"RGB ")


def _lut16(
    matrix: NDArray[np.float64], first: NDArray[np.float64], grid: NDArray[np.float64], last: NDArray[np.float64]
) -> bytes:
    def codes(values: NDArray[np.float64]) -> bytes:
        return np.rint(65535 * values).astype(">u2").tobytes()

    numbers = struct.pack(">9i", *(round(float(n) * 65536) for n in matrix.ravel()))
    head = b"mft2" + bytes(4) + bytes([3, 3, 2, 0]) + numbers + struct.pack(">HH", len(first), len(last))
    return head + 3 * codes(first) + codes(grid) + 3 * codes(last)


def _xyz(values: tuple[float, ...]) -> bytes:
    return b"XYZ " + bytes(4) + struct.pack(">3i", *(round(n * 65536) for n in values))


def _assemble(tags: dict[bytes, bytes], model: bytes) -> bytes:
    tags = {
        b"desc": b"desc" + bytes(4) + struct.pack(">I", 5) + b"Test\x00" + bytes(79),
        b"cprt": b"text" + bytes(8),
        b"wtpt": _xyz((0.9642, 1.0, 0.8249)),
        **tags,
    }
    place = 132 + 12 * len(tags)
    table, body = struct.pack(">I", len(tags)), b""
    for name, content in tags.items():
        table += struct.pack(">4sII", name, place + len(body), len(content))
        body += content.ljust(-(-len(content) // 4) * 4, b"\x00")
    size = place + len(body)
    head = struct.pack(">I4xI4s4s4s", size, 0x02400000, b"mntr", model, b"XYZ ") + bytes(12) + b"acsp" + bytes(28)
    illuminant = struct.pack(">3i", *(round(n * 65536) for n in (0.9642, 1.0, 0.8249)))
    return (head + illuminant).ljust(128, b"\x00") + table + body
