"""Words of the command line that become values."""

from __future__ import annotations

import re
from typing import Literal

from restorekit.errors import UsageError

__all__ = ["parse_bytes", "parse_color", "parse_count", "parse_crop", "parse_shard", "parse_tile"]

_BINARY = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}
_DECIMAL = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?", re.IGNORECASE)
_COUNT = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(?:p|px|pixels)?", re.IGNORECASE)
_COLORS = {"white": (255, 255, 255), "black": (0, 0, 0), "grey": (128, 128, 128), "gray": (128, 128, 128)}


def parse_bytes(text: str) -> int:
    """Return the bytes of an amount of memory such as ``4GB``, ``500M`` or ``1.5 GiB`` (in powers of 1024).

    Raises:
        UsageError: It is no such amount.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None or not float(match.group(1)):
        raise UsageError(f"an amount of memory is a number with a unit, such as 4GB or 500M, not {text!r}")
    return int(float(match.group(1)) * _BINARY[match.group(2).lower()])


def parse_tile(text: str) -> Literal["auto", "off"] | int:
    """Return ``auto``, ``off``, or the side of a tile in pixels.

    Raises:
        UsageError: It is none of these.
    """
    if text == "auto":
        return "auto"
    if text == "off":
        return "off"
    if not text.isdecimal():
        raise UsageError(f"a tile is auto, off, or a number of pixels, not {text!r}")
    return int(text)


def parse_crop(text: str) -> tuple[int, int, int, int]:
    """Return x, y, width and height of ``x,y,width,height``.

    Raises:
        UsageError: These are not four whole numbers, or the part is empty.
    """
    parts = [part.strip() for part in text.split(",")]
    if len(parts) != 4 or not all(part.isdecimal() for part in parts) or 0 in map(int, parts[2:]):
        raise UsageError(f"a crop is x,y,width,height in pixels, such as 100,50,400,300, not {text!r}")
    x, y, width, height = map(int, parts)
    return x, y, width, height


def parse_count(text: str) -> int:
    """Return a number of pixels such as ``500M``, ``2G`` or ``120MP`` (in powers of 1000).

    Raises:
        UsageError: It is no such number.
    """
    match = _COUNT.fullmatch(text.strip())
    if match is None or not float(match.group(1)):
        raise UsageError(f"a number of pixels is one with a unit, such as 500M or 2G, not {text!r}")
    return int(float(match.group(1)) * _DECIMAL[match.group(2).lower()])


def parse_shard(text: str) -> tuple[int, int]:
    """Return i and n of ``i/n``.

    Raises:
        UsageError: It is no such share.
    """
    match = re.fullmatch(r"(\d+)/(\d+)", text.strip())
    if match is None or not 1 <= int(match.group(1)) <= int(match.group(2)):
        raise UsageError(f"a shard is i/n with 1 <= i <= n, such as 2/4, not {text!r}")
    return int(match.group(1)), int(match.group(2))


def parse_color(text: str) -> tuple[int, int, int]:
    """Return red, green and blue, 0 to 255, of a colour's name or ``#RRGGBB``.

    Raises:
        UsageError: It is no such colour.
    """
    named = _COLORS.get(text.strip().lower())
    if named is not None:
        return named
    match = re.fullmatch(r"#?([0-9a-f]{2})([0-9a-f]{2})([0-9a-f]{2})", text.strip().lower())
    if match is None:
        raise UsageError(f"a colour is {', '.join(_COLORS)} or #RRGGBB, not {text!r}")
    red, green, blue = (int(part, 16) for part in match.groups())
    return red, green, blue
