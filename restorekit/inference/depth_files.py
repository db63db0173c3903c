"""Depth maps in files, each with its picture, through one guided network: done past a bad one."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from restorekit.errors import PictureError, RestoreKitError, UnknownNameError, UsageError
from restorekit.inference.compare import compare
from restorekit.inference.depth import DEFAULT_GUIDED, DepthRestorer, RestoredDepth
from restorekit.inference.plan import TileOption
from restorekit.inference.restorer import Summary
from restorekit.io import DEFAULT_LIMITS, ImageData, Limits, write_image
from restorekit.io.depth_map import DEPTH_SUFFIXES, DepthMap, parse_unit, write_depth
from restorekit.io.formats import PICTURE_SUFFIXES

__all__ = ["DepthFiles", "DepthOutcome", "DepthReport", "DepthSettings", "preview", "restore_depth_files"]

_SUFFIX = "_restored"
_COMPARISON = "_compare"
_FORMATS = sorted(set(DEPTH_SUFFIXES.values()))


@dataclass(frozen=True, kw_only=True)
class DepthFiles:
    """Which depth maps are restored, with which pictures, and what they become.

    Attributes:
        inputs: Depth maps, or folders of them.
        guide: The picture of the one depth map, or a folder in which each map has a picture of its name.
        out: A file if there is one map and this has a suffix of depth maps, else a folder; beside each map if ``None``.
        suffix: What the names of outputs end with, before the dot.
        format: ``png``, ``tiff`` or ``npy``; that of each map if ``None``.
        overwrite: Replace outputs that exist.
        skip_existing: Pass over maps whose output exists.
        compare: Also write a colour-mapped picture of both, before and after.
        unit: What a step of the maps measures, see ``parse_unit``; by their type if ``None``.
        scale: How many times finer the pictures are; by the sizes if ``None``.
        limits: What is too large to be read.
    """

    inputs: Sequence[str | Path]
    guide: Path
    out: Path | str | None = None
    suffix: str | None = None
    format: str | None = None
    overwrite: bool = False
    skip_existing: bool = False
    compare: bool = False
    unit: str | None = None
    scale: int | None = None
    limits: Limits = DEFAULT_LIMITS

    def __post_init__(self) -> None:
        if self.format is not None and self.format not in _FORMATS:
            raise UnknownNameError("format of depth maps", self.format, _FORMATS)
        if self.scale is not None and self.scale < 1:
            raise UsageError(f"scale is a whole number from 1 on, got {self.scale}")
        if self.overwrite and self.skip_existing:
            raise UsageError("--overwrite and --skip-existing exclude each other; give one of them")
        if self.unit is not None:
            parse_unit(self.unit)


@dataclass(frozen=True, kw_only=True)
class DepthSettings:
    """How depth maps are restored; see ``DepthRestorer``.

    Attributes:
        model: Family, variant, tag, or a file of weights.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
        tile: ``auto``, ``off``, or the side of a tile in pixels.
        max_memory: Bytes that a restoration may take.
    """

    model: str | Path = DEFAULT_GUIDED
    device: str = "auto"
    tile: TileOption = "auto"
    max_memory: int | None = None


@dataclass(frozen=True, kw_only=True)
class DepthOutcome:
    """What became of one depth map.

    Attributes:
        source: The depth map.
        guide: Its picture.
        target: The output.
        status: ``planned`` where nothing was to be done yet.
        reason: Why it failed or was skipped.
        width: Columns of the output.
        height: Rows of it.
        factor: How many times finer the picture is than the map was.
        unit: What a step of the output measures.
        holes: Pixels of the output in which nothing is measured.
        least: Least depth of the output, in its unit.
        greatest: Greatest depth of it.
        seconds: Time of the network.
        notes: What was assumed or done otherwise than asked, one sentence each.
        comparison: The picture of before and after.
    """

    source: str
    guide: str
    target: str
    status: Literal["done", "failed", "skipped", "planned"]
    reason: str | None = None
    width: int | None = None
    height: int | None = None
    factor: float | None = None
    unit: str | None = None
    holes: int | None = None
    least: float | None = None
    greatest: float | None = None
    seconds: float | None = None
    notes: tuple[str, ...] = ()
    comparison: str | None = None


@dataclass(frozen=True, kw_only=True)
class DepthReport:
    """What came of depth maps.

    Attributes:
        model: What restored them.
        notes: What holds for all of them, one sentence each.
        maps: One outcome for each depth map, in order.
        seconds: Time of the whole, without loading the model.
        exit_code: 0 if nothing failed, 2 if nothing was done because the options do not fit, else 3.
    """

    model: Summary
    notes: tuple[str, ...]
    maps: tuple[DepthOutcome, ...]
    seconds: float
    exit_code: int

    def record(self) -> dict[str, Any]:
        """Return everything as plain JSON data."""
        return asdict(self)


@dataclass(frozen=True)
class _Job:
    source: Path
    guide: Path
    target: Path
    skip: bool = False

    @property
    def comparison(self) -> Path:
        """The picture of before and after; a PNG whatever the map is."""
        return self.target.with_name(f"{self.target.stem}{_COMPARISON}.png")


def restore_depth_files(
    files: DepthFiles,
    settings: DepthSettings,
    *,
    dry_run: bool = False,
    begins: Callable[[Summary, Sequence[str]], None] | None = None,
    ends: Callable[[DepthOutcome], None] | None = None,
) -> DepthReport:
    """Restore depth maps.

    Inputs, pictures and outputs are checked first, then the model is loaded, once for all. Of several maps, one that
    cannot be read, restored or written is reported, and the rest is done.

    Args:
        files: Which maps become which.
        settings: How they are restored.
        dry_run: Only say what would be done.
        begins: Told what restores them, and what holds for all of them.
        ends: Told of each map.

    Raises:
        UsageError: An input or its picture does not exist, an output exists or would be two, or an option has no such
            value.
        ModelError: The weights cannot be used, or are not here.
        PictureError: There is one map, and it or its picture cannot be read, or the output cannot be written.
    """
    jobs = _plan(files)
    restorer = DepthRestorer.from_pretrained(
        settings.model,
        scale=files.scale,
        device=settings.device,
        tile=settings.tile,
        max_memory=settings.max_memory,
    )
    if begins is not None:
        begins(restorer.summary, restorer.notes)
    start, outcomes, errors = time.perf_counter(), [], []
    for job in jobs:
        outcome = DepthOutcome(source=str(job.source), guide=str(job.guide), target=str(job.target), status="planned")
        if job.skip:
            outcome = replace(outcome, status="skipped", reason="the output exists")
        elif not dry_run:
            try:
                outcome = _restore(job, outcome, restorer, files)
            except RestoreKitError as error:
                if len(jobs) == 1:
                    raise
                errors.append(error)
                outcome = replace(outcome, status="failed", reason=str(error).removeprefix(f"{job.source}: "))
        outcomes.append(outcome)
        if ends is not None:
            ends(outcome)
    return DepthReport(
        model=restorer.summary,
        notes=restorer.notes,
        maps=tuple(outcomes),
        seconds=time.perf_counter() - start,
        exit_code=_exit_code(errors, outcomes),
    )


def _exit_code(errors: Sequence[RestoreKitError], outcomes: Sequence[DepthOutcome]) -> int:
    if not errors:
        return 0
    wrong_options = all(isinstance(error, UsageError) for error in errors)
    done = any(outcome.status == "done" for outcome in outcomes)
    return UsageError.exit_code if wrong_options and not done else PictureError.exit_code


def _restore(job: _Job, outcome: DepthOutcome, restorer: DepthRestorer, files: DepthFiles) -> DepthOutcome:
    done: RestoredDepth[DepthMap] = restorer.run(
        job.source, job.guide, scale=files.scale, unit=files.unit, limits=files.limits
    )
    job.target.parent.mkdir(parents=True, exist_ok=True)
    written = write_depth(done.depth, job.target, format=_format(job), overwrite=files.overwrite)
    if files.compare:
        before = done.depth.values.copy()
        measured = ~np.isnan(before)
        before[measured] = done.enlarged[measured]
        write_image(compare(*preview(before, done.depth.values)), job.comparison, format="png")
    values = written.values
    return replace(
        outcome,
        status="done",
        width=values.shape[1],
        height=values.shape[0],
        factor=done.factor,
        unit=written.unit.name,
        holes=int(np.isnan(values).sum()),
        least=float(np.nanmin(values)),
        greatest=float(np.nanmax(values)),
        seconds=done.seconds,
        notes=tuple(note for note in done.notes if note not in restorer.notes),
        comparison=str(job.comparison) if files.compare else None,
    )


def _format(job: _Job) -> str | None:
    return DEPTH_SUFFIXES.get(job.target.suffix.lower())


def preview(*maps: NDArray[np.float32]) -> list[ImageData]:
    """Return depth maps as pictures in false colours: near is red, far is blue, holes are black.

    Args:
        maps: ``(H, W)`` each, not a number in holes; all are coloured alike.

    Returns:
        An 8-bit RGB picture for each.
    """
    measured = np.concatenate([depth[~np.isnan(depth)] for depth in maps])
    near, far = np.percentile(measured, (1, 99))  # a few wild pixels must not take all colours
    pictures = []
    for depth in maps:
        holes = np.isnan(depth)
        share = (np.where(holes, near, depth) - near) / max(far - near, 1e-9)
        colours = cv2.applyColorMap((255 * (1 - share.clip(0, 1))).astype(np.uint8), cv2.COLORMAP_TURBO)
        colours[holes] = 0
        pictures.append(ImageData(pixels=np.ascontiguousarray(colours[:, :, ::-1]), format="png"))
    return pictures


# --- which files ------------------------------------------------------------------------------------------------------


def _plan(files: DepthFiles) -> list[_Job]:
    """Return what becomes what, or refuse."""
    sources = _sources(files)
    jobs = [_Job(source, _guide_of(source, files), _target(source, len(sources), files)) for source in sources]
    taken = {job.source.resolve() for job in jobs} | {job.guide.resolve() for job in jobs}
    seen: set[Path] = set()
    planned = []
    for job in jobs:
        wanted = [job.target, *([job.comparison] if files.compare else [])]
        for target in wanted:
            if target.resolve() in taken:
                raise UsageError(f"{target}: an input is never overwritten; choose another --out or a --suffix")
            if target.resolve() in seen:
                raise UsageError(f"{target}: several depth maps would become one file; restore them one by one")
            seen.add(target.resolve())
        there = [target for target in wanted if target.exists()]
        if there and not files.overwrite and not files.skip_existing:
            raise UsageError(f"{there[0]} exists already; give --overwrite or --skip-existing")
        planned.append(replace(job, skip=files.skip_existing and job.target.exists()))
    return planned


def _sources(files: DepthFiles) -> list[Path]:
    """Return the depth maps."""
    found: list[Path] = []
    for given in map(Path, files.inputs):
        if str(given) == "-":
            raise UsageError("a depth map is read from a file, not from standard input; name the file")
        if given.is_dir():
            inside = sorted(path for path in given.iterdir() if path.suffix.lower() in DEPTH_SUFFIXES)
            maps = [path for path in inside if not path.stem.endswith((_SUFFIX, _COMPARISON))]
            if not maps:
                raise UsageError(f"there is no depth map (PNG, TIFF, NPY) in {given}")
            found += maps
        elif given.exists():
            found.append(given)
        else:
            raise UsageError(f"there is no file or folder {str(given)!r}")
    if len(found) > 1 and not files.guide.is_dir():
        raise UsageError(
            f"{len(found)} depth maps need a picture each; give --guide a folder in which the pictures have their names"
        )
    return found


def _guide_of(source: Path, files: DepthFiles) -> Path:
    """Return the picture of a depth map."""
    if not files.guide.is_dir():
        if not files.guide.exists():
            raise UsageError(f"there is no picture {str(files.guide)!r}; --guide names a picture of the same view")
        return files.guide
    fitting = sorted(p for p in files.guide.glob(f"{_escaped(source.stem)}.*") if p.suffix.lower() in PICTURE_SUFFIXES)
    fitting = [path for path in fitting if path.resolve() != source.resolve()]
    if len(fitting) != 1:
        what = "no picture" if not fitting else f"{len(fitting)} pictures"
        raise UsageError(
            f"{files.guide} holds {what} of the name of {source.name}; name the picture itself with --guide"
        )
    return fitting[0]


def _escaped(stem: str) -> str:
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in stem)


def _target(source: Path, count: int, files: DepthFiles) -> Path:
    """Return the output of a depth map."""
    extension = source.suffix if files.format is None else f".{files.format}"
    if files.out is None:
        return source.with_name(f"{source.stem}{_SUFFIX if files.suffix is None else files.suffix}{extension}")
    out = Path(files.out)
    if str(out) == "-":
        raise UsageError("a depth map is written to a file, not to standard output; give --out a file name")
    if out.is_dir() or count > 1 or out.suffix == "":
        return out / f"{source.stem}{files.suffix or ''}{extension}"
    said = DEPTH_SUFFIXES.get(out.suffix.lower())
    if said is None:
        raise UsageError(f"{out}: depth maps are written as PNG (16 bits), TIFF or NPY; choose one of these suffixes")
    if files.format is not None and said != files.format:
        raise UsageError(f"{out} and --format {files.format} contradict each other; leave one of them out")
    return out
