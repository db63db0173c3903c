"""Doing many jobs: on past a bad one, with reading, working and writing at the same time."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from restorekit.errors import ModelError
from restorekit.io.faults import sentence
from restorekit.jobs.outputs import Job
from restorekit.jobs.progress import Meter
from restorekit.jobs.walk import STANDARD_STREAM

__all__ = ["Failure", "Ledger", "Report", "Skip", "Stages", "run"]

R = TypeVar("R")
W = TypeVar("W")

PIXELS_IN_FLIGHT = 100_000_000
"""Pixels that are read ahead, worked on and being written at one time, unless a single picture has more."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Failure:
    """A job that failed.

    Attributes:
        job: Which.
        reason: Why, in one sentence without the name of the file.
        error: The exception.
    """

    job: Job
    reason: str
    error: Exception

    def __str__(self) -> str:
        return f"{self.job.name}: {self.reason}"


@dataclass(frozen=True)
class Skip:
    """A job that was not done, and why."""

    job: Job
    reason: str


@dataclass
class Report:
    """What came of a run.

    Attributes:
        done: Jobs whose output was written.
        failed: Jobs that failed, each with its reason.
        skipped: Jobs that there was no need for.
    """

    done: list[Job] = field(default_factory=list)
    failed: list[Failure] = field(default_factory=list)
    skipped: list[Skip] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """0 if nothing failed, else 3."""
        return 3 if self.failed else 0


@dataclass(frozen=True, kw_only=True)
class Stages(Generic[R, W]):
    """Work in three stages, so that they can overlap.

    Attributes:
        read: Run ahead in threads: what ``work`` needs of a job.
        work: Run in the calling thread, one job after the other, in order.
        write: Run in threads: keeps what ``work`` returned.
    """

    read: Callable[[Job], R]
    work: Callable[[Job, R], W]
    write: Callable[[Job, W], object]


class Ledger(Protocol):
    """Where a run writes down what it begins and what it has done (see ``Journal``)."""

    def read(self, job: Job) -> None:
        """The input of a job is about to be read."""

    def begin(self, job: Job) -> None:
        """The output of a job is about to be written."""

    def end(self, job: Job) -> None:
        """The output of a job is in place."""


def run(
    jobs: Sequence[Job],
    work: Callable[[Job], object] | Stages[R, W],
    *,
    on_error: Callable[[Failure], None] | None = None,
    meter: Meter | None = None,
    ledger: Ledger | None = None,
    workers: int = 1,
    pixels_in_flight: int = PIXELS_IN_FLIGHT,
) -> Report:
    """Do all jobs; one that fails is reported, and the rest goes on.

    The folders of the outputs are made. An error of the model or its weights ends the run, since every job would
    fail by it; so does an interruption, after the files that are being written are complete.

    Args:
        jobs: What to do, from ``plan_outputs``.
        work: Does one job from its file to its file; or ``Stages``, which then overlap.
        on_error: Called for each job that fails, when it does.
        meter: Told how the run goes; it may show it.
        ledger: Told before and after each output is written.
        workers: Threads that read, and as many that write.
        pixels_in_flight: Pixels in memory at one time, unless a single picture has more.

    Returns:
        What was done, what failed and why, and what was skipped.

    Raises:
        ModelError: The model or its weights cannot be used.
    """
    todo = [job for job in jobs if job.skip is None]
    report = Report(skipped=[Skip(job, job.skip) for job in jobs if job.skip is not None])
    runner = _Runner(report, meter or Meter(), on_error)
    runner.meter.start(todo)
    if isinstance(work, Stages):
        _overlapped(todo, _logged(work, ledger), runner, workers, pixels_in_flight)
    else:
        noted = _noted(work, ledger)
        for job in todo:
            runner.attempt(job, noted)
    return report


@dataclass
class _Runner:
    """Keeps the report while jobs end well or badly."""

    report: Report
    meter: Meter
    on_error: Callable[[Failure], None] | None

    def attempt(self, job: Job, work: Callable[[Job], object]) -> None:
        """Do a job in one go."""
        try:
            work(job)
        except Exception as error:
            self.failed(job, error)
        else:
            self.done(job)

    def done(self, job: Job) -> None:
        """Note that the output of a job is in place."""
        self.report.done.append(job)
        self.meter.finish(job)

    def failed(self, job: Job, error: Exception) -> None:
        """Note why a job failed.

        Raises:
            ModelError: This is why.
        """
        if isinstance(error, ModelError):
            raise error
        logger.debug("%s failed", job.name, exc_info=error)
        failure = Failure(job, sentence(error).removeprefix(f"{job.name}: "), error)
        self.report.failed.append(failure)
        self.meter.finish(job, failed=True)
        if self.on_error is not None:
            self.on_error(failure)


def _make_folder(job: Job) -> None:
    if job.target != STANDARD_STREAM:
        job.target.parent.mkdir(parents=True, exist_ok=True)


def _noted(work: Callable[[Job], object], ledger: Ledger | None) -> Callable[[Job], object]:
    """Return work that makes the folder of its output, and keeps the ledger."""

    def noted(job: Job) -> None:
        if ledger is not None:
            ledger.read(job)
        _kept(lambda: work(job), job, ledger)

    return noted


def _kept(write: Callable[[], object], job: Job, ledger: Ledger | None) -> None:
    _make_folder(job)
    if ledger is not None:
        ledger.begin(job)
    write()
    if ledger is not None:
        ledger.end(job)


def _logged(stages: Stages[R, W], ledger: Ledger | None) -> Stages[R, W]:
    """Return stages of which the last makes the folder of its output, and that keep the ledger."""

    def read(job: Job) -> R:
        if ledger is not None:
            ledger.read(job)
        return stages.read(job)

    def write(job: Job, result: W) -> None:
        _kept(lambda: stages.write(job, result), job, ledger)

    return Stages(read=read, work=stages.work, write=write)


def _overlapped(todo: list[Job], stages: Stages[R, W], runner: _Runner, workers: int, most: int) -> None:
    """Read ahead and write behind while the calling thread works."""
    readers = ThreadPoolExecutor(workers, thread_name_prefix="read")
    writers = ThreadPoolExecutor(workers, thread_name_prefix="write")
    pipe = _Pipe(stages, runner, readers, writers, most, depth=workers)
    try:
        for job, picture in pipe.pictures(todo):
            pipe.work(job, picture)
        pipe.settle(0)
    finally:
        # whatever is being written is finished, whatever has not begun is dropped
        readers.shutdown(wait=True, cancel_futures=True)
        writers.shutdown(wait=True, cancel_futures=True)


class _Pipe(Generic[R, W]):
    """The jobs between their reading and their writing; only the calling thread touches it."""

    def __init__(
        self,
        stages: Stages[R, W],
        runner: _Runner,
        readers: ThreadPoolExecutor,
        writers: ThreadPoolExecutor,
        most: int,
        *,
        depth: int,
    ) -> None:
        self.stages, self.runner = stages, runner
        self.readers, self.writers = readers, writers
        self.most, self.depth = most, depth
        self.reading: deque[tuple[Job, Future[R]]] = deque()
        self.writing: deque[tuple[Job, Future[object]]] = deque()
        self.in_flight = 0

    def pictures(self, todo: list[Job]) -> Iterator[tuple[Job, R]]:
        """Yield each job with what was read for it; those that cannot be read are noted and passed over."""
        waiting = deque(todo)
        while waiting or self.reading:
            self._read_ahead(waiting, needed=True)
            job, future = self.reading.popleft()
            try:
                picture = future.result()
            except Exception as error:
                self._leave(job)
                self.runner.failed(job, error)
                continue
            self._read_ahead(waiting, needed=False)
            yield job, picture
            del picture

    def _read_ahead(self, waiting: deque[Job], *, needed: bool) -> None:
        """Begin to read as much as fits; where one is needed and none fits, wait for what is being written."""
        while waiting and len(self.reading) <= self.depth:
            pixels = self.runner.meter.pixels(waiting[0])
            if self.in_flight and self.in_flight + pixels > self.most:
                if self.reading or not needed:
                    return
                self.settle(len(self.writing) - 1)
                continue
            job = waiting.popleft()
            self.in_flight += pixels
            self.reading.append((job, self.readers.submit(self.stages.read, job)))

    def _leave(self, job: Job) -> None:
        self.in_flight -= self.runner.meter.pixels(job)

    def work(self, job: Job, picture: R) -> None:
        """Work on a picture and hand the result on."""
        try:
            result = self.stages.work(job, picture)
        except Exception as error:
            self._leave(job)
            self.runner.failed(job, error)
            return
        self.settle(self.depth)
        self.writing.append((job, self.writers.submit(self.stages.write, job, result)))

    def settle(self, left: int) -> None:
        """Note how writing ended, and wait until no more than ``left`` are still being written."""
        while self.writing and (len(self.writing) > left or self.writing[0][1].done()):
            job, future = self.writing.popleft()
            self._leave(job)
            error = future.exception()
            if error is None:
                self.runner.done(job)
            elif isinstance(error, Exception):
                self.runner.failed(job, error)
            else:
                raise error
