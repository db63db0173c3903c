"""Which file each picture becomes; whatever would go wrong with that is found before anything runs."""

from __future__ import annotations

import hashlib
import logging
import os
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from restorekit.errors import UsageError
from restorekit.io.formats import WRITABLE, canonical_format, format_of_suffix, sniff, suffix_of_format
from restorekit.jobs.walk import STANDARD_STREAM, Item

__all__ = ["DEFAULT_SUFFIX", "Job", "plan_outputs", "shard"]

DEFAULT_SUFFIX = "_restored"
"""What the names of outputs end with when they lie beside their inputs."""

_SHOWN = 5  # clashes that an error lists

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """One picture to make from another.

    Attributes:
        item: The input.
        target: The output, or ``STANDARD_STREAM``.
        format: The format to write, where one was asked for; else the target's suffix says it.
        skip: Why there is nothing to do, or None.
    """

    item: Item
    target: Path
    format: str | None = None
    skip: str | None = None

    @property
    def source(self) -> Path:
        """The input file."""
        return self.item.path

    @property
    def name(self) -> str:
        """What messages call the input."""
        return "standard input" if self.source == STANDARD_STREAM else str(self.source)


def plan_outputs(
    items: Sequence[Item],
    *,
    out: Path | str | None = None,
    suffix: str | None = None,
    format: str | None = None,
    overwrite: bool = False,
    skip_existing: bool = False,
    resume: bool = False,
) -> list[Job]:
    """Give every input its output.

    Nothing is written or made here. Left out are what earlier runs made of the same inputs: files below the folder
    ``out``, and files beside an input with its name and the suffix.

    Args:
        items: The inputs, from ``walk``.
        out: A file if there is one input and this has a picture's suffix, or ``-`` for standard output; else a
            folder, in which names and folders stay as they were. If None, the output lies beside the input.
        suffix: What the names end with, before the dot; ``_restored`` beside the input, nothing in a folder.
        format: The format to write; if None, that of the input, whatever its name says (PNG for one that cannot be
            written).
        overwrite: Whether outputs that exist are replaced.
        skip_existing: Whether inputs whose output exists are skipped.
        resume: Whether outputs that exist are left to a journal to judge.

    Returns:
        The jobs, in the order of the inputs.

    Raises:
        UsageError: Two inputs would become one file (also where names differ by case only), an output would replace
            an input, or an output exists.
    """
    if overwrite and skip_existing:
        raise UsageError("--overwrite and --skip-existing exclude each other; give one of them")
    if suffix is not None and ("/" in suffix or "\\" in suffix):
        raise UsageError(f"a suffix is a part of a name, got {suffix!r}; choose the folder with --out")
    chosen = None if format is None else canonical_format(format)
    if out is not None and str(out) == "-":
        return [_to_stream(items, chosen)]
    if out is not None and _is_file(items, Path(out)):
        jobs = [_to_file(items[0], Path(out), chosen)]
    else:
        folder = None if out is None else Path(out)
        ending = suffix if suffix is not None else DEFAULT_SUFFIX if folder is None else ""
        kept = _without_earlier_outputs(items, folder, ending)
        jobs = [_to_folder(item, folder, ending, chosen) for item in kept]
    _refuse_clashes(jobs)
    _refuse_inputs(jobs)
    return _settle_existing(jobs, overwrite=overwrite or resume, skip_existing=skip_existing)


def _is_file(items: Sequence[Item], out: Path) -> bool:
    return len(items) == 1 and format_of_suffix(out) is not None and not out.is_dir()


def _to_stream(items: Sequence[Item], chosen: str | None) -> Job:
    if len(items) != 1:
        raise UsageError(f"standard output takes one picture, and there are {len(items)} inputs; name a folder")
    return Job(items[0], STANDARD_STREAM, chosen)


def _to_file(item: Item, out: Path, chosen: str | None) -> Job:
    said = format_of_suffix(out)
    if chosen is not None and said != chosen:
        raise UsageError(f"{out} and --format {chosen} contradict each other; leave one of them out")
    if said not in WRITABLE:
        raise UsageError(f"{out}: {str(said).upper()} files cannot be written; choose {', '.join(WRITABLE)}")
    return Job(item, out, chosen)


def _to_folder(item: Item, folder: Path | None, ending: str, chosen: str | None) -> Job:
    if item.path == STANDARD_STREAM:
        if folder is None:
            return Job(item, STANDARD_STREAM, chosen)
        raise UsageError("a picture from standard input has no name; give --out a file name or -")
    name = item.path.name if folder is None else item.relative
    place = (item.path.parent if folder is None else folder) / name
    said = format_of_suffix(place)
    if chosen is None:
        chosen = _own_format(item.path, said)
    extension = place.suffix if chosen is None or said == chosen else suffix_of_format(chosen)
    return Job(item, place.with_name(f"{place.stem}{ending}{extension}"), chosen)


def _own_format(path: Path, said: str | None) -> str | None:
    """Return the format that an input's output has to have where its name would say another one, else None."""
    held = _sniff(path)
    if said in WRITABLE and held in WRITABLE and held != said:
        # by its name, a PNG called .jpg would lose its depth and its transparency
        logger.warning("%s: the file is a %s, and so is what is made of it", path, held.upper())
        return held
    if said is not None and said not in WRITABLE:
        logger.info("%s: %s files cannot be written; it becomes a PNG", path, said.upper())
        return "png"
    return None


def _sniff(path: Path) -> str | None:
    if not path.is_file():  # a pipe is not to be waited for
        return None
    try:
        with path.open("rb") as file:
            return sniff(file.read(64))
    except OSError:  # the run will say why
        return None


def _without_earlier_outputs(items: Sequence[Item], folder: Path | None, ending: str) -> list[Item]:
    """Return the items less those that an earlier run of the same kind made; files named one by one all stay."""
    paths = {_key(item.path.with_suffix("")) for item in items}
    below = None if folder is None else Path(os.path.realpath(folder))
    kept: list[Item] = []
    for item in items:
        stem = item.path.stem
        beside = folder is None and ending and stem.endswith(ending) and len(stem) > len(ending)
        origin = item.path.with_name(stem.removesuffix(ending)) if beside else None
        made = (origin is not None and _key(origin) in paths) or (
            below is not None and below in Path(os.path.realpath(item.path)).parents and _lies_below(item, below)
        )
        if made and not item.named:
            logger.info("%s was left out: an earlier run made it", item.path)
        else:
            kept.append(item)
    return kept


def _lies_below(item: Item, below: Path) -> bool:
    """Return whether the output folder lies strictly inside the folder that was named as input."""
    root = Path(os.path.realpath(item.path))
    for _ in item.relative.parts:
        root = root.parent
    return root != below and root in below.parents


def _key(path: Path) -> str:
    """Return the same for paths that some file systems take for one (case, composed letters)."""
    return unicodedata.normalize("NFC", os.path.realpath(path)).casefold()


def _refuse_clashes(jobs: Sequence[Job]) -> None:
    made: dict[str, list[Job]] = defaultdict(list)
    for job in jobs:
        if job.target != STANDARD_STREAM:
            made[_key(job.target)].append(job)
    clashes = [group for group in made.values() if len(group) > 1]
    if clashes:
        shown = [f"{' and '.join(job.name for job in group)} -> {group[0].target}" for group in clashes]
        raise UsageError(
            f"{_some(shown)}: several inputs would become one file; restore them into different folders, "
            "keep their formats, or mirror the tree with --recursive"
        )


def _refuse_inputs(jobs: Sequence[Job]) -> None:
    inputs = {_key(job.source) for job in jobs if job.source != STANDARD_STREAM}
    hit = [str(job.target) for job in jobs if job.target != STANDARD_STREAM and _key(job.target) in inputs]
    if hit:
        raise UsageError(f"{_some(hit)}: an input is never overwritten; choose another --out or a --suffix")


def _settle_existing(jobs: Sequence[Job], *, overwrite: bool, skip_existing: bool) -> list[Job]:
    folders = [str(job.target) for job in jobs if job.target != STANDARD_STREAM and job.target.is_dir()]
    if folders:
        raise UsageError(f"{_some(folders)}: there is a folder of this name; choose another --out")
    there = {job.target for job in jobs if job.target != STANDARD_STREAM and job.target.exists()}
    if there and not overwrite and not skip_existing:
        names = [str(job.target) for job in jobs if job.target in there]
        verb = "exists" if len(names) == 1 else "exist"
        raise UsageError(f"{_some(names)} {verb} already; give --overwrite or --skip-existing")
    if skip_existing:
        return [replace(job, skip="the output exists") if job.target in there else job for job in jobs]
    return list(jobs)


def _some(names: Sequence[str]) -> str:
    more = len(names) - _SHOWN
    return "; ".join(names[:_SHOWN]) + (f" (and {more} more)" if more > 0 else "")


def shard(jobs: Sequence[Job], index: int, count: int) -> list[Job]:
    """Return one machine's share of the jobs.

    Which share a job falls into depends on its own name only, so that machines which list a folder at different
    times neither leave one out nor do it twice.

    Args:
        jobs: All jobs.
        index: Which share, from 1.
        count: How many there are.

    Raises:
        UsageError: The numbers are not 1 <= index <= count.
    """
    if not 1 <= index <= count:
        raise UsageError(f"a shard is i/n with 1 <= i <= n, got {index}/{count}")
    return [job for job in jobs if _share(job, count) == index - 1]


def _share(job: Job, count: int) -> int:
    name = unicodedata.normalize("NFC", job.item.relative.as_posix())
    return int.from_bytes(hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()[:8], "big") % count
