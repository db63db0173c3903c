"""Many picture files through one network: done past a bad one, told as it goes."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, Literal, Protocol

import numpy as np

from restorekit.errors import ModelError, PictureError, UsageError
from restorekit.inference.batch_request import Files, Settings, comparison_path, kept, plan, remaining
from restorekit.inference.compare import compare
from restorekit.inference.enlarge import enlarge
from restorekit.inference.plan import Plan
from restorekit.inference.restorer import Restored, Restorer, Summary
from restorekit.io import ImageData, encode_image, read_pages, write_image, write_pages
from restorekit.io.formats import canonical_format, format_of_suffix
from restorekit.io.info import read_size
from restorekit.jobs import STANDARD_STREAM, Failure, Job, Journal, Meter, Progress, Report, Stages, run

__all__ = ["BatchReport", "Files", "Listener", "Outcome", "Settings", "forecast_files", "restore_files"]

_TRIAL = 256  # side of the picture that is timed where a card has no time, and of the part whose writing is timed
_LARGE = 4_000_000  # pixels from which on writing takes long enough to count


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one picture, or would become of it.

    Attributes:
        source: The input, as the user named it.
        target: The output; ``-`` for standard output.
        status: ``planned`` where nothing was to be done yet.
        reason: Why it failed or was skipped.
        width: Columns of what was restored; ``None`` where that is not known.
        height: Rows of it.
        seconds: Time of the restoration, without reading and writing; the expected one where ``planned``.
        plan: How it was cut, in one line.
        notes: What was done otherwise than asked, one sentence each.
        comparison: The before/after picture.
    """

    source: str
    target: str
    status: Literal["done", "failed", "skipped", "planned"]
    reason: str | None = None
    width: int | None = None
    height: int | None = None
    seconds: float | None = None
    plan: str | None = None
    notes: tuple[str, ...] = ()
    comparison: str | None = None


@dataclass(frozen=True, kw_only=True)
class BatchReport:
    """What came of a batch.

    Attributes:
        model: What restored the pictures.
        notes: What holds for all of them, one sentence each.
        pictures: One outcome for each input, in order.
        seconds: Time of the whole, without loading the model; the expected one of a forecast.
        exit_code: 0 if nothing failed, 2 if nothing was done because an option does not fit the pictures, else 3.
    """

    model: Summary
    notes: tuple[str, ...]
    pictures: tuple[Outcome, ...]
    seconds: float
    exit_code: int

    def of(self, status: str) -> list[Outcome]:
        """Return the outcomes of one status."""
        return [outcome for outcome in self.pictures if outcome.status == status]

    def record(self) -> dict[str, Any]:
        """Return everything as plain JSON data."""
        return asdict(self)


class Listener(Protocol):
    """Told how a batch goes; the calls come from several threads."""

    def begins(self, model: Summary, notes: Sequence[str]) -> None:
        """The model is loaded, and the first picture comes now."""

    def moves(self, progress: Progress) -> None:
        """Pixels are done."""

    def ends(self, outcome: Outcome) -> None:
        """A picture was written, or failed."""


def restore_files(files: Files, settings: Settings, *, listener: Listener | None = None) -> BatchReport:
    """Restore picture files.

    Inputs, outputs and the mask are checked first, then the model is loaded, once for all pictures. A picture that
    cannot be read, restored or written is reported, and the rest is done.

    Args:
        files: Which files become which.
        settings: How they are restored.
        listener: Told how it goes.

    Returns:
        What became of each input.

    Raises:
        UsageError: An input does not exist, two inputs would become one output, an output exists, another run is at
            work in the same folder, or an option has no such value.
        ModelError: The weights cannot be used.
        PictureError: The journal of the run cannot be written.
    """
    jobs, mask = plan(files, settings)
    with kept(jobs, files, settings) as (jobs, journal):
        restorer = settings.load()
        if listener is not None:
            listener.begins(restorer.summary, restorer.notes)
        worker = _Worker(restorer, files, settings, mask, Meter(None if listener is None else listener.moves))
        return _restore(jobs, worker, journal, listener)


def _restore(jobs: list[Job], worker: _Worker, journal: Journal | None, listener: Listener | None) -> BatchReport:
    start = time.perf_counter()

    def failed(failure: Failure) -> None:
        if listener is not None:
            listener.ends(_failed(failure))

    def write(job: Job, result: _Result) -> None:
        worker.write(job, result)
        if listener is not None:
            listener.ends(worker.outcomes[job])

    stages = Stages(read=worker.read, work=worker.work, write=write)
    report = run(jobs, stages, on_error=failed, meter=worker.meter, ledger=journal, workers=worker.files.workers)
    if journal is not None and not worker.files.resume and journal.complete:
        journal.discard()  # the run has come to its end; it stays where one was stopped, or a disk was full
    outcomes = {
        **worker.outcomes,
        **{failure.job: _failed(failure) for failure in report.failed},
        **{skip.job: _skipped(skip.job) for skip in report.skipped},
    }
    return BatchReport(
        model=worker.restorer.summary,
        notes=tuple(worker.restorer.notes),
        pictures=tuple(outcomes[job] for job in jobs),
        seconds=time.perf_counter() - start,
        exit_code=_exit_code(report),
    )


def forecast_files(files: Files, settings: Settings) -> BatchReport:
    """Say what ``restore_files`` would do and how long it would take; nothing is written.

    The time comes from the model's card. Where the card has none for this device, a small picture is restored and
    timed.

    Args:
        files: Which files become which.
        settings: How they would be restored.

    Returns:
        What would become of each input, as far as the headers of the files tell.

    Raises:
        UsageError: As ``restore_files``.
        ModelError: The weights cannot be used.
    """
    jobs, _ = plan(files, settings)
    jobs = remaining(jobs, files, settings)
    restorer = settings.load()
    clock = _Clock(restorer)
    outcomes = [_forecast(job, files, settings, clock) for job in jobs]
    failed = any(outcome.status == "failed" for outcome in outcomes)
    return BatchReport(
        model=restorer.summary,
        notes=tuple(restorer.notes),
        pictures=tuple(outcomes),
        seconds=sum(outcome.seconds or 0.0 for outcome in outcomes),
        exit_code=3 if failed else 0,
    )


# --- picture by picture -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Result:
    """A restored picture, page by page, on its way to the disk."""

    before: list[ImageData]
    after: list[ImageData]
    outcome: Outcome


class _Worker:
    """Restores and writes pictures, and keeps what is to be said about them."""

    def __init__(self, restorer: Restorer, files: Files, settings: Settings, mask: object, meter: Meter) -> None:
        self.restorer, self.files, self.settings, self.mask, self.meter = restorer, files, settings, mask, meter
        self.outcomes: dict[Job, Outcome] = {}

    def read(self, job: Job) -> list[ImageData]:
        """Read a picture; several pages are welcome where several can be written."""
        pages = read_pages(sys.stdin.buffer if job.source == STANDARD_STREAM else job.source, limits=self.files.limits)
        written = _format_written(job, pages[0])
        if len(pages) > 1 and written != "tiff":
            raise PictureError(
                f"it holds {len(pages)} pages and a {written.upper()} holds one; write a TIFF (--format tiff), "
                "or split it into its pages first"
            )
        return pages

    def work(self, job: Job, pages: list[ImageData]) -> _Result:
        """Restore a picture, page by page."""
        if self.meter.seconds_to_write is None and pages[0].height * pages[0].width >= _LARGE:
            self.meter.seconds_to_write = self._try_writing(pages[0], job)
        start = time.perf_counter()
        restored = [self._page(page, self._share(job, index, len(pages))) for index, page in enumerate(pages)]
        notes = dict.fromkeys(note for page in restored for note in page.notes if note not in self.restorer.notes)
        first = restored[0]
        outcome = Outcome(
            source=job.name,
            target=str(job.target),
            status="done",
            width=first.image.width,
            height=first.image.height,
            seconds=time.perf_counter() - start,
            plan=None if first.plan is None else str(first.plan),
            notes=(*notes, *([f"{len(pages)} pages"] if len(pages) > 1 else [])),
        )
        return _Result(pages, [page.image for page in restored], outcome)

    def _try_writing(self, picture: ImageData, job: Job) -> float:
        """Return the seconds that a pixel of a picture takes to be written: those of a part of it, to nowhere."""
        y, x = (max(0, side - _TRIAL) // 2 for side in (picture.height, picture.width))
        part = _part(picture, (x, y, min(_TRIAL, picture.width), min(_TRIAL, picture.height)))
        start = time.perf_counter()
        encode_image(part, format=_format_written(job, picture), quality=self.files.quality)
        return (time.perf_counter() - start) / (part.height * part.width)

    def _page(self, page: ImageData, tell: Callable[[int, int], None]) -> Restored[ImageData]:
        try:
            return self.restorer.run(
                page, strength=self.settings.strength, mask=self.mask, crop=self.settings.crop, progress=tell
            )
        except ModelError as error:  # the weights work: what they make of this picture says nothing about the next one
            raise PictureError(str(error)) from error

    def _share(self, job: Job, page: int, pages: int) -> Callable[[int, int], None]:
        return lambda done, total: self.meter.part(job, (page + done / total) / pages)

    def write(self, job: Job, result: _Result) -> None:
        """Write a restored picture, and the before/after picture if there is to be one."""
        outcome = result.outcome
        self._put(result.after, sys.stdout.buffer if job.target == STANDARD_STREAM else job.target, job)
        if self.files.compare:
            crop = self.settings.crop
            before = [_enlarged(_part(one, crop), self.restorer.scale) for one in result.before]
            both = [compare(one, two) for one, two in zip(before, result.after, strict=True)]
            path = comparison_path(job)
            self._put(both, path, job)
            outcome = replace(outcome, comparison=str(path))
        self.outcomes[job] = outcome

    def _put(self, pages: list[ImageData], target: Path | BinaryIO, job: Job) -> None:
        files = self.files
        if len(pages) > 1:
            write_pages(pages, target, bit_depth=files.bit_depth, strip_metadata=files.strip_metadata)
            return
        write_image(
            pages[0],
            target,
            format=job.format,
            quality=files.quality,
            bit_depth=files.bit_depth,
            background=files.background,
            strip_metadata=files.strip_metadata,
        )


def _format_written(job: Job, picture: ImageData) -> str:
    said = job.format or (None if job.target == STANDARD_STREAM else format_of_suffix(job.target))
    return canonical_format(said or picture.format)


def _part(image: ImageData, crop: tuple[int, int, int, int] | None) -> ImageData:
    if crop is None:
        return image
    x, y, width, height = crop
    box = (slice(y, y + height), slice(x, x + width))
    return image.replace(pixels=image.pixels[box], alpha=None if image.alpha is None else image.alpha[box])


def _enlarged(image: ImageData, scale: int) -> ImageData:
    larger: ImageData = image if scale == 1 else enlarge(image, scale)
    return larger


def _failed(failure: Failure) -> Outcome:
    job = failure.job
    return Outcome(source=job.name, target=str(job.target), status="failed", reason=failure.reason)


def _skipped(job: Job) -> Outcome:
    return Outcome(source=job.name, target=str(job.target), status="skipped", reason=job.skip)


def _exit_code(report: Report) -> int:
    if not report.failed:
        return 0
    wrong_options = all(isinstance(failure.error, UsageError) for failure in report.failed)
    return UsageError.exit_code if wrong_options and not report.done else PictureError.exit_code


# --- forecasts --------------------------------------------------------------------------------------------------------


class _Clock:
    """Says how long a plan takes."""

    def __init__(self, restorer: Restorer) -> None:
        self.restorer = restorer
        self._rate: float | None = None

    def seconds(self, plan: Plan) -> float:
        """Return the expected time, from the card or from a trial."""
        if plan.seconds is not None:
            return plan.seconds
        pixels = plan.height * plan.width if plan.tile is None else plan.tiles * plan.tile**2
        if self._rate is None:
            self._rate = self._try()
        return self._rate * pixels

    def _try(self) -> float:
        """Return the seconds that a pixel of a small picture takes."""
        trial = np.random.default_rng(0).integers(0, 256, (_TRIAL, _TRIAL, 3), np.uint8)
        self.restorer.run(trial[: _TRIAL // 4, : _TRIAL // 4])  # the first pass of a network is slower
        start = time.perf_counter()
        self.restorer.run(trial)
        return (time.perf_counter() - start) / trial[..., 0].size


def _forecast(job: Job, files: Files, settings: Settings, clock: _Clock) -> Outcome:
    if job.skip is not None:
        return _skipped(job)
    outcome = Outcome(
        source=job.name,
        target=str(job.target),
        status="planned",
        comparison=str(comparison_path(job)) if files.compare else None,
    )
    if job.source == STANDARD_STREAM:
        return outcome
    try:
        width, height = read_size(job.source)
        if settings.crop is not None:
            width, height = settings.crop[2:]
        plan = clock.restorer.describe_plan(height, width)
    except (PictureError, UsageError) as error:
        return replace(outcome, status="failed", reason=str(error).removeprefix(f"{job.name}: "), comparison=None)
    seconds = 0.0 if settings.strength == 0 else clock.seconds(plan)
    plan = replace(plan, seconds=seconds)
    scale = clock.restorer.scale
    return replace(outcome, width=scale * width, height=scale * height, seconds=seconds, plan=str(plan))
