"""What several commands share: where lines go."""

from __future__ import annotations

import json
import logging
import sys
import traceback
from typing import Any

import typer

__all__ = ["print_json", "say", "set_up_logging"]


# line breaks and terminal codes, which names of files may hold, and what bytes that are no letters become
_SHOWN = {code: f"\\x{code & 255:02x}" for code in (*range(32), *range(127, 160), *range(0xDC80, 0xDD00))}


class _Standard(logging.Handler):
    """Shows what the library logs as lines on standard error, whatever that is at the moment."""

    def emit(self, record: logging.LogRecord) -> None:
        say(record.getMessage())
        if record.exc_info:
            sys.stderr.write("".join(traceback.format_exception(*record.exc_info)))


def set_up_logging(*, debug: bool = False, verbose: bool = False) -> None:
    """Show warnings of the library; more with ``verbose``, everything with ``debug``."""
    logger = logging.getLogger("restorekit")
    if not any(isinstance(handler, _Standard) for handler in logger.handlers):
        logger.addHandler(_Standard())
    if debug or logger.level != logging.DEBUG:
        logger.setLevel(logging.DEBUG if debug else logging.INFO if verbose else logging.WARNING)


def say(line: str) -> None:
    """Print one line for people: on standard error, so that standard output is free for results."""
    sys.stderr.write(f"{line.translate(_SHOWN)}\n")


def print_json(value: Any) -> None:
    """Print a result for programs on standard output."""
    typer.echo(json.dumps(value, indent=2))
