"""What several commands share: where lines go."""

from __future__ import annotations

import json
import logging
import sys
from typing import Any

import typer

__all__ = ["print_json", "say", "set_up_logging"]


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
