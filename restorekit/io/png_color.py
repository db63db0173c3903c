"""What a PNG says of its colours beside a profile.

Reference:
    Portable Network Graphics (PNG) Specification (Third Edition), W3C, section 11.3.2.
"""

from __future__ import annotations

import struct

from restorekit.io.picture import Metadata

__all__ = ["COLOR_CHUNKS", "stated_colors"]

COLOR_CHUNKS = (b"cHRM", b"gAMA", b"sRGB", b"cICP", b"mDCV", b"cLLI")
"""Chunks without which the same values are other colours; like a profile, they belong to the pixels."""

_OF_SRGB = {b"gAMA": (45455,), b"cHRM": (31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)}
_CLOSE = 0.05  # what differs by a smaller share means sRGB, too


def stated_colors(metadata: Metadata) -> dict[bytes, bytes]:
    """Return the chunks that make the colours others than those of sRGB, or of the profile.

    Code points (cICP) go before a profile, and a profile before the rest.

    Args:
        metadata: What was read from a PNG.
    """
    found = dict(metadata.png_chunks)
    if b"cICP" in found:
        return {b"cICP": found[b"cICP"]}
    if metadata.icc is not None or b"sRGB" in found:
        return {}
    return {kind: found[kind] for kind in _OF_SRGB if kind in found and not _is_srgb(kind, found[kind])}


def _is_srgb(kind: bytes, content: bytes) -> bool:
    usual = _OF_SRGB[kind]
    if len(content) != 4 * len(usual):
        return True  # damaged: nobody follows it
    stated = struct.unpack(f">{len(usual)}I", content)
    return all(abs(value - right) <= _CLOSE * right for value, right in zip(stated, usual, strict=True))
