"""What a batch is asked to do: which files become which, how they are restored; checked before anything runs."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from restorekit.errors import PictureError, UsageError
from restorekit.inference.plan import TileOption
from restorekit.inference.restorer import Restorer
from restorekit.io import DEFAULT_LIMITS, Limits, read_image
from restorekit.jobs import STANDARD_STREAM, Item, Job, Journal, journal_path, plan_outputs, shard, sweep, walk

__all__ = ["Files", "Settings", "comparison_path", "kept", "plan", "remaining"]

_COMPARISON = "_compare"  # what the name of a before/after picture ends with

logger = logging.getLogger(__name__)


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
        bit_depth: 8, 16 or 32 (floating point) bits per value; those of each input if ``None``.
        strip_metadata: Leave out everything but the pixels and their profile.
        background: Red, green and blue, 0 to 255, of the ground under a transparent picture in a JPEG or BMP.
        overwrite: Replace outputs that exist.
        skip_existing: Pass over inputs whose output exists.
        resume: Go on with an earlier run into the same place: what it has done, from inputs that did not change since,
            is not done again.
        shard: Do the i-th of n shares of the files, ``(i, n)``, so that several machines can share a folder.
        workers: Threads that read files, and as many that write them, while the network works.
        compare: Also write a before/after picture beside each output.
        limits: What is too large to be read.
    """

    inputs: Sequence[str | Path]
    out: Path | str | None = None
    recursive: bool = False
    suffix: str | None = None
    format: str | None = None
    quality: int | None = None
    bit_depth: int | None = None
    strip_metadata: bool = False
    background: tuple[int, int, int] = (255, 255, 255)
    overwrite: bool = False
    skip_existing: bool = False
    resume: bool = False
    shard: tuple[int, int] | None = None
    workers: int = 1
    compare: bool = False
    limits: Limits = DEFAULT_LIMITS

    def __post_init__(self) -> None:
        if self.quality is not None and not 1 <= self.quality <= 100:
            raise UsageError(f"quality is 1 to 100, got {self.quality}")
        if self.bit_depth not in (None, 8, 16, 32):
            raise UsageError(f"bit depth is 8, 16 or 32 (floating point), got {self.bit_depth}")
        if not all(0 <= value <= 255 for value in self.background):
            raise UsageError(f"the background is red, green and blue, each 0 to 255, got {self.background}")
        if self.workers < 1:
            raise UsageError(f"workers are 1 or more, got {self.workers}")


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


def plan(files: Files, settings: Settings) -> tuple[list[Job], object]:
    """Return the jobs and the open mask, or refuse."""
    items = walk(files.inputs, recursive=files.recursive)
    jobs = plan_outputs(
        _without_comparisons(items),
        out=files.out,
        suffix=files.suffix,
        format=files.format,
        overwrite=files.overwrite,
        skip_existing=files.skip_existing,
        resume=files.resume,
    )
    if not jobs:
        raise UsageError("every picture there is an output of an earlier run; name the files to restore one by one")
    if _to_stream(jobs):
        _check_stream(files)
    if files.compare:
        _check_comparisons(jobs, files)
    return jobs, None if settings.mask is None else _open_mask(settings.mask, files.limits)


def _to_stream(jobs: Sequence[Job]) -> bool:
    return any(job.target == STANDARD_STREAM for job in jobs)


@contextmanager
def kept(jobs: list[Job], files: Files, settings: Settings) -> Iterator[tuple[list[Job], Journal | None]]:
    """Yield what there is to do, and the journal that is kept of it and held against other runs.

    One file needs none, unless asked for: it is there or not.
    """
    todo = _share(jobs, files)
    if _to_stream(jobs) or (len(jobs) == 1 and not files.resume and files.shard is None):
        sweep(todo, held=False)
        yield todo, None
        return
    with _journal(jobs, files, settings) as journal:
        sweep(todo)
        try:
            yield journal.sort(todo, overwrite=files.overwrite) if files.resume else todo, journal
        except KeyboardInterrupt:
            logger.warning("What was written until now is whole; the same command with --resume goes on.")
            raise


def remaining(jobs: list[Job], files: Files, settings: Settings) -> list[Job]:
    """Return what there is to do, without writing anything."""
    todo = _share(jobs, files)
    if not files.resume or not _journal_path(jobs, files).exists():
        return todo
    with _journal(jobs, files, settings) as journal:
        return journal.sort(todo, overwrite=files.overwrite)


def _share(jobs: list[Job], files: Files) -> list[Job]:
    return jobs if files.shard is None else shard(jobs, *files.shard)


def _journal(jobs: list[Job], files: Files, settings: Settings) -> Journal:
    return Journal(_journal_path(jobs, files), settings=_deciding(files, settings), resume=files.resume)


def _journal_path(jobs: list[Job], files: Files) -> Path:
    out = None if files.out is None or _is_one_file(jobs, files.out) else Path(files.out)
    return journal_path(jobs, out=out, shard=files.shard)


def _is_one_file(jobs: Sequence[Job], out: Path | str) -> bool:
    return len(jobs) == 1 and jobs[0].target == Path(out)


def _deciding(files: Files, settings: Settings) -> dict[str, Any]:
    """Return what decides how outputs look; on another device or in other tiles a run may be resumed."""
    ways = ("format", "quality", "bit_depth", "strip_metadata", "background", "compare")
    means = ("model", "ensemble", "strength", "mask", "crop")
    return {
        **{name: getattr(files, name) for name in ways},
        **{name: getattr(settings, name) for name in means},
    }


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
    if files.resume or files.shard is not None:
        raise UsageError("--resume and --shard need files to write to; give --out a folder")
    if sys.stdout.isatty():
        raise UsageError("a picture is not written to a terminal; redirect the output, or give --out a file name")


def _check_comparisons(jobs: Sequence[Job], files: Files) -> None:
    taken = {job.target for job in jobs} | {job.source for job in jobs}
    for job in jobs:
        path = comparison_path(job)
        if path in taken:
            raise UsageError(f"{path} would be both a before/after picture and another one; choose another --suffix")
        if path.exists() and job.skip is None and not (files.overwrite or files.resume):
            raise UsageError(f"{path} exists already; give --overwrite, or leave --compare out")


def comparison_path(job: Job) -> Path:
    """Return where the before/after picture of a job goes."""
    return job.target.with_name(f"{job.target.stem}{_COMPARISON}{job.target.suffix}")


def _open_mask(path: Path, limits: Limits) -> object:
    try:
        return read_image(path, limits=limits).to_pil()
    except PictureError as error:
        raise UsageError(f"the mask cannot be used: {error}") from error
