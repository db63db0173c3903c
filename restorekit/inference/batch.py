"""Many picture files through one network: checked before anything runs, done past a bad one, told as it goes."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from restorekit.errors import ModelError, PictureError, UsageError
from restorekit.inference.compare import compare
from restorekit.inference.plan import Plan, TileOption
from restorekit.inference.restorer import Restorer, Summary
from restorekit.io import ImageData, read_image, write_image
from restorekit.io.info import read_size
from restorekit.jobs import (
    STANDARD_STREAM,
    Failure,
    Item,
    Job,
    Meter,
    Progress,
    Report,
    Stages,
    plan_outputs,
    run,
    walk,
)

__all__ = ["BatchReport", "Files", "Listener", "Outcome", "Settings", "forecast_files", "restore_files"]

_COMPARISON = "_compare"  # what the name of a before/after picture ends with
_TRIAL = 256  # side of the picture that is timed where a card has no time


@dataclass(frozen=True, kw_only=True)
class Files:
    """Which files are restored, and what they become.

    Attributes:
        inputs: Files, folders, patterns, or ``-`` for standard input.
        out: A file if there is one input and this has a picture's suffix, ``-`` for standard output, else a folder;
            beside each input if ``None``.
        recursive: Go into the folders of folders; the tree is mirrored.
        suffix: What the names of outputs end with, before the dot.
        format: Format to write; that of each input if ``None``.
        quality: 1 to 100, of JPEG and lossy WebP.
        overwrite: Replace outputs that exist.
        skip_existing: Pass over inputs whose output exists.
        compare: Also write a before/after picture beside each output.
    """

    inputs: Sequence[str | Path]
    out: Path | str | None = None
    recursive: bool = False
    suffix: str | None = None
    format: str | None = None
    quality: int | None = None
    overwrite: bool = False
    skip_existing: bool = False
    compare: bool = False

    def __post_init__(self) -> None:
        if self.quality is not None and not 1 <= self.quality <= 100:
            raise UsageError(f"quality is 1 to 100, got {self.quality}")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How each picture is restored; see ``Restorer`` and ``Restorer.restore``.

    Attributes:
        model: Family, variant, tag, a file of weights, or ``auto`` for the default.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
        precision: ``auto``, ``fp32``, ``bf16``, ``fp16``.
        tile: ``auto``, ``off``, or the side of a tile in pixels.
        max_memory: Bytes that a restoration may take.
        ensemble: Average over the eight orientations.
        strength: Share of the restored picture in the result, in [0, 1].
        mask: Picture file of the same size as each picture: white is restored, black stays.
        crop: x, y, width, height in pixels: only this part is restored and written.
    """

    model: str | Path = "resunet"
    device: str = "auto"
    precision: str = "auto"
    tile: TileOption = "auto"
    max_memory: int | None = None
    ensemble: bool = False
    strength: float = 1.0
    mask: Path | None = None
    crop: tuple[int, int, int, int] | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.strength <= 1:
            raise UsageError(f"strength is between 0 and 1, got {self.strength}")

    def load(self) -> Restorer:
        """Load the network with its weights."""
        return Restorer.from_pretrained(
            self.model,
            device=self.device,
            precision=self.precision,
            tile=self.tile,
            max_memory=self.max_memory,
            ensemble=self.ensemble,
        )


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
        UsageError: An input does not exist, two inputs would become one output, an output exists, or an option has no
            such value.
        ModelError: The weights cannot be used.
    """
    jobs, mask = _plan(files, settings)
    restorer = settings.load()
    if listener is not None:
        listener.begins(restorer.summary, restorer.notes)
    worker = _Worker(restorer, files, settings, mask, Meter(None if listener is None else listener.moves))
    start = time.perf_counter()

    def failed(failure: Failure) -> None:
        if listener is not None:
            listener.ends(_failed(failure))

    def write(job: Job, result: _Result) -> None:
        worker.write(job, result)
        if listener is not None:
            listener.ends(worker.outcomes[job])

    stages = Stages(read=_read, work=worker.work, write=write)
    report = run(jobs, stages, on_error=failed, meter=worker.meter)
    outcomes = {
        **worker.outcomes,
        **{failure.job: _failed(failure) for failure in report.failed},
        **{skip.job: _skipped(skip.job) for skip in report.skipped},
    }
    return BatchReport(
        model=restorer.summary,
        notes=tuple(restorer.notes),
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
    jobs, _ = _plan(files, settings)
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


# --- before anything runs ---------------------------------------------------------------------------------------------


def _plan(files: Files, settings: Settings) -> tuple[list[Job], object]:
    """Return the jobs and the open mask, or refuse."""
    items = walk(files.inputs, recursive=files.recursive)
    jobs = plan_outputs(
        _without_comparisons(items),
        out=files.out,
        suffix=files.suffix,
        format=files.format,
        overwrite=files.overwrite,
        skip_existing=files.skip_existing,
    )
    if not jobs:
        raise UsageError("every picture there is an output of an earlier run; name the files to restore one by one")
    if any(job.target == STANDARD_STREAM for job in jobs):
        _check_stream(files)
    if files.compare:
        _check_comparisons(jobs, files)
    return jobs, None if settings.mask is None else _open_mask(settings.mask)


def _without_comparisons(items: Sequence[Item]) -> list[Item]:
    """Return the items less the before/after pictures that an earlier run put beside them."""
    stems = {item.path.with_suffix("") for item in items}
    return [item for item in items if item.named or not _shows_another(item.path.with_suffix(""), stems)]


def _shows_another(path: Path, paths: set[Path]) -> bool:
    stem = path.name.removesuffix(_COMPARISON)
    return stem not in ("", path.name) and path.with_name(stem) in paths


def _check_stream(files: Files) -> None:
    if files.compare:
        raise UsageError("a before/after picture needs a file; give --out a file name, or leave --compare out")
    if sys.stdout.isatty():
        raise UsageError("a picture is not written to a terminal; redirect the output, or give --out a file name")


def _check_comparisons(jobs: Sequence[Job], files: Files) -> None:
    taken = {job.target for job in jobs} | {job.source for job in jobs}
    for job in jobs:
        path = _comparison(job)
        if path in taken:
            raise UsageError(f"{path} would be both a before/after picture and another one; choose another --suffix")
        if path.exists() and job.skip is None and not files.overwrite:
            raise UsageError(f"{path} exists already; give --overwrite, or leave --compare out")


def _comparison(job: Job) -> Path:
    return job.target.with_name(f"{job.target.stem}{_COMPARISON}{job.target.suffix}")


def _open_mask(path: Path) -> object:
    try:
        return read_image(path).to_pil()
    except PictureError as error:
        raise UsageError(f"the mask cannot be used: {error}") from error


# --- picture by picture -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Result:
    """A restored picture on its way to the disk."""

    before: ImageData
    after: ImageData
    outcome: Outcome


class _Worker:
    """Restores and writes pictures, and keeps what is to be said about them."""

    def __init__(self, restorer: Restorer, files: Files, settings: Settings, mask: object, meter: Meter) -> None:
        self.restorer, self.files, self.settings, self.mask, self.meter = restorer, files, settings, mask, meter
        self.outcomes: dict[Job, Outcome] = {}

    def work(self, job: Job, picture: ImageData) -> _Result:
        """Restore a picture."""

        def tell(done: int, total: int) -> None:
            self.meter.part(job, done / total)

        start = time.perf_counter()
        try:
            restored = self.restorer.run(
                picture, strength=self.settings.strength, mask=self.mask, crop=self.settings.crop, progress=tell
            )
        except ModelError as error:  # the weights work: what they make of this picture says nothing about the next one
            raise PictureError(str(error)) from error
        outcome = Outcome(
            source=job.name,
            target=str(job.target),
            status="done",
            width=restored.image.width,
            height=restored.image.height,
            seconds=time.perf_counter() - start,
            plan=None if restored.plan is None else str(restored.plan),
            notes=tuple(note for note in restored.notes if note not in self.restorer.notes),
        )
        return _Result(picture, restored.image, outcome)

    def write(self, job: Job, result: _Result) -> None:
        """Write a restored picture, and the before/after picture if there is to be one."""
        outcome = result.outcome
        target = sys.stdout.buffer if job.target == STANDARD_STREAM else job.target
        write_image(result.after, target, format=job.format, quality=self.files.quality)
        if self.files.compare:
            both = compare(_part(result.before, self.settings.crop), result.after)
            path = _comparison(job)
            write_image(both, path, format=job.format, quality=self.files.quality)
            outcome = replace(outcome, comparison=str(path))
        self.outcomes[job] = outcome


def _read(job: Job) -> ImageData:
    return read_image(sys.stdin.buffer if job.source == STANDARD_STREAM else job.source)


def _part(image: ImageData, crop: tuple[int, int, int, int] | None) -> ImageData:
    if crop is None:
        return image
    x, y, width, height = crop
    box = (slice(y, y + height), slice(x, x + width))
    return image.replace(pixels=image.pixels[box], alpha=None if image.alpha is None else image.alpha[box])


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
        comparison=str(_comparison(job)) if files.compare else None,
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
    return replace(outcome, width=width, height=height, seconds=seconds, plan=str(plan))
