"""What ``restorekit restore`` shows while it works: a bar on a terminal, lines elsewhere."""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.progress import BarColumn, TaskProgressColumn, TextColumn
from rich.progress import Progress as Bar

from restorekit.cli._common import say
from restorekit.cli._show import describe, show_time

if TYPE_CHECKING:
    from restorekit.inference import Summary
    from restorekit.inference.batch import Outcome
    from restorekit.jobs import Progress

__all__ = ["Watcher"]


class Watcher:
    """Shows how a batch goes; a context manager."""

    def __init__(self, *, verbose: bool) -> None:
        self._verbose = verbose
        self._bar: Bar | None = None
        if sys.stderr.isatty():
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                TaskProgressColumn(),
                TextColumn("{task.fields[left]}"),
            )
            self._bar = Bar(*columns, console=Console(stderr=True), transient=True)
        self._lock = threading.Lock()
        self._latest: Progress | None = None
        self._ended = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.stop()

    def begins(self, model: Summary, notes: Sequence[str]) -> None:
        """Say what was chosen."""
        say(describe(model))
        for note in notes:
            say(f"Note: {note}")
        if self._bar is not None:
            self._bar.start()
            self._bar.add_task("", total=None, left="")

    def moves(self, progress: Progress) -> None:
        """Move the bar, by pixels."""
        self._latest = progress
        if self._bar is not None:
            self._bar.update(
                self._bar.task_ids[0],
                completed=progress.pixels_done,
                total=progress.pixels_total or None,
                description=progress.job.name,
                left=_left(progress),
            )

    def ends(self, outcome: Outcome) -> None:
        """Say what was written; failures are listed at the end."""
        with self._lock:
            self._ended += 1
            count = (
                f"[{self._ended}/{self._latest.total}] " if self._latest is not None and self._latest.total > 1 else ""
            )
            if outcome.status == "done":
                left = "" if self._bar is not None or self._latest is None else _left(self._latest)
                also = f" and {outcome.comparison}" if outcome.comparison else ""
                time = show_time(outcome.seconds or 0.0)
                say(f"{count}{outcome.source} -> {outcome.target}{also} ({', '.join(filter(None, (time, left)))})")
            for line in (*outcome.notes, *([outcome.plan] if self._verbose and outcome.plan else [])):
                say(f"Note: {outcome.source}: {line}")


def _left(progress: Progress) -> str:
    return f"{show_time(progress.seconds_left)} left" if progress.seconds_left else ""
