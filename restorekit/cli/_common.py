"""What several commands share: words that become values, and where lines go."""

from __future__ import annotations

import json
import logging
import re
import sys
from typing import Any, Literal

import typer

from restorekit.errors import UsageError

__all__ = ["parse_bytes", "parse_crop", "parse_tile", "print_json", "say", "set_up_logging"]

_UNITS = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?", re.IGNORECASE)


class _Standard(logging.Handler):
    """Shows what the library logs as lines on standard error, whatever that is at the moment."""

    def emit(self, record: logging.LogRecord) -> None:
        say(self.format(record))


def set_up_logging(*, debug: bool = False, verbose: bool = False) -> None:
    """Show warnings of the library; more with ``verbose``, everything with ``debug``."""
    logger = logging.getLogger("restorekit")
    if not any(isinstance(handler, _Standard) for handler in logger.handlers):
        logger.addHandler(_Standard())
    if debug or logger.level != logging.DEBUG:
        logger.setLevel(logging.DEBUG if debug else logging.INFO if verbose else logging.WARNING)


def say(line: str) -> None:
    """Print a line for people: on standard error, so that standard output is free for results."""
    sys.stderr.write(f"{line}\n")


def print_json(value: Any) -> None:
    """Print a result for programs on standard output."""
    typer.echo(json.dumps(value, indent=2))


def parse_bytes(text: str) -> int:
    """Return the bytes of an amount of memory such as ``4GB``, ``500M`` or ``1.5 GiB`` (in powers of 1024).

    Raises:
        UsageError: It is no such amount.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None or not float(match.group(1)):
        raise UsageError(f"an amount of memory is a number with a unit, such as 4GB or 500M, not {text!r}")
    return int(float(match.group(1)) * _UNITS[match.group(2).lower()])


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
