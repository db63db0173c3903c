"""Photoshop image resources, the container that IPTC travels in: cleaned, and carried as text in PNG.

Reference:
    Adobe Photoshop File Formats Specification, "Image Resource Blocks"; IPTC-IIM 4.2.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

__all__ = ["from_iim", "from_raw_profile", "iim", "to_raw_profile", "without_thumbnail"]

_IPTC = 0x0404
_DROPPED = frozenset({0x0409, 0x040C, 0x03ED, 0x03E9, 0x0421})
"""Resources that are no longer true: thumbnails, the resolution (kept elsewhere), print and version records."""


def _resources(data: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Yield number, content, and the whole of every resource; what is damaged ends the list."""
    at = 0
    while data[at : at + 4] == b"8BIM" and at + 12 <= len(data):
        (number,) = struct.unpack_from(">H", data, at + 4)
        name = data[at + 6] + 1
        start = at + 6 + name + name % 2
        if start + 4 > len(data):
            return
        (length,) = struct.unpack_from(">I", data, start)
        end = start + 4 + length
        if end > len(data):
            return
        yield number, data[start + 4 : end], data[at:end] + b"\x00" * (length % 2)
        at = end + length % 2


def without_thumbnail(data: bytes) -> bytes | None:
    """Return resources without those that another picture makes untrue, or None where none is left."""
    return b"".join(whole for number, _, whole in _resources(data) if number not in _DROPPED) or None


def iim(data: bytes | None) -> bytes | None:
    """Return the IPTC record that resources hold, or None."""
    return next((content for number, content, _ in _resources(data or b"") if number == _IPTC), None)


def from_iim(record: bytes) -> bytes:
    """Return resources that hold an IPTC record and nothing else."""
    head = b"8BIM" + struct.pack(">H", _IPTC) + b"\x00\x00" + struct.pack(">I", len(record))
    return head + record + b"\x00" * (len(record) % 2)


def from_raw_profile(text: bytes) -> bytes | None:
    """Return the resources that a PNG's "Raw profile type iptc" holds (name, length, hexadecimal), or None."""
    lines = text.strip().split(b"\n")
    try:
        data = bytes.fromhex(b"".join(lines[2:]).decode("ascii"))
    except ValueError:
        return None
    return data if data.startswith(b"8BIM") else from_iim(data) if data.startswith(b"\x1c") else None


def to_raw_profile(resources: bytes) -> bytes:
    """Return resources as the text of a PNG's "Raw profile type iptc"."""
    digits = resources.hex()
    lines = "\n".join(digits[at : at + 72] for at in range(0, len(digits), 72))
    return f"\niptc\n{len(resources):8}\n{lines}\n".encode("ascii")
