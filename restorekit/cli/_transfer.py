"""What is shown while a file comes: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.progress import Progress as Bar

from restorekit.cli._common import say

__all__ = ["Transfer"]

_STEP = 0.1  # share of a file, or of a gigabyte where the size is not known, between two lines


class Transfer:
    """Shows how a download goes; a context manager.

    Args:
        name: What comes.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._bar: Bar | None = None
        self._said = -1
        if sys.stderr.isatty():
            columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
            self._bar = Bar(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True)

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
            self._bar.add_task(self._name, total=None)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.stop()

    def moves(self, done: int, total: int | None) -> None:
        """Move on to so many bytes."""
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=done, total=total)
            return
        step = int(done / (_STEP * (total or 10**9)))
        if step != self._said:
            self._said = step
            of = "" if total is None else f" of {total / 1e6:.1f}"
            say(f"{self._name}: {done / 1e6:.1f}{of} MB")

    def waits(self) -> None:
        """Say that another process is at it."""
        say(f"{self._name}: another process is fetching it; waiting for that")
