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

_OF_SRGB = {
    b"gAMA": struct.pack(">I", 45455),
    b"cHRM": struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000),
}


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
    return {kind: found[kind] for kind, usual in _OF_SRGB.items() if kind in found and found[kind] != usual}
