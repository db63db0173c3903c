"""How far a run has come, and how long it will take: by pixels, not by files."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from restorekit.errors import PictureError
from restorekit.io.info import read_size
from restorekit.jobs.outputs import Job
from restorekit.jobs.walk import STANDARD_STREAM

__all__ = ["Meter", "Progress", "job_pixels"]


@dataclass(frozen=True)
class Progress:
    """The state of a run.

    Attributes:
        job: The job that moved.
        done: Jobs that are finished, well or badly.
        total: Jobs to do.
        pixels_done: Pixels that are finished.
        pixels_total: Pixels to do; those of failed pictures no longer count.
        seconds: Time since the start.
        seconds_left: Expected time to the end, or None as long as nothing is known.
    """

    job: Job
    done: int
    total: int
    pixels_done: float
    pixels_total: float
    seconds: float
    seconds_left: float | None


def job_pixels(job: Job) -> int:
    """Return the pixels of a job's input by its header; 0 where that cannot be read (the run will say why)."""
    if job.source == STANDARD_STREAM:
        return 0
    try:
        width, height = read_size(job.source)
    except PictureError:
        return 0
    return width * height


class Meter:
    """Counts pixels and tells a listener; may be used from several threads.

    Args:
        listener: Called at every step.
        clock: Seconds, ever growing.
    """

    def __init__(
        self, listener: Callable[[Progress], None] | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._listener = listener
        self._clock = clock
        self.seconds_to_write: float | None = None
        """Of a pixel, where known: the last picture is written when all others are done."""
        self._lock = threading.Lock()
        self._pixels: dict[Job, int] = {}
        self._parts: dict[Job, float] = {}
        self._started = 0.0
        self._total = 0
        self._last: Job | None = None
        self._first: tuple[float, float] | None = None
        self._finished = 0
        self._pixels_done = 0.0
        self._pixels_total = 0.0

    def start(self, jobs: Sequence[Job]) -> None:
        """Begin a run.

        Args:
            jobs: What is to be done.
        """
        self._pixels = {job: job_pixels(job) for job in jobs}
        self._parts = {}
        self._total, self._finished = len(jobs), 0
        self._last, self._first = jobs[-1] if jobs else None, None
        self._pixels_done, self._pixels_total = 0.0, float(sum(self._pixels.values()))
        self._started = self._clock()

    def pixels(self, job: Job) -> int:
        """Return the pixels of a job (0 if unknown)."""
        return self._pixels.get(job, 0)

    def part(self, job: Job, fraction: float) -> None:
        """Say how much of a picture is done.

        Args:
            job: Which picture.
            fraction: Of its pixels, in [0, 1].
        """
        with self._lock:
            self._parts[job] = self.pixels(job) * min(max(fraction, 0.0), 1.0)
            self._tell(job)

    def finish(self, job: Job, *, failed: bool = False) -> None:
        """Say that a picture is done, or that it failed (its pixels are then taken off the total)."""
        with self._lock:
            self._parts.pop(job, None)
            self._finished += 1
            if failed:
                self._pixels_total -= self.pixels(job)
            else:
                self._pixels_done += self.pixels(job)
            self._tell(job)

    def _expect(self, seconds: float, done: float) -> float | None:
        """Return the expected time to the end, by the pace since the first report: what came before it was reading."""
        if done <= 0:
            return None
        if self._first is None:
            self._first = (seconds, done)
        began, before = self._first if self._first[1] < done else (0.0, 0.0)
        left = (seconds - began) * (self._pixels_total - done) / (done - before)
        if self._last is not None and self._finished < self._total:
            left += (self.seconds_to_write or 0.0) * self.pixels(self._last)
        return left

    def _tell(self, job: Job) -> None:
        if self._listener is None:
            return
        seconds = self._clock() - self._started
        done = self._pixels_done + sum(self._parts.values())
        left = self._expect(seconds, done)
        self._listener(Progress(job, self._finished, self._total, done, self._pixels_total, seconds, left))
