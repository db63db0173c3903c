"""ICC profiles: read as far as three curves and a matrix go, which is what cameras, screens and editors write.

Reference:
    ICC.1:2022 (profile version 4.4), sections 7, 10.6 (curves), 10.18 (parametric curves), F.3 (matrix profiles).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "SRGB_CURVE",
    "SRGB_TO_XYZ",
    "Curve",
    "MatrixProfile",
    "build_profile",
    "color_model",
    "invertible",
    "matrix_profile",
    "primaries_to_xyz",
    "profile_name",
]

_PARAMETERS = {0: 1, 1: 3, 2: 4, 3: 5, 4: 7}
_MAX_TAGS = 200


def _tags(icc: bytes) -> dict[bytes, bytes]:
    """Return the contents of a profile by their names; those that lie outside it are left out."""
    if len(icc) < 132 or icc[36:40] != b"acsp":
        return {}
    (count,) = struct.unpack_from(">I", icc, 128)
    found: dict[bytes, bytes] = {}
    for index in range(min(count, _MAX_TAGS)):
        entry = icc[132 + 12 * index : 144 + 12 * index]
        if len(entry) < 12:
            break
        name, start, length = struct.unpack(">4sII", entry)
        if start + length <= len(icc):
            found[name] = icc[start : start + length]
    return found


def color_model(icc: bytes) -> str:
    """Return the colour model that a profile is for: ``"RGB"``, ``"GRAY"``, ``"CMYK"``, ...; "" if it is damaged."""
    return icc[16:20].decode("ascii", "replace").strip() if len(icc) >= 132 and icc[36:40] == b"acsp" else ""


def profile_name(icc: bytes) -> str:
    """Return the description of a profile, or a stand-in where it has none."""
    text = _tags(icc).get(b"desc", b"")
    if text[:4] == b"desc" and len(text) > 12:
        (length,) = struct.unpack_from(">I", text, 8)
        return text[12 : 12 + length].rstrip(b"\x00").decode("latin-1")
    if text[:4] == b"mluc" and len(text) >= 28:
        length, start = struct.unpack_from(">II", text, 20)
        return text[start : start + length].decode("utf-16-be", "replace").rstrip("\x00")
    return f"a profile without a name ({len(icc)} bytes)"


@dataclass(frozen=True)
class Curve:
    """A tone curve: ``((a x + b) ** g + e`` where x >= d, else ``c x + f``), or a table in its stead.

    Attributes:
        parameters: g, a, b, c, d, e, f.
        table: Values at equal steps over [0, 1], or None.
    """

    parameters: tuple[float, float, float, float, float, float, float] = (1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    table: NDArray[np.float64] | None = None

    def decode(self, coded: NDArray[Any]) -> NDArray[Any]:
        """Return linear light of coded values (both nominally in [0, 1]; negative ones are mirrored)."""
        size = np.abs(coded)
        if self.table is not None:
            linear = np.interp(size, np.linspace(0, 1, len(self.table)), self.table)
        else:
            g, a, b, c, d, e, f = self.parameters
            linear = np.where(size >= d, np.maximum(a * size + b, 0) ** g + e, c * size + f)
        signed: NDArray[Any] = np.copysign(linear, coded)
        return signed

    def encode(self, linear: NDArray[Any]) -> NDArray[Any]:
        """Return coded values of linear light, the inverse of ``decode``."""
        size = np.abs(linear)
        if self.table is not None:
            coded = np.interp(size, self.table, np.linspace(0, 1, len(self.table)))
        else:
            g, a, b, c, d, e, f = self.parameters
            power = (np.maximum(size - e, 0) ** (1 / g) - b) / a
            low = (size - f) / c if c else np.zeros_like(size)
            coded = np.where(power >= d, power, np.clip(low, 0, d))
        signed: NDArray[Any] = np.copysign(coded, linear)
        return signed


def _curve(content: bytes) -> Curve | None:
    if content[:4] == b"curv" and len(content) >= 12:
        (count,) = struct.unpack_from(">I", content, 8)
        if count == 0:
            return Curve()
        if len(content) < 12 + 2 * count:
            return None
        values = struct.unpack_from(f">{count}H", content, 12)
        if count == 1:
            return Curve((values[0] / 256, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0)) if values[0] else None
        table = np.array(values, np.float64) / 65535
        return Curve(table=table) if (np.diff(table) >= 0).all() and table[-1] > table[0] else None
    if content[:4] == b"para" and len(content) >= 12:
        return _parametric(content)
    return None


def _parametric(content: bytes) -> Curve | None:
    (kind,) = struct.unpack_from(">H", content, 8)
    count = _PARAMETERS.get(kind, 0)
    if not count or len(content) < 12 + 4 * count:
        return None
    values = [number / 65536 for number in struct.unpack_from(f">{count}i", content, 12)]
    values += [0.0] * (7 - count)
    g, a, b, c, d, e, f = values
    if kind == 0:
        a = 1.0
    elif kind == 1:
        c, d = 0.0, -b / a if a else 0.0
    elif kind == 2:
        # above -b / a: (a x + b) ** g + c, below: c
        c, d, e, f = 0.0, -b / a if a else 0.0, c, c
    return Curve((g, a, b, c, d, e, f)) if g > 0 and a > 0 else None


@dataclass(frozen=True)
class MatrixProfile:
    """Curves into linear light, and the matrix from there to XYZ under D50 (None for grey)."""

    curves: tuple[Curve, ...]
    matrix: NDArray[np.float64] | None


def matrix_profile(icc: bytes) -> MatrixProfile | None:
    """Return the curves and the matrix of an RGB or grey profile; None if it works by tables, or is damaged."""
    tags, model = _tags(icc), color_model(icc)
    names = {"RGB": (b"rTRC", b"gTRC", b"bTRC"), "GRAY": (b"kTRC",)}.get(model, ())
    curves = tuple(curve for name in names if (curve := _curve(tags.get(name, b""))) is not None)
    if not names or len(curves) != len(names):
        return None
    if model == "GRAY":
        return MatrixProfile(curves, None)
    columns = [tags.get(name, b"") for name in (b"rXYZ", b"gXYZ", b"bXYZ")]
    if icc[20:24] != b"XYZ " or any(len(column) < 20 for column in columns):
        return None
    matrix = np.array([struct.unpack_from(">3i", column, 8) for column in columns], np.float64).T / 65536
    return MatrixProfile(curves, matrix) if invertible(matrix) else None


_D50 = np.array([0.9642, 1.0, 0.8249])
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])

SRGB_CURVE = Curve((2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045, 0.0, 0.0))
"""The tone curve of sRGB (IEC 61966-2-1)."""


Point = tuple[float, float]
D65: Point = (0.3127, 0.3290)


def _lift(x: float, y: float) -> NDArray[np.float64]:
    """Return X, Y and Z of a colour of luminance 1."""
    return np.array([x / y, 1.0, (1 - x - y) / y])


def _adaptation(white: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the matrix that makes the white of D50 of another one (Bradford)."""
    cone = np.diag((_BRADFORD @ _D50) / (_BRADFORD @ white))
    adapted: NDArray[np.float64] = np.linalg.inv(_BRADFORD) @ cone @ _BRADFORD
    return adapted


def primaries_to_xyz(primaries: Sequence[Point], *, white: Point = D65) -> NDArray[np.float64]:
    """Return the matrix from linear RGB to XYZ under D50.

    Args:
        primaries: x and y of red, green and blue.
        white: x and y of white.

    Returns:
        The matrix; one that has no inverse where the primaries span no space.
    """
    columns, lit = np.stack([_lift(*point) for point in primaries], 1), _lift(*white)
    if not invertible(columns):
        return np.zeros((3, 3))
    return _adaptation(lit) @ (columns * np.linalg.solve(columns, lit))


def invertible(matrix: NDArray[np.float64]) -> bool:
    """Return whether a matrix from RGB to XYZ can be gone back through."""
    return bool(np.isfinite(matrix).all() and abs(np.linalg.det(matrix)) > 1e-4)


SRGB_TO_XYZ = primaries_to_xyz(((0.640, 0.330), (0.300, 0.600), (0.150, 0.060)))
"""The matrix from linear sRGB to XYZ under D50."""


def build_profile(profile: MatrixProfile, name: str) -> bytes:
    """Return an ICC profile (version 4.3) of three curves without tables and a matrix.

    Args:
        profile: Three curves and a matrix.
        name: What programs show.
    """
    if profile.matrix is None:
        raise ValueError("a profile of RGB has a matrix")
    tags = {
        b"desc": _text(name),
        b"cprt": _text("No copyright, use freely"),
        b"wtpt": _numbers(b"XYZ ", _D50),
        b"chad": _numbers(b"sf32", _adaptation(_lift(*D65)).ravel()),
    }
    for color, curve, column in zip(b"rgb", profile.curves, profile.matrix.T, strict=True):
        tags[bytes([color]) + b"XYZ"] = _numbers(b"XYZ ", column)
        tags[bytes([color]) + b"TRC"] = _numbers(b"para" + bytes(4) + struct.pack(">HH", 4, 0), curve.parameters)
    table, body = struct.pack(">I", len(tags)), b""
    start = 132 + 12 * len(tags)
    for tag, content in tags.items():
        table += struct.pack(">4sII", tag, start + len(body), len(content))
        body += content.ljust(-(-len(content) // 4) * 4, b"\x00")
    head = struct.pack(">I4xI4s4s4s", start + len(body), 0x04300000, b"mntr", b"RGB ", b"XYZ ")
    dated = head + struct.pack(">6H", 2024, 1, 1, 0, 0, 0) + b"acsp"  # the same bytes every time
    return dated.ljust(68, b"\x00") + _fixed(_D50).ljust(60, b"\x00") + table + body


def _fixed(numbers: Iterable[float]) -> bytes:
    return b"".join(struct.pack(">i", round(float(number) * 65536)) for number in numbers)


def _numbers(head: bytes, numbers: Iterable[float]) -> bytes:
    return (head if len(head) > 4 else head + bytes(4)) + _fixed(numbers)


def _text(text: str) -> bytes:
    coded = text.encode("utf-16-be")
    return b"mluc" + bytes(4) + struct.pack(">II2s2sII", 1, 12, b"en", b"US", len(coded), 28) + coded
